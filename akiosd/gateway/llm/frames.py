"""What a stream of a provider is made of: frames, kept as they came unless their content is changed.

A codec takes bytes in any pieces and gives frames; joining the ``raw`` of all frames gives the stream again.
"""

from __future__ import annotations

from typing import Protocol

MAX_FRAME = 16 << 20


class BrokenStreamError(ValueError):
    """The upstream's bytes are not the format they were announced as, or a frame is above ``MAX_FRAME``."""


class StreamFrame:
    """``data`` is the JSON text inside, ``None`` where there is none; ``kind`` the event's name outside the JSON."""

    __slots__ = ("data", "kind", "raw")

    def __init__(self, raw: bytes, data: bytes | None, kind: str = "") -> None:
        self.raw, self.data, self.kind = raw, data, kind


class Codec(Protocol):
    between: bytes
    """What stands between two frames with data that follow each other."""

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete."""

    def push(self, chunk: bytes) -> list[StreamFrame]:
        """The frames that ``chunk`` completes.  Raises :class:`BrokenStreamError`."""

    def flush(self) -> list[StreamFrame]:
        """What is left when the stream has ended."""

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        """``frame`` with other data; everything else of it stays."""
