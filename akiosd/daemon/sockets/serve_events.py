"""The events socket: durable records of the logs a peer may read, from a cursor on, without ever
blocking the ledger.

Each subscription has a bounded queue.  What does not fit is not sent: the subscriber gets a ``Gap``
that names the missing entries, and can read them back from the control socket.  A cursor is
replayed from the ledger itself; while a log is being replayed, live entries are only counted, so
replay and live meet without a seam.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Protocol

import msgspec
import trio

from akiosd.daemon.base.guarded import Vital
from akiosd.daemon.base.peers import Gate, Peer
from akiosd.daemon.sockets.serve_clients import (
    DEFAULT_LIMITS,
    ClientConnection,
    ConnectionLimits,
    serve_clients,
)
from akiosd.errors import DeniedError
from akiosd.values.ids import LogId
from akiosd.wire.messages import Gap, Message, Records, Subscribe
from akiosd.wire.session import EventsRequest

QUEUE_BYTES = 4 << 20
MESSAGE_BYTES = 256 << 10
REPLAY_ENTRIES = 256
_ENTRY_OVERHEAD = 64

OwnerOf = Callable[[LogId], int | None]
"""The uid whose cage wrote a log; None for the host's log and for logs nobody knows."""


class LedgerSource(Protocol):
    """The part of the ledger service that is needed here;
    :class:`akiosd.daemon.ledger.append.Ledger` has it.
    """

    def subscribe(
        self, callback: Callable[[LogId, int, list[bytes]], None]
    ) -> Callable[[], None]: ...

    def first_index(self, log: LogId) -> int: ...

    async def read(self, log: LogId, start: int, end: int) -> list[tuple[int, bytes]]: ...


class _Kind(msgspec.Struct):
    kind: str


_kind_decoder = msgspec.msgpack.Decoder(_Kind)


def peek_kind(entry: bytes) -> str:
    """The kind of an entry without decoding the rest; ``""`` when it has none."""
    try:
        return _kind_decoder.decode(entry).kind
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return ""


class _OpenGap:
    """A gap in the queue that still grows: until its log has room again, or it is sent."""

    __slots__ = ("log", "start", "stop")

    def __init__(self, log: str, start: int, stop: int) -> None:
        self.log, self.start, self.stop = log, start, stop


class Subscription:
    """One subscriber's filter and queue.  All of it runs in the Trio thread.

    ``queue_bytes`` bounds the queue. Raises DeniedError for a log that the peer may not read.
    """

    def __init__(
        self, peer: Peer, request: Subscribe, owner_of: OwnerOf, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._peer = peer
        self._owner_of = owner_of
        self._kinds = frozenset(request.kinds)
        self._logs = frozenset((*request.cages, *request.cursors)) if request.cages else frozenset()
        self._queue: deque[Records | _OpenGap] = deque()
        self._open_gaps: dict[str, _OpenGap] = {}
        self._queued = 0
        self._limit = queue_bytes
        self._wake = trio.Event()
        self._next: dict[str, int] = dict(request.cursors)
        self._replaying: dict[str, int] = dict.fromkeys(request.cursors, 0)
        for name in (*request.cages, *request.cursors):
            if not self._may_read(LogId(name)):
                raise DeniedError(
                    "no such log, or not yours", name, "list your cages with: akiosctl ps --all"
                )

    def _may_read(self, log: LogId) -> bool:
        return self._peer.reads_all or self._owner_of(log) == self._peer.uid

    def offer(self, log: LogId, first: int, entries: Sequence[bytes]) -> None:
        """The ledger's callback: queue the wanted entries, or note a gap.  Never waits."""
        if log in self._replaying:
            self._replaying[log] = first + len(entries)
            return
        if (self._logs and log not in self._logs) or not self._may_read(log):
            return
        skip = max(0, min(self._next.get(log, 0) - first, len(entries)))
        for message in self._split(log, first + skip, entries[skip:]):
            self._put(message)

    def _put(self, message: Records) -> None:
        size = _size(message.entries)
        gap = self._open_gaps.get(message.log)
        if self._queued + size <= self._limit:
            self._open_gaps.pop(message.log, None)
            self._queue.append(message)
            self._queued += size
        elif gap is None:
            gap = _OpenGap(message.log, message.start, message.start + len(message.entries))
            self._open_gaps[message.log] = gap
            self._queue.append(gap)
        else:
            gap.stop = message.start + len(message.entries)
        self._wake.set()

    def _split(self, log: LogId, first: int, entries: Sequence[bytes]) -> Iterator[Records]:
        """Runs of consecutive wanted entries, each small enough for a frame."""
        run: list[bytes] = []
        size = 0
        for index, entry in enumerate(entries, first):
            wanted = not self._kinds or peek_kind(entry) in self._kinds
            if run and (not wanted or size + len(entry) > MESSAGE_BYTES):
                yield Records(log=log, start=index - len(run), entries=tuple(run))
                run, size = [], 0
            if wanted:
                run.append(entry)
                size += len(entry)
        if run:
            yield Records(log=log, start=first + len(entries) - len(run), entries=tuple(run))

    async def send_live(self, client: ClientConnection) -> None:
        """Send what is queued, until cancelled."""
        while True:
            while self._queue:
                item = self._queue.popleft()
                if isinstance(item, Records):
                    self._queued -= _size(item.entries)
                    await client.reply(item)
                    continue
                if self._open_gaps.get(item.log) is item:
                    del self._open_gaps[item.log]
                await client.reply(Gap(log=item.log, start=item.start, stop=item.stop))
            self._wake = trio.Event()
            await self._wake.wait()

    async def replay(self, log: LogId, ledger: LedgerSource, client: ClientConnection) -> None:
        """Send a log from its cursor to its durable end; from then on live entries are queued."""
        while True:
            start, announced = self._next[log], self._replaying[log]
            first = ledger.first_index(log)
            if start < first:  # pruned
                await client.reply(Gap(log=log, start=start, stop=first))
                self._next[log] = first
                continue
            entries = await ledger.read(log, start, start + REPLAY_ENTRIES)
            if not entries and announced > start:
                what = "records that akiosd has just written cannot be read from the log"
                raise DeniedError(
                    what, log, "see what is damaged: sudo akiosctl ledger verify --all"
                )
            if not entries:
                if self._replaying[log] <= start:
                    del self._replaying[log]
                    return
                continue
            for message in self._split(log, entries[0][0], [entry for _, entry in entries]):
                await client.reply(message)
            self._next[log] = entries[-1][0] + 1


def _size(entries: Sequence[bytes]) -> int:
    return sum(len(entry) + _ENTRY_OVERHEAD for entry in entries)


class EventsHandler:
    """Answers ``Subscribe`` until the client leaves."""

    def __init__(
        self, ledger: LedgerSource, owner_of: OwnerOf, queue_bytes: int = QUEUE_BYTES
    ) -> None:
        self._ledger = ledger
        self._owner_of = owner_of
        self._queue_bytes = queue_bytes

    async def handle(
        self, peer: Peer, request: Message, fds: list[int], client: ClientConnection
    ) -> None:
        """Serve one subscription until its client goes; DeniedError for any other message."""
        if not isinstance(request, Subscribe):
            raise DeniedError(
                "events.sock only sends events",
                type(request).__name__,
                "send other requests to control.sock",
            )
        subscription = Subscription(peer, request, self._owner_of, self._queue_bytes)
        failures: list[Exception] = []
        async with trio.open_nursery() as nursery:

            def offer(log: LogId, first: int, entries: list[bytes]) -> None:
                # The ledger is everybody's: what fails here ends this subscription.
                try:
                    subscription.offer(log, first, entries)
                except Exception as error:
                    failures.append(error)
                    nursery.cancel_scope.cancel()

            unsubscribe = self._ledger.subscribe(offer)
            try:
                nursery.start_soon(
                    _catch, failures, nursery, partial(subscription.send_live, client)
                )
                for log in request.cursors:
                    replay = partial(subscription.replay, LogId(log), self._ledger, client)
                    await _catch(failures, nursery, replay)
                await trio.sleep_forever()
            finally:
                unsubscribe()
        if failures:
            raise failures[0]


async def _catch(
    failures: list[Exception], nursery: trio.Nursery, job: Callable[[], Awaitable[None]]
) -> None:
    """Run ``job``; what it raises ends the subscription, and reaches its client as it is, not in a
    group.
    """
    try:
        await job()
    except Exception as error:
        failures.append(error)
        nursery.cancel_scope.cancel()


async def serve_events(
    listener: trio.SocketListener,
    gate: Gate,
    ledger: LedgerSource,
    owner_of: OwnerOf,
    *,
    limits: ConnectionLimits = DEFAULT_LIMITS,
    accepting: trio.CancelScope | None = None,
    vital: Vital | None = None,
    task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED,
) -> None:
    """Serve the events socket until cancelled; ``accepting`` and ``vital`` as
    :func:`serve_clients` has them.
    """
    await serve_clients(
        listener,
        EventsHandler(ledger, owner_of),
        gate,
        limits=limits,
        accepts=EventsRequest,
        accepting=accepting,
        vital=vital,
        task_status=task_status,
    )
