"""The redaction of one cage, as its policy says: towards models, towards sites, in its log."""

from __future__ import annotations

import ipaddress
from functools import cache

import msgspec
import phonenumbers
from stdnum.util import get_cc_module

from akiosd.redact.engine import Engine
from akiosd.redact.json_and_forms import Structured
from akiosd.redact.known_values import Known
from akiosd.redact.model import RedactError
from akiosd.redact.patterns import PATTERNS
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Remembering
from akiosd.values.policy import Redact
from akiosd.values.records import NetDenied

_MAX_PATH = 2048
_LETTERS = "ABCDEFGHIJKLMNOPQRSTUVWXYZ"


def preload() -> None:
    """Have the validators read all their tables: they do so country by country, and a confined gateway may not."""
    phonenumbers.PhoneMetadata.load_all()
    for country in (first + second for first in _LETTERS for second in _LETTERS):
        for number in ("iban", "vat"):
            get_cc_module(country, number)
    # A policy that changes nothing of it, as most do, finds this one, with what it has learned from the examples.
    engine = _engine((), ())
    for pattern in PATTERNS:
        for text in (*pattern.yes, *pattern.no):
            engine.find(text)
    # Worked out once, here, for all cages.
    _ = engine.evident


@cache
def _engine(disable: tuple[str, ...], allow_values: tuple[str, ...]) -> Engine:
    return Engine(disable, allow_values)


class Redactors:
    """``key`` is the cage's pseudonym key.  One engine and one memory, so that all three look for the same."""

    def __init__(self, policy: Redact, key: bytes) -> None:
        self.engine = _engine(policy.disable, policy.allow_values)
        self.pseudonyms = Pseudonyms(key)
        self.known = Known()
        self.models = Remembering(self.engine, policy.models, self.pseudonyms, known=self.known)
        self.sites = Remembering(self.engine, policy.sites, self.pseudonyms, most_bytes=4 << 20, known=self.known)
        self.log = Remembering(self.engine, most_bytes=1 << 20, known=self.known)

    def mask_path(self, target: bytes) -> bytes:
        """The path of a request target for the log: without its query, personal data masked, bounded."""
        path = target.partition(b"?")[0].decode("ascii", "backslashreplace")
        try:
            safe = redact_target(Structured(self.log), path)
        except RedactError:
            return b"[UNRESOLVED]"
        return safe.encode("utf-8", "backslashreplace")[:_MAX_PATH]

    def mask_denial(self, denial: NetDenied) -> NetDenied:
        """The denial with personal data masked in the name asked for, and in the hint, which repeats it.

        Where a connection went as an address, that is told: who reads of an attack needs to know.
        """
        if _is_address(denial.host):
            return denial
        try:
            host = self.log.redact(denial.host.decode("utf-8", "surrogateescape")).text
            hint = self.log.redact(denial.hint).text
        except RedactError:
            host = hint = "[UNRESOLVED]"
        return msgspec.structs.replace(denial, host=host.encode("utf-8", "surrogateescape"), hint=hint)


def _is_address(host: bytes) -> bool:
    try:
        ipaddress.ip_address(host.decode("ascii", "replace").strip("[]"))
    except ValueError:
        return False
    return True


_BASE = "https://host"


def redact_target(structured: Structured, target: str) -> str:
    """An origin-form target (path and query) with its values redacted."""
    return structured.url(_BASE + target).removeprefix(_BASE)
