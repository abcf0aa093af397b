"""The order in which records become durable and public, as a state machine without I/O.

    append → take_commit → (the shell: WAL frame, fdatasync) → committed → announced
    work → prepare → (tiles and bundles durable) → mark(Head), committed → (checkpoint in place, durable) → published

The shell (``commit.py`` and ``publish.py`` in ``akiosd/daemon/ledger``) does what stands in
brackets, in that order, and says when it is done.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from akiosd.errors import LedgerError, LedgerStateError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge, Growth, extend, outgrown
from akiosd.ledger.frame import Entries, Forget, Head, Mark, encode_mark
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.values.ids import LogId
from akiosd.values.records import MAX_ENTRY_BYTES

SHARE_BYTES = (
    128 << 10
)  # of one log in one turn of a commit, so that a flood in one log never delays another's


@dataclass
class Log:
    """One log on its way from memory to disk: ``published.size`` ≤ ``durable`` ≤ ``size``."""

    id: LogId
    published: Edge = field(default_factory=Edge)
    size: int = 0
    durable: int = 0
    queue: deque[Batch] = field(default_factory=deque)  # not yet in a WAL frame
    queued: int = 0  # entries in it
    waiting: deque[Batch] = field(default_factory=deque)  # durable, not yet in a bundle
    waiting_bytes: int = 0
    closed: bool = False


@dataclass(frozen=True)
class Commit:
    """One WAL frame that is to be written: its body and the marks in it."""

    body: bytes
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class Publication:
    """One log's next tree: write ``growth.files``, then its head mark, then its checkpoint, then
    drop ``outgrown``.
    """

    log: LogId
    old_size: int
    growth: Growth
    root: bytes

    @property
    def size(self) -> int:
        """The size of the tree."""
        return self.growth.edge.size

    @property
    def outgrown(self) -> list[str]:
        """Directories of partial tiles that may be dropped once it is published."""
        return outgrown(self.old_size, self.size)


class Sequencer:
    """Every open log of the host.  Not thread-safe: it has one owner, who carries work to other
    threads as values.
    """

    def __init__(self, max_commit_bytes: int = 2 << 20) -> None:
        self.logs: dict[LogId, Log] = {}
        self.queued_bytes = 0
        self.waiting_bytes = 0
        self._max_commit_bytes = max_commit_bytes
        self._share_bytes = min(SHARE_BYTES, max_commit_bytes)
        self._busy: dict[LogId, None] = {}  # logs with a queue, in turn
        self._marks: list[Mark] = []  # heads and forgets for the next frame
        self._in_flight: Commit | None = None

    def open_log(self, log: LogId, edge: Edge | None = None) -> Log:
        """Begin with a log at ``edge`` (default: an empty log)."""
        if log in self.logs:
            raise LedgerStateError("the log is already open", where=log)
        edge = edge or Edge()
        state = self.logs[log] = Log(log, edge, edge.size, edge.size)
        return state

    def append(self, log: LogId, entries: Sequence[bytes] | Batch) -> int:
        """Queue entries; returns the index of the first.  They do not count before ``committed``
        names them.
        """
        if self._open(log).closed:
            raise LedgerStateError("the log is closed", where=log)
        return self.append_own(log, entries)

    def append_own(self, log: LogId, entries: Sequence[bytes] | Batch) -> int:
        """Queue entries of the ledger itself, also in a log that is closed and not yet published
        whole.
        """
        state = self._open(log)
        first = state.size
        if entries:
            if not isinstance(entries, Batch):
                if max(map(len, entries)) > MAX_ENTRY_BYTES:
                    raise LedgerStateError(
                        f"an entry is larger than {MAX_ENTRY_BYTES} bytes", where=log
                    )
                entries = Batch.of(entries)
            state.queue.extend(entries.split(self._share_bytes))
            state.queued += entries.count
            state.size += entries.count
            self.queued_bytes += len(entries.data)
            self._busy[log] = None
        return first

    def mark(self, *marks: Mark) -> None:
        """Put head or forget marks into the next frame."""
        self._marks.extend(marks)

    def is_pending(self, marks: Sequence[Mark]) -> bool:
        """Whether any of these marks is not durable yet."""
        known = [*self._marks, *(self._in_flight.marks if self._in_flight else ())]
        return any(mark is other for mark in marks for other in known)

    def has_commit(self) -> bool:
        """Whether :meth:`take_commit` would return a frame."""
        return bool(self._busy or self._marks)

    def take_commit(self) -> Commit | None:
        """The next frame; None when there is nothing to write, or one is in flight.  Logs take
        turns of ``SHARE_BYTES``.
        """
        if self._in_flight is not None or not self.has_commit():
            return None
        taken: dict[LogId, list[Batch]] = {}
        room = self._max_commit_bytes
        while self._busy and room > 0:
            log = next(iter(self._busy))
            room -= self._take_share(
                self.logs[log], taken.setdefault(log, []), min(room, self._share_bytes)
            )
        marks: list[Mark] = []
        for log, batches in taken.items():
            state, batch = self.logs[log], Batch.join(batches)
            marks.append(Entries(log, state.size - state.queued - batch.count, batch))
        marks += self._marks
        self._marks = []
        self._in_flight = Commit(b"".join(map(encode_mark, marks)), tuple(marks))
        return self._in_flight

    def _take_share(self, state: Log, taken: list[Batch], room: int) -> int:
        """At least one batch, and no more than fit; returns their bytes."""
        used = 0
        queue = state.queue
        while queue and (not used or used + len(queue[0].data) <= room):
            batch = queue.popleft()
            taken.append(batch)
            state.queued -= batch.count
            used += len(batch.data)
        del self._busy[state.id]
        if queue:
            self._busy[state.id] = None
        return used

    def committed(self) -> list[Entries]:
        """The frame in flight is durable: returns what may now be announced."""
        commit, self._in_flight = self._in_flight, None
        if commit is None:
            raise LedgerStateError(
                "the ledger was told that records are on disk, and it was writing none",
                "ledger/wal",
            )
        announced = [mark for mark in commit.marks if isinstance(mark, Entries)]
        for mark in announced:
            self.queued_bytes -= self._durable(mark)
        for forgotten in commit.marks:
            if isinstance(forgotten, Forget):
                self._drop(forgotten.log)
        return announced

    def replay(self, entries: Entries) -> None:
        """Take a durable mark found at start: what the tree already has is skipped, a gap raises
        ``LedgerError``.
        """
        state = self._open(entries.log)
        if entries.first > state.durable:
            first, last = state.durable, entries.first - 1
            raise LedgerError(
                f"entries {first} to {last} are missing from the write-ahead log",
                where=entries.log,
                next="restore the state directory from a backup; nothing was changed",
            )
        if entries.end > state.durable:
            known, batch = state.durable - entries.first, entries.batch
            fresh = Batch.of(batch.entries()[known:]) if known else batch
            state.size += fresh.count
            self._durable(Entries(entries.log, state.durable, fresh))

    def _durable(self, mark: Entries) -> int:
        state = self.logs[mark.log]
        size = len(mark.batch.data)
        state.durable += mark.batch.count
        state.waiting.append(mark.batch)
        state.waiting_bytes += size
        self.waiting_bytes += size
        return size

    def unpublished(self) -> list[LogId]:
        """Logs with durable entries that are not published."""
        return [log.id for log in self.logs.values() if log.durable > log.published.size]

    def work(self, log: LogId, after: Publication | None = None) -> tuple[Edge, Batch]:
        """The arguments of ``prepare``, so that it can run in another thread.

        ``after``: for the tree that follows that publication, which may still be under way.
        """
        state = self._open(log)
        edge = state.published if after is None else after.growth.edge
        return edge, Batch.join(batch for first, batch in _numbered(state) if first >= edge.size)

    def published(self, publication: Publication) -> None:
        """The checkpoint of that tree is durable: its entries leave memory."""
        state = self.logs.get(publication.log)
        if state is None:  # destroyed meanwhile
            return
        gone = publication.size - publication.old_size
        while gone > 0:  # whole batches: ``work`` gave no parts of them
            batch = state.waiting.popleft()
            gone -= batch.count
            assert gone >= 0
            state.waiting_bytes -= len(batch.data)
            self.waiting_bytes -= len(batch.data)
        state.published = publication.growth.edge
        if state.closed and state.published.size == state.size:
            self._drop(publication.log)

    def close_log(self, log: LogId) -> None:
        """No more entries; the log leaves memory once all of it is published."""
        state = self._open(log)
        state.closed = True
        if state.published.size == state.size:
            self._drop(log)

    def published_size(self, log: LogId) -> int | None:
        """How far the log is published; None when it is not open: everything of it is published, or
        it is destroyed.
        """
        state = self.logs.get(log)
        return None if state is None else state.published.size

    def entries(self, log: LogId, start: int, end: int) -> tuple[int, list[bytes]]:
        """The durable, unpublished entries in [start, end), and the index of the first."""
        state = self._open(log)
        first, last = max(start, state.published.size), min(end, state.durable)
        found: list[bytes] = []
        for at, batch in _numbered(state):
            if at < last and at + batch.count > first:
                found += batch.entries()[max(first - at, 0) : last - at]
        return first, found

    def _open(self, log: LogId) -> Log:
        try:
            return self.logs[log]
        except KeyError:
            raise LedgerStateError("the log is not open", where=log) from None

    def _drop(self, log: LogId) -> None:
        state = self.logs.pop(log, None)
        if state is not None:
            self.waiting_bytes -= state.waiting_bytes
            self.queued_bytes -= sum(len(batch.data) for batch in state.queue)
            self._busy.pop(log, None)


def _numbered(state: Log) -> Iterator[tuple[int, Batch]]:
    """What is durable and not yet published, each batch with the index of its first entry."""
    first = state.published.size
    for batch in state.waiting:
        yield first, batch
        first += batch.count


def prepare(log: LogId, edge: Edge, batch: Batch, hasher: Hasher = PYTHON) -> Publication:
    """A log's next tree.  Pure, and most of the ledger's work, so that it is made for a worker
    thread.
    """
    growth = extend(edge, batch, hasher)
    return Publication(log, edge.size, growth, growth.edge.root())


def check_heads(edge: Edge, entries: Sequence[bytes], heads: Iterable[Head], log: LogId) -> None:
    """At start: every head mark in the WAL at or past the checkpoint must be the root of what is
    replayed.

    Raises ``LedgerError`` when a root that was about to be signed can no longer be derived.
    """
    start = edge.size
    for head in sorted(heads, key=lambda head: head.size):
        if head.size < start:
            continue
        if head.size > start + len(entries):
            raise LedgerError(
                f"the log was about to be signed at {head.size} records, and some of these are lost",
                where=log,
            )
        edge = extend(edge, Batch.of(entries[edge.size - start : head.size - start])).edge
        if edge.root() != head.root:
            raise LedgerError(
                f"the log at {head.size} records is not the one that was about to be signed",
                where=log,
            )
