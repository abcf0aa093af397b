"""A text in the form in which stand-ins are looked for: its letters and digits in one case, with
their origin.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left
from functools import cached_property

from akiosd.redact.normalise import View

_LETTERS = frozenset((*b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ", 0xAA, 0xB5, 0xBA,
                      *(byte for byte in range(0xC0, 0x100) if byte not in (0xD7, 0xF7))))  # fmt: skip
_DROPPED = bytes(byte for byte in range(256) if byte not in _LETTERS)
_FOLD = bytes(range(256)).lower()


_BEFORE, _BEFORE_ESCAPED = 12, 60
"""Characters of a plain form; and of a text, of which one may be an escape."""
_PLAIN = re.compile(rb"[^\\%&\x80-\xff]*")


def is_plain(data: bytes) -> bool:
    """Whether ``data`` has no escapes and nothing beyond ASCII, and so is its own plain form."""
    return _PLAIN.fullmatch(data) is not None


def fold(plain: bytes) -> bytes:
    """The letters and digits of a plain form; ASCII in lower case."""
    return plain.translate(_FOLD, _DROPPED)


class Folded:
    """``plain`` is the text with escapes undone, ``letters`` what is compared.  ``more``: the text
    may continue.  Without ``undo`` escapes are read as they are written.
    """

    def __init__(self, text: str, more: bool = False, undo: bool = True) -> None:
        self.view, self._undo = View(text, more, undo), undo
        self.plain = self.view.data
        self.letters = fold(self.plain)

    @cached_property
    def at(self) -> list[int]:
        """The position in ``plain`` of each of ``letters``."""
        if len(self.letters) == len(self.plain):
            return list(range(len(self.plain)))
        return [place for place, byte in enumerate(self.plain) if byte in _LETTERS]

    def first(self, character: int) -> int:
        """The first of ``letters`` that comes from this character of the text or a later one."""
        if character == 0:
            return 0
        return bisect_left(self.at, True, key=lambda place: self.view.start(place) >= character)

    def before(self, start: int) -> bytes:
        """What stands before ``plain[start]``, read without what follows it: some characters."""
        if self._undo:
            return self.plain[max(0, start - _BEFORE) : start]
        character = self.view.start(start)
        return View(self.view.text[max(0, character - _BEFORE_ESCAPED) : character]).data[-_BEFORE:]

    def gaps(self, begin: int, end: int) -> dict[int, bytes]:
        """What stands between the letters ``begin`` to ``end``, by the letter before it, counted
        from ``begin``.
        """
        at, found = self.at, {}
        for place in range(begin, end - 1):
            if at[place + 1] - at[place] > 1:
                found[place - begin] = self.plain[at[place] + 1 : at[place + 1]]
        return found


def gaps_of(plain: bytes) -> dict[int, bytes]:
    """Those of a whole plain form."""
    places = [place for place, byte in enumerate(plain) if byte in _LETTERS]
    return {
        count: plain[here + 1 : there]
        for count, (here, there) in enumerate(itertools.pairwise(places))
        if there - here > 1
    }
