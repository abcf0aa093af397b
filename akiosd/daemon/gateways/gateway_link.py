"""akiosd's end of one gateway's link: believes it about its own cage only, and within bounds.

The gateway's end is :mod:`akiosd.gateway.daemon_link.link`, the messages are in
:mod:`akiosd.wire.gateway`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Callable, Sequence

import msgspec
import trio

from akiosd.daemon.gateways.spend import Spend
from akiosd.errors import CageFailedError, GatewayFaultError
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd
from akiosd.values.records import SCHEMA_VERSION, GatewayFailed, NetDenied, NetRequest, Redaction
from akiosd.values.spend import ModelPrice
from akiosd.wire.frame import FrameReader, encode_frame
from akiosd.wire.gateway import (
    Address,
    Answer,
    Captured,
    Connection,
    End,
    FromGateway,
    FromTold,
    GatewayRecord,
    GatewayRecords,
    Heard,
    Kept,
    Prices,
    Ready,
    Reserve,
    Settle,
    Setup,
    Taken,
    ToGateway,
)

MAX_ADDRESSES = 2200
"""Names remembered for a later gateway: as many as wildcards may allocate, and some of
the policy.
"""
MAX_NAMES_BYTES = 256 << 10
"""Bytes of all these names: with roots and policy they must fit into one frame."""
_MAX_NAME, _MAX_ADDRESS = 253, 15
_READ = 64 << 10
_SEND_S = 5
_MAX_UNKEPT = 256
"""Reports that may wait to be durable before more is read from the link."""

_ITS_OWN = (NetDenied, NetRequest, Redaction, GatewayFailed)
"""Records that a gateway may report; those about money are written by akiosd itself."""

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[FromGateway] = msgspec.msgpack.Decoder(FromGateway)


class GatewayLink:
    """One link.  Call :meth:`receive_ready`, then :meth:`send_setup`, then :meth:`run`
    in a task.
    """

    def __init__(self, sock: socket.socket, spend: Spend) -> None:
        """``sock`` is non-blocking and owned from now on."""
        self._plain, self._socket = sock, trio.socket.from_stdlib_socket(sock)
        self._spend = spend
        self._untold = False
        """Whether something was taken that the gateway has not heard of."""
        self._reader = FrameReader()
        self._messages: list[FromGateway] = []
        self._sending = trio.Lock()
        self._unkept = trio.CapacityLimiter(_MAX_UNKEPT)
        self.addresses: dict[str, str] = {}
        self.on_address: Callable[[], None] = lambda: None
        """Called when there is one more of these; it makes them outlive akiosd."""

    @classmethod
    def pair(cls, spend: Spend) -> tuple[GatewayLink, Fd]:
        """(our end, the gateway's end).  The caller sends the latter on and closes it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        return cls(ours, spend), Fd(theirs.detach())

    async def receive_ready(self) -> tuple[str, ...]:
        """The gateway's posture.  CageFailedError when it ended, GatewayFaultError when it sends
        anything else first.
        """
        message = await self._receive()
        if message is None:
            raise CageFailedError("the gateway ended before it was ready", "gateway")
        if not isinstance(message, Ready):
            raise GatewayFaultError("a gateway's first word is not Ready", "gateway")
        return message.posture

    async def send_setup(self, setup: Setup, listeners: Sequence[int]) -> None:
        """Send the setup with its ``listeners``, whose descriptors stay the caller's."""
        frame = encode_frame(_encode(setup))
        with trio.move_on_after(_SEND_S, shield=True) as patience:
            await scm_rights.send(self._socket, frame, listeners)
        if patience.cancelled_caught:
            raise GatewayFaultError("a gateway does not read its setup", "gateway")

    async def send_connection(self, stream: Fd, message: Connection | Captured) -> None:
        """Hand over a stream of akiosctl's or of the agent's, which is closed here."""
        frame = encode_frame(_encode(message))
        with stream:
            async with self._sending:
                try:
                    await scm_rights.send(self._socket, frame, [stream.fileno()])
                except OSError:
                    pass  # it is gone; reading tells, and akiosctl sees its end closed

    async def send_prices(self, prices: dict[str, ModelPrice]) -> None:
        """Give the gateway other prices of the administrator's; one that does not read is left
        alone.
        """
        await self._say(Prices(prices=prices))

    async def run(self) -> None:
        """Serve until the gateway closes its end.  Raises GatewayFaultError for what is
        no message of a gateway.
        """
        async with trio.open_nursery() as nursery:
            while (message := await self._receive()) is not None:
                await self._take(message, nursery)
                if self._untold and not self._messages:
                    self._untold = False
                    await self._send(Taken(number=self._spend.memory.state.taken))

    async def end(self) -> None:
        """Let the gateway tell what is left, and exit; one that does not read is left alone."""
        with trio.move_on_after(_SEND_S):
            await self._say(End())

    def close(self) -> None:
        """Close the socket; the gateway ends when it sees that."""
        self._socket.close()

    # ---- messages --------------------------------------------------------------------------------

    async def _take(self, message: FromGateway, nursery: trio.Nursery) -> None:
        if isinstance(message, Reserve):
            # Here and now: what comes after it must find it decided.
            verdict = await self._spend.reserve(
                message.call, message.ask, patient=message.patient, waited_ns=message.waited_ns
            )
            await self._send(Answer(call=message.call, verdict=verdict))
        elif isinstance(message, Ready):
            raise GatewayFaultError("a gateway says Ready twice", "gateway")
        else:
            self._untold = True
            taken = self._spend.memory.state.taken
            if message.number == taken + 1:
                await self._take_told(message)
            elif not 0 < message.number <= taken:
                raise GatewayFaultError("a gateway skips numbers of its messages", "gateway")
            if isinstance(message, GatewayRecords) and message.durable:
                token = object()
                await self._unkept.acquire_on_behalf_of(token)
                nursery.start_soon(self._keep, message.number, token)

    async def _take_told(self, message: FromTold) -> None:
        """Its effect outlives akiosd when this returns, and so does that it was taken."""
        if isinstance(message, GatewayRecords):
            await self._spend.record(_stamp(message.records), message.number)
        elif isinstance(message, Settle):
            await self._spend.settle(message.call, message.bill, message.number)
        elif isinstance(message, Heard):
            self._spend.heard(message.call, message.number)
        else:
            self._remember(message)
            self._spend.take(message.number)

    def _remember(self, told: Address) -> None:
        if len(told.name) > _MAX_NAME or len(told.address) > _MAX_ADDRESS:
            raise GatewayFaultError(
                "the gateway reported a name or an address that cannot exist", "gateway"
            )
        room = MAX_NAMES_BYTES - sum(map(len, self.addresses))
        if len(self.addresses) < MAX_ADDRESSES and len(told.name) <= room:
            self.addresses[told.name] = told.address
            self.on_address()

    async def _keep(self, number: int, token: object) -> None:
        try:
            await self._spend.memory.wait_written()
            await self._send(Kept(number=number))
        finally:
            self._unkept.release_on_behalf_of(token)

    # ---- bytes -----------------------------------------------------------------------------------

    async def _receive(self) -> FromGateway | None:
        """The next message; None at the end.  Descriptors have no way in: recv(2) drops them."""
        while not self._messages:
            try:
                data = await self._socket.recv(_READ)
            except ConnectionResetError:
                return None
            if not data:
                return None
            for frame in self._reader.receive(data):
                try:
                    self._messages.append(_decoder.decode(frame.payload))
                except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                    raise GatewayFaultError(
                        f"a gateway's message is not one: {error}"[:200], "gateway"
                    ) from None
        return self._messages.pop(0)

    async def _say(self, message: ToGateway) -> None:
        frame = encode_frame(_encode(message))
        async with self._sending:
            try:
                await scm_rights.send(self._socket, frame)
            except (OSError, trio.ClosedResourceError):
                pass  # it is gone; reading tells

    async def _send(self, message: ToGateway) -> None:
        view = memoryview(encode_frame(_encode(message)))
        if not self._sending.locked():
            # Nearly always there is room, and somebody waits for the answer.
            with contextlib.suppress(OSError):
                view = view[self._plain.send(view) :]
        if view:
            await self._send_all(view)

    async def _send_all(self, view: memoryview) -> None:
        async with self._sending:
            with trio.move_on_after(_SEND_S, shield=True) as patience:
                try:
                    while view:
                        view = view[await self._socket.send(view) :]
                except OSError:
                    pass  # it is gone; reading tells
            if patience.cancelled_caught:
                raise GatewayFaultError("a gateway does not read what it asked for", "gateway")


def _stamp(reported: Sequence[GatewayRecord]) -> list[GatewayRecord]:
    """The records with the time of akiosd.  Raises GatewayFaultError."""
    now = time.time_ns()
    stamped = [msgspec.structs.replace(record, ts=now, v=SCHEMA_VERSION) for record in reported]
    if not stamped or not all(isinstance(record, _ITS_OWN) for record in stamped):
        raise GatewayFaultError("the gateway sent a report that akiosd does not accept", "gateway")
    return stamped
