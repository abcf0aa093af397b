"""Decides by context: words near a number that say what it is, and neighbours that make it a part
of something else.

Only ``LEFT`` characters before a candidate and ``RIGHT`` after it are looked at, so that a stream
can give the same answer as the whole text.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable
from typing import NamedTuple

from akiosd.redact.candidates import Candidate, Decision
from akiosd.redact.labelled_texts import Fields
from akiosd.redact.normalise import WALL
from akiosd.redact.re2_search import Finder, latin

LEFT, RIGHT = 48, 24
LONE = 64
"""A text of at most so many characters may be nothing but one number."""

_WORD = bytes(1 if chr(c).isalnum() else 0 for c in range(256))
_LETTER_OR_WALL = re.compile(
    b"[" + WALL + b"".join(bytes([c]) for c in range(256) if _WORD[c]) + b"]"
)
_LETTERS_OF_WORDS = "a-z0-9ß-öø-ÿ"
_LETTERS = frozenset(
    b
    for b in range(256)
    if re.match(f"[{_LETTERS_OF_WORDS}]", bytes([b]).lower().decode("latin-1"))
)
_POINT, _DIGITS = ord("."), b"0123456789"


def context_regex(words: Iterable[str]) -> bytes:
    """A regular expression for one of ``words``, also when "number" and the like follows; blanks in
    them may be ``_`` or ``-``.
    """
    longest = sorted(words, key=len, reverse=True)
    choice = "|".join(
        re.escape(word).replace(r"\ ", "[ _-]?").replace("\\-", "-") for word in longest
    )
    edge = f"[^{_LETTERS_OF_WORDS}]"
    tail = "(?:[ _-]?(?:number|num|no|nr|id|code)s?)?"
    return latin(rf"(?:\A|{edge})(?:{choice or 'a^'}){tail}(?:{edge}|\z)")


def _after_word(data: bytes, at: int, stop: int) -> int:
    """The first place from ``at`` on that is not within a word, so that no part of one is taken for
    a word.
    """
    if at > 0 and data[at - 1] in _LETTERS:
        while at < stop and data[at] in _LETTERS:
            at += 1
    return at


def _before_word(data: bytes, start: int, at: int) -> int:
    if at < len(data) and data[at] in _LETTERS:
        while at > start and data[at - 1] in _LETTERS:
            at -= 1
    return at


class Surroundings(NamedTuple):
    """The text and the places from which the context of a weak candidate is taken; ``starts`` and
    ``ends`` of strong findings are sorted.
    """

    data: bytes
    fields: Fields | None
    """Where whole texts stand; None where nothing is known to be one."""
    barrier: int
    starts: list[int]
    ends: list[int]

    def window(self, candidate: Candidate) -> tuple[int, int]:
        """The text near a candidate in which a word may explain it."""
        left = max(self.barrier, _after_word(self.data, candidate.start - LEFT, candidate.start), 0)
        right = min(len(self.data), _before_word(self.data, candidate.end, candidate.end + RIGHT))
        before, after = (
            bisect_right(self.ends, candidate.start),
            bisect_left(self.starts, candidate.end),
        )
        left = max(left, self.ends[before - 1]) if before else left
        right = min(right, self.starts[after]) if after < len(self.starts) else right
        wall = self.data.find(WALL, candidate.end, right)
        return max(left, self.data.rfind(WALL, left, candidate.start) + 1), (
            right if wall < 0 else wall
        )

    def lonely(self, candidate: Candidate) -> bool:
        """Whether it stands in a short text that has no other letter or digit."""
        place = -1 if self.fields is None else self.fields.at(candidate)
        if self.fields is None or place < 0:
            return False
        begin, end = self.fields.begins[place], self.fields.ends[place]
        return end - begin <= LONE and not has_word(
            self.data[begin : candidate.start] + self.data[candidate.end : end]
        )


class Contexts:
    """The words of every pattern, compiled once."""

    def __init__(self, words: dict[str, tuple[str, ...]]) -> None:
        self._words = {name: Finder(context_regex(some)) for name, some in words.items() if some}

    def decide(
        self, data: bytes, candidates: list[Candidate], fields: Fields | None, barrier: int = 0
    ) -> list[Decision]:
        """Decide which candidates count.

        No context is taken from across another finding or a mask, so that masking one finding never
        brings a word nearer to another. ``barrier`` is the end of the last finding before what is
        looked at.
        """
        decisions: list[Decision] = []
        weak: list[Candidate] = []
        for candidate in candidates:
            if candidate.verdict is False:
                continue
            if candidate.weak:
                weak.append(candidate)
            else:
                decisions.append(_strong(candidate))
        decisions = _explained(decisions)
        if not weak:
            return decisions
        strong = [decision.candidate for decision in decisions]
        starts, ends = sorted(c.start for c in strong), sorted(c.end for c in strong)
        around = Surroundings(data, fields, barrier, starts, ends)
        return decisions + [found for candidate in weak if (found := self._weak(candidate, around))]

    def near(self, data: bytes, candidates: list[Candidate]) -> list[Decision]:
        """As :meth:`decide` where the findings known are walls in ``data``."""
        around = Surroundings(data, None, 0, [], [])
        decisions = (
            _strong(c) if not c.weak else self._weak(c, around)
            for c in candidates
            if c.verdict is not False
        )
        return _explained([decision for decision in decisions if decision])

    def _weak(self, candidate: Candidate, around: Surroundings) -> Decision | None:
        data = around.data
        left, right = around.window(candidate)
        context = self._words.get(candidate.pattern.name)
        confidence = 0.99 if candidate.verdict else 0.85
        what = "check and context" if candidate.verdict else "form and context"
        if context is not None and context.found(data[left : candidate.start].lower()):
            return Decision(candidate, confidence, what, True)
        if context is not None and context.found(data[candidate.end : right].lower()):
            return Decision(candidate, confidence, what, False)
        checked = candidate.verdict or candidate.pattern.check is None
        if candidate.pattern.lone and checked and around.lonely(candidate):
            return Decision(candidate, 0.6, "check, and nothing else in the text", False)
        return None


def _explained(decisions: list[Decision]) -> list[Decision]:
    """Without what is none because another that overlaps it says what it is."""
    others = [d.candidate for d in decisions if d.candidate.pattern.instead_of]
    if not others:
        return decisions
    others.sort(key=_start)
    starts = [c.start for c in others]

    def stays(candidate: Candidate) -> bool:
        at = bisect_left(starts, candidate.end) - 1
        other = others[at] if at >= 0 else None
        return not (
            other
            and other.end > candidate.start
            and candidate.pattern.name in other.pattern.instead_of
        )

    return [decision for decision in decisions if stays(decision.candidate)]


def _start(candidate: Candidate) -> int:
    return candidate.start


def _strong(candidate: Candidate) -> Decision:
    if candidate.kind != candidate.pattern.name:
        return Decision(candidate, 0.9, "inside base64", True)
    if candidate.verdict:
        return Decision(candidate, 0.99, "form and check", True)
    return Decision(candidate, 0.9, "distinctive form", True)


def touches(data: bytes | bytearray, start: int, end: int, joints: bytes) -> bool:
    """Whether a letter or digit continues beside it, or it is a decimal fraction; looks at two
    characters on each side.
    """
    if start:
        before = data[start - 1]
        if _WORD[before]:
            if _WORD[data[start]]:
                return True
        elif (
            before == _POINT and start > 1 and data[start - 2] in _DIGITS and data[start] in _DIGITS
        ):
            return True
    if end < len(data) and _WORD[data[end]] and _WORD[data[end - 1]]:
        return True
    if not joints:
        return False
    if start > 1 and data[start - 1] in joints and data[start - 2] in b":0123456789":
        return True
    return end + 1 < len(data) and data[end] in joints and data[end + 1] in b":0123456789"


def has_word(data: bytes) -> bool:
    """A letter, a digit or a wall."""
    return _LETTER_OR_WALL.search(data) is not None
