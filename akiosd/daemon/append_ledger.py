"""The ledger as a Trio service: group commit, publication, and what to do when the disk is full.

The sequencer (``akiosd/ledger/sequencer.py``) says what to write; worker threads write it.  A failed fsync fails the
service, and with it the daemon: recovery is the start-up path.
"""

from __future__ import annotations

import errno
from collections import deque
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar

import trio

from akiosd.errors import LedgerError
from akiosd.ledger.frame import Entries, Forget, Head, Mark
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import MAX_NOTE_BYTES, Vkey, open_checkpoint
from akiosd.ledger.sequencer import Commit, Publication, prepare
from akiosd.store.durable import Directory, Disk
from akiosd.store.lock import StateLock
from akiosd.store.log_dir import (
    directory,
    discard_unpublished,
    drop_outgrown,
    load_edge,
    publish_all,
    read_entries,
)
from akiosd.store.recover import Opened, open_ledger
from akiosd.store.wal import SEGMENT_BYTES
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import CageDestroyed, KeyEpoch, LogOpen, Record, Recovered, Roots, encode_entry

T = TypeVar("T")
Subscriber = Callable[[LogId, int, list[bytes]], None]

QUEUE_BYTES = 8 << 20  # not yet in the WAL; beyond it producers wait
WAITING_BYTES = 64 << 20  # in the WAL, not yet published; beyond it publication does not wait for its time
RESERVE_BYTES = 8 << 20
RESERVE = "ledger/reserve"
_ROOTS_IN_A_RECORD = 800
_RETRY_S = 1.0
_SALT_BYTES = 32


class Ledger:
    """All logs of a host.  Every method is to be called from the Trio thread.

    ``on_full`` and ``on_room`` may be set; they are called (not awaited) when the disk has no room for records, so
    that cages can be frozen, and when it has again.
    """

    publish_every_s = 1.0
    publish_running_every_s = 10.0

    def __init__(
        self,
        disk: Disk,
        opened: Opened,
        now_ns: Callable[[], int],
        random: Callable[[int], bytes],
        hasher: Hasher = PYTHON,
        close_disk: Callable[[], None] = lambda: None,
    ) -> None:
        self.on_full: Callable[[], None] | None = None
        self.on_room: Callable[[], None] | None = None
        self.full = False
        self.interrupted = opened.interrupted
        self.forgotten = opened.forgotten
        self._disk, self._key, self._wal, self._sequencer = disk, opened.key, opened.wal, opened.sequencer
        self._now_ns, self._random, self._hasher, self._close_disk = now_ns, random, hasher, close_disk
        self._frame_ends = deque(opened.frame_ends)
        self._registered_seq = self._wal.seq - 1
        self._subscribers: list[Subscriber] = []
        self._failure: LedgerError | None = None
        self._stopping = False
        self._stopped = trio.Event()
        self._running = False
        self._data = trio.Event()  # there is something to commit
        self._progress = trio.Event()  # set, and replaced, after each commit and each publication
        self._nudge = trio.Event()  # the publisher should look again at what is due
        self._demanded: set[LogId] = set()
        self._published_at: dict[LogId, float] = {}
        self._last_cycle = -1e9
        self._dirty: set[LogId] = set()  # a publication failed half-way and left files
        self._limiter = trio.CapacityLimiter(4)
        self._note_start(opened)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        now_ns: Callable[[], int],
        random: Callable[[int], bytes],
        *,
        hasher: Hasher = PYTHON,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Ledger:
        """Lock the state directory and recover.  Blocking.  Raises ``LedgerError``, changing nothing, if it is damaged.

        The caller then starts ``run`` in a nursery, and ends with ``aclose``.
        """
        lock = StateLock(state_dir)
        disk = Directory(state_dir)

        def close() -> None:
            disk.close()
            lock.release()

        try:
            opened = open_ledger(disk, random, segment_bytes)
            return cls(disk, opened, now_ns, random, hasher, close)
        except BaseException:
            close()
            raise

    def _note_start(self, opened: Opened) -> None:
        now = self._now_ns()
        if opened.first_start:
            self.append(HOST_LOG, LogOpen(ts=now, salt=self._random(_SALT_BYTES)))
            self.append(HOST_LOG, KeyEpoch(ts=now, epoch=1, public_key=opened.key.public_key))
        torn = opened.torn
        if torn is not None or opened.unfinished:
            record = Recovered(
                ts=now,
                dropped_bytes=torn.dropped_bytes if torn else 0,
                segment=torn.segment if torn else "",
                offset=torn.offset if torn else 0,
                finished=tuple(opened.unfinished),
            )
            self.append(HOST_LOG, record)
        self._demanded.update(opened.unfinished)

    # Appending

    def origin(self, log: LogId) -> str:
        return self._key.origin(log)

    def vkey(self, log: LogId) -> Vkey:
        return self._key.vkey(log)

    def open_log(self, cage: CageId) -> LogId:
        """Begin a cage's log with its random first record (not durable before the next awaited record)."""
        log = LogId(cage)
        self._sequencer.open_log(log)
        self._published_at[log] = trio.current_time()
        self.append(log, LogOpen(ts=self._now_ns(), salt=self._random(_SALT_BYTES)))
        return log

    async def reopen_log(self, cage: CageId) -> LogId:
        """Go on with a published log of an earlier run of the daemon."""
        log = LogId(cage)
        if log not in self._sequencer.logs:
            edge = await self._in_thread(load_edge, self._disk, self._key, log)
            if edge.size == 0:
                raise LedgerError("there is no such log", where=directory(log))
            self._sequencer.open_log(log, edge)
            self._published_at[log] = trio.current_time()
        return log

    def append(self, log: LogId, record: Record | bytes) -> int:
        """Queue a record (or its entry bytes); returns its index.  It counts once ``wait_durable`` says so."""
        return self.append_many(log, [record if isinstance(record, bytes) else encode_entry(record)])

    def append_many(self, log: LogId, entries: Sequence[bytes]) -> int:
        """Queue entries; returns the index of the first."""
        self._check()
        first = self._sequencer.append(log, entries)
        self._data.set()
        return first

    async def wait_durable(self, log: LogId, index: int) -> None:
        """Return once the entry at ``index`` is in the WAL on disk."""
        while True:
            self._check()
            state = self._sequencer.logs.get(log)
            if state is None or state.durable > index:
                return
            if index >= state.size:
                raise LedgerError(f"entry {index} was never appended", where=log)
            await self._progress.wait()

    async def commit(self, log: LogId, record: Record | bytes) -> int:
        """Append and wait until it is durable: for birth, denial, money and death."""
        index = self.append(log, record)
        await self.wait_durable(log, index)
        return index

    @property
    def has_room(self) -> bool:
        sequencer = self._sequencer
        return not self.full and sequencer.queued_bytes < QUEUE_BYTES and sequencer.waiting_bytes < 2 * WAITING_BYTES

    async def wait_room(self) -> None:
        """Wait until telemetry may be appended: what a reader of a ring does before it drains it."""
        while not self.has_room:
            self._check()
            await self._progress.wait()

    def close_log(self, log: LogId) -> None:
        """The cage has ended: no more records; its tree is published within about a second."""
        self._sequencer.close_log(log)
        self._published_at.pop(log, None)
        self._nudge.set()

    async def destroy_log(self, log: LogId, method: str = "") -> CageDestroyed:
        """Write the tombstone with the log's last size and root; when this returns its directory may be wiped.

        From then on a restart recovers nothing of it.  Everything in it is published first.
        """
        if log in self._sequencer.logs:
            await self.publish(log)
            if log in self._sequencer.logs:
                self._sequencer.close_log(log)
        edge = await self._in_thread(load_edge, self._disk, self._key, log)
        record = CageDestroyed(ts=self._now_ns(), cage=log, size=edge.size, root=edge.root(), method=method)
        await self.commit(HOST_LOG, record)
        await self._commit_marks([Forget(log)])
        return record

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback(log, first index, entries)`` once entries are durable; returns how to stop that.

        The callback runs in the Trio thread and must be quick; what it raises fails the ledger.
        """
        self._subscribers.append(callback)
        return partial(self._subscribers.remove, callback)

    # Reading

    def logs(self) -> list[LogId]:
        return list(self._sequencer.logs)

    def size(self, log: LogId) -> int:
        """Entries appended so far, durable or not; ``LedgerError`` if the log is not open."""
        if log not in self._sequencer.logs:
            raise LedgerError("the log is not open", where=log)
        return self._sequencer.logs[log].size

    async def read(self, log: LogId, start: int, end: int) -> list[tuple[int, bytes]]:
        """The durable entries [start, end) of a log, open or not, from disk and from memory."""
        published = self._sequencer.published_size(log)
        first, waiting = (end, []) if published is None else self._sequencer.entries(log, start, end)
        if published is None:
            published = await self._in_thread(self._checkpoint_size, log)
        stop = min(end, published)
        entries: list[bytes] = []
        if start < stop:
            entries = await self._in_thread(read_entries, self._disk, log, start, stop, published)
        return [*enumerate(entries, start), *enumerate(waiting, first)]

    def _checkpoint_size(self, log: LogId) -> int:
        note = self._disk.read(f"{directory(log)}/checkpoint", MAX_NOTE_BYTES)
        if note is None:
            raise LedgerError("there is no such log", where=log)
        return open_checkpoint(note, self._key.vkey(log)).size

    # The service

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit and publish until ``aclose``.  Raises ``LedgerError`` when the disk fails."""
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._commit_loop)
                nursery.start_soon(self._guard, self._publish_loop, nursery.cancel_scope)
                task_status.started()
        except BaseExceptionGroup:
            if self._failure is not None:
                raise self._failure from None
            raise
        finally:
            self._release()

    def _release(self) -> None:
        self._stopping = True
        self._stopped.set()
        self._wake_all()
        self._wal.close()
        self._close_disk()

    async def aclose(self) -> None:
        """Commit and publish what there is, stop ``run``, release the state directory.  No append may follow."""
        if self._stopped.is_set():
            return
        if not self._running:
            self._release()
            return
        self._stopping = True
        self._nudge.set()
        await self._stopped.wait()

    async def _guard(self, loop: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await loop(*args)
        except LedgerError as error:
            self._failure = error
        except OSError as error:
            self._failure = LedgerError(f"the ledger's disk failed: {error.strerror}", where=str(error.filename or ""))
        if self._failure is not None:
            self._wake_all()
            raise self._failure

    def _check(self) -> None:
        if self._failure is not None:
            raise LedgerError("the ledger has failed", where=self._failure.what, next="restart akiosd")
        if self._stopped.is_set():
            raise LedgerError("the ledger is closed")

    def _wake_all(self) -> None:
        self._progress.set()
        self._nudge.set()

    async def _in_thread(self, function: Callable[..., T], *args: object) -> T:
        return await trio.to_thread.run_sync(partial(function, *args), limiter=self._limiter)

    async def _commit_loop(self) -> None:
        await self._in_thread_unless_full(self._keep_room)
        while True:
            await self._data.wait()
            commit = self._sequencer.take_commit()
            if commit is None:
                self._data = trio.Event()
                continue
            seq = await self._write_frame(commit)
            self._register(seq, commit)

    async def _write_frame(self, commit: Commit) -> int:
        while True:
            try:
                return await self._in_thread(self._wal.write, commit.body)
            except OSError as error:
                self._no_room(error)
            if not await self._in_thread(self._drop_reserve):
                if self._stopping:
                    raise LedgerError("no room for the last records", next="make room on the state file system")
                await trio.sleep(_RETRY_S)

    def _register(self, seq: int, commit: Commit) -> None:
        announced = self._sequencer.committed()
        self._registered_seq = seq
        self._frame_ends.append((seq, {mark.log: mark.first + len(mark.entries) for mark in announced}))
        self._advance()
        for mark in announced:
            for callback in self._subscribers:
                callback(mark.log, mark.first, mark.entries)
        waiting = self._sequencer.waiting_bytes
        if waiting > WAITING_BYTES or any(self._is_first_unpublished(mark) for mark in announced):
            self._nudge.set()

    def _is_first_unpublished(self, mark: Entries) -> bool:
        return self._sequencer.published_size(mark.log) == mark.first

    def _advance(self) -> None:
        event, self._progress = self._progress, trio.Event()
        event.set()

    # Publication

    async def publish(self, log: LogId) -> None:
        """Publish what was appended so far, now; returns once its checkpoint is durable."""
        target = self._sequencer.logs[log].size if log in self._sequencer.logs else 0
        if target:
            await self.wait_durable(log, target - 1)
        while True:
            self._check()
            published = self._sequencer.published_size(log)
            if published is None or published >= target:
                return
            self._demanded.add(log)
            self._nudge.set()
            await self._progress.wait()

    def _due(self, now: float) -> tuple[list[LogId], float]:
        """The logs to publish now, and when to look again if there are none."""
        unpublished = self._sequencer.unpublished()
        if self._stopping or self._sequencer.waiting_bytes > WAITING_BYTES:
            return unpublished, float("inf")
        soon = self._last_cycle + self.publish_every_s
        demanded = [log for log in unpublished if log in self._demanded]
        due, wake = [], float("inf")
        for log in unpublished:
            at = soon
            if log != HOST_LOG and not self._sequencer.logs[log].closed:
                at = max(soon, self._published_at.get(log, now) + self.publish_running_every_s)
            if at <= now:
                due.append(log)
            wake = min(wake, at)
        return (demanded + [log for log in due if log not in self._demanded]), wake

    async def _publish_loop(self, scope: trio.CancelScope) -> None:
        while True:
            due, wake = self._due(trio.current_time())
            if due:
                await self._cycle(due)
                continue
            if self._stopping and not self._sequencer.has_commit() and not self._sequencer.queued_bytes:
                scope.cancel()
                return
            self._nudge = trio.Event()
            if self._stopping:
                await self._progress.wait()
                continue
            # With cages frozen nothing may ever be due again: look for room now and then.
            retry = trio.current_time() + _RETRY_S if self.full else float("inf")
            with trio.move_on_at(min(wake, retry)):
                await self._nudge.wait()
            if self.full:
                await self._in_thread_unless_full(self._keep_room)

    async def _cycle(self, due: list[LogId]) -> None:
        try:
            publications = await self._prepare([log for log in due if log != HOST_LOG])
            await self._list_roots(publications)
            publications += await self._prepare([HOST_LOG])
            await self._in_thread(self._discard, self._half_done())
            self._dirty.update(publication.log for publication in publications)
            await self._in_thread(publish_all, self._disk, self._key, publications, self._commit_heads)
        except OSError as error:
            self._no_room(error)
            if not await self._in_thread(self._drop_reserve):
                if self._stopping:
                    raise LedgerError("no room to publish", next="make room; the next start publishes") from error
                await trio.sleep(_RETRY_S)
            return
        self._dirty.clear()
        self._finish_cycle(publications)
        await self._in_thread_unless_full(self._tidy, publications)

    async def _prepare(self, logs: list[LogId]) -> list[Publication]:
        work = [(log, *self._sequencer.work(log)) for log in logs if log in self._sequencer.logs]
        return await self._in_thread(lambda: [prepare(*item, self._hasher) for item in work if item[2]])

    async def _list_roots(self, publications: list[Publication]) -> None:
        roots = [(publication.log, publication.size, publication.root) for publication in publications]
        index = None
        for start in range(0, len(roots), _ROOTS_IN_A_RECORD):
            chunk = tuple(roots[start : start + _ROOTS_IN_A_RECORD])
            index = self.append(HOST_LOG, Roots(ts=self._now_ns(), roots=chunk))
        if index is not None:
            await self.wait_durable(HOST_LOG, index)

    def _commit_heads(self, heads: list[Head]) -> None:
        """Called in the publishing thread: returns once the head marks are durable."""
        trio.from_thread.run(self._commit_marks, heads)

    async def _commit_marks(self, marks: Sequence[Mark]) -> None:
        self._sequencer.mark(*marks)
        self._data.set()
        while self._sequencer.is_pending(marks):
            self._check()
            await self._progress.wait()
        self._check()

    def _finish_cycle(self, publications: list[Publication]) -> None:
        now = trio.current_time()
        self._last_cycle = now
        for publication in publications:
            self._sequencer.published(publication)
            self._demanded.discard(publication.log)
            if publication.log in self._published_at:
                self._published_at[publication.log] = now
        while self._frame_ends and self._is_published(self._frame_ends[0][1]):
            self._frame_ends.popleft()
        self._wal.base = self._frame_ends[0][0] if self._frame_ends else self._registered_seq + 1
        self._advance()

    def _is_published(self, ends: dict[LogId, int]) -> bool:
        for log, end in ends.items():
            published = self._sequencer.published_size(log)
            if published is not None and published < end:
                return False
        return True

    def _half_done(self) -> dict[LogId, int]:
        sizes = {log: self._sequencer.published_size(log) for log in self._dirty}
        return {log: size for log, size in sizes.items() if size is not None}

    def _discard(self, sizes: dict[LogId, int]) -> None:
        for log, size in sizes.items():
            discard_unpublished(self._disk, log, size)
        if sizes:
            self._disk.sync_everything()

    def _tidy(self, publications: list[Publication]) -> None:
        """Drop what is outgrown, give WAL segments back, keep a spare segment and the reserve."""
        for publication in publications:
            drop_outgrown(self._disk, publication)
        self._wal.release()
        self._keep_room()

    def _keep_room(self) -> None:
        self._wal.make_spare()
        if self._disk.size(RESERVE) != RESERVE_BYTES:
            self._disk.write(RESERVE, bytes(RESERVE_BYTES), 0o600)
            self._disk.sync([RESERVE], [])

    async def _in_thread_unless_full(self, function: Callable[..., None], *args: object) -> None:
        """Do work that needs room but nothing waits for; what it says about room becomes the state."""
        try:
            await self._in_thread(function, *args)
        except OSError as error:
            self._no_room(error)
            return
        if self.full:
            self.full = False
            self._advance()
            if self.on_room is not None:
                self.on_room()

    def _no_room(self, error: OSError) -> None:
        """A full disk is a state, not a failure; any other error is final."""
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise error
        if not self.full:
            self.full = True
            if self.on_full is not None:
                self.on_full()

    def _drop_reserve(self) -> bool:
        if self._disk.size(RESERVE) is None:
            return False
        self._disk.remove(RESERVE)
        return True
