"""Codec of server-sent events (WHATWG HTML §9.2); event names, ids, comments and line ends are
kept.
"""

from __future__ import annotations

import re

from akiosd.gateway.llm.frames import MAX_FRAME, BrokenStreamError, StreamFrame

_LINE = re.compile(rb"\r\n|\n|\r")


class SseCodec:
    """A :class:`Codec`: each event with its blank line is a frame."""

    between = b""

    def __init__(self) -> None:
        self._held = bytearray()
        self._line = 0
        """Offset in ``_held`` at which the unfinished line begins."""
        self._at = 0
        """Offset up to which line ends were searched."""

    @property
    def held(self) -> int:
        return len(self._held)

    def push(self, chunk: bytes) -> list[StreamFrame]:
        self._held += chunk
        frames = self._take(False)
        if len(self._held) > MAX_FRAME:
            raise BrokenStreamError(f"an event is longer than {MAX_FRAME} bytes")
        return frames

    def flush(self) -> list[StreamFrame]:
        frames = self._take(True)
        if self._held:
            # A browser drops an event without its blank line; SDKs do not, so it is read too.
            frames.append(_frame(bytes(self._held)))
            self._held.clear()
        self._line = self._at = 0
        return frames

    def _take(self, final: bool) -> list[StreamFrame]:
        frames = []
        begin = 0
        while match := _LINE.search(self._held, self._at):
            if match[0] == b"\r" and match.end() == len(self._held) and not final:
                break  # may be half of \r\n
            blank = match.start() == self._line
            self._line = self._at = match.end()
            if blank:
                frames.append(_frame(bytes(self._held[begin : match.end()])))
                begin = match.end()
        else:
            self._at = len(self._held)
        del self._held[:begin]
        self._line -= begin
        self._at -= begin
        return frames

    def render(self, frame: StreamFrame, data: bytes) -> bytes:
        """Replace the data lines, where the first of them stood."""
        out, done = [], False
        for line, end in _lines(frame.raw):
            name, _ = _field(line)
            if name != b"data":
                out.append(line + end)
            elif not done:
                out.append(b"data: " + data + (end or b"\n"))
                done = True
        return b"".join(out)


def _lines(raw: bytes) -> list[tuple[bytes, bytes]]:
    found, at = [], 0
    for match in _LINE.finditer(raw):
        found.append((raw[at : match.start()], match[0]))
        at = match.end()
    if at < len(raw):
        found.append((raw[at:], b""))
    return found


def _field(line: bytes) -> tuple[bytes, bytes]:
    name, _, value = line.removeprefix(b"\xef\xbb\xbf").partition(b":")
    return name, value.removeprefix(b" ")


def _frame(raw: bytes) -> StreamFrame:
    data, kind = [], ""
    for line, _ in _lines(raw):
        name, value = _field(line)
        if name == b"data":
            data.append(value)
        elif name == b"event":
            kind = value.decode("utf-8", "replace")
    return StreamFrame(raw, b"\n".join(data) if data else None, kind)
