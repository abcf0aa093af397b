"""Output of a program long gone, for a terminal: its text and colours, nothing that drives the terminal.

A terminal obeys more than colours: it can be told to retitle itself, to answer as if somebody typed, to fill the
clipboard.  Someone who reads what a cage left, root perhaps, did not ask for its program to do that.
"""

from __future__ import annotations

import re

# What stays: tab, line feed, carriage return, and ECMA-48 SGR (colours).  Else C0, DEL, and C1 as UTF-8.
_SGR = rb"\x1b\[[0-9;:]{0,40}m"
_UNSAFE = re.compile(rb"(" + _SGR + rb")|[\x00-\x08\x0b\x0c\x0e-\x1f\x7f]|\xc2[\x80-\x9f]")
_UNFINISHED = re.compile(rb"(?:\x1b(?:\[[0-9;:]{0,40})?|\xc2)\Z")


class Tamer:
    """Bytes in, harmless bytes out; what may go on in the next piece is held back until it comes."""

    def __init__(self) -> None:
        self._held = b""

    def feed(self, data: bytes) -> bytes:
        data = self._held + data
        found = _UNFINISHED.search(data)
        end = found.start() if found is not None else len(data)
        self._held = data[end:]
        return _show(data[:end])

    def finish(self) -> bytes:
        """The rest, and the colours back to what they were."""
        held, self._held = self._held, b""
        return _show(held) + b"\x1b[0m"


def _show(data: bytes) -> bytes:
    return _UNSAFE.sub(lambda match: match[1] or b"".join(b"\\x%02x" % byte for byte in match[0]), data)
