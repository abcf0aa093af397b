"""The last filter before a terminal: whatever a printer writes as text can neither drive the
terminal nor hide anything.

Printers escape what is not theirs; this is for the one that forgot, for a traceback, and for
messages of libraries. What is written as bytes (an agent's own output, an archive) does not pass
here.
"""

from __future__ import annotations

import re
from typing import Any, TextIO

# The colours of ``akiosctl.render.paint`` and no others: one more could conceal.
_OURS = re.compile(r"(\x1b\[(?:0|1|2|31|32|33)m)")


class Fence:
    """A text stream in front of ``stream``; everything but writing text is the stream's own."""

    def __init__(self, stream: TextIO) -> None:
        self._stream = stream

    def write(self, text: str) -> int:
        if not isinstance(text, str):
            raise TypeError(f"write() argument must be str, not {type(text).__name__}")
        self._stream.write(harmless(text))
        return len(text)

    def writelines(self, lines: list[str]) -> None:
        for line in lines:
            self.write(line)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)


def harmless(text: str) -> str:
    """``text`` with its lines, tabs and our own colours; the rest that nobody would see as
    ``\\xNN``.
    """
    if text.isascii() and text.replace("\n", "").isprintable():
        return text
    from akiosd.values.text import as_bytes, show

    pieces = _OURS.split(text)
    return "".join(
        piece if _OURS.fullmatch(piece) else show(piece, as_bytes, keep="\n\t") for piece in pieces
    )
