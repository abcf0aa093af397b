"""Finds what masking a finding uncovers.

A match may have been refused because of what stands beside it, or hidden by a match that was: once
the neighbour is masked, it counts. In ``password: hunter2!(0161) 496 0000`` no password is found
until the phone number is ``[PHONE_UK]``. So whatever touches a finding is searched again with a
wall in the place of the finding; what that finds is a wall in the next round, until nothing touches
a wall any more. That is why redacting twice changes nothing.

A wall is written into the plain form as NUL characters, which no pattern matches; a mask that is
already in the text is such a wall from the beginning. Each round looks only at what touches the
walls of the round before, so the cost is proportional to what stands near findings.

A run of base64 that is longer than two segments is not read again, nor is what crosses the end of a
line.
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterable, Iterator
from typing import NamedTuple, Protocol

from akiosd.redact.base64_runs import BASE64, LINES, SEGMENT, is_run
from akiosd.redact.candidates import Candidate, Decision, resolve
from akiosd.redact.context import touches
from akiosd.redact.normalise import WALL
from akiosd.redact.re2_search import Spans, least

ROUNDS = 16
"""A chain of neighbours of which each uncovers the next is followed so many times."""
_WALLS = re.compile(WALL + b"+")
BESIDE = 2
"""How far :func:`akiosd.redact.context.touches` looks."""


class Matcher(Protocol):
    """The part of :class:`akiosd.redact.engine.Engine` that is needed here."""

    @property
    def near(self) -> Callable[[bytes, list[Candidate]], list[Decision]]: ...

    def matches(self, name: str, data: bytes, at: int, reach: int) -> Iterator[Spans]: ...
    def take(self, name: str, data: bytes, spans: Spans, found: list[Candidate]) -> None: ...


class Wall(NamedTuple):
    """The place of a finding; ``level`` is the round that made it, 0 the first."""

    start: int
    end: int
    level: int


class Uncovered(NamedTuple):
    """``walls`` are those of ``kept`` and ``more``; ``candidates`` were found in the places of
    ``changed``.
    """

    more: list[Decision]
    walls: list[Wall]
    candidates: list[Candidate]
    changed: list[Candidate]


def uncovered(
    engine: Matcher,
    data: bytes,
    candidates: Iterable[Candidate],
    kept: Iterable[Decision],
    before: Iterable[Wall] = (),
) -> Uncovered:
    """The findings that masking ``kept``, found among ``candidates``, and the walls ``before`` them
    uncovers.
    """
    walls = [*before, *[Wall(d.candidate.start, d.candidate.end, 0) for d in kept]]
    result = Uncovered([], walls, [], [])
    live = [
        c
        for c in candidates
        if c.pattern is not LINES and (c.pattern is not BASE64 or _whole(c, data))
    ]
    fresh, text = [wall for wall in walls if wall.level == 0], bytearray(data)
    deepest = max([wall.level for wall in walls], default=-1)
    for level in range(1, ROUNDS + 1):
        if level > deepest + 1:
            break
        touched = _touched(live, fresh, text)
        if not touched and level > deepest:
            break
        for start, end, _ in fresh:
            text[start:end] = WALL * (end - start)
        fresh = [wall for wall in walls if wall.level == level] if level <= deepest else []
        if touched:
            walled = bytes(text)
            found = _search_again(engine, walled, live, touched)
            result.candidates.extend(found)
            result.changed.extend(c for some in touched.values() for c in some)
            more = resolve(engine.near(walled, found))
            result.more.extend(more)
            new = [Wall(d.candidate.start, d.candidate.end, level) for d in more]
            walls += new
            fresh = sorted([*fresh, *new])
            deepest = max(deepest, level if new else 0)
    return result


def _whole(candidate: Candidate, data: bytes) -> bool:
    """A run of base64 that is one text."""
    first, last = candidate.first, candidate.last
    return last - first <= 2 * SEGMENT and not is_run(
        data[max(0, first - 1) : first] + data[last : last + 1]
    )


def _touched(
    live: list[Candidate], walls: list[Wall], text: bytearray
) -> dict[str, list[Candidate]]:
    """By pattern, what one of ``walls``, not in ``text`` yet, may change."""
    touched: dict[str, list[Candidate]] = {}
    if not walls:
        return touched
    ends, size = [wall.end for wall in walls], len(walls)
    for candidate in live:
        first, last = candidate.first, candidate.last
        at = bisect_right(ends, first - BESIDE)
        if at < size and walls[at].start < last + BESIDE:
            at = bisect_right(ends, first, at)
            if _changes(candidate, walls[at] if at < size else None, text):
                touched.setdefault(candidate.pattern.name, []).append(candidate)
    return touched


def _changes(candidate: Candidate, wall: Wall | None, text: bytearray) -> bool:
    """Whether ``wall``, the first that ends after its beginning, or one beside it may change
    ``candidate``.
    """
    first, last = candidate.first, candidate.last
    if wall is None or wall.start >= last:
        refused = candidate.verdict is False and not candidate.pattern.loose
        return refused and touches(text, candidate.start, candidate.end, candidate.pattern.joints)
    # What is left is before the wall, and mostly too short to be a match.
    return last > wall.end or wall.start - first >= least(candidate.pattern.regex)


def _search_again(
    engine: Matcher, text: bytes, live: list[Candidate], touched: dict[str, list[Candidate]]
) -> list[Candidate]:
    """What the patterns of ``touched`` match now in its places; ``live`` is brought up to date."""
    by_pattern: dict[str, list[Candidate]] = {name: [] for name in touched}
    for candidate in live:
        if candidate.pattern.name in touched:
            by_pattern[candidate.pattern.name].append(candidate)
    found: list[Candidate] = []
    gone: set[int] = set()
    for name, some in touched.items():
        search = _Search(engine, text, name, sorted(by_pattern[name], key=_first))
        for candidate in sorted(some, key=_first):
            search.over(candidate)
        gone |= search.gone
        found += search.found
    live[:] = [c for c in live if id(c) not in gone] + found
    return found


def _first(candidate: Candidate) -> int:
    return candidate.first


class _Search:
    """One pattern over the places of its ``old`` candidates that have changed.

    Goes on past a place until it is in step with the old matches again.
    """

    def __init__(self, engine: Matcher, text: bytes, name: str, old: list[Candidate]) -> None:
        self._engine, self._text, self._name, self._old = engine, text, name, old
        self._starts = [c.first for c in old]
        self._clear = self._done = 0
        """Nothing that is not found yet begins before the one; up to the other it is in step."""
        self.found: list[Candidate] = []
        self.gone: set[int] = set()

    def over(self, changed: Candidate) -> None:
        if changed.first < self._done:
            return
        at, self._done = max(changed.first, self._clear), changed.last
        while at < self._done:
            wall = self._text.find(WALL, at)
            reach = wall if wall >= 0 else len(self._text)
            if not self._up_to(at, reach):
                break
            walls = _WALLS.match(self._text, reach)
            self._clear = at = walls.end() if walls else reach
        begin, end = bisect_left(self._starts, changed.first), bisect_left(self._starts, self._done)
        self.gone.update(map(id, self._old[begin:end]))

    def _up_to(self, at: int, reach: int) -> bool:
        """Search a part without walls; False when it is in step before its end."""
        for spans in self._engine.matches(self._name, self._text, at, reach):
            first, last = spans[0]
            if first >= self._done:
                self._clear = first
                return False
            self._engine.take(self._name, self._text, spans, self.found)
            self._done = self._in_step(max(self._done, last))
        return True

    def _in_step(self, at: int) -> int:
        """The next place from ``at`` on that is in no old match."""
        index = bisect_left(self._starts, at) - 1
        while index >= 0 and self._old[index].last > at:
            at = self._old[index].last
            index = bisect_left(self._starts, at) - 1
        return at
