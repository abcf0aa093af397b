"""Codecs of one JSON value a line (Ollama), and of a JSON array whose elements come one by one
(Gemini without ``alt=sse``).
"""

from __future__ import annotations

import re

from akiosd.gateway.llm.frames import MAX_FRAME, BrokenStreamError, StreamFrame


class NdjsonCodec:
    """A :class:`Codec`: each line is a frame."""

    between = b""

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def held(self) -> int:
        return len(self._held)

    def push(self, chunk: bytes) -> list[StreamFrame]:
        at = len(self._held)
        self._held += chunk
        frames, begin = [], 0
        while (end := self._held.find(b"\n", at)) >= 0:
            frames.append(_line(bytes(self._held[begin : end + 1])))
            begin = at = end + 1
        del self._held[:begin]
        if len(self._held) > MAX_FRAME:
            raise BrokenStreamError(f"a line is longer than {MAX_FRAME} bytes")
        return frames

    def flush(self) -> list[StreamFrame]:
        rest, self._held = bytes(self._held), bytearray()
        return [_line(rest)] if rest else []

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        body = frame.raw.rstrip(b"\r\n")
        return data + (frame.raw[len(body) :] or b"\n")


def _line(raw: bytes) -> StreamFrame:
    return StreamFrame(raw, raw.strip() or None)


_SPECIAL = re.compile(rb'["\\{}\[\]]')


class ArrayCodec:
    """A :class:`Codec` for ``[{…},{…}]``: each element is a frame with data; brackets, commas and
    white space are frames without.

    The frame that ends the array is of kind ``end``.
    """

    between = b",\n"

    def __init__(self) -> None:
        self._held = bytearray()
        self._at = 0
        self._depth = 0
        self._string = False
        self._escaped = -1

    @property
    def held(self) -> int:
        return len(self._held)

    def push(self, chunk: bytes) -> list[StreamFrame]:
        self._held += chunk
        frames, begin = [], 0
        while match := _SPECIAL.search(self._held, self._at):
            at, byte = match.start(), match[0]
            self._at = at + 1
            if self._step(at, byte) and byte == b"{" and self._depth == 2:
                if at > begin:
                    frames.append(StreamFrame(bytes(self._held[begin:at]), None))
                begin = at
            elif byte == b"}" and not self._string and self._depth == 1:
                frames.append(
                    StreamFrame(
                        bytes(self._held[begin : at + 1]), bytes(self._held[begin : at + 1])
                    )
                )
                begin = at + 1
        self._at = len(self._held)
        if self._depth <= 1 and begin < len(self._held):
            frames.append(
                StreamFrame(
                    bytes(self._held[begin:]), None, "end" if b"]" in self._held[begin:] else ""
                )
            )
            begin = len(self._held)
        del self._held[:begin]
        self._at -= begin
        self._escaped -= begin
        if len(self._held) > MAX_FRAME:
            raise BrokenStreamError(f"an element is longer than {MAX_FRAME} bytes")
        return frames

    def _step(self, at: int, byte: bytes) -> bool:
        """Advance over ``byte`` at offset ``at``, keeping depth and string state.  Returns whether
        it is structure, not text.
        """
        if self._string:
            if at == self._escaped:
                return False
            if byte == b"\\":
                self._escaped = at + 1
            self._string = byte != b'"'
            return False
        if byte == b'"':
            self._string = True
        elif byte in (b"{", b"["):
            self._depth += 1
        elif byte in (b"}", b"]"):
            self._depth -= 1
        return True

    def flush(self) -> list[StreamFrame]:
        rest, self._held = bytes(self._held), bytearray()
        return [StreamFrame(rest, rest)] if rest else []

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        return data
