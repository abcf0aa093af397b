"""The ledger as a Trio service: append, wait until durable, publish, read back.

The sequencer (:mod:`akiosd.ledger.sequencer`) says what to write; :mod:`commit` and :mod:`publish`
have worker threads write it. A failed fsync fails the service, and with it the daemon: recovery is
the start-up path.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from pathlib import Path

import msgspec
import trio

from akiosd.daemon.ledger.commit import WAITING_BYTES, Committer
from akiosd.daemon.ledger.publish import Publisher
from akiosd.daemon.ledger.rotate_key import KeyRing
from akiosd.daemon.ledger.state import LedgerState, Subscriber
from akiosd.errors import LedgerDiskError, LedgerError, LedgerStateError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.epochs import Epoch
from akiosd.ledger.frame import Forget
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    NoteError,
    UntrustedNoteError,
    Vkey,
    is_signed_by,
    open_checkpoint,
)
from akiosd.store import erasure_intent, prune
from akiosd.store.durable import Directory, Disk, FileWriter, write_files
from akiosd.store.lock import StateLock
from akiosd.store.log_dir import archive, directory, load_edge, read_entries, read_file
from akiosd.store.recover import Opened, epoch_of, open_ledger
from akiosd.store.wal import SEGMENT_BYTES
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import (
    CageDestroyed,
    End,
    KeyEpoch,
    LogOpen,
    Record,
    Recovered,
    decode_entry,
    encode_entry,
)

QUEUE_BYTES = 8 << 20  # not yet in the WAL; beyond it producers wait
_SALT_BYTES = 32


class Ledger:
    """All logs of a host.  Every method is to be called from the Trio thread, and raises
    ``LedgerError``.

    ``interrupted`` are cage logs that an earlier run left open; they are open again, to get an
    ``end`` record. ``state`` is what its engines share;
    its ``on_full`` and ``on_room`` are for who freezes cages.
    """

    def __init__(
        self,
        disk: Disk,
        opened: Opened,
        now_ns: Callable[[], int],
        random: Callable[[int], bytes],
        hasher: Hasher = PYTHON,
        close_disk: Callable[[], None] = lambda: None,
    ) -> None:
        self._destroying = erasure_intent.unfinished(disk)
        self.interrupted = [log for log in opened.interrupted if log not in self._destroying]
        self._disk, self._wal, self._sequencer = disk, opened.wal, opened.sequencer
        self._now_ns, self._random, self._close_disk = now_ns, random, close_disk
        self._outgrown = opened.outgrown
        self.state = LedgerState(opened.sequencer)
        self._committer = Committer(self.state, disk, opened)
        self._keys = KeyRing(self.state, self._committer, disk, opened.key, now_ns)
        self._publisher = Publisher(
            self.state, self._committer, opened.outgrown, self._keys, hasher, now_ns
        )
        self._minimum = prune.resume(
            opened.outgrown, opened.sequencer.logs[HOST_LOG].published.size
        )
        self._running = False
        self._recovered: dict[LogId, int] = {}  # where this run appended by itself
        self._destroyed, self._overwritten = (
            len(opened.forgotten),
            0,
        )  # how often; up to which of these times
        self._note_start(opened)

    @classmethod
    def open(
        cls,
        state_dir: Path,
        now_ns: Callable[[], int],
        random: Callable[[int], bytes],
        *,
        hasher: Hasher = PYTHON,
        write_files: FileWriter = write_files,
        segment_bytes: int = SEGMENT_BYTES,
    ) -> Ledger:
        """Lock the state directory and recover.  Blocking.

        The caller then starts :meth:`run` in a nursery, and ends with :meth:`aclose`. ``now_ns`` is
        Unix time, ``random`` a source of random bytes. Raises ``LedgerError``, having changed
        nothing, when the state is damaged.
        """
        lock = StateLock(state_dir)
        disk = Directory(state_dir, write_files)

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
            self.append(HOST_LOG, self._log_open())
            self.append(HOST_LOG, KeyEpoch(ts=now, epoch=1, public_key=opened.key.public_key))
        for log, epoch in opened.behind.items():
            self._name_key(log, epoch)
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
        self._publisher.demand(opened.unfinished)

    def _log_open(self) -> LogOpen:
        return LogOpen(
            ts=self._now_ns(),
            salt=self._random(_SALT_BYTES),
            public_key=self._keys.current.public_key,
        )

    # Appending

    def origin(self, log: LogId) -> str:
        """The origin of a log, under the present key."""
        return self._keys.current.origin(log)

    def vkey(self, log: LogId) -> Vkey:
        """The public key that signs a log now."""
        return self._keys.current.vkey(log)

    def open_log(self, cage: CageId) -> LogId:
        """Begin a cage's log with its first record, which is random (durable with the next record
        that is waited for).
        """
        log = LogId(cage)
        self._sequencer.open_log(log)
        self._publisher.opened(log)
        self._committer.append_quietly(log, [encode_entry(self._log_open())])
        return log

    async def reopen_log(self, cage: CageId) -> bool:
        """Go on with the log of a cage that outlived an earlier run; False where it has ended, or
        where there is none.
        """
        log = LogId(cage)
        if log in self._sequencer.logs:
            return not self._sequencer.logs[log].closed
        # All of it is published, and the WAL needed nothing of it.
        size = await self._committer.in_thread(self._checkpoint_size, log)
        while size:
            ((_, entry),) = await self.read(log, size - 1, size)
            last, size = decode_entry(entry), size - 1
            if isinstance(last, End):
                return False
            if not isinstance(last, KeyEpoch):  # a rotation may add to a log that has ended
                break
        key = self._keys.current
        edge = await self._committer.in_thread(load_edge, self._disk, key, log)
        self._sequencer.open_log(log, edge)
        epoch = await self._committer.in_thread(epoch_of, self._disk, key, log, ())
        if 0 < epoch < key.epochs[-1].number:
            self._name_key(log, epoch)
        self._publisher.opened(log)
        return True

    def _name_key(self, log: LogId, after: int) -> None:
        """Finish a rotation that was cut off, in one log."""
        self._recovered[log] = self.size(log)
        self._keys.name_key(log, after)

    def recovered_size(self, log: LogId) -> int:
        """How many entries an earlier akiosd had got into an open log; as long as nothing else was
        appended since.
        """
        return self._recovered.get(log, self.size(log))

    def append(self, log: LogId, record: Record | bytes) -> int:
        """Queue a record (or its entry bytes); returns its index.  It does not count before
        :meth:`wait_durable` returns.
        """
        return self.append_many(
            log, [record if isinstance(record, bytes) else encode_entry(record)]
        )

    def append_many(self, log: LogId, entries: Sequence[bytes] | Batch) -> int:
        """Queue entries; returns the index of the first.  The content of a ``Batch`` is not
        checked.
        """
        return self._committer.append(log, entries)

    async def wait_durable(self, log: LogId, index: int, *, hasten: bool = True) -> None:
        """Wait until the entry at ``index`` is in the WAL on disk.

        Without ``hasten`` it is written with the next frame that is due anyway.
        """
        await self._committer.wait_durable(log, index, hasten=hasten)

    async def commit(self, log: LogId, record: Record | bytes) -> int:
        """Append a record and wait until it is durable; for births, denials and ends."""
        index = self.append(log, record)
        await self.wait_durable(log, index)
        return index

    @property
    def has_room(self) -> bool:
        """Whether telemetry may be appended now."""
        sequencer = self._sequencer
        return (
            not self.full
            and sequencer.queued_bytes < QUEUE_BYTES
            and sequencer.waiting_bytes < 4 * WAITING_BYTES
        )

    async def wait_room(self) -> None:
        """Wait until telemetry may be appended; readers of a ring do so before they drain it."""
        while not self.has_room:
            self.state.check()
            await self.state.progress.wait()

    async def publish(self, log: LogId) -> None:
        """Publish what was appended so far; returns once its checkpoint is durable."""
        await self._publisher.publish(log)

    def close_log(self, log: LogId) -> None:
        """The cage has ended: no more records.  Its tree is published within about a second."""
        self._sequencer.close_log(log)
        self._publisher.closed(log)

    async def destroy_log(self, log: LogId, method: str = "") -> None:
        """Begin to destroy a log: when this returns, its directory may be wiped;
        :meth:`destroyed_log` ends it.

        Everything in it is published first. From then on a restart recovers nothing of it, and
        names it in :meth:`unfinished_destructions` until the end. Called again after a stop, it
        continues. ``method`` is what the tombstone will say.
        """
        if log not in self._destroying:
            if log == HOST_LOG:
                raise LedgerError("the host's log cannot be destroyed", next="name a cage")
            edge = await self._last_edge(log)
            intent = erasure_intent.Intent(self.size(HOST_LOG), method, edge.size, edge.root())
            self._destroying[log] = intent
            await self._committer.in_thread(erasure_intent.begin, self._disk, log, intent)
        elif not self._destroying[log].root and await self._find_tombstone(log) is None:
            edge = await self._last_edge(log)
            self._destroying[log] = msgspec.structs.replace(
                self._destroying[log], size=edge.size, root=edge.root()
            )
        self._destroyed += 1
        await self._committer.commit_marks([Forget(log)])

    async def _last_edge(self, log: LogId) -> Edge:
        if log in self._sequencer.logs:
            await self.publish(log)
            if log in self._sequencer.logs:
                self._sequencer.close_log(log)
        else:
            await self._committer.in_thread(self._checkpoint_size, log)
        return await self._committer.in_thread(load_edge, self._disk, self._keys.current, log)

    async def _find_tombstone(self, log: LogId) -> CageDestroyed | None:
        start, end = self._destroying[log].host_index, self.size(HOST_LOG)
        if start < end:
            await self.wait_durable(HOST_LOG, end - 1)
        for first in range(start, end, 4096):
            for _, entry in await self.read(HOST_LOG, first, min(first + 4096, end)):
                record = decode_entry(entry) if log.encode() in entry else None
                if isinstance(record, CageDestroyed) and record.cage == log:
                    return record
        return None

    def unfinished_destructions(self) -> dict[LogId, str]:
        """Logs whose destruction was begun, by this or an earlier run, and their method."""
        return {log: intent.method for log, intent in self._destroying.items()}

    async def destroyed_log(self, log: LogId) -> CageDestroyed:
        """Nothing is left of the log's directory: write the tombstone, with its last
        size and root.
        """
        self._disk.archive(archive(log))  # lets go of one that was open
        record = await self._find_tombstone(log)
        if record is None:
            it = self._destroying[log]
            record = CageDestroyed(
                ts=self._now_ns(), cage=log, size=it.size, root=it.root, method=it.method
            )
            await self.commit(HOST_LOG, record)
        await self._committer.in_thread(erasure_intent.finish, self._disk, log)
        self._destroying.pop(log, None)
        return record

    async def overwrite_wal(self) -> None:
        """Wait until nothing that was appended before is left in the WAL, or in files that logs
        outgrew.
        """
        destroyed = self._destroyed
        while True:
            for log in self.logs():
                await self._publisher.publish(log)
            if await self._committer.overwrite_frames():
                await self._committer.sweep()
                self._overwritten = max(self._overwritten, destroyed)
                return

    @property
    def has_traces(self) -> bool:
        """Whether the WAL may hold records of destroyed logs, because :meth:`overwrite_wal` has not
        returned since.
        """
        return self._destroyed > self._overwritten

    def subscribe(self, callback: Subscriber) -> Callable[[], None]:
        """Call ``callback(log, first index, entries)`` once entries are durable; returns a function
        that stops it.

        The callback runs in the Trio thread and must be quick; an exception from it fails the
        ledger.
        """
        self.state.subscribers.append(callback)
        return partial(self.state.subscribers.remove, callback)

    # Reading

    def logs(self) -> list[LogId]:
        """All open logs."""
        return list(self._sequencer.logs)

    def size(self, log: LogId) -> int:
        """Entries appended so far, durable or not; ``LedgerError`` if the log is not open."""
        if log not in self._sequencer.logs:
            raise LedgerStateError("the log is not open", where=log)
        return self._sequencer.logs[log].size

    def durable_size(self, log: LogId) -> int:
        """How many of them are in the WAL on disk."""
        return self._sequencer.logs[log].durable if log in self._sequencer.logs else 0

    def first_index(self, log: LogId) -> int:
        """The index of the first entry that still exists: the host log may have been pruned."""
        return self._minimum if log == HOST_LOG else 0

    async def set_minimum(self, minimum: int, index: int) -> None:
        """Remove the host log's entries below ``minimum``, as its published record at ``index``
        says.
        """
        self._minimum = minimum
        await self._committer.in_thread(
            prune.set_minimum, self._outgrown, prune.Minimum(minimum, index)
        )
        self.state.outgrown.set()

    @property
    def epochs(self) -> tuple[Epoch, ...]:
        """All keys that signed so far; the present one is the last."""
        return self._keys.current.epochs

    async def read(
        self, log: LogId, start: int, end: int, max_bytes: int | None = None
    ) -> list[tuple[int, bytes]]:
        """The durable entries [start, end) of a log, open or not, from disk and memory, with their
        indices.

        ``max_bytes``: stop after so many bytes, but return at least one entry.
        """
        start = max(start, self.first_index(log))
        published = self._sequencer.published_size(log)
        first, waiting = (
            (end, []) if published is None else self._sequencer.entries(log, start, end)
        )
        if published is None:
            published = await self._committer.in_thread(self._checkpoint_size, log)
        stop = min(end, published)
        entries: list[bytes] = []
        if start < stop:
            entries = await self._committer.in_thread(
                read_entries, self._disk, log, start, stop, published, max_bytes
            )
            if start + len(entries) < stop:
                return [*enumerate(entries, start)]
        return [*enumerate(entries, start), *enumerate(waiting, first)]

    async def read_last(self, log: LogId) -> bytes | None:
        """The last durable entry of a log; None where it has none."""
        size = self._sequencer.logs[log].size if log in self._sequencer.logs else None
        if size is None:
            size = await self._committer.in_thread(self._checkpoint_size, log)
        found = await self.read(log, size - 1, size) if size else []
        return found[-1][1] if found else None

    async def rotate_key(self) -> int:
        """Make a new signing key, certified by the present one, which is then destroyed; returns
        its epoch.

        On return every open log names it and is published under it. Finished logs stay signed by
        the old one.
        """
        return await self._keys.rotate(self._random(32), self.publish)

    async def checkpoint(self, log: LogId) -> tuple[bytes, Vkey]:
        """The log's published checkpoint, a signed note, and the key that signed it."""
        note = await self._committer.in_thread(self._read_checkpoint, log)
        where = f"{directory(log)}/checkpoint"
        try:
            for vkey in self._keys.current.vkeys(log):
                if is_signed_by(note, vkey):
                    return note, vkey
        except NoteError as error:
            raise NoteError(error.what, where, LedgerError.NEXT) from None
        raise UntrustedNoteError(
            "the checkpoint is signed by none of this host's keys: the log, or the"
            " directory keys in state_dir, comes from another host",
            where,
            "restore both from one backup; to see which logs are concerned: sudo akiosctl ledger"
            " verify --all",
        )

    def head(self, log: LogId) -> tuple[int, bytes]:
        """Size and root of an open log as last published, from memory; (0, b"") for others."""
        state = self._sequencer.logs.get(log)
        return (
            (state.published.size, state.published.root())
            if state is not None and state.published.size
            else (0, b"")
        )

    def key_list(self) -> bytes:
        """The list of all keys of this host (:mod:`akiosd.ledger.key_list`)."""
        return self._keys.current.key_list()

    def _read_checkpoint(self, log: LogId) -> bytes:
        note = read_file(self._disk, log, "checkpoint", MAX_NOTE_BYTES)
        if note is None:
            raise LedgerError("there is no such log", log, "list the cages: akiosctl ps --all")
        return note

    def _checkpoint_size(self, log: LogId) -> int:
        note = self._read_checkpoint(log)
        try:
            return open_checkpoint(note, *self._keys.current.vkeys(log)).size
        except NoteError as error:
            next = f"run: sudo akiosctl ledger verify {'' if log == HOST_LOG else log}".rstrip()
            raise LedgerError(error.what, where=f"{directory(log)}/checkpoint", next=next) from None

    # The service

    @property
    def full(self) -> bool:
        """Whether the disk has no room."""
        return self.state.full

    async def run(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Commit and publish until :meth:`aclose`.  Raises ``LedgerError`` when the disk fails."""
        self._running = True
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._guard, self._keys.keep_list)
                nursery.start_soon(self._guard, self._committer.run)
                nursery.start_soon(self._guard, self._committer.keep_room)
                nursery.start_soon(self._guard, self._committer.keep_clear)
                nursery.start_soon(self._guard, self._publisher.run, nursery.cancel_scope)
                task_status.started()
        except BaseExceptionGroup:
            if self.state.failure is not None:
                raise self.state.failure from None
            raise
        finally:
            self._release()

    async def _guard(self, loop: Callable[..., Awaitable[None]], *args: object) -> None:
        try:
            await loop(*args)
        except Exception as error:
            if isinstance(error, OSError):
                what = f"the ledger's disk failed: {error.strerror}"
                self.state.fail(LedgerDiskError(what, where=str(error.filename or "")))
            elif isinstance(error, LedgerError):
                self.state.fail(error)
            else:
                self.state.on_fault(error)
            raise

    async def aclose(self) -> None:
        """Commit and publish what there is, stop :meth:`run`, release the state directory.  No
        append may follow.
        """
        if self.state.stopped.is_set():
            return
        if not self._running:
            self._release()
            return
        self.state.stopping = True
        self._committer.hasten()
        self.state.to_publish.set()
        await self.state.stopped.wait()

    def _release(self) -> None:
        self.state.end()
        self._wal.close()
        self._close_disk()
