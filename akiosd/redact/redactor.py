"""A whole text in, a safe text and its findings out."""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Iterable
from typing import Literal

from akiosd.redact.engine import Engine
from akiosd.redact.model import RedactError, Result, Span
from akiosd.redact.pseudonyms import Pseudonyms

Mode = Literal["pseudonym", "mask", "block", "off"]


class Redactor:
    """One mode over one engine.  ``pseudonym`` needs the cage's :class:`Pseudonyms`."""

    def __init__(self, engine: Engine, mode: Mode = "mask", pseudonyms: Pseudonyms | None = None) -> None:
        if mode == "pseudonym" and pseudonyms is None:
            raise RedactError("mode pseudonym needs the pseudonyms of a cage", "redaction")
        self.engine, self.mode, self.pseudonyms = engine, mode, pseudonyms

    def redact(self, text: str, hint: str = "") -> Result:
        """Linear.  ``hint`` names the place, such as a JSON key.  Raises :class:`RedactError` when too long."""
        if self.mode == "off":
            return Result(text, ())
        return self.apply(text, self.engine.find(self.shown(text), hint))

    def has(self, text: str) -> bool:
        """Whether there is personal data in ``text``, such as a name."""
        return bool(self.engine.find(text))

    def redact_bytes(self, data: bytes, binary: Literal["pass", "block"] = "block") -> tuple[bytes, Result]:
        """As :meth:`redact` for UTF-8; bytes that are not text pass or are blocked, as ``binary`` says."""
        try:
            text = data.decode()
        except ValueError:
            blocked = binary == "block" and self.mode != "off"
            return b"" if blocked else data, Result("", (), blocked)
        result = self.redact(text)
        return result.text.encode("utf-8", "surrogatepass"), result

    def shown(self, text: str) -> str:
        """What of ``text`` is to be searched: stand-ins given before are not, they stay what they are."""
        return text if self.pseudonyms is None else self.pseudonyms.covered(text)

    def apply(self, text: str, spans: Iterable[Span], offset: int = 0) -> Result:
        """Replace ``spans`` of ``text``; the result's spans are moved by ``offset``."""
        pieces, kept, done = [], [], 0
        for span in spans:
            value = text[span.start : span.end]
            kept.append(
                Span(span.start + offset, span.end + offset, span.type, span.category, span.confidence, span.reason)
            )
            pieces += [text[done : span.start], self.replacement(value, span.type)]
            done = span.end
        if kept and self.mode == "block":
            return Result("", tuple(kept), True)
        return Result("".join([*pieces, text[done:]]), tuple(kept))

    def replacement(self, value: str, kind: str) -> str:
        """What stands for ``value`` in this mode."""
        if self.mode == "pseudonym" and self.pseudonyms is not None:
            return self.pseudonyms.give(value, kind)
        return f"[{kind}]"


class Remembering(Redactor):
    """Searches no text twice: agents send their whole history, and the same headers, with every call.

    Texts that are not short are kept as digests, results where something was replaced; ``most_bytes`` bounds both
    together, the oldest go first.
    """

    def __init__(
        self, engine: Engine, mode: Mode = "mask", pseudonyms: Pseudonyms | None = None, most_bytes: int = 64 << 20
    ) -> None:
        super().__init__(engine, mode, pseudonyms)
        # Of a dict the first is found by stepping over all that went before it.
        self._seen: OrderedDict[object, Result | None] = OrderedDict()
        self._names: dict[str, bool] = {}
        self._bytes, self._most = 0, most_bytes

    def redact(self, text: str, hint: str = "") -> Result:
        if self.mode == "off":
            return Result(text, ())
        key: object = (hint, text)
        if len(hint) + len(text) > _SHORT:
            key = hashlib.sha256(f"{len(hint)} {hint}{text}".encode("utf-8", "surrogatepass")).digest()
        if key in self._seen:
            return self._seen[key] or Result(text, ())
        result = super().redact(text, hint)
        kept = None if result.text == text and not result.blocked else result
        self._seen[key] = kept
        self._bytes += _cost(kept)
        while self._bytes > self._most:
            self._bytes -= _cost(self._seen.popitem(last=False)[1])
        return result

    def has(self, text: str) -> bool:
        found = self._names.get(text)
        if found is None:
            found = super().has(text)
            if len(self._names) < _MAX_NAMES and len(text) <= _MAX_NAME:
                self._names[text] = found
        return found


_ENTRY = 200
"""Bytes of a digest and its place in the table, of one finding, about."""
_MAX_NAMES, _MAX_NAME = 1000, 100
_SHORT = 64
"""Characters, of a text and the name it has; no longer than the digest that would stand for them."""


def _cost(kept: Result | None) -> int:
    return _ENTRY if kept is None else _ENTRY * (1 + len(kept.spans)) + 4 * len(kept.text)
