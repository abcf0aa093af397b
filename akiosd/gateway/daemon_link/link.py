"""The gateway's end of its link to akiosd: what may be spent, what is recorded, what it must remember."""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from akiosd.errors import ProtocolError
from akiosd.gateway.daemon_link.coalesce_denials import Folder
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import close_all
from akiosd.values.denial import Denial
from akiosd.values.spend import Ask, Bill, Grant
from akiosd.wire.frame import MAX_FDS, Frame, FrameReader, encode_frame
from akiosd.wire.gateway import (
    Address,
    Answer,
    Connection,
    FromGateway,
    GatewayRecord,
    GatewayRecords,
    Kept,
    Ready,
    Reserve,
    Settle,
    Setup,
    ToGateway,
)

_READ = 64 << 10
_WAITING = 1000
"""Messages not yet sent, from which on no new connection is taken."""
_LAST_WORDS_SECONDS = 2.0
_GATHER_SECONDS = 0.005
"""For how long what nobody waits for is kept for company."""

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)

OnConnection = Callable[[socket.socket], None]
"""Takes a stream of akiosctl's, and owns it."""


class LinkLostError(Exception):
    """akiosd closed the link, or is gone: the gateway ends."""


class Reservation:
    """What akiosd was asked for one call.  Whoever asked calls :meth:`settle` once, whatever happened."""

    def __init__(self, settle: Callable[[Bill], None]) -> None:
        self._settle = settle
        self._decided = trio.Event()
        self._verdict: Grant | Denial | None = None

    def decide(self, verdict: Grant | Denial) -> None:
        self._verdict = verdict
        self._decided.set()

    async def wait_verdict(self) -> Grant | Denial:
        await self._decided.wait()
        assert self._verdict is not None
        return self._verdict

    def settle(self, bill: Bill) -> None:
        """The call is over.  Nothing is owed for one that was refused; one not decided yet may have been granted."""
        if not isinstance(self._verdict, Denial):
            self._settle(bill)


class Link:
    """``sock`` is a unix stream, owned from now on.  :meth:`start`, then :meth:`run` in a task of its own."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._reader = FrameReader()
        self._frames: list[Frame] = []
        self._plain = sock
        """The same socket, for writing without waiting."""
        self._queue: deque[bytes] = deque()
        """Frames; the first may be what is left of one."""
        self._some = trio.Event()
        self._writing = False
        self._asked: dict[int, Reservation] = {}
        self._waiting: dict[int, trio.Event] = {}
        self._numbers = 0
        self._folder = Folder()
        self.clean: Callable[[GatewayRecord], GatewayRecord] = lambda record: record
        """What is done to a record before it is told."""
        self._room = trio.Event()

    async def start(self, posture: tuple[str, ...]) -> tuple[Setup, list[socket.socket]]:
        """Say what confines us; returns what to serve, and its listening sockets, the caller's."""
        self._put(Ready(posture=posture))
        await self._write_all()
        message, fds = await self._receive()
        if not isinstance(message, Setup) or len(fds) != len(message.listeners):
            close_all(fds)
            raise ProtocolError("the first frame is no setup with its sockets", "link")
        return message, [socket.socket(fileno=fd) for fd in fds]

    async def run(self, on_connection: OnConnection) -> None:
        """Carry messages until akiosd closes its side; then LinkLost."""
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._write)
            nursery.start_soon(self._tell_folded)
            while True:
                message, fds = await self._receive()
                self._take(message, fds, on_connection)

    async def say_last_words(self) -> None:
        """What is still queued or folded, as far as akiosd takes it; the link is closed then."""
        with trio.move_on_after(_LAST_WORDS_SECONDS, shield=True):
            self._enqueue_folded(math.inf)
            with contextlib.suppress(LinkLostError):
                await self._write_all()
        self._socket.close()

    # ---- what handlers ask and tell ----------------------------------------------------------------

    def reserve(self, ask: Ask) -> Reservation:
        """Ask whether this call may be made."""
        call = self._number()
        found = self._asked[call] = Reservation(partial(self._settle, call))
        self._put(Reserve(call=call, ask=ask), now=True)
        return found

    def _settle(self, call: int, bill: Bill) -> None:
        # An answer that is still to come finds nobody.
        self._asked.pop(call, None)
        self._put(Settle(call=call, bill=bill), now=True)

    def remember(self, name: str, address: str) -> None:
        self._put(Address(name=name, address=address), now=True)

    def report(self, *records: GatewayRecord) -> None:
        """Records for the cage's log, told within some milliseconds; equal denials within a second are one."""
        for record in self._folder.fold(map(self.clean, records), trio.current_time()):
            self._put(GatewayRecords(records=(record,)))

    async def report_durable(self, *records: GatewayRecord) -> None:
        """The same; returns once they are on disk.  A denial told a moment ago is not waited for again."""
        new = self._folder.fold(map(self.clean, records), trio.current_time())
        if not new:
            await trio.lowlevel.checkpoint()
            return
        number = self._number()
        kept = self._waiting[number] = trio.Event()
        # One a frame, so that no number of them is too large for one; the last is answered for all.
        for record in new[:-1]:
            self._put(GatewayRecords(records=(record,)))
        self._put(GatewayRecords(records=new[-1:], report=number), now=True)
        try:
            await kept.wait()
        finally:
            self._waiting.pop(number, None)

    async def wait_room(self) -> None:
        """Return once akiosd has taken most of what was told: it decides how fast."""
        while len(self._queue) > _WAITING:
            self._room = trio.Event()
            await self._room.wait()

    # ---- bytes -------------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _put(self, message: FromGateway, *, now: bool = False) -> None:
        """Queue it; ``now``: and write what is queued, as far as akiosd takes it at once."""
        self._queue.append(encode_frame(_encode(message)))
        if not self._writing:
            self._some.set()
            if now:
                self._write_now()

    def _write_now(self) -> None:
        batch = self._take_batch()
        try:
            sent = self._plain.send(batch)
        except OSError:
            sent = 0  # full, or gone: who writes in a task of its own finds out
        if sent < len(batch):
            self._queue.appendleft(batch[sent:])

    def _take_batch(self) -> bytes:
        """Some of what is queued, in its order: each writing wakes akiosd, and that is what costs."""
        batch = bytearray()
        while self._queue and len(batch) < _READ:
            batch += self._queue.popleft()
        return bytes(batch)

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            await trio.sleep(_GATHER_SECONDS)
            await self._write_all()
            self._some = trio.Event()
            self._room.set()

    async def _write_all(self) -> None:
        self._writing = True
        # A frame that was begun is ended: after half of one nothing can be told any more.
        with trio.CancelScope(shield=True):
            while self._queue:
                view = memoryview(self._take_batch())
                try:
                    while view:
                        view = view[await self._socket.send(view) :]
                except (BrokenPipeError, ConnectionResetError):
                    raise LinkLostError from None
                if len(self._queue) <= _WAITING // 2:
                    self._room.set()
        self._writing = False

    async def _tell_folded(self) -> None:
        while True:
            await trio.sleep(1)
            self._enqueue_folded(trio.current_time())

    def _enqueue_folded(self, now: float) -> None:
        for record in self._folder.take_due(now):
            self._put(GatewayRecords(records=(record,)))

    async def _receive(self) -> tuple[ToGateway, list[int]]:
        while not self._frames:
            data, fds, truncated = await self._read()
            if not data:
                raise LinkLostError
            self._frames += self._reader.receive(data, fds, truncated=truncated)
        frame = self._frames.pop(0)
        try:
            return _decoder.decode(frame.payload), frame.fds
        except msgspec.MsgspecError as error:
            close_all(frame.fds)
            raise ProtocolError(f"a message of akiosd's is not one: {error}", "link") from None

    async def _read(self) -> scm_rights.Chunk:
        try:
            return await scm_rights.receive(self._socket, _READ, MAX_FDS + 1)
        except ConnectionResetError:
            raise LinkLostError from None

    def _take(self, message: ToGateway, fds: list[int], on_connection: OnConnection) -> None:
        if isinstance(message, Answer) and message.call in self._asked:
            self._asked.pop(message.call).decide(message.verdict)
        elif isinstance(message, Kept) and message.report in self._waiting:
            self._waiting[message.report].set()
        elif isinstance(message, Connection) and fds:
            on_connection(socket.socket(fileno=fds.pop(0)))
        close_all(fds)
