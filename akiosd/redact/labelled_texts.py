"""Many texts, each with its label, joined to one plain form: ``name: "text"``, with walls between
them.

Whatever container a text stood in, this is all that patterns see of it.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Sequence
from functools import lru_cache

from akiosd.redact.candidates import Candidate
from akiosd.redact.model import MAX_CHARACTERS, RedactError
from akiosd.redact.normalise import WALL, View

MOST_NAME = 48
"""Only so many characters of a name are read, from its end."""
WHOLE_VALUE = 256
"""A text of at most this length without a blank is a single value."""
BLANK = re.compile(rb"[\s\x00]")
_CAMEL = re.compile(r"(?<=[a-z0-9])(?=[A-Z])")
_QUOTE = b'"'


def checked(text: str) -> str:
    """``text``.  Raises :class:`RedactError` when it is too long."""
    if len(text) > MAX_CHARACTERS:
        raise RedactError(
            f"the text has {len(text)} characters, more than {MAX_CHARACTERS}",
            "redaction",
            "send it in smaller parts",
        )
    return text


def separated(name: str) -> str:
    """The name with its words apart: ``apiKey`` is read as ``api_Key``."""
    return _CAMEL.sub("_", name)


@lru_cache(4096)
def named(name: str) -> bytes:
    """What is put before a text with this name; nothing where it has none."""
    return View(separated(name[-MOST_NAME:])).data + b": " + _QUOTE if name else b""


def after(name: str) -> bytes:
    """What is put after a text with this name."""
    return _QUOTE if name else b""


class Joined:
    """All texts in one plain form, and where each is.  One text without a name is that text."""

    def __init__(self, views: Sequence[View], names: Sequence[str]) -> None:
        self.views = views
        if len(views) == 1 and not names[0]:
            self.data, self.fields = views[0].data, Fields([0], [len(views[0].data)])
            return
        pieces: list[bytes] = []
        begins, ends, size = [], [], 0
        for view, name in zip(views, names, strict=True):
            data = view.data
            if name:
                before, last = named(name[-MOST_NAME:]), after(name) + WALL
                pieces += (before, data, last)
                size += len(before)
            else:
                last = WALL
                pieces += (data, last)
            begins.append(size)
            size += len(data)
            ends.append(size)
            size += len(last)
        self.data, self.fields = b"".join(pieces), Fields(begins, ends)

    def at(self, start: int, end: int) -> tuple[int, int, int] | None:
        """(number of the text, characters in it) of a place in the plain form; None where it is in
        no text.
        """
        place = self.fields.holding(start, end)
        if place < 0:
            return None
        view, begin = self.views[place], self.fields.begins[place]
        return place, view.start(start - begin), view.end(end - begin)


class Fields:
    """Where the texts are in the plain form."""

    def __init__(self, begins: list[int], ends: list[int]) -> None:
        self.begins, self.ends = begins, ends

    def at(self, candidate: Candidate) -> int:
        """The text that the value of ``candidate`` is in, by number; -1 when in none."""
        return self.holding(candidate.start, candidate.end)

    def holding(self, start: int, end: int) -> int:
        """The number of the text that ``[start, end)`` lies in; -1 when in none."""
        place = bisect_right(self.begins, start) - 1
        return place if place >= 0 and end <= self.ends[place] else -1

    def inside(self, candidates: Iterable[Candidate], data: bytes) -> list[Candidate]:
        """Those whose value is in a text, or that much of it as is."""
        if self.begins == [0]:
            return [candidate for candidate in candidates if candidate.end <= self.ends[0]]
        found = []
        for candidate in candidates:
            place = bisect_right(self.begins, candidate.end - 1) - 1
            if place >= 0 and candidate.end <= self.ends[place]:
                begin, end = self.begins[place], self.ends[place]
                found.append(
                    candidate
                    if candidate.first >= begin
                    else _with_name(candidate, data, begin, end)
                )
        return found


def _with_name(candidate: Candidate, data: bytes, begin: int, end: int) -> Candidate:
    """A candidate that begins in the name of the text ``begin``–``end``: what of it is in the text.

    In prose a quote or a comma ends a password; a text of its own that has a secret's name and no
    blank in it is one from there to its end.
    """
    candidate = candidate._replace(start=max(begin, candidate.start))
    if candidate.verdict is False or candidate.category != "digital" or end - begin > WHOLE_VALUE:
        return candidate
    if BLANK.search(data, begin, end):
        return candidate
    return candidate._replace(end=end, last=max(end, candidate.last))
