"""Shows the output of a program that has ended on a terminal: all of its text and colours, nothing
that drives the terminal.

A terminal obeys more than colours: it can be told to change its title, to answer as if somebody
typed, to fill the clipboard. Someone who reads what a cage left, root perhaps, did not ask for its
program to do that; nor to be shown only a part of it: text that is concealed, in the colour of the
background, overwritten, or made of invisible characters.
"""

from __future__ import annotations

import codecs
import re

from akiosd.values.text import as_bytes, show

# ECMA-48: a control sequence of SGR.
_SGR = re.compile(r"\x1b\[([0-9;:]{0,40})m")
_PIECES = re.compile(r"(\x1b\[[0-9;:]{0,40}m|\r\n|\r|\n)")
_UNFINISHED = re.compile(r"(?:\x1b(?:\[[0-9;:]{0,40})?|\r)\Z")
# Reset, bold, faint, italic, underlined, inverse, struck out, and the ends of all attributes there
# are.
_ATTRIBUTES = frozenset((0, 1, 2, 3, 4, 7, 9, *range(22, 30), 39, 49))
# Red to cyan can be read on dark and on light; black, white and their bright ones on one of the
# two.
_COLOURS = frozenset((*range(31, 37), *range(91, 97)))
_DARKEST, _LIGHTEST = 60, 200
_FOREGROUND, _GROUND, _UNDERLINE = 38, 48, 58
_INDEXED, _DIRECT = 5, 2


class Tamer:
    """Takes bytes and returns harmless bytes; a sequence that may continue in the next piece is
    held back until it comes.
    """

    def __init__(self) -> None:
        self._decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
        self._held = ""

    def feed(self, data: bytes) -> bytes:
        """Take the next piece; returns what may be shown."""
        return self._take(self._decoder.decode(data))

    def finish(self) -> bytes:
        """The rest, and the colours as they were before."""
        rest = self._take(self._decoder.decode(b"", True))
        held, self._held = self._held, ""
        return rest + _show(held) + b"\x1b[0m"

    def _take(self, text: str) -> bytes:
        text = self._held + text
        found = _UNFINISHED.search(text)
        end = found.start() if found is not None else len(text)
        self._held = text[end:]
        return _show(text[:end])


def _show(text: str) -> bytes:
    return "".join(_piece(piece) for piece in _PIECES.split(text)).encode()


def _piece(piece: str) -> str:
    if piece in ("\n", "\r\n"):
        return piece
    if piece == "\r":
        return "\n"  # what stands in its line already stays
    colours = _SGR.fullmatch(piece)
    if colours is not None:
        return _sgr(colours[1])
    return show(piece, as_bytes, keep="\t")


def _sgr(parameters: str) -> str:
    """The sequence again with what leaves text readable on any ground; "" when nothing
    of it does.
    """
    if not parameters:
        return "\x1b[m"
    numbers = [int(text or "0") for text in parameters.split(";") if ":" not in text]
    kept: list[int] = []
    while numbers:
        number = numbers.pop(0)
        if number in (_FOREGROUND, _GROUND, _UNDERLINE):
            colour, numbers = _colour(numbers)
            kept += [_FOREGROUND, *colour] if colour and number == _FOREGROUND else []
        elif number in _ATTRIBUTES or number in _COLOURS:
            kept.append(number)
    return f"\x1b[{';'.join(map(str, kept))}m" if kept else ""


def _colour(numbers: list[int]) -> tuple[list[int], list[int]]:
    """(an extended colour if it can be read on dark and on light, what follows it)."""
    kind = numbers[0] if numbers else 0
    length = {_INDEXED: 2, _DIRECT: 4}.get(kind, 1)
    colour, rest = numbers[:length], numbers[length:]
    if len(colour) < length or length == 1:
        return [], rest
    light = _lightness(colour[1:] if kind == _DIRECT else _palette(colour[1]))
    return (colour if _DARKEST <= light <= _LIGHTEST else []), rest


def _palette(number: int) -> list[int]:
    """The colour of xterm's 256: 16 that themes choose, a cube of 6×6×6, 24 greys."""
    if number < 16:
        return [128, 128, 128] if number % 8 not in (0, 7) else [0, 0, 0]
    if number >= 232:
        return [8 + 10 * (number - 232)] * 3
    steps = [(number - 16) // 36, (number - 16) // 6 % 6, (number - 16) % 6]
    return [55 + 40 * step if step else 0 for step in steps]


def _lightness(colour: list[int]) -> int:
    """0 to 255, weighed as in ITU-R BT.709."""
    red, green, blue = (min(value, 255) for value in colour)
    return (2126 * red + 7152 * green + 722 * blue) // 10_000
