"""Records system calls: drains a cage's ring into its log, and stops a cage that fills its log."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from functools import partial

import trio

from akiosd.daemon.base.guarded import call_guarded, guarded
from akiosd.daemon.base.priority import Bulk
from akiosd.daemon.cages import left_behind
from akiosd.daemon.ledger.append import Ledger
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd
from akiosd.kernel.pump import MOST_ROWS, Pump, Ring
from akiosd.kernel.seccomp import Compiled
from akiosd.ledger.bundle import Batch
from akiosd.policy.compile.limits import HostPools, compile_bounds
from akiosd.values.ids import LogId
from akiosd.values.policy import Limits
from akiosd.values.records import Lost

_STALLED = "a file system did not answer when what stands in an agent's memory was to be read"
_PATIENCE_S = 5.0
_LOOK_S = 1.0


# A record's field ``address`` with a struct sockaddr (ip(7), ipv6(7)): not DNS's port, nor the
# web's at an address that stands for a name.  What else it may be, the reader of the log finds out.
_ADDRESS = re.compile(
    rb"\xa7address\xc4.(?:\x02\x00(?!\x00[\x00\x35]|(?:\x00\x50|\x01\xbb)\xc6[\x12\x13])..[^\x00]"
    rb"|\x0a\x00(?!\x00[\x00\x35])..)",
    re.DOTALL,
)


def count_dead_ends(data: bytes | memoryview) -> int:
    """How many records of connections in ``data`` are worth a look; too many is no harm."""
    return len(_ADDRESS.findall(data))


class CallRecorder:
    """Owns the pump of one cage of the user ``caller``."""

    def __init__(
        self,
        ledger: Ledger,
        log: LogId,
        compiled: Compiled,
        limits: Limits,
        bulk: Bulk,
        caller: int,
        left: Sequence[Fd] = (),
    ) -> None:
        """``bulk`` measures how much this cage records; ``caller`` is the uid of its user; ``left``
        are the :meth:`descriptors` of the akiosd before this one, owned from now on: then nothing
        may have been appended to the log since it was opened again.

        Raises KernelError when there is no memory for a ring, or what is left is damaged.
        """
        self._ledger = ledger
        self._log = log
        self._compiled = compiled
        self._limits = limits
        self._bulk = bulk
        self._caller = caller
        self._ring = Ring(left=left)
        self._descriptors = self._ring.descriptors()
        self._size_left = ledger.recovered_size(log) if left else None
        self._appended = trio.Event()
        self._settled = trio.Event()
        self._pump: Pump | None = None
        self._counted = (0, 0)
        self._done = trio.Event()
        self.on_progress: Callable[[], None] = lambda: None
        """Called after each append, with the numbers below brought up to date."""
        self.on_resumed: Callable[[int], None] = lambda replayed: None
        """Called once what an earlier akiosd had read and not written is in the log, with how many
        records that were.
        """
        self.bytes = 0
        self.dead_ends = 0
        """Connections to where no name leads, as far as the log shows at a glance."""

    def start(
        self, listener: Fd, leaf: CageCgroup | None, pools: HostPools, deferred: int = -1
    ) -> None:
        """Serve ``listener`` from now on; it belongs to the pump, also when this fails.  ``leaf``
        holds the cage's processes, as far as there are groups; ``deferred`` is a pipe for calls
        that somebody else answers.
        """
        try:
            rate, bounds = self._limits.events_per_second, compile_bounds(self._limits, pools)
            with leaf.open_v2() if leaf is not None else nullcontext() as group:
                self._pump = Pump(
                    listener.fileno(),
                    self._compiled.pump_table,
                    rate,
                    self._ring,
                    bounds=bounds,
                    group=group.fileno() if group is not None else -1,
                    deferred=deferred,
                )
        except BaseException:
            listener.close()
            raise
        listener.take()

    def descriptors(self) -> Sequence[int]:
        """What another akiosd needs of the ring; owned here, until :meth:`close`."""
        return self._descriptors

    @property
    def running(self) -> bool:
        """Whether the pump serves the listener."""
        return self._pump is not None and not self._pump.counters().ended

    @property
    def records(self) -> int:
        """Records so far, before equal ones are folded."""
        return self._count()[0]

    @property
    def denials(self) -> int:
        """How many system calls were denied so far; 0 before the pump runs."""
        return self._count()[1]

    def _count(self) -> tuple[int, int]:
        """Records and denials.  Whoever measures cages one after the other may ask when this one
        has ended meanwhile.
        """
        if self._pump is None:
            return self._counted
        now = self._pump.counters()
        return now.records, now.denials

    async def run(self) -> bool:
        """Drain until the last record is in the log; False when ``audit_bytes`` was exceeded (the
        rest is still recorded).
        """
        assert self._pump is not None
        pump, within = self._pump, True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._settle, pump)
                replayed = 0
                for entries in pump.resume(self._size_left) if self._size_left is not None else ():
                    within = await self._take(pump, entries) and within
                    replayed += len(entries)
                self.on_resumed(replayed)
                async for entries in pump.entries():
                    if not self._ledger.has_room:
                        await self._ledger.wait_room()
                    while pump.rows == MOST_ROWS:
                        await self._settled.wait()
                    within = await self._take(pump, entries) and within
                nursery.cancel_scope.cancel()
        finally:
            self._done.set()
        return within

    async def _take(self, pump: Pump, entries: Batch) -> bool:
        """Put a batch into the log; False when that is too long now.  Where it will stand is
        written down first, so that a kill neither loses nor doubles it.
        """
        pump.note(self._ledger.size(self._log))
        self._ledger.append_many(self._log, entries)
        self._appended.set()
        self.bytes += len(entries.data) - 2 * entries.count
        self.dead_ends += count_dead_ends(entries.data)
        self.on_progress()
        full_at = self._limits.audit_bytes
        is_within = not full_at or self.bytes <= full_at
        if not is_within:
            pump.stop()
        await self._bulk.brought(len(entries))
        return is_within

    async def _settle(self, pump: Pump) -> None:
        """Give the room of records that are on disk back to the pump."""
        while True:
            await self._appended.wait()
            self._appended = trio.Event()
            size = self._ledger.size(self._log)
            await self._ledger.wait_durable(self._log, size - 1, hasten=False)
            pump.settle(size)
            self._settled.set()
            self._settled = trio.Event()

    async def finish(self) -> None:
        """Every process is dead: wait until the ring is empty."""
        if self._pump is None:
            return
        with trio.move_on_after(_PATIENCE_S):
            await self._done.wait()
        if not self._done.is_set():
            self._pump.stop()
            with trio.move_on_after(_PATIENCE_S):
                await self._done.wait()
        if not self._done.is_set():
            # Memory that it reads may be a file, on a file system of the caller's: nothing ends
            # that wait.
            self._ledger.append(self._log, Lost(ts=time.time_ns(), count=0, why=_STALLED))

    def close(self) -> None:
        """Stop the pump and free the ring."""
        if self._pump is not None:
            self._pump.stop()
        if self.running:
            left_behind.add(self._caller)
            # A fault of a system task would be one of the whole loop.
            close = partial(call_guarded, "free a ring", self._close)
            trio.lowlevel.spawn_system_task(
                guarded, "wait for a pump", close, self._close_when_ended
            )
        else:
            self._close()

    async def _close_when_ended(self) -> None:
        while self.running:
            await trio.sleep(_LOOK_S)
        left_behind.remove(self._caller)
        self._close()

    def _close(self) -> None:
        if self._pump is not None:
            self._counted = self._count()
            self._pump.close()
            self._pump = None
        self._ring.close()
