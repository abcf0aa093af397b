"""System calls → records: drains a cage's ring into its log, and stops a cage that fills it."""

from __future__ import annotations

import sys

import trio

from akiosd.daemon.append_ledger import Ledger
from akiosd.kernel import pump
from akiosd.kernel.fds import Fd
from akiosd.kernel.pump import Pump, SyscallEvent
from akiosd.kernel.seccomp import Compiled, name_of
from akiosd.values.ids import LogId
from akiosd.values.policy import Limits
from akiosd.values.records import Syscall, encode_entry

_AF_UNIX = (1).to_bytes(2, sys.byteorder)
_CUT = pump.CUT_PATH | pump.CUT_PATH2 | pump.CUT_ARGV | pump.CUT_SOCKADDR


class CallRecorder:
    """Owns the pump of one cage."""

    def __init__(self, ledger: Ledger, log: LogId, compiled: Compiled, limits: Limits) -> None:
        self._ledger = ledger
        self._log = log
        self._compiled = compiled
        self._limits = limits
        self._pump: Pump | None = None
        self._done = trio.Event()
        self.bytes = 0

    def start(self, listener: Fd) -> None:
        """Serve ``listener`` from now on; it belongs to the pump."""
        try:
            self._pump = Pump(listener.fileno(), self._compiled.pump_table, self._limits.events_per_second)
        except BaseException:
            listener.close()
            raise
        listener.take()

    @property
    def running(self) -> bool:
        return self._pump is not None and not self._pump.counters().ended

    @property
    def records(self) -> int:
        return self._pump.counters().records if self._pump is not None else 0

    @property
    def denials(self) -> int:
        return self._pump.counters().denials if self._pump is not None else 0

    async def run(self) -> bool:
        """Until the last record is in the log; False when ``audit_bytes`` was passed first (the rest still goes in)."""
        assert self._pump is not None
        full_at = self._limits.audit_bytes
        within = True
        try:
            async for batch in self._pump.batches():
                if not self._ledger.has_room:
                    await self._ledger.wait_room()
                entries = [encode_entry(_to_record(event)) for event in batch]
                self._ledger.append_many(self._log, entries)
                self.bytes += sum(map(len, entries))
                if within and full_at and self.bytes > full_at:
                    within = False
                    self._pump.stop()
        finally:
            self._done.set()
        return within

    async def finish(self) -> None:
        """Every process is dead: wait until the ring is empty."""
        if self._pump is None:
            return
        with trio.move_on_after(5) as patience:
            await self._done.wait()
        if patience.cancelled_caught:
            self._pump.stop()
            await self._done.wait()

    def close(self) -> None:
        if self._pump is not None:
            self._pump.close()


def _to_record(event: SyscallEvent) -> Syscall:
    # Arguments tell something only where no content was read: the rest are addresses.
    bare = event.path is None and event.argv is None and event.sockaddr is None
    return Syscall(
        ts=event.time_ns, name=name_of(event.nr), nr=event.nr, pid=event.pid,
        verdict="denied" if event.err else "attempt", errno=event.err,
        args=event.args if bare else (), path=event.path, path2=event.path2,
        argv=event.argv or (), address=_trimmed(event.sockaddr), count=event.count, truncated=bool(event.flags & _CUT),
    )  # fmt: skip


def _trimmed(address: bytes | None) -> bytes | None:
    """A path in a unix address ends at its first NUL; what the caller's buffer held behind it says nothing."""
    if address is None or address[:2] != _AF_UNIX or address[2:3] == b"\0":
        return address
    return address[:2] + address[2:].split(b"\0", 1)[0]
