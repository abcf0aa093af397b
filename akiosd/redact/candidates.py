"""Possible findings, what is decided about each, and which of two that overlap is kept."""

from __future__ import annotations

from bisect import bisect_left, insort
from collections.abc import Iterable
from itertools import pairwise
from typing import NamedTuple

from akiosd.redact.model import Category, Pattern
from akiosd.redact.patterns import PATTERNS

_ORDER = {pattern.name: place for place, pattern in enumerate(PATTERNS)}


class Candidate(NamedTuple):
    """A match of a pattern, in positions of the plain form.

    ``start``–``end`` is the value, ``first``–``last`` everything that the pattern matched.
    """

    pattern: Pattern
    first: int
    last: int
    start: int
    end: int
    verdict: bool | None
    kind: str
    category: Category
    weak: bool
    """It counts only near a word that says what it is."""


class Decision(NamedTuple):
    """Whether a candidate counts, and whether that is final."""

    candidate: Candidate
    confidence: float
    reason: str
    settled: bool
    """Nothing that follows in the text can change it."""


Kept = list[tuple[int, int, Decision]]
"""None overlap, so that no two begin at the same place."""


def resolve(decisions: Iterable[Decision]) -> list[Decision]:
    """Choose among overlapping findings, so that no two overlap.

    The higher priority wins (a finding that counts only because it is alone comes last), then the
    longer, then the first, then the one whose pattern is listed first. The part of the loser that
    the winner does not cover is replaced too: as what it is where that is a secret, otherwise
    together with the winner.
    """
    decisions = sorted(decisions, key=_begin)
    if len(decisions) < 2 or all(
        a.candidate.end <= b.candidate.start for a, b in pairwise(decisions)
    ):
        return decisions
    kept: Kept = []
    for decision in sorted(decisions, key=_rank):
        candidate = decision.candidate
        free = _free(kept, candidate.start, candidate.end)
        if free == [(candidate.start, candidate.end)]:
            insort(kept, (candidate.start, candidate.end, decision))
        elif candidate.category == "digital":
            for start, end in free:
                rest = decision._replace(candidate=candidate._replace(start=start, end=end))
                insort(kept, (start, end, rest))
        else:
            for start, end in free:
                _widen(kept, start, end)
    return [decision for _, _, decision in kept]


def _widen(kept: Kept, start: int, end: int) -> None:
    """A neighbour of ``start``–``end`` takes it in."""
    at = bisect_left(kept, end, key=_place)
    for index in (at, at - 1):
        if 0 <= index < len(kept) and (kept[index][0] == end or kept[index][1] == start):
            old = kept[index][2]
            first, last = min(start, kept[index][0]), max(end, kept[index][1])
            wide = old._replace(candidate=old.candidate._replace(start=first, end=last))
            kept[index] = (first, last, wide)
            return


def _begin(decision: Decision) -> int:
    return decision.candidate.start


def _rank(decision: Decision) -> tuple[int, int, int, int]:
    candidate = decision.candidate
    rank = 30 * (decision.confidence < 0.7) - candidate.pattern.priority
    return (
        rank,
        candidate.start - candidate.end,
        candidate.start,
        _ORDER.get(candidate.pattern.name, len(_ORDER)),
    )


def _place(entry: tuple[int, int, Decision]) -> int:
    return entry[0]


def _free(kept: Kept, start: int, end: int) -> list[tuple[int, int]]:
    """The parts of ``start``–``end`` that nothing in ``kept`` covers."""
    if not kept and start < end:
        return [(start, end)]
    free = []
    at = max(0, bisect_left(kept, start, key=_place) - 1)
    while at < len(kept) and kept[at][0] < end and start < end:
        if kept[at][1] > start:
            free.append((start, kept[at][0]))
            start = kept[at][1]
        at += 1
    return [(a, b) for a, b in [*free, (start, end)] if a < b]
