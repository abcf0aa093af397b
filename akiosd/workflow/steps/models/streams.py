"""The three forms in which providers stream, as (kind, JSON object) pairs: server-sent events, a
JSON object a line, and Amazon's event-stream frames.
"""

from __future__ import annotations

import json
import struct
import zlib
from collections.abc import Iterable, Iterator

from akiosd.errors import AkiosError
from akiosd.workflow.steps.models.ask import Json

_MAX_EVENT = 16 << 20
_STRING = 7
"""The type of a header whose value is text; its uint16 length stands before it."""


def read_events(form: str, pieces: Iterable[bytes]) -> Iterator[tuple[str, Json]]:
    """Raises :class:`AkiosError` when a stream is not what it should be."""
    if form == "frames":
        yield from _frames(pieces)
        return
    for line in _lines(pieces):
        if form == "sse":
            # Each of these providers writes one line of data an event.
            if not line.startswith(b"data:"):
                continue
            line = line[5:].strip()
            if line == b"[DONE]":
                continue
        if line.strip():
            yield "", _parse(line)


def _lines(pieces: Iterable[bytes]) -> Iterator[bytes]:
    held = bytearray()
    for piece in pieces:
        held += piece
        _bound(held)
        *whole, rest = held.split(b"\n")
        yield from map(bytes, whole)
        held = bytearray(rest)
    yield bytes(held)


def _frames(pieces: Iterable[bytes]) -> Iterator[tuple[str, Json]]:
    """Total length, length of the headers, CRC-32 of both; headers; payload; CRC-32 of all."""
    held = bytearray()
    for piece in pieces:
        held += piece
        while len(held) >= 12:
            total, size, check = struct.unpack_from(">III", held)
            if zlib.crc32(held[:8]) != check or not 16 + size <= total <= _MAX_EVENT:
                raise _broken("the length of a frame")
            if len(held) < total:
                break
            frame = bytes(held[:total])
            del held[:total]
            if zlib.crc32(frame[:-4]) != struct.unpack(">I", frame[-4:])[0]:
                raise _broken("the checksum of a frame")
            yield _kind(frame[12 : 12 + size]), _parse(frame[12 + size : -4] or b"{}")
    if held:
        raise _broken("the end of the stream")


def _kind(headers: bytes) -> str:
    """The event's or the exception's type; headers that are no text end the search."""
    at = 0
    try:
        while at < len(headers):
            begin = at + 1 + headers[at]
            name, form = headers[at + 1 : begin], headers[begin]
            if form != _STRING:
                break
            size = struct.unpack_from(">H", headers, begin + 1)[0]
            if name in (b":event-type", b":exception-type"):
                return headers[begin + 3 : begin + 3 + size].decode()
            at = begin + 3 + size
    except (IndexError, struct.error, UnicodeDecodeError):
        raise _broken("the header of a frame") from None
    return ""


def _bound(held: bytearray) -> None:
    if len(held) > _MAX_EVENT:
        raise _broken("the length of a line")


def _parse(data: bytes) -> Json:
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        raise _broken("an event") from None
    if not isinstance(found, dict):
        raise _broken("an event")
    return found


def _broken(part: str) -> AkiosError:
    return AkiosError(
        f"the provider's stream cannot be read: {part} is wrong",
        "llm",
        "set stream: false in the step's config",
    )
