"""Reads the ClientHello of TLS: which host name the client asks for, and which protocols it offers.
Pure.

RFC 8446 §4.1.2 and §5.1, RFC 6066 §3, RFC 7301. Only what is needed is read; every length is
checked.
"""

from __future__ import annotations

import msgspec

MAX_HELLO = 18 << 10
"""Longest ClientHello, in bytes: one with post-quantum key shares has about 2 KiB, one record at
most 16 KiB.
"""

_HANDSHAKE = 22
_CLIENT_HELLO = 1
_SERVER_NAME, _ALPN = 0, 16
_HOST_NAME = 0
_MAX_RECORD = 16384

NO_APPLICATION_PROTOCOL = 120
UNRECOGNIZED_NAME = 112


class BadHelloError(ValueError):
    """The bytes are no ClientHello; the message says why."""


class Hello(msgspec.Struct, frozen=True):
    """``name``: the server name, None when the client sends none.  ``alpn``: offered protocols in
    their order, () for none.
    """

    name: bytes | None
    alpn: tuple[bytes, ...] = ()


class _Cursor:
    """Reads numbers and vectors from ``data``; raises :class:`BadHelloError` past its end."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def take(self, count: int) -> bytes:
        end = self._at + count
        if end > len(self._data):
            raise BadHelloError("a length points past the end")
        taken, self._at = self._data[self._at : end], end
        return taken

    def number(self, size: int) -> int:
        return int.from_bytes(self.take(size), "big")

    def vector(self, size: int) -> _Cursor:
        """A vector after its length, which has ``size`` bytes."""
        return _Cursor(self.take(self.number(size)))

    @property
    def left(self) -> int:
        return len(self._data) - self._at


def parse_hello(data: bytes) -> Hello | None:
    """Parse the bytes received so far; None when more are needed.  Raises
    :class:`BadHelloError`.
    """
    message = _join_records(data)
    if len(message) < 4:
        if message[:1] not in (b"", bytes([_CLIENT_HELLO])):
            raise BadHelloError("the first message is not a client hello")
        _check_may_grow(data)
        return None
    if message[0] != _CLIENT_HELLO:
        raise BadHelloError("the first message is not a client hello")
    size = int.from_bytes(message[1:4], "big")
    if size > MAX_HELLO:
        raise BadHelloError(f"a client hello of {size} bytes")
    if len(message) < 4 + size:
        _check_may_grow(data)
        return None
    return _parse_body(_Cursor(message[4 : 4 + size]))


def _check_may_grow(data: bytes) -> None:
    if len(data) >= MAX_HELLO:
        raise BadHelloError("the client hello does not end")


def _join_records(data: bytes) -> bytes:
    """The handshake bytes of all records that have at least begun to arrive."""
    joined, at = bytearray(), 0
    while at < len(data):
        if data[at] != _HANDSHAKE or data[at + 1 : at + 2] not in (b"", b"\x03"):
            raise BadHelloError("this is not TLS")
        header = data[at : at + 5]
        if len(header) < 5:
            break
        size = int.from_bytes(header[3:5], "big")
        if not 0 < size <= _MAX_RECORD:
            raise BadHelloError(f"a record of {size} bytes")
        joined += data[at + 5 : at + 5 + size]
        if len(joined) >= 4 and len(joined) >= 4 + int.from_bytes(joined[1:4], "big"):
            break  # what follows is not the hello's
        at += 5 + size
    return bytes(joined)


def _parse_body(body: _Cursor) -> Hello:
    body.take(2 + 32)  # version, random
    body.vector(1)  # session id
    body.vector(2)  # cipher suites
    body.vector(1)  # compression methods
    found: dict[int, _Cursor] = {}
    if body.left:
        extensions = body.vector(2)
        while extensions.left:
            kind, content = extensions.number(2), extensions.vector(2)
            if kind in found:
                raise BadHelloError(f"the extension {kind} stands twice")
            found[kind] = content
    if body.left:
        raise BadHelloError("bytes behind the extensions")
    return Hello(_server_name(found.get(_SERVER_NAME)), _protocols(found.get(_ALPN)))


def _server_name(content: _Cursor | None) -> bytes | None:
    if content is None:
        return None
    entries = content.vector(2)
    names = []
    while entries.left:
        kind, name = entries.number(1), entries.vector(2)
        if kind != _HOST_NAME:
            raise BadHelloError("a server name of an unknown kind")
        names.append(name.take(name.left))
    if len(names) != 1 or not names[0] or content.left:
        raise BadHelloError("not exactly one server name")
    return names[0]


def _protocols(content: _Cursor | None) -> tuple[bytes, ...]:
    if content is None:
        return ()
    entries = content.vector(2)
    found = []
    while entries.left:
        name = entries.vector(1)
        found.append(name.take(name.left))
    return tuple(found)


def alert(description: int) -> bytes:
    """A fatal alert as a plaintext record, which is allowed before the handshake (RFC 8446 §6)."""
    return bytes((21, 3, 3, 0, 2, 2, description))
