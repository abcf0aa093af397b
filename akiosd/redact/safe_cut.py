"""Decides where a stream may be cut.

Not inside anything that is found or may still be found, nor inside a match that was refused but may
be looked at again because of text that follows: a match that touches what is not decided yet, or
touches such a match, up to ``DEPTH`` times. A cut may go through any other refused match; otherwise
a list of numbers would be held back from its first to its last.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterable

from akiosd.redact.base64_runs import BASE64, LINES, SEGMENT
from akiosd.redact.candidates import Candidate
from akiosd.redact.rescan import BESIDE

DEPTH = 4
NEAR = 4096
"""In characters: further from the end, everything counts as near."""


class Tail:
    """The run of base64 at the end of the text, and where it may be cut."""

    def __init__(self, run: int, size: int) -> None:
        self.run = run
        whole = max(0, (size - run - 1) // SEGMENT - 1)
        self.last = run + whole * SEGMENT if run < size else size
        self.enough = run + (whole + 2) * SEGMENT + 1
        """At this length one more segment can pass."""

    def down(self, position: int) -> int:
        """The last place up to ``position`` that is not within a segment, nor in one that is not
        decided.
        """
        position = min(position, self.last)
        return position if position <= self.run else position - (position - self.run) % SEGMENT


def before(candidates: Iterable[Candidate], cut: int, tail: Tail) -> int:
    """The last place up to ``cut`` that is in none of ``candidates``, nor beside one that a finding
    may change.
    """
    ends = sorted((_end(c), c.first) for c in candidates)
    first = cut  # of those that end after the cut
    while True:
        while ends and ends[-1][0] > cut:
            first = min(first, ends.pop()[1])
        if first >= cut:
            return cut
        cut = tail.down(first)


def _end(candidate: Candidate) -> int:
    beside = candidate.verdict is False and not candidate.pattern.loose
    return candidate.last + (BESIDE if beside else 0)


def is_passed(candidate: Candidate) -> bool:
    """The end of a line of base64 that says nothing: it is looked at once, and not again."""
    return candidate.pattern is LINES and candidate.verdict is False


def binding(
    candidates: list[Candidate], found: set[int], open_: set[int], grows: int, size: int
) -> list[Candidate]:
    """Those of ``candidates`` that a cut must not go through.

    ``found`` and ``open_`` are ids of those that are findings and of those that may still be,
    ``grows`` is where something may begin that is not known yet, ``size`` where the text ends.
    """
    bound: list[Candidate] = []
    rest: list[Candidate] = []
    kept: list[Candidate] = []
    for c in candidates:
        undecided = (
            c.last > grows
            or c.last + BESIDE > size
            or (c.verdict is False and c.last + BESIDE > grows)
        )
        if undecided or c.pattern is BASE64 or id(c) in open_ or c.last < grows - NEAR:
            bound.append(c)
        else:
            (kept if id(c) in found else rest).append(c)
    fresh = bound
    for _ in range(DEPTH):
        touched = _touching(rest, fresh) if rest and fresh else []
        if not touched:
            break
        ids = {id(c) for c in touched}
        fresh, rest = touched, [c for c in rest if id(c) not in ids]
        bound = bound + touched
    return bound + kept


def with_cause(changed: list[Candidate], new: list[Candidate]) -> list[Candidate]:
    """``new`` matches, and those of ``changed`` in whose place they were found."""
    starts = sorted(c.first for c in new)
    return new + [c for c in changed if bisect_right(starts, c.last) > bisect_left(starts, c.first)]


def _touching(candidates: list[Candidate], others: list[Candidate]) -> list[Candidate]:
    """Those of ``candidates`` that overlap one of ``others`` or are beside it."""
    starts: list[int] = []
    ends: list[int] = []
    for first, last in sorted((c.first - BESIDE, c.last + BESIDE) for c in others):
        if ends and first <= ends[-1]:
            ends[-1] = max(ends[-1], last)
        else:
            starts.append(first)
            ends.append(last)
    touching = []
    for c in candidates:
        at = bisect_right(starts, c.last - 1) - 1
        if at >= 0 and ends[at] > c.first:
            touching.append(c)
    return touching
