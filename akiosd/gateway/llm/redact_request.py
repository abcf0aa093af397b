"""Redacts a request on its way to a model: every string and long number, at any depth.

Names and structure stay. Content that the provider signed goes back byte for byte; files that are
no text are counted.
"""

from __future__ import annotations

import base64
import binascii
import codecs
import re
from collections import Counter
from collections.abc import Iterable
from typing import Any, Literal

import msgspec

from akiosd.gateway.llm.signed_texts import STANDARD, Memory, is_signed
from akiosd.gateway.redaction.strict_json import MAX_DEPTH, BadJsonError, Number, parse
from akiosd.redact.containers.leaf import NUMBER, member_label
from akiosd.redact.json_and_forms import Finding as Found
from akiosd.redact.json_and_forms import told_place
from akiosd.redact.known_values import until_all_known
from akiosd.redact.model import RedactError, Result
from akiosd.values.records import Finding

Path = tuple[str | int, ...]
_BINARY_NAMES = frozenset(
    {"data", "bytes", "url", "image_url", "imageUrl", "file_data", "images", "document_url"}
)
_WORDS = frozenset({"type", "role", "object", "status", "name"})
_WORD = re.compile(r"[a-z]{1,12}(?:[_-][a-z]{1,12}){0,3}\Z")
_DATA_URL = re.compile(
    r"data:(?:[\w.+-]{1,40}/[\w.+-]{1,80})?(?:;[\w-]{1,40}=[\w.+-]{1,40}){0,4};base64,", re.I
)
_ALPHABET = re.compile(r"[A-Za-z0-9+/_-]*={0,2}")
_IMAGES = (b"\x89PNG", b"\xff\xd8\xff", b"GIF8", b"RIFF")
_LOOK = 4096
_LEAST_BINARY = 64
_LONG_NUMBER = 99_999


class Binary(msgspec.Struct, frozen=True):
    """Base64 in the body that does not encode text: its length in characters, and whether it is an
    image.
    """

    size: int
    image: bool


class Outward:
    """Redacts one request.

    ``memory`` is the gateway's, ``binary`` the policy's ``redact.binary``. ``blocked`` says why the
    request must not be sent, "" while it may. ``binaries`` are the files in it.
    """

    def __init__(self, memory: Memory, binary: Literal["pass", "block"]) -> None:
        self._memory, self._binary = memory, binary
        self._off = memory.redactor.mode == "off"
        self._counts: Counter[tuple[str, str, str]] = Counter()
        self.binaries: list[Binary] = []
        self.blocked = ""

    def body(self, value: Any) -> Any:
        """``value`` with its strings redacted at any depth.  Raises :class:`RedactError` when it is
        nested too deeply.

        A value found near the end may also occur before it in a form that no pattern finds alone,
        so the body is read again until nothing new is found.
        """
        return until_all_known(self._memory.redactor.known, lambda: self._body(value))

    def _body(self, value: Any) -> Any:
        self._counts.clear()
        self.binaries.clear()
        self.blocked = ""
        return self._value(value, (), "")

    def _value(self, value: Any, path: Path, hint: str) -> Any:
        if isinstance(value, str):
            return self._string(value, path, hint)
        if isinstance(value, dict):
            return self._object(value, path, hint)
        if isinstance(value, list):
            if len(path) > MAX_DEPTH:
                raise RedactError(
                    f"JSON is deeper than {MAX_DEPTH} levels", "body", "send a flatter body"
                )
            return [self._value(item, (*path, index), hint) for index, item in enumerate(value)]
        if isinstance(value, Number) or (isinstance(value, int) and abs(value) > _LONG_NUMBER):
            return self._number(value, path, hint)
        return value

    def _object(self, value: dict[str, Any], path: Path, hint: str) -> dict[str, Any]:
        found: dict[str, Any] = {}
        for name in value:
            safe = name if self._off else self.text(name, (*path, name), "")
            while safe in found:
                safe += "_"
            found[safe] = self._member(value, name, (*path, name), hint)
        return found

    def _member(self, owner: dict[str, Any], name: str, path: Path, hint: str) -> Any:
        if len(path) > MAX_DEPTH:
            raise RedactError(
                f"JSON is deeper than {MAX_DEPTH} levels", "body", "send a flatter body"
            )
        item = owner[name]
        if isinstance(item, str):
            if is_signed(owner, name) and self._memory.signed.known(item):
                return item
            if (
                name in _WORDS
                and _WORD.match(item)
                and not (name == "name" and self._memory.redactor.has(item))
            ):
                return item
        if (
            name in _BINARY_NAMES
            and isinstance(item, str)
            and len(item) >= _LEAST_BINARY
            and self._is_binary(item)
        ):
            return item
        return self._value(item, path, member_label(owner, name, hint))

    def _number(self, value: Any, path: Path, hint: str) -> Any:
        text = NUMBER.decode(str(value))
        if len(text) < 6:
            return value
        safe = self.text(text, path, hint or "number")
        return value if safe == text else safe

    def _string(self, text: str, path: Path, hint: str) -> str:
        if self._off or not text:
            return text
        if hint in _BINARY_NAMES and len(text) >= _LEAST_BINARY and self._is_binary(text):
            return text
        self._binaries_in(text)
        return self.text(text, path, hint)

    def _binaries_in(self, text: str) -> None:
        """Count files in JSON that stands inside the string ``text``; the texts in it are redacted
        with the string itself.
        """
        waiting = [self._inner(text)]
        while waiting:
            item = waiting.pop()
            for name, value in item.items() if isinstance(item, dict) else enumerate(item or ()):
                if isinstance(value, dict | list):
                    waiting.append(value)
                elif (
                    name in _BINARY_NAMES and isinstance(value, str) and len(value) >= _LEAST_BINARY
                ):
                    self._is_binary(value)

    def _inner(self, text: str) -> Any:
        """JSON inside a string, such as the arguments of a tool; None when it is none."""
        if len(text) < _LEAST_BINARY or text.lstrip()[:1] not in ("{", "["):
            return None
        try:
            found = parse(text)
        except BadJsonError:
            return None
        return found if isinstance(found, dict | list) else None

    def text(self, text: str, path: Path, hint: str) -> str:
        """``text`` redacted as a whole; ``path`` is where it stands, ``hint`` the label that stands
        beside it.
        """
        result = self._memory.redactor.read(text, hint)
        if result.spans or result.blocked:
            self._note(result, path)
        return result.text

    def _note(self, result: Result, path: Path) -> None:
        places = [self._place((*path, *inner)) for inner in result.paths] or [
            self._place(path)
        ] * len(result.spans)
        for span, place in zip(result.spans, places, strict=True):
            self._counts[(span.type, span.category, place)] += 1
        if result.blocked:
            self.blocked = (
                f"personal data ({', '.join(sorted(result.counts()))}) at {self._place(path)}"
            )

    def _place(self, path: Path) -> str:
        place = ""
        for part in path:
            if isinstance(part, int):
                place += f"[{part}]"
            else:
                name = "*" if self._memory.redactor.has(part) else part[:60]
                place += f".{name}" if place else name
        return told_place(place) or "body"

    def _is_binary(self, text: str) -> bool:
        """Whether ``text`` is base64 of bytes that are not text; base64 of text is redacted,
        whatever its field is called.
        """
        prefix = _DATA_URL.match(text)
        begin = prefix.end() if prefix else 0
        if _ALPHABET.fullmatch(text, begin) is None or (
            prefix and self._memory.redactor.has(prefix[0])
        ):
            return False
        try:
            # Google's clients write bytes in the alphabet for URLs (RFC 4648 §5).
            head = base64.b64decode(text[begin : begin + _LOOK].translate(STANDARD), validate=True)
        except (binascii.Error, ValueError):
            return False
        try:
            codecs.getincrementaldecoder("utf-8")().decode(head)
        except UnicodeDecodeError:
            self.binary(len(text) - begin, head.startswith(_IMAGES))
            return True
        return False

    def binary(self, size: int, image: bool = False) -> None:
        """Note a file of ``size`` base64 characters that is not text."""
        self.binaries.append(Binary(size, image))
        if self._binary == "block" and not self._off:
            self.blocked = "a file that is not text"

    def found(self, findings: Iterable[Found]) -> None:
        """Add the findings of headers and URL."""
        for finding in findings:
            self._counts[(finding.type, finding.category, told_place(finding.place))] += 1

    def findings(self, most: int = 200) -> tuple[Finding, ...]:
        """Findings for the log, the ``most`` frequent: types, places and counts, never a value."""
        return tuple(
            Finding(kind, category, place, count)
            for (kind, category, place), count in self._counts.most_common(most)
        )
