"""The gateway's end of its socket to akiosd.

The gateway asks akiosd whether a call may be paid, reports records for the log and names that got
an address, and receives its ``Setup`` and connections of ``akiosctl http``. The messages are in
:mod:`akiosd.wire.gateway`; akiosd's end is :mod:`akiosd.daemon.gateways.gateway_link`.

The socket ends when akiosd dies. Calls that were granted go on then; everything that needs akiosd's
word waits. Another akiosd sends a new socket (``Resume``) and is told and asked again what the
earlier one left open. When nobody holds the other end of the socket on which that comes, the
gateway ends.
"""

from __future__ import annotations

import contextlib
import math
import socket
from collections import deque
from collections.abc import Callable
from functools import partial

import msgspec
import trio

from akiosd.errors import GatewayFaultError
from akiosd.gateway.daemon_link.coalesce_denials import Folder
from akiosd.gateway.daemon_link.outbox import Outbox
from akiosd.gateway.daemon_link.wait_line import MOST_WAITING, WaitLine
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import close_all
from akiosd.values.denial import Denial
from akiosd.values.spend import Ask, Bill, Grant, ModelPrice, Wait
from akiosd.wire.frame import MAX_FDS, Frame, FrameReader, encode_frame
from akiosd.wire.gateway import (
    Address,
    Answer,
    Captured,
    Connection,
    End,
    FromTold,
    GatewayRecord,
    GatewayRecords,
    Heard,
    Kept,
    Prices,
    Ready,
    Reserve,
    Resume,
    Settle,
    Setup,
    Taken,
    ToGateway,
)

_READ = 64 << 10
_WAITING = 1000
"""While more frames than this wait to be sent, no new connection is accepted
(:meth:`Link.wait_room`).
"""
_LAST_WORDS_SECONDS = 2.0
_GATHER_SECONDS = 0.005
"""Frames that nobody waits for are held this long, so that several are written by one
system call.
"""

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[ToGateway] = msgspec.msgpack.Decoder(ToGateway)
_resume = msgspec.msgpack.Decoder(Resume)

OnConnection = Callable[[socket.socket, Connection | Captured], None]
"""Called with a connected socket and whose it is: a stream from ``akiosctl http``, or what akiosd
took over from the agent.  The callee owns the socket.
"""


class LinkLostError(Exception):
    """akiosd ended the link, or is gone and nobody can come after it.  The gateway must end."""


class _DisconnectedError(Exception):
    """akiosd is gone; another may come."""


class Reservation:
    """One question to akiosd: may this call be made?  Its maker calls :meth:`settle` exactly once,
    whatever happened.

    ``patience_s``: for how long it may wait until open calls leave room; ``insist`` is called when
    that time is over.
    """

    def __init__(
        self,
        settle: Callable[[Bill], None],
        patience_s: float = 0.0,
        insist: Callable[[], None] = lambda: None,
    ) -> None:
        self._settle, self._patience_s, self._insist = settle, patience_s, insist
        self._decided, self._heard = trio.Event(), trio.Event()
        self._verdict: Grant | Denial | None = None

    def decide(self, verdict: Grant | Denial) -> None:
        """Store akiosd's answer and wake whoever waits for it."""
        self._verdict = verdict
        self._decided.set()
        self._heard.set()

    def hold(self) -> None:
        """It waits in line."""
        self._heard.set()

    async def wait_word(self) -> bool:
        """Wait until it is decided, or has to wait in line; returns whether it is decided."""
        await self._heard.wait()
        return self._decided.is_set()

    async def wait_verdict(self) -> Grant | Denial:
        """Wait for akiosd's answer: a grant with its bounds, or a denial."""
        if self._patience_s:
            with trio.move_on_after(self._patience_s):
                await self._decided.wait()
            if not self._decided.is_set():
                self._insist()
        await self._decided.wait()
        assert self._verdict is not None
        return self._verdict

    def settle(self, bill: Bill) -> None:
        """Report what the call cost, and give back the rest of the reservation.

        Nothing is sent for a call that was denied: nothing was reserved for it. A call whose answer
        has not come yet is settled too, because akiosd may have granted it already.
        """
        if not isinstance(self._verdict, Denial):
            self._settle(bill)


class Link:
    """The link over ``sock``, a connected unix stream socket; on ``relink`` another akiosd sends
    the next one.  The link owns both from now on.

    Call :meth:`start` first, then :meth:`run` in a task of its own. All other methods may be called
    from any task.
    """

    def __init__(self, sock: socket.socket, relink: socket.socket) -> None:
        relink.setblocking(False)
        self._relink = trio.socket.from_stdlib_socket(relink)
        self._posture: tuple[str, ...] = ()
        self._use(sock)
        self._here = trio.Event()
        """Whether akiosd is there."""
        self._here.set()
        self._served = trio.Event()
        """Whether it has told its prices, too: what begins is priced as it would be there."""
        self._served.set()
        self._outbox = Outbox()
        self._queue: deque[bytes] = deque()
        """Encoded frames that are not sent yet; the first may be the unsent rest of one."""
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
        """Applied to every record before it is reported; set by ``Context`` to mask
        personal data.
        """
        self._room = trio.Event()
        self._prices: dict[str, ModelPrice] = {}

    def _use(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(sock)
        self._plain = sock
        """The same socket as a plain object, for a write that must not wait."""
        self._reader = FrameReader()
        self._frames: list[Frame] = []

    async def start(self, posture: tuple[str, ...]) -> tuple[Setup, list[socket.socket]]:
        """Send ``posture`` (the layers that confine this process), and wait for the setup.

        Returns the setup and its listening sockets, in the order of ``Setup.listeners``; the caller
        owns them. Raises :class:`ProtocolError` when the first frame is anything else,
        :class:`LinkLostError`.
        """
        self._posture = posture
        try:
            self._put(Ready(posture=posture))
            await self._write_all()
            message, fds = await self._receive()
        except _DisconnectedError:
            raise LinkLostError from None
        if not isinstance(message, Setup) or len(fds) != len(message.listeners):
            close_all(fds)
            raise GatewayFaultError(
                "akiosd's first message is not a setup with its sockets", "gateway"
            )
        self._prices = message.prices
        return message, [socket.socket(fileno=fd) for fd in fds]

    async def run(self, on_connection: OnConnection) -> None:
        """Send and receive, through all that akiosd is one after the other, until one ends the link
        or no other can come; then raises :class:`LinkLostError`.

        Raises :class:`ProtocolError` for a frame that is no message.
        """
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._tell_folded)
            while True:
                await self._talk(on_connection)
                await self._wait_another()

    async def _talk(self, on_connection: OnConnection) -> None:
        """With one akiosd, until it is gone.  Raises LinkLostError when it ended the link."""
        try:
            async with trio.open_nursery() as nursery:
                nursery.start_soon(self._write)
                while True:
                    message, fds = await self._receive()
                    if isinstance(message, End):
                        raise LinkLostError
                    self._take(message, fds, on_connection)
        except* _DisconnectedError:
            pass

    async def _wait_another(self) -> None:
        """Begin with another akiosd: tell and ask it what the earlier one left open."""
        self._here = trio.Event()
        if self._served.is_set():
            self._served = trio.Event()
        self._socket.close()
        close_all(self._reader.close())
        while True:
            try:
                data, fds, _ = await scm_rights.receive(self._relink, _READ, 1)
            except OSError:
                raise LinkLostError from None
            if not data:
                raise LinkLostError
            if fds:
                break
        self._outbox.take(_resume.decode(data).taken)
        self._use(socket.socket(fileno=fds[0]))
        self._queue.clear()
        self._writing = False
        self._some = trio.Event()
        self._here.set()
        self._put(Ready(posture=self._posture))
        self._queue += self._outbox.say_again()
        for call in self._asked:
            if call not in self._line or self._line.is_asked(call):
                self._ask(call, patient=self._line.is_asked(call))
        self._room.set()

    async def say_last_words(self) -> None:
        """Tell what is queued or still being counted, and close the link once it is known to
        outlive akiosd; for two seconds at most while akiosd is there.

        Shielded from cancellation: it is the last thing a gateway does.
        """
        with trio.CancelScope(shield=True):
            self._enqueue_folded(math.inf)
            with contextlib.suppress(LinkLostError, GatewayFaultError):
                await self._tell_all()
        self._socket.close()
        self._relink.close()

    async def _tell_all(self) -> None:
        while len(self._outbox):
            if not self._here.is_set():
                await self._wait_another()
            with trio.move_on_after(_LAST_WORDS_SECONDS) as patience:
                await self._talk_last()
            if patience.cancelled_caught:
                return

    async def _talk_last(self) -> None:
        """Until everything was taken, or akiosd is gone."""
        try:
            await self._write_all()
            while len(self._outbox):
                message, fds = await self._receive()
                self._take(message, fds, lambda sock, _: sock.close())
        except _DisconnectedError:
            self._here = trio.Event()

    # ---- what handlers ask and tell --------------------------------------------------------------

    def reserve(self, ask: Ask, patience_s: float = 0.0) -> Reservation:
        """Ask akiosd whether the call that ``ask`` describes may be made.  Does not wait.

        ``patience_s``: for how long the call may wait until open calls leave room.
        """
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
            self._tell(Settle(call=call, bill=bill), now=True)
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
        if isinstance(verdict, Denial):
            self._tell(Heard(call=call))
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
        """Tell akiosd that ``name`` was given ``address``, so that the next gateway of this cage
        uses it again.
        """
        self._tell(Address(name=name, address=address), now=True)

    def report(self, *records: GatewayRecord) -> None:
        """Queue records for the cage's log; they are sent within some milliseconds.  Equal denials
        are coalesced.
        """
        for record in self._folder.fold(map(self.clean, records), trio.current_time()):
            self._tell(GatewayRecords(records=(record,)))

    async def report_durable(self, *records: GatewayRecord) -> None:
        """Report records and return once akiosd has them on disk.

        A denial that equals one reported within the last second is only counted, and is not waited
        for: the first of its kind is on disk already.
        """
        new = self._folder.fold(map(self.clean, records), trio.current_time())
        if not new:
            await trio.lowlevel.checkpoint()
            return
        # One a frame, so that no number of them is too large for one; the last is answered for all.
        for record in new[:-1]:
            self._tell(GatewayRecords(records=(record,)))
        number = self._tell(GatewayRecords(records=new[-1:], durable=True), now=True)
        kept = self._waiting[number] = trio.Event()
        try:
            await kept.wait()
        finally:
            self._waiting.pop(number, None)

    async def wait_room(self) -> None:
        """Wait until akiosd is there and has read and taken most of what it was told, so that
        nothing begins of which it may never know, and reporting cannot outrun the log.
        """
        while not self._served.is_set() or max(len(self._queue), len(self._outbox)) > _WAITING:
            await self._served.wait()
            if max(len(self._queue), len(self._outbox)) > _WAITING:
                self._room = trio.Event()
                await self._room.wait()

    # ---- bytes -----------------------------------------------------------------------------------

    def _number(self) -> int:
        self._numbers += 1
        return self._numbers

    def _tell(self, message: FromTold, *, now: bool = False) -> int:
        """Tell akiosd, this one or the next; returns the number of the message."""
        number, frame = self._outbox.tell(message)
        self._queue_frame(frame, now)
        return number

    def _put(self, message: Ready | Reserve, *, now: bool = False) -> None:
        """Say ``message`` to the akiosd that is there; to another one it is said anew."""
        self._queue_frame(encode_frame(_encode(message)), now)

    def _queue_frame(self, frame: bytes, now: bool) -> None:
        """With ``now`` also write as much of the queue as the socket takes without waiting."""
        if not self._here.is_set():
            return
        self._queue.append(frame)
        if not self._writing:
            self._some.set()
            if now:
                self._write_now()

    def _write_now(self) -> None:
        batch = self._take_batch()
        try:
            sent = self._plain.send(batch)
        except OSError:
            sent = 0  # full, or gone: the task that writes (_write) finds out
        if sent < len(batch):
            self._queue.appendleft(batch[sent:])

    def _take_batch(self) -> bytes:
        """Take whole frames from the queue, 64 KiB or a little more: each write wakes akiosd, which
        costs more than the bytes.
        """
        batch = bytearray()
        while self._queue and len(batch) < _READ:
            batch += self._queue.popleft()
        return bytes(batch)

    async def _write(self) -> None:
        while True:
            await self._some.wait()
            await trio.sleep(_GATHER_SECONDS)
            try:
                await self._write_all()
            except _DisconnectedError:
                # What it said before is read first; its end comes behind that.
                return
            self._some = trio.Event()
            self._room.set()

    async def _write_all(self) -> None:
        self._writing = True
        # A frame that was begun must be sent whole: after half a frame the stream cannot be read
        # any more.
        with trio.CancelScope(shield=True):
            while self._queue:
                view = memoryview(self._take_batch())
                try:
                    while view:
                        view = view[await self._socket.send(view) :]
                except (BrokenPipeError, ConnectionResetError):
                    raise _DisconnectedError from None
                if len(self._queue) <= _WAITING // 2:
                    self._room.set()
        self._writing = False

    async def _tell_folded(self) -> None:
        while True:
            await trio.sleep(1)
            self._enqueue_folded(trio.current_time())

    def _enqueue_folded(self, now: float) -> None:
        for record in self._folder.take_due(now):
            self._tell(GatewayRecords(records=(record,)))

    async def _receive(self) -> tuple[ToGateway, list[int]]:
        while not self._frames:
            chunk = await self._read()
            if not chunk.data:
                raise _DisconnectedError
            self._frames += self._reader.receive(chunk.data, chunk.fds, truncated=chunk.truncated)
        frame = self._frames.pop(0)
        try:
            return _decoder.decode(frame.payload), frame.fds
        except msgspec.MsgspecError as error:
            close_all(frame.fds)
            raise GatewayFaultError(
                f"akiosd sent the gateway something that is not a message: {error}", "gateway"
            ) from None

    async def _read(self) -> scm_rights.Chunk:
        try:
            return await scm_rights.receive(self._socket, _READ, MAX_FDS + 1)
        except ConnectionResetError:
            raise _DisconnectedError from None

    def _take(self, message: ToGateway, fds: list[int], on_connection: OnConnection) -> None:
        if isinstance(message, Answer):
            self._hear(message.call, message.verdict)
        elif isinstance(message, Kept):
            self._outbox.keep(message.number)
            if message.number in self._waiting:
                self._waiting[message.number].set()
        elif isinstance(message, Taken):
            self._outbox.take(message.number)
            if len(self._outbox) <= _WAITING // 2:
                self._room.set()
        elif isinstance(message, Connection | Captured) and fds:
            on_connection(socket.socket(fileno=fds.pop(0)), message)
        elif isinstance(message, Prices):
            # In place: whoever prices a call looks into the setup's own table.
            self._prices.clear()
            self._prices |= message.prices
            self._served.set()
        close_all(fds)
