"""A cage's log as its gateway may write to it: at the rate that the policy allows, counted like
records of system calls.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import trio

from akiosd.daemon.base.priority import Bulk
from akiosd.daemon.ledger.append import Ledger
from akiosd.meter.token_bucket import TokenBucket
from akiosd.values.ids import LogId
from akiosd.values.policy import Limits
from akiosd.values.records import NetDenied, Record, SpendWarning, encode_entry


class Book:
    """``count`` is called with the bytes of each append, which ``audit_bytes`` bounds."""

    def __init__(
        self, ledger: Ledger, log: LogId, limits: Limits, count: Callable[[int], None], bulk: Bulk
    ) -> None:
        self._ledger, self._log, self._count = ledger, log, count
        self._bulk = bulk
        self.refusals = 0
        """Records of denials so far."""
        rate = limits.events_per_second
        # Those of one second may come at once.
        self._bucket = TokenBucket(rate, rate, trio.current_time()) if rate else None

    async def append(self, records: Sequence[Record]) -> int:
        """Append when its turn has come and there is room; returns the index of the last record."""
        if self._bucket is not None:
            seconds = self._bucket.spend(trio.current_time(), len(records))
            if seconds:
                await trio.sleep(seconds)
        await self._bulk.brought(len(records))
        if not self._ledger.has_room:
            await self._ledger.wait_room()
        self.refusals += sum(isinstance(record, NetDenied | SpendWarning) for record in records)
        entries = [encode_entry(record) for record in records]
        first = self._ledger.append_many(self._log, entries)
        self._count(sum(map(len, entries)))
        return first + len(entries) - 1

    async def wait_durable(self, index: int) -> None:
        """Wait until the entry at ``index`` is on disk."""
        # One denial is answered as soon as it is on disk, a hundred a second with what is written
        # every 10 ms anyway.
        await self._ledger.wait_durable(self._log, index, hasten=not self._bulk.is_busy)
