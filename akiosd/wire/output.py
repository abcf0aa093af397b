"""The file in which akiosd keeps a cage's output, and akiosctl reads it: bounded, head and tail
kept.  Pure.

    header · head ┊ first half of the tail ┊ second half of the tail

Each part is a run of frames: a header (magic, offset in the whole output, Unix time in ns, length),
then the bytes.  A header of zeros ends a part.  The head is written once; after it the halves of
the tail are written over, one after the other, so the last of the output is always there, and where
something is missing the offsets say so.  Readers and one writer may use the file at once: frames
that do not follow each other are not read.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from typing import NamedTuple

FILE_HEADER = struct.Struct("<8sQ")
"""Magic, and the size that the file was laid out for."""
FRAME_HEADER = struct.Struct("<4sQQI")
FILE_MAGIC, FRAME_MAGIC = b"akiosout", b"out\n"
MAX_FRAME = 1 << 16
MIN_SIZE = FILE_HEADER.size + 4 * (MAX_FRAME + 2 * FRAME_HEADER.size)
"""A file laid out for less would have parts without room for a frame."""
JOIN_BYTES, JOIN_NS = 4096, 100_000_000
"""What is written within this time, up to this size, becomes one frame."""


class Part(NamedTuple):
    """A range of the file, in bytes."""

    start: int
    end: int


class Frame(NamedTuple):
    """A piece of the output: where it stands in all of it, when it was written (Unix time in ns),
    and what.
    """

    offset: int
    time_ns: int
    data: bytes


def parts(size: int) -> tuple[Part, Part, Part]:
    """The head and the two halves of the tail of a file laid out for ``size`` bytes."""
    size = max(size, MIN_SIZE)
    head = FILE_HEADER.size + (size - FILE_HEADER.size) // 4
    middle = head + (size - head) // 2
    return Part(FILE_HEADER.size, head), Part(head, middle), Part(middle, size)


class Write(NamedTuple):
    """Bytes to be written at a place of the file."""

    at: int
    data: bytes


class Layout:
    """Says where the next output of a cage goes."""

    def __init__(self, size: int) -> None:
        self.size = max(size, MIN_SIZE)
        self._parts = parts(size)
        self._part, self._at = 0, self._parts[0].start
        self._last: Frame | None = None
        self.offset = 0
        """How much output there was so far, kept or not."""

    @classmethod
    def resume(cls, size: int, read: Sequence[Sequence[Frame]]) -> Layout:
        """Go on behind the last frame of a file with these three parts, laid out for ``size``."""
        layout = cls(size)
        filled = [(frames[-1].offset, number) for number, frames in enumerate(read) if frames]
        if filled:
            _, number = max(filled)
            last = read[number][-1]
            layout._part = number
            layout._at = layout._parts[number].start + sum(
                FRAME_HEADER.size + len(frame.data) for frame in read[number]
            )
            layout.offset = last.offset + len(last.data)
        return layout

    def header(self) -> Write:
        """What stands at the beginning of the file."""
        return Write(0, FILE_HEADER.pack(FILE_MAGIC, self.size))

    def place(self, data: bytes, now_ns: int) -> Iterator[Write]:
        """The writes for more output; see :meth:`undo` for one that fails."""
        for start in range(0, len(data), MAX_FRAME):
            piece = data[start : start + MAX_FRAME]
            last = self._last
            if (
                last is not None
                and 0 <= now_ns - last.time_ns < JOIN_NS
                and len(last.data) + len(piece) <= JOIN_BYTES
                and self._fits(len(last.data) + len(piece))
            ):
                frame = last._replace(data=last.data + piece)
            else:
                self._advance(len(piece))
                frame = Frame(self.offset, now_ns, piece)
            self.offset += len(piece)
            self._last = frame
            head = FRAME_HEADER.pack(
                FRAME_MAGIC, frame.offset, max(0, frame.time_ns), len(frame.data)
            )
            yield Write(self._at, head + frame.data + bytes(FRAME_HEADER.size))

    def undo(self) -> None:
        """The last write failed: what it had is missing, and the next goes where it was to go."""
        self._last = None

    def _fits(self, length: int) -> bool:
        return self._at + length + 2 * FRAME_HEADER.size <= self._parts[self._part].end

    def _advance(self, length: int) -> None:
        """Behind the last frame, or to the part that is written over next."""
        if self._last is not None:
            self._at += FRAME_HEADER.size + len(self._last.data)
        if not self._fits(length):
            self._part = 2 if self._part == 1 else 1
            self._at = self._parts[self._part].start


def read_size(header: bytes) -> int | None:
    """The size that a file was laid out for; None for what is no such file."""
    if len(header) < FILE_HEADER.size:
        return None
    magic, size = FILE_HEADER.unpack_from(header)
    return size if magic == FILE_MAGIC and MIN_SIZE <= size < 1 << 40 else None


def read_part(data: bytes) -> list[Frame]:
    """The frames of one part, as far as they follow each other."""
    frames: list[Frame] = []
    at, offset = 0, 0
    while at + FRAME_HEADER.size <= len(data):
        magic, start, time_ns, length = FRAME_HEADER.unpack_from(data, at)
        at += FRAME_HEADER.size
        if magic != FRAME_MAGIC or start < offset or not 0 < length <= len(data) - at:
            break
        frames.append(Frame(start, time_ns, data[at : at + length]))
        at, offset = at + length, start + length
    return frames


def join(read: Sequence[Sequence[Frame]]) -> list[Frame]:
    """The frames of all parts in order: the half of the tail that is older goes first."""
    filled = sorted((part for part in read if part), key=lambda part: part[0].offset)
    return [frame for part in filled for frame in part]


def behind(frames: Sequence[Frame], offset: int) -> list[Frame]:
    """What comes at or after ``offset``; a frame that reaches over it is cut."""
    found = []
    for frame in frames:
        skip = max(0, offset - frame.offset)
        if skip < len(frame.data):
            found.append(Frame(frame.offset + skip, frame.time_ns, frame.data[skip:]))
    return found
