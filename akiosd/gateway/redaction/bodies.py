"""Redacts request bodies towards sites as they pass: text, JSON, forms, multipart; bodies that are
no text are counted.  Sans-I/O.

A channel takes the body in pieces cut anywhere and returns pieces that are redacted. However a body
is cut, the returned pieces joined are the same.
"""

from __future__ import annotations

import codecs
import re
from collections import Counter
from collections.abc import Iterable
from typing import Literal, Protocol
from urllib.parse import unquote_plus

from akiosd.errors import AkiosError
from akiosd.redact.json_and_forms import Structured, told_path, told_place
from akiosd.redact.known_values import until_all_known
from akiosd.redact.redactor import Redactor
from akiosd.redact.stream import StreamRedactor
from akiosd.values.records import Finding

WHOLE = 8 << 20
"""JSON and other containers are held whole and taken apart up to this many characters or bytes;
larger ones are redacted as a stream of text.
"""
WHOLE_TEXT = 4 << 20
"""Other text is held whole up to this many characters; nothing of it is sent before."""
_PIECE = 1 << 16
_SNIFF = 4096
_MAX_PART_HEAD = 16 << 10
_MAX_PLACES = 100
_TEXT = re.compile(
    r"text/|application/(json|xml|javascript|ecmascript|graphql|sql|yaml|toml|x-yaml|x-ndjson|ndjson|jsonl|x-sh"
    r"|x-www-form-urlencoded|ld\+json|x-javascript)\b|[^;]*\+(json|xml|yaml)\b"
)
_JSON = re.compile(r"application/json\b|[^;]*\+json\b")
_CONTAINER = re.compile(
    r"application/(xml|yaml|toml|x-yaml|x-ndjson|ndjson|jsonl)\b|text/(xml|csv|yaml|tab-)|[^;]*\+(xml|yaml)\b"
)
_PARAMETER = re.compile(
    r';\s*(charset|boundary)\s*=\s*(?:"([^"]{1,200})"|([^\s;"]{1,200}))', re.IGNORECASE
)
# Charsets in which a mask can be written; a body in any other is treated as unknown.
_CHARSETS = {
    "utf-8": "utf-8", "utf8": "utf-8", "us-ascii": "utf-8", "ascii": "utf-8",
    "iso-8859-1": "latin-1", "latin1": "latin-1", "windows-1252": "cp1252", "utf-16": "utf-16",
    "utf-16le": "utf-16-le", "utf-16be": "utf-16-be",
}  # fmt: skip
_PART_NAME = re.compile(
    rb"(?i)content-disposition:[^\r\n]*?;[ \t]*name\*?[ \t]*=[ \t]*"
    rb"(?:[\w-]{0,20}'[\w-]{0,20}')?\"?([^\"\r\n;]{1,100})"
)
"""The name of a part of a form, also without quotes, and as RFC 5987 encodes it."""
_BOMS = {codecs.BOM_UTF16_LE: "utf-16-le", codecs.BOM_UTF16_BE: "utf-16-be"}


class BlockedError(AkiosError):
    """Personal data was found and the mode is ``block``.  ``rule`` is the policy's field."""

    rule = "redact.sites"


class BlockedBinaryError(BlockedError):
    """The body is no text, and ``redact.binary`` is ``block``."""

    rule = "redact.binary"


class Found:
    """Findings of one request: types, places and counts, never a value.

    ``unread`` counts bytes of bodies that were not inspected.
    """

    def __init__(self, redactor: Redactor, binary: Literal["pass", "block"]) -> None:
        self.redactor = redactor
        self.binary = binary
        self.unread = 0
        self._counts: Counter[tuple[str, str, str]] = Counter()

    def add(self, kind: str, category: str, place: str) -> None:
        """Count one finding.  After 100 different ones all further go to the place "…"."""
        key = (kind, category, told_place(place))
        self._counts[
            key if key in self._counts or len(self._counts) < _MAX_PLACES else (kind, category, "…")
        ] += 1

    def structured(self) -> Structured:
        """A redactor for named values (headers, forms, URLs), whose findings :meth:`take` adds."""
        return Structured(self.redactor)

    def take(self, structured: Structured) -> None:
        """Add the findings of ``structured``.  Raises :class:`BlockedError`."""
        for finding in structured.findings:
            self.add(finding.type, finding.category, finding.place)
        if structured.blocked:
            self.block()

    def block(self) -> None:
        """Raises :class:`BlockedError`, naming the types found."""
        what = f"the request holds personal data: {self.summary()}"
        raise BlockedError(what, "redaction", "remove it, or set redact.sites: mask")

    def summary(self) -> str:
        """The first eight findings, in words."""
        return ", ".join(f"{kind} in {place}" for kind, _, place in list(self._counts)[:8])

    def findings(self) -> tuple[Finding, ...]:
        """All findings, for the log."""
        return tuple(
            Finding(kind, category, place, n) for (kind, category, place), n in self._counts.items()
        )


class Channel(Protocol):
    """Redacts one body, or one part of one."""

    @property
    def verbatim(self) -> bool:
        """Nothing was changed so far, and nothing will be: the length of the body stays."""
        ...

    def push(self, data: bytes) -> bytes:
        """Take the next piece; returns what may be sent.  Raises :class:`BlockedError`."""
        ...

    def finish(self) -> bytes:
        """The body has ended; returns the rest.  Raises :class:`BlockedError`."""
        ...


class Binary:
    """A body that is no text: passed and counted, or refused, as the policy says."""

    verbatim = True

    def __init__(self, found: Found) -> None:
        self._found = found

    def push(self, data: bytes) -> bytes:
        if data and self._found.binary == "block":
            what = "the body is not text, and the policy blocks such bodies"
            raise BlockedBinaryError(
                what,
                "redaction",
                "to let such bodies through, write in the policy: redact: {binary: pass}",
            )
        self._found.unread += len(data)
        return data

    def finish(self) -> bytes:
        return b""


class Text:
    """A text: held whole up to ``most`` characters, with the containers in it taken apart; a longer
    one is redacted as a stream.

    When the whole is known, a value that only its end reveals is also found at its beginning. Bytes
    that are not of the charset are passed on as they came. ``hint`` is a label, such as the name of
    the form's field.
    """

    verbatim = False

    def __init__(
        self,
        found: Found,
        place: str,
        charset: str = "utf-8",
        hint: str = "",
        most: int | None = None,
    ) -> None:
        self._found, self._place, self._charset, self._hint = found, place, charset, hint
        self._most = WHOLE_TEXT if most is None else most
        self._held: list[str] | None = []
        self._size = 0
        # In UTF-16 a stray byte moves all that follow: there it is an error, not passed.
        self._errors = "surrogateescape" if charset in ("utf-8", "cp1252") else "strict"
        self._decoder = codecs.getincrementaldecoder(charset)(self._errors)
        self._encoder = codecs.getincrementalencoder(charset)(self._errors)
        self._stream = StreamRedactor(found.redactor, hint)
        self._seen = 0

    def push(self, data: bytes) -> bytes:
        text = self._decode(data, False)
        if self._held is None:
            return self._encode(self._stream.push(text))
        self._held.append(text)
        self._size += len(text)
        if self._size <= self._most:
            return b""
        held, self._held = "".join(self._held), None
        # In even pieces, however small those that came: the open end is searched again with each.
        pieces = (held[at : at + _PIECE] for at in range(0, len(held), _PIECE))
        return self._encode("".join(map(self._stream.push, pieces)))

    def finish(self) -> bytes:
        text = self._decode(b"", True)
        if self._held is None:
            return self._encode(self._stream.push(text) + self._stream.flush())
        result = self._found.redactor.read("".join([*self._held, text]), self._hint)
        for number, span in enumerate(result.spans):
            inner = (
                told_path(result.paths[number], self._found.redactor.has) if result.paths else ""
            )
            self._found.add(span.type, span.category, self._place + inner)
        if result.blocked:
            self._found.block()
        return self._encoder.encode(result.text)

    def _decode(self, data: bytes, final: bool) -> str:
        try:
            return self._decoder.decode(data, final)
        except UnicodeError:
            raise BlockedError(
                f"the body is not in {self._charset}, the charset of its Content-Type",
                self._place,
                "send it in UTF-8",
            ) from None

    def _encode(self, text: str) -> bytes:
        for span in self._stream.spans[self._seen :]:
            self._found.add(span.type, span.category, self._place)
        self._seen = len(self._stream.spans)
        if self._stream.blocked:
            self._found.block()
        return self._encoder.encode(text)


class Sniffed:
    """A body of unknown type: its first 4 KiB tell whether it is text."""

    def __init__(self, found: Found, place: str, hint: str = "") -> None:
        self._found, self._place, self._hint = found, place, hint
        self._held: bytearray | None = bytearray()
        self._inner: Channel = Binary(found)

    @property
    def verbatim(self) -> bool:
        return self._held is None and self._inner.verbatim

    def push(self, data: bytes) -> bytes:
        if self._held is None:
            return self._inner.push(data)
        self._held += data
        return self._decide() if len(self._held) >= _SNIFF else b""

    def finish(self) -> bytes:
        return (self._decide() if self._held is not None else b"") + self._inner.finish()

    def _decide(self) -> bytes:
        held, self._held = bytes(self._held or b""), None
        sample = held[:_SNIFF]
        charset = next(
            (
                name
                for name in ("utf-8", _BOMS.get(held[:2], ""))
                if name and _is_text(sample, name)
            ),
            "",
        )
        if charset:
            self._inner = Text(self._found, self._place, charset, self._hint)
        return self._inner.push(held)


def _is_text(sample: bytes, charset: str) -> bool:
    if charset == "utf-8" and b"\0" in sample:
        return False
    try:
        # Not final: a character may be cut at the sample's end.
        codecs.getincrementaldecoder(charset)().decode(sample)
    except UnicodeError:
        return False
    return True


class Form:
    """``application/x-www-form-urlencoded``: held whole and taken apart; redacted as text when it
    is too large or malformed.
    """

    verbatim = False

    def __init__(self, found: Found, place: str) -> None:
        self._found, self._place = found, place
        self._held: bytearray | None = bytearray()
        self._text = Text(found, place)

    def push(self, data: bytes) -> bytes:
        if self._held is None:
            return self._text.push(data)
        self._held += data
        if len(self._held) <= WHOLE:
            return b""
        held, self._held = bytes(self._held), None
        return self._text.push(held)

    def finish(self) -> bytes:
        if self._held is None:
            return self._text.finish()
        body = bytes(self._held)
        safe = self._form(body)
        return safe if safe is not None else self._text.push(body) + self._text.finish()

    def _form(self, body: bytes) -> bytes | None:
        try:
            text = body.decode()
        except UnicodeDecodeError:
            return None
        if not clean_names(form_names(text), self._found.redactor):
            return None
        structured, safe = until_all_known(self._found.redactor.known, lambda: self._read(text))
        self._found.take(structured)
        return safe.encode("utf-8", "surrogatepass")

    def _read(self, text: str) -> tuple[Structured, str]:
        structured = self._found.structured()
        return structured, structured.form(text, self._place)


def form_names(text: str) -> list[str]:
    """The decoded names of a form or query."""
    return [
        unquote_plus(name)
        for piece in text.split("&")
        if (name := piece.partition("=")[0]) != piece
    ]


def clean_names(names: Iterable[str], redactor: Redactor) -> bool:
    """Whether none of ``names`` holds personal data."""
    return not redactor.has("\n".join(names))


class Multipart:
    """RFC 2046 §5.1: each part is redacted by its own type, and everything between parts stays as
    it is.

    Bytes that may be the beginning of a delimiter are held back. Preamble and epilogue are redacted
    as text.
    """

    verbatim = False

    def __init__(self, found: Found, place: str, boundary: bytes) -> None:
        self._found, self._place = found, place
        self._delimiter = b"\r\n--" + boundary
        # The first delimiter may be the very beginning.
        self._buffer = bytearray(b"\r\n")
        self._lead = 2
        self._state: Literal["body", "delimiter", "head", "epilogue"] = "body"
        self._part = 0
        self._channel: Channel = Text(found, f"{place}.preamble")

    def push(self, data: bytes) -> bytes:
        self._buffer += data
        out = bytearray()
        while (piece := self._step()) is not None:
            out += piece
        cut = min(self._lead, len(out))
        self._lead -= cut
        return bytes(out[cut:])

    def finish(self) -> bytes:
        if self._state in ("delimiter", "head"):
            # A body that ends in the middle of its structure: what is left is text.
            self._channel, self._state = Text(self._found, self._place), "body"
        rest = self._channel.push(bytes(self._buffer)) + self._channel.finish()
        cut = min(self._lead, len(rest))
        self._lead -= cut
        return rest[cut:]

    def _step(self) -> bytes | None:
        """The output of one step of parsing; None when more input is needed."""
        if self._state == "epilogue":
            return self._take(len(self._buffer)) if self._buffer else None
        if self._state == "body":
            return self._body()
        return self._after_delimiter() if self._state == "delimiter" else self._head()

    def _take(self, size: int) -> bytes:
        data = bytes(self._buffer[:size])
        del self._buffer[:size]
        return self._channel.push(data)

    def _body(self) -> bytes | None:
        at = self._buffer.find(self._delimiter)
        if at < 0:
            safe = len(self._buffer) - len(self._delimiter)
            return self._take(safe) if safe > 0 else None
        rest = self._take(at) + self._channel.finish()
        del self._buffer[: len(self._delimiter)]
        self._state = "delimiter"
        return rest + self._delimiter

    def _after_delimiter(self) -> bytes | None:
        """``--`` and the epilogue follow, or blanks, a line end and the head of the next part."""
        if self._buffer[:2] == b"--":
            self._state, self._channel = "epilogue", Text(self._found, f"{self._place}.epilogue")
            del self._buffer[:2]
            return b"--"
        end = self._buffer.find(b"\r\n")
        if end < 0 and len(self._buffer) < 256 and not self._buffer.strip(b" \t\r-"):
            return None
        if end < 0 or self._buffer[:end].strip(b" \t"):
            raise BlockedError(
                "the multipart body is not well-formed (RFC 2046)",
                self._place,
                "send well-formed multipart",
            )
        line = bytes(self._buffer[: end + 2])
        # The head is found with the line end before it, so that an empty head is one too.
        del self._buffer[:end]
        self._state = "head"
        return line[:-2]

    def _head(self) -> bytes | None:
        end = self._buffer.find(b"\r\n\r\n")
        if (len(self._buffer) if end < 0 else end) > _MAX_PART_HEAD:
            raise BlockedError(
                "the headers of one part are too large", self._place, "send well-formed multipart"
            )
        if end < 0:
            return None
        head = bytes(self._buffer[:end])
        # The blank line's first half may belong to the next delimiter: an empty part.
        del self._buffer[: end + 2]
        place = f"{self._place}.part[{self._part}]"
        self._part += 1
        text = Text(self._found, f"{place}.header")
        safe = text.push(head) + text.finish()
        self._state = "body"
        name = _PART_NAME.search(head)
        self._channel = channel_for(
            _content_type(head),
            self._found,
            place,
            hint=name[1].decode("utf-8", "replace") if name else "",
        )
        # The line end that closes the head is no part of the body.
        self._channel = _Skip(self._channel)
        return safe + b"\r\n"


class _Skip:
    """Passes the first two bytes unchanged, then what ``inner`` returns."""

    verbatim = False

    def __init__(self, inner: Channel) -> None:
        self._inner, self._left = inner, 2

    def push(self, data: bytes) -> bytes:
        first, rest = data[: self._left], data[self._left :]
        self._left -= len(first)
        return first + (self._inner.push(rest) if rest else b"")

    def finish(self) -> bytes:
        return self._inner.finish()


def _content_type(head: bytes) -> str:
    for line in head.split(b"\r\n"):
        name, _, value = line.partition(b":")
        if name.strip().lower() == b"content-type":
            return value.strip().decode("latin-1")
    return ""


def channel_for(
    content_type: str, found: Found, place: str = "body", *, git: bool = False, hint: str = ""
) -> Channel:
    """The channel for a body of this Content-Type.

    ``place`` names the body in findings. ``git``: a request of git's own protocol, whose bodies are
    binary. ``hint`` is the name of a part of a larger body.
    """
    lowered = content_type.lower()
    parameters = {
        key.lower(): quoted or plain for key, quoted, plain in _PARAMETER.findall(content_type)
    }
    if git and lowered.startswith("application/x-git-"):
        return Binary(found)
    if lowered.startswith("multipart/") and "boundary" in parameters and place == "body":
        return Multipart(found, place, parameters["boundary"].encode("latin-1"))
    charset = _CHARSETS.get(parameters.get("charset", "utf-8").lower(), "")
    if not _TEXT.match(lowered) or not charset:
        return Sniffed(found, place, hint)
    if charset == "utf-8" and lowered.startswith("application/x-www-form-urlencoded"):
        return Form(found, place)
    if _JSON.match(lowered):
        return Text(found, "$", charset, hint, WHOLE)
    return Text(found, place, charset, hint, WHOLE if _CONTAINER.match(lowered) else None)
