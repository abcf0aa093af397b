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
from akiosd.values.records import NetDenied, Record, Redaction, SpendWarning, encode_entry


class Book:
    """``count`` is called with the bytes of each append, which ``audit_bytes`` bounds."""

    def __init__(
        self, ledger: Ledger, log: LogId, limits: Limits, count: Callable[[int], None], bulk: Bulk
    ) -> None:
        self._ledger, self._log, self._count = ledger, log, count
        self._bulk = bulk
        self.refusals = 0
        """Records of denials so far."""
        self.redactions = 0
        """Pieces of personal data that did not leave, so far."""
        rate = limits.events_per_second
        # Those of one second may come at once.
        self._bucket = TokenBucket(rate, rate, trio.current_time()) if rate else None

    @property
    def next_index(self) -> int:
        """Where in the log the next entry will stand."""
        return self._ledger.size(self._log)

    @property
    def durable(self) -> int:
        """How many entries are on disk."""
        return self._ledger.durable_size(self._log)

    async def wait_turn(self, records: int) -> None:
        """Wait until so many records may be written, and there is room for them."""
        if self._bucket is not None:
            seconds = self._bucket.spend(trio.current_time(), records)
            if seconds:
                await trio.sleep(seconds)
        await self._bulk.brought(records)
        if not self._ledger.has_room:
            await self._ledger.wait_room()

    async def append(self, records: Sequence[Record]) -> int:
        """Append when its turn has come and there is room; returns the index of the last record."""
        await self.wait_turn(len(records))
        self.write(records, [encode_entry(record) for record in records])
        return self.next_index - 1

    def write(self, records: Sequence[Record], entries: Sequence[bytes]) -> None:
        """Append ``records``, of which ``entries`` are the bytes, after :meth:`wait_turn`."""
        self.refusals += sum(isinstance(record, NetDenied | SpendWarning) for record in records)
        for record in records:
            if isinstance(record, Redaction):
                self.redactions += sum(finding.count for finding in record.findings)
        self.write_again(entries)
        self._count(sum(map(len, entries)))

    def write_again(self, entries: Sequence[bytes]) -> None:
        """Append what was counted already, by an earlier akiosd."""
        if entries:
            self._ledger.append_many(self._log, entries)

    async def read(self, index: int) -> bytes | None:
        """The entry at ``index``; None where there is none yet."""
        found = await self._ledger.read(self._log, index, index + 1)
        return found[0][1] if found else None

    async def wait_durable(self, index: int) -> None:
        """Wait until the entry at ``index`` is on disk."""
        # One denial is answered as soon as it is on disk, a hundred a second with what is written
        # every 10 ms anyway.
        await self._ledger.wait_durable(self._log, index, hasten=not self._bulk.is_busy)
