"""Checks the head of a request, as bytes, before any parser reads it.  Pure.

What two parsers could read in two ways is refused: that is how requests are smuggled (RFC 9112
§11.2).
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from akiosd.errors import AkiosError
from akiosd.gateway.net.limits import Limits

Headers = list[tuple[bytes, bytes]]
"""Name and value pairs; names are in lower case."""

END = b"\r\n\r\n"
_REQUEST_LINE = re.compile(rb"([A-Z][A-Z-]{0,19}) ([\x21-\x7e]+) HTTP/1\.[01]\Z")
_FIELD = re.compile(rb"([!#$%&'*+.^_`|~0-9A-Za-z-]+):[ \t]*([^\x00-\x08\x0a-\x1f\x7f]*)\Z")
_LENGTH = re.compile(rb"[0-9]{1,18}\Z")

# RFC 9110 §7.6.1, and the names that old clients use.
HOP_BY_HOP = frozenset({
    b"connection", b"keep-alive", b"proxy-connection", b"proxy-authenticate",
    b"proxy-authorization", b"te", b"trailer", b"transfer-encoding", b"upgrade",
})  # fmt: skip


class MalformedError(AkiosError):
    """The agent's bytes are not HTTP/1.1 as it is accepted here.  ``status`` is that of the answer;
    the connection is closed.
    """

    status = 400
    NEXT = "send a well-formed request (RFC 9112)"


class BadHeadError(MalformedError):
    """The head of a request is malformed; ``status`` is that of the answer."""

    def __init__(self, what: str, status: int = 400, next: str = "") -> None:
        super().__init__(what, "request head", next)
        self.status = status


def check_head(head: bytes, limits: Limits) -> None:
    """Check ``head``, which ends with the empty line.  Raises :class:`BadHeadError` for all that is
    not plain HTTP/1.1.
    """
    lines = head[: -len(END)].split(b"\r\n")
    if not _REQUEST_LINE.match(lines[0]):
        raise BadHeadError("the request line is not METHOD target HTTP/1.1")
    if len(lines) - 1 > limits.head_fields:
        what = f"more than {limits.head_fields} header fields"
        raise BadHeadError(what, 431, "send fewer headers")
    seen: dict[bytes, bytes] = {}
    for line in lines[1:]:
        if line[:1] in (b" ", b"\t"):
            raise BadHeadError("a header field is folded over two lines")
        field = _FIELD.match(line)
        if field is None:
            raise BadHeadError("a header field has a character that does not belong there")
        name, value = field[1].lower(), field[2].strip(b" \t")
        if name in seen and name in (b"host", b"content-length", b"transfer-encoding", b"expect"):
            raise BadHeadError(f"the header {name.decode()} was sent twice")
        seen[name] = value
    _check_framing(lines[0], seen)


def _check_framing(line: bytes, fields: dict[bytes, bytes]) -> None:
    length, coding = fields.get(b"content-length"), fields.get(b"transfer-encoding")
    if length is not None and coding is not None:
        raise BadHeadError("both Content-Length and Transfer-Encoding are given")
    if length is not None and not _LENGTH.match(length):
        raise BadHeadError("Content-Length is not a number")
    if coding is not None and (coding.lower() != b"chunked" or line.endswith(b"1.0")):
        raise BadHeadError("Transfer-Encoding is not chunked", 501)
    if b"host" not in fields:
        raise BadHeadError("the Host header is missing")
    if fields.get(b"expect", b"100-continue").lower() != b"100-continue":
        raise BadHeadError("the Expect header is not 100-continue", 417)


def end_to_end(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """``headers`` without hop-by-hop fields, including those that Connection names; names in lower
    case.
    """
    fields = [(name.lower(), value) for name, value in headers]
    named = {
        option.strip().lower()
        for name, value in fields
        if name == b"connection"
        for option in value.split(b",")
    } - {b"host", b"content-length"}
    return [(name, value) for name, value in fields if name not in HOP_BY_HOP and name not in named]
