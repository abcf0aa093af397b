"""The frames of a provider's streamed reply, kept as they came unless their content is changed.

A codec takes bytes cut anywhere and returns frames; the ``raw`` of all frames joined is the stream
again. Codecs: :mod:`sse`, :mod:`ndjson`, :mod:`eventstream`.
"""

from __future__ import annotations

from typing import Protocol

MAX_FRAME = 16 << 20
"""Largest frame, in bytes."""


class BrokenStreamError(ValueError):
    """The stream is not in the format that was announced, or a frame is larger than
    ``MAX_FRAME``.
    """


class StreamFrame:
    """One frame: ``raw`` its bytes, ``data`` the JSON text in it (None for none), ``kind`` an event
    name that stands outside the JSON ("" for none).
    """

    __slots__ = ("data", "kind", "raw")

    def __init__(self, raw: bytes, data: bytes | None, kind: str = "") -> None:
        self.raw, self.data, self.kind = raw, data, kind


class Codec(Protocol):
    """Splits one stream into frames.  One object serves one stream."""

    between: bytes
    """What must stand between two frames with data when one of them is inserted."""

    @property
    def held(self) -> int:
        """Bytes of the frame that is not complete."""

    def push(self, chunk: bytes) -> list[StreamFrame]:
        """The frames that ``chunk`` completes.  Raises :class:`BrokenStreamError`."""

    def flush(self) -> list[StreamFrame]:
        """The frames that are left when the stream has ended.  Raises
        :class:`BrokenStreamError`.
        """

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        """The bytes of ``frame`` with other ``data``; everything else of it stays."""
