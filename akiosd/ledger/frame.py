"""Frames of the write-ahead log: one frame is one group commit, whole or absent.

``magic[16] | seq u64 | base u64 | body length u32 | crc32 u32 | body``, little-endian, padded with
zeros to a multiple of 4 KiB, so that writing the next frame never rewrites a sector of this one.
``base`` is the oldest frame still needed when this one was written; the crc covers everything but
the magic.  The magic is random per state directory and known to root only: bytes that an agent
managed to get into a record can never look like a frame.  A body is a sequence of marks, each for
one log.
"""

from __future__ import annotations

import zlib
from collections.abc import Iterator
from dataclasses import dataclass
from struct import Struct

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.values.ids import LogId

MAGIC_BYTES = 16
ALIGN = 4096
_head = Struct("<QQII")
_covered = Struct("<QQI")
HEADER_BYTES = MAGIC_BYTES + _head.size
_mark = Struct(
    "<BBQII"
)  # kind, length of the log id, first index or size, count, length of the payload

_ENTRIES, _HEAD, _FORGET = 1, 2, 3


@dataclass(frozen=True)
class Entries:
    """``batch`` stands in ``log`` from index ``first`` on."""

    log: LogId
    first: int
    batch: Batch

    @property
    def end(self) -> int:
        """The index after the last entry."""
        return self.first + self.batch.count


@dataclass(frozen=True)
class Head:
    """``log`` is about to be published at ``size`` with ``root``; durable before that checkpoint is
    signed.

    ``published``: that checkpoint was in place already. The first frame of every segment says so
    about the host log, so that it is known how far that log had come, whichever frames are left.
    """

    log: LogId
    size: int
    root: bytes
    published: bool = False


@dataclass(frozen=True)
class Forget:
    """``log`` is being destroyed: nothing that older frames hold of it is to be recovered."""

    log: LogId


Mark = Entries | Head | Forget


def encode_mark(mark: Mark) -> bytes:
    """The bytes of one mark."""
    name = mark.log.encode()
    match mark:
        case Entries(first=first, batch=batch):
            return (
                _mark.pack(_ENTRIES, len(name), first, batch.count, len(batch.data))
                + name
                + batch.data
            )
        case Head(size=size, root=root, published=published):
            return _mark.pack(_HEAD, len(name), size, published, len(root)) + name + root
        case Forget():
            return _mark.pack(_FORGET, len(name), 0, 0, 0) + name


def decode_body(body: bytes) -> Iterator[Mark]:
    """The marks in the body of a frame.  Raises ``LedgerError``."""
    offset = 0
    while offset < len(body):
        try:
            kind, name_length, number, count, length = _mark.unpack_from(body, offset)
        except Exception:
            raise LedgerError(
                "a frame of the write-ahead log has the right checksum, but not the right form",
                "ledger/wal",
            ) from None
        start = offset + _mark.size + name_length
        log = LogId(body[offset + _mark.size : start].decode())
        payload, offset = body[start : start + length], start + length
        if kind == _ENTRIES:
            yield Entries(log, number, Batch(count, payload))
        elif kind == _HEAD:
            yield Head(log, number, payload, count == 1)
        elif kind == _FORGET:
            yield Forget(log)
        else:
            raise LedgerError(
                f"this akiosd does not know marks of kind {kind} in the write-ahead log",
                "ledger/wal",
                "start the version of akiosd that wrote this state directory",
            )


def frame_bytes(body_bytes: int) -> int:
    """The bytes that a frame with a body of that length takes."""
    return -(-(HEADER_BYTES + body_bytes) // ALIGN) * ALIGN


def encode_frame(magic: bytes, seq: int, base: int, body: bytes) -> bytes:
    """The bytes of a frame; ``seq`` is its number, ``base`` the oldest frame still needed."""
    crc = zlib.crc32(body, zlib.crc32(_covered.pack(seq, base, len(body))))
    frame = magic + _head.pack(seq, base, len(body), crc) + body
    return frame.ljust(frame_bytes(len(body)), b"\0")


@dataclass(frozen=True)
class WalFrame:
    """One frame as read."""

    seq: int
    base: int
    body: bytes


def read_frame(magic: bytes, data: bytes, offset: int) -> WalFrame | None:
    """The frame at ``offset``, or None where there is no whole one."""
    if data[offset : offset + MAGIC_BYTES] != magic or offset + HEADER_BYTES > len(data):
        return None
    seq, base, length, crc = _head.unpack_from(data, offset + MAGIC_BYTES)
    start = offset + HEADER_BYTES
    body = data[start : start + length]
    if len(body) != length or zlib.crc32(body, zlib.crc32(_covered.pack(seq, base, length))) != crc:
        return None
    return WalFrame(seq, base, body)


@dataclass(frozen=True)
class Segment:
    """The result of scanning one segment.

    ``frames`` are the good frames from its start in unbroken sequence; they end at offset ``end``.
    ``stray`` is the highest sequence number of any good frame behind that, or -1. ``torn_bytes``
    counts the bytes from ``end`` to the last that is not zero.
    """

    frames: tuple[WalFrame, ...]
    end: int
    stray: int
    torn_bytes: int


def scan_segment(magic: bytes, data: bytes) -> Segment:
    """Read all frames in the bytes of one segment."""
    frames: list[WalFrame] = []
    end = 0
    while frame := read_frame(magic, data, end):
        if frames and frame.seq != frames[-1].seq + 1:
            break
        frames.append(frame)
        end += frame_bytes(len(frame.body))
    torn = len(data[end:].rstrip(b"\0"))
    behind = (read_frame(magic, data, offset) for offset in range(end, end + torn, ALIGN))
    stray = max((frame.seq for frame in behind if frame), default=-1)
    return Segment(tuple(frames), end, stray, torn)
