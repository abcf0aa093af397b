"""The commit side of the ledger: writes one WAL frame after another, and copes with a full disk.

A commit starts as soon as somebody waits for a record and no commit is in flight. Records that
nobody waits for are committed ``GATHER_S`` after the last commit began; otherwise a flood of
telemetry would always have a sync in flight in front of the records that a start or an end waits
for. A failed fsync is final.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Sequence
from functools import partial
from typing import TypeVar

import trio

from akiosd.daemon.ledger.state import LedgerState
from akiosd.errors import LedgerError, LedgerStateError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.frame import Entries, Head, Mark
from akiosd.ledger.sequencer import Commit
from akiosd.store.durable import Disk
from akiosd.store.recover import Opened, published_host
from akiosd.store.wal import Wal
from akiosd.values.ids import HOST_LOG, LogId

T = TypeVar("T")

WAITING_BYTES = (
    8 << 20
)  # durable, not yet published; beyond it publication does not wait for its time
RESERVE_BYTES = 8 << 20
RESERVE = "ledger/reserve"
RETRY_S = 1.0
SWEEP_S = 1.0
GATHER_S = 0.010
GATHER_BYTES = 1 << 20  # more than this is written at once


class Committer:
    """Owns the WAL."""

    def __init__(self, state: LedgerState, disk: Disk, opened: Opened) -> None:
        self._state = state
        self._sequencer = state.sequencer
        self._disk, self._wal, self._outgrown = disk, opened.wal, opened.outgrown
        self._frame_ends = deque(opened.frame_ends)
        self._registered_seq = opened.wal.seq - 1
        self._tidying = trio.Lock()
        state.outgrown.set()
        self._began = -1e9
        self._limiter = trio.CapacityLimiter(4)
        self._wal_limiter = trio.CapacityLimiter(
            1
        )  # of its own: nothing else stands before a commit

    def append(self, log: LogId, entries: Sequence[bytes] | Batch) -> int:
        """Queue entries and wake the commit loop; returns the index of the first."""
        self._state.check()
        first = self._sequencer.append(log, entries)
        self._state.to_commit.set()
        return first

    def append_quietly(self, log: LogId, entries: Sequence[bytes]) -> None:
        """Queue entries without starting a commit: they go with the next one."""
        self._state.check()
        self._sequencer.append(log, entries)

    def append_own(self, log: LogId, entries: Sequence[bytes]) -> int:
        """Queue entries of the ledger itself, also in a log that is closed; returns the index of
        the first.
        """
        self._state.check()
        first = self._sequencer.append_own(log, entries)
        self._state.to_commit.set()
        return first

    async def in_thread(self, function: Callable[..., T], *args: object) -> T:
        """Call a blocking ``function`` in a worker thread."""
        return await trio.to_thread.run_sync(partial(function, *args), limiter=self._limiter)

    async def run(self) -> None:
        """Commit for ever.  Raises LedgerError when the disk fails."""
        await self.tidy()
        while True:
            await self._state.to_commit.wait()
            if not self._sequencer.has_commit():
                self._state.to_commit = trio.Event()
                continue
            if self._sequencer.queued_bytes < GATHER_BYTES:
                with trio.move_on_at(self._began + GATHER_S):
                    await self._state.urgent.wait()
            self._began = trio.current_time()
            self._state.urgent = trio.Event()
            commit = self._sequencer.take_commit()
            assert commit is not None, "one commit at a time, and there is something in it"
            seq = await self._write_frame(commit)
            self._register(seq, commit)
            if not self._wal.has_spare:
                self._state.untidy.set()

    async def keep_room(self) -> None:
        """For ever: recycle WAL segments when there is reason to, so that neither commits nor
        publications wait for it.
        """
        while True:
            await self._state.untidy.wait()
            self._state.untidy = trio.Event()
            await self.tidy()

    async def keep_clear(self) -> None:
        """For ever: overwrite files that logs outgrew, at most once a second."""
        while True:
            await self._state.outgrown.wait()
            self._state.outgrown = trio.Event()
            await self.sweep()
            await trio.sleep(SWEEP_S)

    async def sweep(self) -> None:
        """Return once no file that was outgrown before this call is left on disk."""
        await self.in_thread_unless_full(self._outgrown.sweep)

    async def _write_frame(self, commit: Commit) -> int:
        wal: Wal = self._wal
        while True:
            self._state.writing_since = trio.current_time()
            try:
                return await trio.to_thread.run_sync(
                    wal.write, commit.body, limiter=self._wal_limiter
                )
            except OSError as error:
                self._state.no_room(error)
            finally:
                self._state.writing_since = None
            if not await self.in_thread(self.drop_reserve):
                if self._state.stopping:
                    raise LedgerError(
                        "there is no room on the disk for the last records of the logs",
                        "ledger/wal in state_dir",
                        "make room where state_dir lies, and start akiosd",
                    )
                await trio.sleep(RETRY_S)

    def _register(self, seq: int, commit: Commit) -> None:
        announced = self._sequencer.committed()
        self._registered_seq = seq
        self._frame_ends.append((seq, {mark.log: mark.end for mark in announced}))
        self._state.advance()
        for mark in announced if self._state.subscribers else ():
            entries = mark.batch.entries()
            for callback in self._state.subscribers:
                callback(mark.log, mark.first, entries)
        if self._sequencer.waiting_bytes > WAITING_BYTES or any(
            self._is_first_unpublished(mark) for mark in announced
        ):
            self._state.to_publish.set()

    def _is_first_unpublished(self, mark: Entries) -> bool:
        return self._sequencer.published_size(mark.log) == mark.first

    def hasten(self) -> None:
        """Write now whatever was appended."""
        self._state.to_commit.set()
        self._state.urgent.set()

    async def wait_durable(self, log: LogId, index: int, *, hasten: bool = True) -> None:
        """See :meth:`akiosd.daemon.ledger.append.Ledger.wait_durable`."""
        while True:
            self._state.check()
            state = self._sequencer.logs.get(log)
            if state is None or state.durable > index:
                return
            if index >= state.size:
                raise LedgerStateError(f"record {index} was never written", where=log)
            self._state.to_commit.set()
            if hasten:
                self._state.urgent.set()
            await self._state.progress.wait()

    async def commit_marks(self, marks: Sequence[Mark]) -> None:
        """Put marks into the next frame and return once it is durable."""
        self._sequencer.mark(*marks)
        self._state.to_commit.set()
        while self._sequencer.is_pending(marks):
            self._state.check()
            self._state.urgent.set()
            await self._state.progress.wait()
        self._state.check()

    def commit_heads(self, heads: list[Head]) -> None:
        """The same as :meth:`commit_marks`, called from a worker thread."""
        trio.from_thread.run(self.commit_marks, heads)

    def release_frames(self) -> None:
        """After a publication: the next frame says which older frames are still needed."""
        while self._frame_ends and self._is_published(self._frame_ends[0][1]):
            self._frame_ends.popleft()
        needed = self._frame_ends[0][0] if self._frame_ends else self._registered_seq + 1
        self._wal.keep_from(needed, published_host(self._sequencer))

    def _is_published(self, ends: dict[LogId, int]) -> bool:
        for log, end in ends.items():
            published = self._sequencer.published_size(log)
            if published is not None and published < end:
                return False
        return True

    async def overwrite_frames(self) -> bool:
        """Overwrite the WAL as far as it is published; False when something old is still needed."""
        last = self._registered_seq
        self.release_frames()
        self._wal.leave_segment()
        edge = self._sequencer.logs[HOST_LOG].published
        await self.commit_marks([Head(HOST_LOG, edge.size, edge.root(), published=True)])
        await self.tidy()
        return self._wal.oldest_seq > last

    # Room

    async def tidy(self) -> None:
        """Recycle WAL segments, keep a spare one and the reserve; one call at a time."""
        async with self._tidying:
            await self.in_thread_unless_full(self._keep_room)

    def _keep_room(self) -> None:
        """Blocking: give WAL segments back, keep a spare one and the reserve."""
        self._wal.release()
        self._wal.make_spare()
        if self._disk.size(RESERVE) != RESERVE_BYTES:
            self._disk.write(RESERVE, bytes(RESERVE_BYTES), 0o600)
            self._disk.sync([RESERVE], [])

    def drop_reserve(self) -> bool:
        """Blocking: make a little room; False if that was done before."""
        if self._disk.size(RESERVE) is None:
            return False
        try:
            self._disk.remove(RESERVE)
        except FileNotFoundError:
            return False
        return True

    async def in_thread_unless_full(self, function: Callable[..., None], *args: object) -> None:
        """Call a function that needs room on disk but that nobody waits for; whether it found room
        becomes the state.
        """
        try:
            await self.in_thread(function, *args)
        except OSError as error:
            self._state.no_room(error)
            return
        self._state.has_room()
