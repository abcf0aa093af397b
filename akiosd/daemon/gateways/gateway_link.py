"""akiosd's end of one gateway's link: believes it about its own cage only, and within bounds.

The gateway's end is :mod:`akiosd.gateway.daemon_link.link`, the messages are in
:mod:`akiosd.wire.gateway`.
"""

from __future__ import annotations

import contextlib
import socket
import time
from collections.abc import Sequence

import msgspec
import trio

from akiosd.daemon.gateways.gateway_records import Book
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
    Connection,
    FromGateway,
    GatewayRecords,
    Kept,
    Prices,
    Ready,
    Reserve,
    Settle,
    Setup,
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

    def __init__(self, sock: socket.socket, book: Book, spend: Spend) -> None:
        """``sock`` is non-blocking and owned from now on."""
        self._plain, self._socket = sock, trio.socket.from_stdlib_socket(sock)
        self._book = book
        self._spend = spend
        self._reader = FrameReader()
        self._messages: list[FromGateway] = []
        self._sending = trio.Lock()
        self._unkept = trio.CapacityLimiter(_MAX_UNKEPT)
        self.addresses: dict[str, str] = {}

    @classmethod
    def pair(cls, book: Book, spend: Spend) -> tuple[GatewayLink, Fd]:
        """(our end, the gateway's end).  The caller sends the latter on and closes it."""
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        ours.setblocking(False)
        return cls(ours, book, spend), Fd(theirs.detach())

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

    async def send_connection(self, stream: Fd) -> None:
        """Hand over a stream of akiosctl's, which is closed here."""
        frame = encode_frame(_encode(Connection()))
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
        frame = encode_frame(_encode(Prices(prices=prices)))
        async with self._sending:
            try:
                await scm_rights.send(self._socket, frame)
            except (OSError, trio.ClosedResourceError):
                pass  # it is gone; reading tells

    async def run(self) -> None:
        """Serve until the gateway closes its end.  Raises GatewayFaultError for what is
        no message of a gateway.
        """
        async with trio.open_nursery() as nursery:
            while (message := await self._receive()) is not None:
                await self._take(message, nursery)

    def end(self) -> None:
        """Send no more: the gateway then reports what is left, and exits."""
        try:
            self._socket.shutdown(socket.SHUT_WR)
        except OSError:
            pass  # it is gone

    def close(self) -> None:
        """Close the socket; the gateway ends when it sees that."""
        self._socket.close()

    # ---- messages --------------------------------------------------------------------------------

    async def _take(self, message: FromGateway, nursery: trio.Nursery) -> None:
        if isinstance(message, GatewayRecords):
            await self._record(message, nursery)
        elif isinstance(message, Reserve):
            # Here and now: what comes after it must find it decided.
            verdict = await self._spend.reserve(
                message.call, message.ask, patient=message.patient, waited_ns=message.waited_ns
            )
            await self._send(Answer(call=message.call, verdict=verdict))
        elif isinstance(message, Settle):
            await self._spend.settle(message.call, message.bill)
        elif isinstance(message, Address):
            if len(message.name) > _MAX_NAME or len(message.address) > _MAX_ADDRESS:
                raise GatewayFaultError(
                    "the gateway told a name or an address that cannot exist", "gateway"
                )
            room = MAX_NAMES_BYTES - sum(map(len, self.addresses))
            if len(self.addresses) < MAX_ADDRESSES and len(message.name) <= room:
                self.addresses[message.name] = message.address
        else:
            raise GatewayFaultError("a gateway says Ready twice", "gateway")

    async def _record(self, report: GatewayRecords, nursery: trio.Nursery) -> None:
        now = time.time_ns()
        stamped = [
            msgspec.structs.replace(record, ts=now, v=SCHEMA_VERSION) for record in report.records
        ]
        if not stamped or not all(isinstance(record, _ITS_OWN) for record in stamped):
            raise GatewayFaultError(
                "the gateway sent a report that akiosd does not accept", "gateway"
            )
        index = await self._book.append(stamped)
        if report.report > 0:
            token = object()
            await self._unkept.acquire_on_behalf_of(token)
            nursery.start_soon(self._keep, report.report, index, token)

    async def _keep(self, report: int, index: int, token: object) -> None:
        try:
            await self._book.wait_durable(index)
            await self._send(Kept(report=report))
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
