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
from akiosd.gateway.daemon_link.wait_line import MOST_WAITING, WaitLine
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import close_all
from akiosd.values.denial import Denial
from akiosd.values.spend import Ask, Bill, Grant, Wait
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
    """What akiosd was asked for one call.  Whoever asked calls :meth:`settle` once, whatever happened.

    ``patience_s``: for how long it may wait for open calls to leave room; ``insist`` is called when that is over.
    """

    def __init__(
        self, settle: Callable[[Bill], None], patience_s: float = 0.0, insist: Callable[[], None] = lambda: None
    ) -> None:
        self._settle, self._patience_s, self._insist = settle, patience_s, insist
        self._decided, self._heard = trio.Event(), trio.Event()
        self._verdict: Grant | Denial | None = None
        self.waited = False
        """Whether it stood in line."""

    def decide(self, verdict: Grant | Denial) -> None:
        self._verdict = verdict
        self._decided.set()
        self._heard.set()

    def hold(self) -> None:
        """It waits in line."""
        self.waited = True
        self._heard.set()

    async def wait_word(self) -> bool:
        """Return once it is decided, or waits in line; whether it is decided."""
        await self._heard.wait()
        return self._decided.is_set()

    async def wait_verdict(self) -> Grant | Denial:
        if self._patience_s:
            with trio.move_on_after(self._patience_s):
                await self._decided.wait()
            if not self._decided.is_set():
                self._insist()
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
        self._asked: dict[int, tuple[Reservation, Ask, float]] = {}
        """Calls that are undecided, what was asked for each, and when."""
        self._line = WaitLine()
        self._insistent: set[int] = set()
        """Calls whose patience ended while their answer was to come."""
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

    def reserve(self, ask: Ask, patience_s: float = 0.0) -> Reservation:
        """Ask whether this call may be made; for up to ``patience_s`` it waits for open calls to leave room."""
        call = self._number()
        if len(self._line) >= MOST_WAITING:
            patience_s = 0.0
        found = Reservation(partial(self._settle, call), patience_s, partial(self._insist, call))
        self._asked[call] = found, ask, trio.current_time()
        if not patience_s:
            self._ask(call)
        elif self._line.come(call) is None:
            found.hold()
        else:
            self._ask(call, patient=True)
        return found

    def _ask(self, call: int, *, patient: bool = False) -> None:
        _, ask, since = self._asked[call]
        waited_ns = int((trio.current_time() - since) * 1e9)
        self._put(Reserve(call=call, ask=ask, patient=patient, waited_ns=waited_ns), now=True)

    def _settle(self, call: int, bill: Bill) -> None:
        undecided = call in self._asked
        # An answer that is still to come finds nobody.
        self._asked.pop(call, None)
        self._insistent.discard(call)
        waits = undecided and call in self._line and not self._line.is_asked(call)
        if not waits or self._line.is_known(call):
            self._put(Settle(call=call, bill=bill), now=True)
        self._ask_again(self._line.left(call))
        if not waits:
            self._ask_again(self._line.settled())

    def _insist(self, call: int) -> None:
        """It waits no longer: akiosd says yes or no now."""
        if self._line.is_asked(call):
            self._insistent.add(call)
        else:
            self._ask_again(self._line.left(call))
            self._ask(call)

    def _ask_again(self, call: int | None) -> None:
        if call is None:
            return
        if call in self._asked:
            self._ask(call, patient=True)
        else:
            self._ask_again(self._line.answered(call))

    def _hear(self, call: int, verdict: Grant | Denial | Wait) -> None:
        found = self._asked.get(call)
        if isinstance(verdict, Wait) and found is not None and call not in self._insistent:
            found[0].hold()
            self._ask_again(self._line.told_to_wait(call))
            return
        if isinstance(verdict, Wait):
            self._ask_again(self._line.answered(call))
            if found is not None:
                self._insistent.discard(call)
                self._ask(call)
            return
        if found is not None:
            del self._asked[call]
            self._insistent.discard(call)
            found[0].decide(verdict)
        self._ask_again(self._line.answered(call))

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
            chunk = await self._read()
            if not chunk.data:
                raise LinkLostError
            self._frames += self._reader.receive(chunk.data, chunk.fds, truncated=chunk.truncated)
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
        if isinstance(message, Answer):
            self._hear(message.call, message.verdict)
        elif isinstance(message, Kept) and message.report in self._waiting:
            self._waiting[message.report].set()
        elif isinstance(message, Connection) and fds:
            on_connection(socket.socket(fileno=fds.pop(0)))
        close_all(fds)
