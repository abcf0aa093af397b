"""The redactors of one cage, as its policy says: towards models, towards sites, and for its log."""

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
    """Make the validators read all their tables, which they otherwise do country by country: a
    confined gateway cannot.
    """
    phonenumbers.PhoneMetadata.load_all()
    for country in (first + second for first in _LETTERS for second in _LETTERS):
        for number in ("iban", "vat"):
            get_cc_module(country, number)
    # Most policies use the engine without changes: it is made here, with its caches filled by the
    # examples.
    engine = _engine((), ())
    for pattern in PATTERNS:
        for text in (*pattern.yes, *pattern.no):
            engine.find(text)
    # A cached property: computed here, once for all cages.
    _ = engine.evident


@cache
def _engine(disable: tuple[str, ...], allow_values: tuple[str, ...]) -> Engine:
    return Engine(disable, allow_values)


class Redactors:
    """Three redactors with one engine, one set of pseudonyms and one memory of known values, so
    that all look for the same.

    ``key`` is the cage's pseudonym key. ``models`` and ``sites`` have the modes of the policy;
    ``log`` masks always.
    """

    def __init__(self, policy: Redact, key: bytes) -> None:
        self.engine = _engine(policy.disable, policy.allow_values)
        self.pseudonyms = Pseudonyms(key)
        self.known = Known()
        self.models = Remembering(self.engine, policy.models, self.pseudonyms, known=self.known)
        self.sites = Remembering(
            self.engine, policy.sites, self.pseudonyms, most_bytes=4 << 20, known=self.known
        )
        self.log = Remembering(self.engine, most_bytes=1 << 20, known=self.known)

    def mask_path(self, target: bytes) -> bytes:
        """The path of a request target for the log: without its query, personal data masked, 2,048
        bytes at most.
        """
        path = target.partition(b"?")[0].decode("ascii", "backslashreplace")
        try:
            safe = redact_target(Structured(self.log), path)
        except RedactError:
            return b"[UNRESOLVED]"
        return safe.encode("utf-8", "backslashreplace")[:_MAX_PATH]

    def mask_denial(self, denial: NetDenied) -> NetDenied:
        """``denial`` with personal data masked in the host asked for and in the hint, which repeats
        it.

        An IP address stays as it is: whoever reads of an attack needs to know where it went.
        """
        if _is_address(denial.host):
            return denial
        try:
            host = self.log.redact(denial.host.decode("utf-8", "surrogateescape")).text
            hint = self.log.redact(denial.hint).text
        except RedactError:
            host = hint = "[UNRESOLVED]"
        return msgspec.structs.replace(
            denial, host=host.encode("utf-8", "surrogateescape"), hint=hint
        )


def _is_address(host: bytes) -> bool:
    try:
        ipaddress.ip_address(host.decode("ascii", "replace").strip("[]"))
    except ValueError:
        return False
    return True


_BASE = "https://host"


def redact_target(structured: Structured, target: str) -> str:
    """``target`` (path and query) with its values redacted; the findings are kept in
    ``structured``.
    """
    return structured.url(_BASE + target).removeprefix(_BASE)
