"""Reads the host's clocks into its log, and what the log says about cages: how old they are, how
long their logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.ledger.append import Ledger
from akiosd.ledger.host_word import CageWord, note_entry
from akiosd.store.ages import Ages, Reading
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import CageDestroyed, CageEnd, ClockRead, decode_entry

_log = get_log("clocks")
_AT_ONCE = 4096
_KINDS = (b"cage_end", b"cage_destroyed", b"clock_read", b"cage_packed", b"roots")


def read_clocks() -> Reading:
    """A reading of the host's clocks now."""
    boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    return Reading(boot, time.clock_gettime_ns(time.CLOCK_BOOTTIME), time.time_ns())


class LogAges:
    """Reads the host log once from its start, then only what is new; every question writes a
    reading of the clocks.
    """

    def __init__(self, ledger: Ledger, read: Callable[[], Reading] = read_clocks) -> None:
        self._ledger, self._read = ledger, read
        self._ages = Ages()
        self._words: dict[str, CageWord] = {}
        self._next = 0
        self._one_at_a_time = trio.Lock()

    async def now(self) -> Ages:
        """The ages as of a reading that is durable in the host log on return."""
        async with self._one_at_a_time:
            await self._catch_up()
            reading = self._read()
            jump = self._ages.clock.jump_of(reading)
            if jump:
                _log.warning(
                    "the clock jumped: nothing is destroyed by age for a day",
                    seconds=jump // 10**9,
                )
            record = ClockRead(
                ts=reading.wall_ns, boot=reading.boot, boottime_ns=reading.boottime_ns, jump_ns=jump
            )
            await self._ledger.commit(HOST_LOG, record)
            await self._catch_up()
            return self._ages

    def word_of(self, cage: str) -> CageWord:
        """What the host log listed of a cage's log, as far as it was read: up to the last reading
        of the clocks.
        """
        return self._words.get(cage, CageWord())

    async def _catch_up(self) -> None:
        if not self._next:
            self._next = self._ledger.first_index(HOST_LOG)
            self._ages.is_cut = self._next > 0
        self._next = max(self._next, self._ledger.first_index(HOST_LOG))
        end = self._ledger.size(HOST_LOG)
        if self._next < end:
            await self._ledger.wait_durable(HOST_LOG, end - 1)
        while self._next < end:
            found = await self._ledger.read(HOST_LOG, self._next, min(self._next + _AT_ONCE, end))
            for index, entry in found:
                if any(kind in entry for kind in _KINDS):
                    self._note(index, entry)
            self._next = found[-1][0] + 1 if found else end
            await trio.lowlevel.checkpoint()

    def _note(self, index: int, entry: bytes) -> None:
        note_entry(self._words, index, entry)
        match decode_entry(entry):
            case CageEnd(cage=cage, ts=wall_ns):
                self._ages.ended(cage, wall_ns)
            case CageDestroyed(cage=cage):
                self._ages.gone(cage)
                self._words.pop(cage, None)
            case ClockRead(boot=boot, boottime_ns=boottime_ns, ts=wall_ns):
                self._ages.read(index, Reading(boot, boottime_ns, wall_ns))
