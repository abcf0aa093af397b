"""Bounded memory of many events: a lane of a timeline, and a tally of names.

A log may hold millions of records with millions of different names.  A lane keeps at most a number
of groups; where there are more events than fit one by one, those near each other become one group,
and the window of time that makes a group is doubled until all fit.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import NamedTuple

_WINDOW_NS = 50_000_000
"""Events nearer to each other than this are one group from the beginning."""
MOST_NAMES = 8
_LONGEST_NAME = 300
"""Bytes of a name that are kept: an agent may give it 64 KiB."""


class Tally:
    """How often each name came; of more than ``most`` names only the first are told apart."""

    def __init__(self, most: int) -> None:
        self._most = most
        self.counts: dict[str, int] = {}
        self.others = 0

    def add(self, name: str, count: int = 1) -> None:
        """Count a name."""
        name = shorten(name)
        if name in self.counts:
            self.counts[name] += count
        elif len(self.counts) < self._most:
            self.counts[name] = count
        else:
            self.others += count

    def merge(self, other: Tally) -> None:
        """Add what another one counted."""
        for name, count in other.counts.items():
            self.add(name, count)
        self.others += other.others

    def ranked(self) -> list[tuple[str, int]]:
        """The most frequent first."""
        return sorted(self.counts.items(), key=lambda pair: (-pair[1], pair[0]))


def shorten(name: str) -> str:
    """``name``, cut where it is very long."""
    return name if len(name) <= _LONGEST_NAME else name[: _LONGEST_NAME - 1] + "…"


class Group:
    """Events of one lane that are shown together; money in micro-USD."""

    def __init__(self, ts: int) -> None:
        self.first = self.last = ts
        self.count = self.usd_micro = 0
        self.names = Tally(MOST_NAMES)

    def add(self, ts: int, name: str, count: int, usd_micro: int) -> None:
        """One more event."""
        self.first, self.last = min(self.first, ts), max(self.last, ts)
        self.count += count
        self.usd_micro += usd_micro
        self.names.add(name, count)

    def merge(self, other: Group) -> None:
        """Take in the events of another group."""
        self.first, self.last = min(self.first, other.first), max(self.last, other.last)
        self.count += other.count
        self.usd_micro += other.usd_micro
        self.names.merge(other.names)


class Lane:
    """Events of one sort, at most ``most`` groups of them."""

    def __init__(self, most: int) -> None:
        self._most, self._window = most, _WINDOW_NS
        self._groups: dict[int, Group] = {}
        self.count = self.usd_micro = 0

    def add(self, ts: int, name: str, count: int = 1, usd_micro: int = 0) -> None:
        """One event, ``count`` times."""
        self.count += count
        self.usd_micro += usd_micro
        slot = ts // self._window
        group = self._groups.get(slot)
        if group is None:
            group = self._groups[slot] = Group(ts)
        group.add(ts, name, count, usd_micro)
        while len(self._groups) > self._most:
            self._coarsen()

    def _coarsen(self) -> None:
        self._window *= 2
        merged: dict[int, Group] = {}
        for slot, group in self._groups.items():
            found = merged.setdefault(slot // 2, group)
            if found is not group:
                found.merge(group)
        self._groups = merged

    @property
    def groups(self) -> list[Group]:
        """In the order of time."""
        return sorted(self._groups.values(), key=lambda group: group.first)


class Row(NamedTuple):
    """A group with the name of its lane."""

    lane: str
    group: Group


def in_order(lanes: Iterable[tuple[str, Lane]]) -> list[Row]:
    """The groups of all lanes in the order of time."""
    rows = [Row(name, group) for name, lane in lanes for group in lane.groups]
    return sorted(rows, key=lambda row: row.group.first)
