"""The pump seen from Python: one native thread serves a cage's seccomp listener, one Trio task
drains its ring.

A reader takes the entries that a log holds of the records, made natively: 20,000 a second from one
cage must not keep the daemon from the others.

A record shows what was *requested* and the answer given to it, never the result of the call; paths
are the bytes the target pointed at when it was stopped (seccomp_unotify(2) explains why nothing may
be decided on them).
"""

from __future__ import annotations

import errno
import functools
import itertools
import os
from collections.abc import AsyncIterator, Iterator, Sequence
from types import TracebackType
from typing import Any, NamedTuple

import trio

from akiosd.errors import KernelError
from akiosd.kernel import niceness
from akiosd.kernel._shim import ffi, lib
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.hashing import count_entries
from akiosd.kernel.seccomp import name_of
from akiosd.ledger.bundle import Batch
from akiosd.policy.compile.limits import Bounds
from akiosd.values.records import SCHEMA_VERSION
from akiosd.values.syscalls import COUNTED
from akiosd.values.units import KIB

RING_SIZE = 256 * KIB
MAX_BATCH = 256
MOST_ROWS: int = lib.AKIOS_ROWS
_DESCRIPTORS = 3
LINGER_NS = 2_000_000

_WHERE = "the record of system calls"
_BUFFER_SIZE = 64 * KIB
_ENTRIES_SIZE = _BUFFER_SIZE + MAX_BATCH * lib.AKIOS_ENTRY_ROOM
_NAMED = 1024
_NO_BOUNDS = Bounds()

_allocate = ffi.new_allocator(should_clear_after_alloc=False)

assert lib.AKIOS_ENTRY_VERSION == SCHEMA_VERSION
assert len(COUNTED) == lib.AKIOS_COUNTED


class PumpCounters(NamedTuple):
    """What a pump has done so far; ``bytes`` and ``records`` count before equal records are folded.

    ``error`` says why it ended: 0 when every task of the filter is dead, ECANCELED when it was
    stopped, else an errno.
    """

    records: int
    denials: int
    bytes: int
    gone: int
    waits_full: int
    waits_rate: int
    ended: bool
    error: int


@functools.cache
def _names() -> tuple[Any, Any, Any]:
    """struct akios_names, and what it points to."""
    names = [name_of(number) for number in range(_NAMED)]
    text = [b"" if name.startswith("#") else name.encode() for name in names]
    joined = ffi.from_buffer(b"".join(text))
    ends = ffi.new("uint32_t[]", [*itertools.accumulate(map(len, text))])
    return (
        ffi.new("struct akios_names *", (joined, ends, _NAMED, sum(map(len, text)))),
        joined,
        ends,
    )


def encode_entries(records: Any, size: int, out: Any, capacity: int) -> Batch:
    """``size`` bytes of records at ``records`` → their entries, by way of ``out``; both aligned
    native buffers.
    """
    written = _check(
        lib.akios_encode_entries(records, size, _names()[0], out, capacity), "a record is damaged"
    )
    data = bytes(ffi.buffer(out, written))
    return Batch(count_entries(data), data)


class Ring:
    """Where a pump writes and its reader reads.  ``size``: bytes, a power of two from 64 KiB.
    ``left``: the :meth:`descriptors` of the ring of an akiosd that is no more, which is gone on
    with; they are taken, also when this fails.  Raises KernelError.
    """

    def __init__(self, size: int = RING_SIZE, left: Sequence[Fd] = ()) -> None:
        ring = ffi.new("struct akios_ring **")
        if left:
            _check(
                _adopt(left, ring),
                "what the akiosd before this one left of a cage's records is damaged",
            )
        else:
            _check(lib.akios_ring_open(size, ring), "the buffer for records cannot be made")
        self._ring: Any = ring[0]
        # Not cleared: only what was written is ever read.
        self.buffer = _allocate("uint64_t[]", _BUFFER_SIZE // 8)
        self.entries = _allocate("uint8_t[]", _ENTRIES_SIZE)

    def get(self) -> Any:
        """The native ring, still owned here."""
        if self._ring is None:
            raise KernelError(
                "the record of this cage's system calls was begun twice",
                _WHERE,
            )
        return self._ring

    def descriptors(self) -> tuple[int, ...]:
        """What another akiosd needs to go on with it; they stay the ring's, and a later pump's."""
        fds = ffi.new("int[3]")
        lib.akios_ring_descriptors(self.get(), fds)
        return tuple(fds)

    def take(self) -> Any:
        """The native ring, owned by the caller from now on."""
        ring, self._ring = self.get(), None
        return ring

    def close(self) -> None:
        """Free the ring, unless it was taken."""
        ring, self._ring = self._ring, None
        if ring is not None:
            lib.akios_ring_close(ring)


class _Place(NamedTuple):
    """A row whose entries are given out again, and how many of them are in the log."""

    number: int
    without: int


class Pump:
    """A running pump thread and its ring.

    Takes ``listener_fd`` (closed when the pump ends; on failure it stays the caller's).
    ``table_bytes`` is what ``akiosd.policy.compile.seccomp.encode_pump_table`` makes.
    ``events_per_second`` 0 means no limit, ``burst`` how many may come at once after a pause (0:
    one second's worth).  ``ring``: one made before, taken too; else one of ``ring_size`` is made.
    ``bounds`` are kept for the processes of ``group``, a descriptor of the cage's v2 group that
    stays the caller's; without one, filters and locks are never found to be fewer than were
    granted.  ``deferred``: a non-blocking pipe for calls that its reader answers
    (:mod:`akiosd.kernel.answer_calls`), open as long as the pump.  KernelError.

    One task at a time reads ``entries()``.  While nobody reads, the ring fills and the cage's
    notified calls wait.
    """

    def __init__(
        self,
        listener_fd: int,
        table_bytes: bytes,
        events_per_second: int = 0,
        ring: Ring | None = None,
        *,
        ring_size: int = RING_SIZE,
        burst: int = 0,
        linger_ns: int = LINGER_NS,
        sync_wake_up: bool = True,
        bounds: Bounds = _NO_BOUNDS,
        group: int = -1,
        deferred: int = -1,
    ) -> None:
        self._ring: Any = None
        self._pump: Any = None
        self._linger_s = linger_ns / 1e9
        self._lingers = False
        self._given = 0
        self._place: _Place | None = None
        made = ring if ring is not None else Ring(ring_size)
        self._buffer = made.buffer
        self._bytes = ffi.cast("uint8_t *", self._buffer)
        self._entries = made.entries
        most = [getattr(bounds, name) for name in COUNTED]
        config = ffi.new(
            "struct akios_pump_config *",
            (events_per_second, burst, sync_wake_up, niceness.ordinary(), group, most, deferred),
        )
        pump = ffi.new("struct akios_pump **")
        result = lib.akios_pump_start(
            listener_fd, made.get(), table_bytes, len(table_bytes), config, pump
        )
        if result < 0:
            made.close()
        _check(result, "the thread that records system calls cannot be started")
        self._ring, self._pump = made.take(), pump[0]
        self._wake_fd: int = lib.akios_ring_wake_fd(self._ring)

    async def entries(self) -> AsyncIterator[Batch]:
        """The log entries of at most 256 records at a time, in order; ends when the pump has ended
        and gave out all.

        The pump ends by itself when the last task under the filter is dead, before Linux 6.11 when
        it is reaped. Nothing is lost when the reader is cancelled.

        A batch is done when the next one is asked for; or, when its place was written down
        (:meth:`note`), once it is in the log on disk (:meth:`settle`).
        """
        while (batch := await self._next()) is not None:
            yield batch

    def resume(self, size: int) -> Iterator[Batch]:
        """What the pump before this one gave out and its log of ``size`` entries does not have.

        Each batch is to be noted before the next is asked for, and all before :meth:`entries`.
        KernelError where the ring does not hold what its rows say.
        """
        self.settle(size)
        row = ffi.new("struct akios_row *")
        for number in range(self.rows):
            _check(lib.akios_ring_row(self._ring, number, row), "a row is missing")
            data = lib.akios_ring_read_row(self._ring, number, self._bytes, _BUFFER_SIZE, MAX_BATCH)
            _check(data, "what was read once cannot be read again")
            whole = encode_entries(self._bytes, data, self._entries, _ENTRIES_SIZE)
            if len(whole) != row.skip + row.count:
                _check(-errno.EBADMSG, "what was read once reads otherwise now")
            without = max(0, size - row.first)
            self._place = _Place(number, without)
            yield _drop_first(whole, row.skip + without)
            assert self._place is None

    def note(self, first: int) -> None:
        """Write down that the entries of the last batch will be those from ``first`` of the log:
        before they are appended.  At most :data:`MOST_ROWS` batches that are not settled.
        KernelError.
        """
        if self._place is not None:
            result = lib.akios_ring_move_row(
                self._ring, self._place.number, self._place.without, first
            )
            self._place = None
        else:
            result = lib.akios_ring_note(self._ring, first, self._given)
        _check(result, "the place of records in the log cannot be noted")

    def settle(self, size: int) -> None:
        """The log has ``size`` entries on disk: what is among them need not be kept in the ring."""
        if self._ring is not None:
            lib.akios_ring_settle(self._ring, size)

    @property
    def rows(self) -> int:
        """Noted batches that are not settled."""
        return int(lib.akios_ring_rows(self._ring)) if self._ring is not None else 0

    async def _next(self) -> Batch | None:
        await trio.lowlevel.checkpoint()
        while True:
            # Read before the drain: what the pump wrote before it ended is then in this drain.
            ended = self.counters().ended
            if self._lingers and not ended:
                await self._linger()
            if batch := self._drain():
                # Left-over records are taken at once, else the next ones get time to gather.
                self._lingers = len(batch) < MAX_BATCH
                return batch
            if ended:
                return None
            self._lingers = False
            if lib.akios_ring_sleep(self._ring, lib.AKIOS_ASLEEP):
                await self._wait_bell()

    async def _linger(self) -> None:
        """Wait a little for more records: being woken for each costs both sides more than the call
        itself.
        """
        self._lingers = False
        if self._linger_s and lib.akios_ring_sleep(self._ring, lib.AKIOS_LINGERING):
            with trio.move_on_after(self._linger_s):
                await self._wait_bell()

    async def _wait_bell(self) -> None:
        try:
            await trio.lowlevel.wait_readable(self._wake_fd)
        finally:
            if self._ring is not None:
                lib.akios_ring_wake(self._ring)

    def _drain(self) -> Batch:
        lib.akios_ring_free(self._ring)
        size = lib.akios_ring_drain(self._ring, self._bytes, _BUFFER_SIZE, MAX_BATCH)
        _check(size, "the buffer of records cannot be read")
        if not size:
            return Batch()
        batch = encode_entries(self._bytes, size, self._entries, _ENTRIES_SIZE)
        self._given = len(batch)
        return batch

    def counters(self) -> PumpCounters:
        """Raises KernelError after ``close``."""
        if self._ring is None:
            raise KernelError("this cage's system calls are not recorded any more", _WHERE)
        raw = ffi.new("struct akios_pump_counters *")
        lib.akios_ring_counters(self._ring, raw)
        numbers = (raw.records, raw.denials, raw.bytes, raw.gone, raw.waits_full, raw.waits_rate)
        return PumpCounters(*numbers, bool(raw.ended), raw.error)

    def stop(self) -> None:
        """Asks the thread to end and returns at once: it closes the listener, so notified calls get
        ENOSYS.

        ``entries`` still gives out what is in the ring.
        """
        if self._pump is not None:
            lib.akios_pump_stop(self._pump)

    def close(self) -> None:
        """Stops and frees; what was not drained is gone.  Never waits for the thread.

        No task may be in ``entries`` any more.
        """
        pump, self._pump = self._pump, None
        ring, self._ring = self._ring, None
        if ring is not None:
            lib.akios_pump_close(pump)
            lib.akios_ring_close(ring)

    def __enter__(self) -> Pump:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        value: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()


def _adopt(left: Sequence[Fd], ring: Any) -> int:
    if len(left) != _DESCRIPTORS:
        close_all(left)
        return -errno.EBADMSG
    result = int(lib.akios_ring_adopt(*(fd.fileno() for fd in left), ring))
    for fd in left:
        if result < 0:
            fd.close()
        else:
            fd.take()
    return result


def _drop_first(batch: Batch, number: int) -> Batch:
    """Without the first entries, each of which has its length before it (uint16)."""
    at = 0
    for _ in range(number):
        at += 2 + int.from_bytes(batch.data[at : at + 2], "big")
    return Batch(batch.count - number, batch.data[at:])


def _check(result: int, what: str) -> int:
    if result < 0:
        raise KernelError(f"{what}: {os.strerror(-result)}", where=_WHERE, errno=-result)
    return result
