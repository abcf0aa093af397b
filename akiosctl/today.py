"""What cages cost and were denied since a point in time, read from their logs.

A log that began earlier is entered in its middle: its records are about in the order of time, so
the place is found by halving.  At most so many records are read in all; then the sums say that they
are not everything.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

from akiosctl.client import DaemonError
from akiosctl.denials import collect
from akiosctl.entry_time import time_of
from akiosctl.records_text import read_record
from akiosd.gateway.net.remedies import UNCOUNTED
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.records import LlmCall
from akiosd.wire.messages import LedgerInfo, LedgerReply, LogEntries, ReadLog

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.wire.messages import CageInfo

MOST_RECORDS = 200_000


class OfCage(NamedTuple):
    """One cage's part; money in micro-USD."""

    cage: CageInfo
    usd_micro: int
    calls: int
    denied: int


class Today(NamedTuple):
    """``whole``: every record was read; else there may be more than these sums."""

    since_ns: int
    cages: tuple[OfCage, ...]
    whole: bool

    @property
    def usd_micro(self) -> int:
        """Of all."""
        return sum(one.usd_micro for one in self.cages)

    @property
    def calls(self) -> int:
        """Of all."""
        return sum(one.calls for one in self.cages)

    @property
    def denied(self) -> int:
        """Of all."""
        return sum(one.denied for one in self.cages)


class _Bound:
    """How many records may still be read, and whether that was enough."""

    def __init__(self, left: int) -> None:
        self.left, self.whole = left, True


def read_today(
    client: Client, cages: Sequence[CageInfo], since_ns: int, most: int = MOST_RECORDS
) -> Today:
    """Of those of ``cages`` that ran since then, the newest first."""
    bound = _Bound(most)
    found = []
    for cage in reversed(cages):
        if cage.ended_ns and cage.ended_ns < since_ns:
            continue
        try:
            found.append(_read(client, cage, since_ns, bound))
        except DaemonError:
            # Its log is destroyed; what is remembered of the cage says at most too much.
            found.append(OfCage(cage, cage.usd_micro, cage.calls, 0))
            bound.whole = False
    return Today(since_ns, tuple(found), bound.whole)


def _read(client: Client, cage: CageInfo, since_ns: int, bound: _Bound) -> OfCage:
    start = 0 if cage.started_ns >= since_ns else _find(client, cage.cage, since_ns)
    spent = [0, 0]
    groups = collect(_counted(_entries(client, cage.cage, start, bound), since_ns, spent))
    denied = sum(
        sum(group.counts.values()) + group.others for group in groups if group.rule != UNCOUNTED
    )
    return OfCage(cage, spent[0], spent[1], denied)


def _counted(entries: Iterator[bytes], since_ns: int, spent: list[int]) -> Iterator[bytes]:
    for entry in entries:
        if time_of(entry) < since_ns:
            continue
        if b"llm_call" in entry:
            record = read_record(entry)
            if isinstance(record, LlmCall):
                spent[0] += record.usd_micro
                spent[1] += 1
        yield entry


def _entries(client: Client, cage: str, start: int, bound: _Bound) -> Iterator[bytes]:
    while True:
        reply, _ = client.call(ReadLog(cage=cage, start=start, stop=1 << 62), LogEntries)
        if not reply.entries:
            return
        if len(reply.entries) > bound.left:
            bound.whole = False
            return
        bound.left -= len(reply.entries)
        yield from reply.entries
        start = reply.start + len(reply.entries)


def _find(client: Client, cage: str, since_ns: int) -> int:
    """The first record that is not older."""
    reply, fds = client.call(LedgerInfo(cage=cage), LedgerReply)
    close_fds(fds)
    first, behind = 0, reply.size
    while first < behind:
        middle = (first + behind) // 2
        entries, _ = client.call(ReadLog(cage=cage, start=middle, stop=middle + 1), LogEntries)
        if entries.entries and time_of(entries.entries[0]) < since_ns:
            first = middle + 1
        else:
            behind = middle
    return first
