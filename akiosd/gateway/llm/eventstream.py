"""Codec of ``application/vnd.amazon.eventstream``: length-prefixed frames with typed headers and
two checksums.

A frame is: total length, length of the headers (uint32, big endian), CRC-32 of those eight bytes;
headers; payload; CRC-32 of everything before it.
"""

from __future__ import annotations

import struct
import zlib

from akiosd.gateway.llm.frames import MAX_FRAME, BrokenStreamError, StreamFrame

_FIXED = {0: 0, 1: 0, 2: 1, 3: 2, 4: 4, 5: 8, 8: 8, 9: 16}
"""Size in bytes of a header's value by its type: true, false, byte, short, int, long, timestamp,
uuid.
"""
_SIZED = (6, 7)
"""Types whose value follows its uint16 length: byte array and string."""


class EventStreamCodec:
    """A :class:`Codec`; the payload of a frame is its ``data``."""

    between = b""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def held(self) -> int:
        return len(self._held)

    def push(self, chunk: bytes) -> list[StreamFrame]:
        self._held += chunk
        frames, begin = [], 0
        while len(self._held) - begin >= 12:
            total, size, check = struct.unpack_from(">III", self._held, begin)
            if zlib.crc32(self._held[begin : begin + 8]) != check:
                raise BrokenStreamError("the checksum of a frame's prelude is wrong")
            if not 16 + size <= total <= MAX_FRAME:
                raise BrokenStreamError("a frame's lengths are impossible")
            if len(self._held) - begin < total:
                break
            frames.append(_frame(bytes(self._held[begin : begin + total]), size))
            begin += total
        del self._held[:begin]
        return frames

    def flush(self) -> list[StreamFrame]:
        if self._held:
            raise BrokenStreamError("the stream ends within a frame")
        return []

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        size = struct.unpack_from(">I", frame.raw, 4)[0]
        return pack(frame.raw[12 : 12 + size], data)


def _frame(raw: bytes, size: int) -> StreamFrame:
    if zlib.crc32(raw[:-4]) != struct.unpack(">I", raw[-4:])[0]:
        raise BrokenStreamError("the checksum of a frame is wrong")
    headers = read_headers(raw[12 : 12 + size])
    kind = (
        headers.get(":event-type")
        or headers.get(":exception-type")
        or headers.get(":error-code")
        or ""
    )
    return StreamFrame(raw, raw[12 + size : -4] or None, kind)


def pack(headers: bytes, payload: bytes) -> bytes:
    """A frame with these encoded headers and payload."""
    prelude = struct.pack(">II", 16 + len(headers) + len(payload), len(headers))
    body = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + payload
    return body + struct.pack(">I", zlib.crc32(body))


def read_headers(data: bytes) -> dict[str, str]:
    """The headers whose values are strings; others are skipped.  Raises
    :class:`BrokenStreamError`.
    """
    found, at = {}, 0
    try:
        while at < len(data):
            name = data[at + 1 : at + 1 + data[at]].decode()
            at += 1 + data[at]
            kind = data[at]
            at += 1
            if kind in _SIZED:
                size = struct.unpack_from(">H", data, at)[0]
                at += 2
            else:
                size = _FIXED[kind]
            if at + size > len(data):
                raise BrokenStreamError("a header goes past its frame")
            if kind == 7:
                found[name] = data[at : at + size].decode()
            at += size
    except (IndexError, KeyError, struct.error, UnicodeDecodeError):
        raise BrokenStreamError("a frame's headers cannot be read") from None
    return found
