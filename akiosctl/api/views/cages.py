"""Cages as the page lists them: all that akiosd tells, asked at most once a second for everybody
who looks; filtered, and in pages.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Iterable, Sequence

import msgspec

from akiosctl.api.view_forms import CageCounts, CageRow, CagesView, Totals, Use
from akiosctl.cages import list_cages
from akiosctl.client import Client
from akiosctl.help.schemas import Cage
from akiosctl.render import quote_command
from akiosctl.verbs import ps
from akiosd.wire.messages import CageInfo, CageUse, Measure, Measured

FRESH_SECONDS = 0.9


class Seen(msgspec.Struct, frozen=True):
    """``cages`` are the newest first."""

    at_ns: int
    cages: tuple[CageInfo, ...]
    uses: dict[str, CageUse]


class Watch:
    """What was seen last; threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._seen: Seen | None = None
        self._until = 0.0

    def look(self, connect: Callable[[], Client], after_ns: int = 0) -> Seen:
        """Not older than ``FRESH_SECONDS``, and not of before ``after_ns``; ``connect`` is called
        where akiosd has to be asked.
        """
        with self._lock:
            seen, is_old = self._seen, time.monotonic() > self._until
            if seen is None or is_old or seen.at_ns < after_ns:
                with connect() as client:
                    self._seen = seen = look(client, time.time_ns())
                self._until = time.monotonic() + FRESH_SECONDS
            return seen


def look(client: Client, now_ns: int) -> Seen:
    """Ask akiosd for all cages that may be seen, and what those that run use."""
    cages = list_cages(client, everyone=True)
    uses: dict[str, CageUse] = {}
    if any(not cage.ended_ns for cage in cages):
        after, more = "", True
        while more:
            reply, _ = client.call(Measure(everyone=True, after=after), Measured)
            uses |= {use.cage: use for use in reply.cages}
            more = reply.more and bool(reply.cages)
            after = reply.cages[-1].cage if reply.cages else after
    return Seen(now_ns, tuple(reversed(cages)), uses)


def show_page(seen: Seen, state: str, words: str, before: int, limit: int) -> CagesView:
    """One page: cages that are ``state`` and have all ``words``, older than the one of the order
    ``before``, 0 for the newest.
    """
    wanted = [word.casefold() for word in words.split()]
    matching = [cage for cage in seen.cages if _is(cage, state) and _has(cage, wanted)]
    rest = [cage for cage in matching if not before or cage.order < before]
    page = rest[:limit]
    return CagesView(
        at_ns=seen.at_ns,
        counts=count(seen.cages),
        totals=add(seen.uses.values()),
        matched=len(matching),
        cages=[CageRow(row_of(cage), use_of(seen.uses.get(cage.cage))) for cage in page],
        next=str(page[-1].order) if len(rest) > limit else None,
    )


def count(cages: Sequence[CageInfo]) -> CageCounts:
    """How many there are of each kind."""
    kinds = ("running", "standing", "ended", "waiting")
    return CageCounts(**{kind: sum(_is(cage, kind) for cage in cages) for kind in kinds})


def add(uses: Iterable[CageUse]) -> Totals:
    """Of all that run."""
    total = Totals(0, 0, 0)
    for use in uses:
        total.usd_micro += use.usage.usd_micro
        total.denials += use.usage.denials + use.usage.refusals
        total.redactions += use.redactions
    return total


def _is(cage: CageInfo, state: str) -> bool:
    ended = cage.ended_ns != 0
    kinds = {
        "running": not ended,
        "standing": cage.standing and not ended,
        "ended": ended,
        "waiting": ended and cage.changes,
    }
    return kinds.get(state, True)


def _has(cage: CageInfo, words: Sequence[str]) -> bool:
    if not words:
        return True
    text = " ".join((cage.cage, cage.name, cage.user, cage.state, quote_command(cage.argv)))
    return all(word in text.casefold() for word in words)


def row_of(cage: CageInfo) -> Cage:
    """As ``ps --json`` has it."""
    return msgspec.convert(ps.to_json(cage), Cage)


def use_of(use: CageUse | None) -> Use | None:
    """The numbers of a cage that runs."""
    if use is None:
        return None
    whole = use.usage
    return Use(
        memory=use.memory,
        memory_limit=whole.memory_limit,
        cpu_ns=whole.user_ns + whole.system_ns,
        cpu_percent=use.cpu_percent,
        pids=use.pids,
        pids_limit=whole.pids_limit,
        disk=whole.disk_used,
        disk_limit=whole.disk_limit,
        wall_ns=whole.wall_ns,
        budget_usd_micro=use.budget_usd_micro,
        reserved_usd_micro=use.reserved_usd_micro,
        tokens=whole.tokens,
        denials=whole.denials + whole.refusals,
        redactions=use.redactions,
    )
