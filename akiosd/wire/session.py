"""Both sides of the protocol as state machines, sans-IO: bytes and descriptors in, messages out.

The life of a connection, for either side:

=============  =======================  =====================================================
state          what may come            then
=============  =======================  =====================================================
``greeting``   Hello of our protocol    ``open``
``greeting``   Hello of another         ProtocolError naming both versions
``open``       a message of the table   delivered with its descriptors
any            anything else            ProtocolError; ``close`` returns every descriptor
=============  =======================  =====================================================

A request is open from its arrival until its last reply; ``Started``, ``Records`` and ``Gap`` are
never the last.  A client need not wait for the daemon's hello before its first request.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from types import UnionType
from typing import Any

import msgspec

from akiosd.errors import ProtocolError
from akiosd.wire.frame import Frame, FrameReader, encode_frame
from akiosd.wire.messages import (
    FDS,
    PROTOCOL,
    Error,
    Gap,
    Hello,
    Message,
    Records,
    Reply,
    Request,
    StandsStill,
    Started,
    Subscribe,
)

MAX_OPEN_REQUESTS = 64
NOT_LAST: tuple[type[Message], ...] = (Started, StandsStill, Records, Gap)

EventsRequest = Hello | Subscribe

_encode = msgspec.msgpack.Encoder().encode


class Received(msgspec.Struct):
    """A message and the descriptors that came with it; whoever holds it owns them."""

    message: Message
    fds: list[int]


class Session:
    """What both sides share: framing, the hello, typed decoding, who owns which descriptor."""

    def __init__(self, accepts: Any) -> None:
        self._frames = FrameReader()
        self._decoder: msgspec.msgpack.Decoder[Any] = msgspec.msgpack.Decoder(accepts)
        self._unclaimed: list[int] = []
        self.peer_software: str | None = None
        """What the peer calls itself; None until its hello came."""

    def receive(
        self, data: bytes, fds: Iterable[int] = (), *, truncated: bool = False
    ) -> list[Received]:
        """Take what one ``recvmsg(2)`` returned (``truncated``: its MSG_CTRUNC); returns the
        messages that are now whole.

        Raises :class:`ProtocolError` and nothing else; :meth:`close` then returns the descriptors.
        """
        frames = self._frames.receive(data, fds, truncated=truncated)
        received: list[Received] = []
        try:
            for frame in frames:
                received.append(Received(self._take(frame), frame.fds))
        except ProtocolError:
            for frame in frames:
                self._unclaimed += frame.fds
            raise
        return received

    def receive_eof(self) -> None:
        """The peer closed its side.  Raises :class:`ProtocolError` when a frame was cut short."""
        self._frames.receive_eof()

    def send(self, message: Message, fds: Sequence[int] = ()) -> bytes:
        """The bytes of ``message``.  The caller sends ``fds`` with the first byte, and still owns
        them afterwards.
        """
        if len(fds) > FDS.get(type(message), 0):
            raise ValueError(f"{type(message).__name__} does not carry {len(fds)} file descriptors")
        return encode_frame(_encode(message))

    def close(self) -> list[int]:
        """End the session; returns the descriptors that reached no message, for the caller to
        close.
        """
        fds, self._unclaimed = self._unclaimed, []
        return fds + self._frames.close()

    def _take(self, frame: Frame) -> Message:
        message = self._decode(frame.payload)
        allowed = FDS.get(type(message), 0)
        if len(frame.fds) > allowed:
            raise ProtocolError(
                f"{len(frame.fds)} file descriptors with a message that carries at most {allowed}",
                type(message).__name__,
            )
        if isinstance(message, Hello):
            self._take_hello(message)
        elif self.peer_software is None and not self._may_precede_hello(message):
            raise ProtocolError("the first message is not a hello", type(message).__name__)
        else:
            self._check(message)
        return message

    def _decode(self, payload: bytes) -> Message:
        try:
            message = self._decoder.decode(payload)
        except (msgspec.MsgspecError, RecursionError, ValueError, OverflowError) as error:
            raise ProtocolError("not a message of this protocol", str(error)) from None
        if not isinstance(message, Message):
            raise ProtocolError("not a message of this protocol")
        return message

    def _take_hello(self, hello: Hello) -> None:
        if self.peer_software is not None:
            raise ProtocolError("a second hello")
        if hello.protocol != PROTOCOL:
            raise ProtocolError(
                f"the peer speaks protocol {hello.protocol}, this side speaks {PROTOCOL}",
                next="install the same version of akiosd and akiosctl, and restart akiosd",
            )
        self.peer_software = hello.software

    def _may_precede_hello(self, message: Message) -> bool:
        return False

    def _check(self, message: Message) -> None:
        raise NotImplementedError


class ServerSession(Session):
    """The daemon's side.  ``accepts`` is the union of requests that this socket takes."""

    def __init__(self, accepts: UnionType | None = None) -> None:
        super().__init__(Request if accepts is None else accepts)
        self.open_requests: set[int] = set()

    def _check(self, message: Message) -> None:
        if message.id in self.open_requests:
            raise ProtocolError(f"request {message.id} is already open", type(message).__name__)
        if len(self.open_requests) >= MAX_OPEN_REQUESTS:
            raise ProtocolError(
                f"more than {MAX_OPEN_REQUESTS} open requests on one connection",
                next="wait for an answer before you ask more, or open another connection",
            )
        self.open_requests.add(message.id)

    def send(self, message: Message, fds: Sequence[int] = ()) -> bytes:
        data = super().send(message, fds)
        if not isinstance(message, NOT_LAST):
            self.open_requests.discard(message.id)
        return data


class ClientSession(Session):
    """The client's side.  Requests get their id from :meth:`next_id`."""

    def __init__(self) -> None:
        super().__init__(Reply)
        self._next_id = 0
        self.open_requests: set[int] = set()

    def next_id(self) -> int:
        """A new id for a request."""
        self._next_id += 1
        return self._next_id

    def send(self, message: Message, fds: Sequence[int] = ()) -> bytes:
        data = super().send(message, fds)
        if not isinstance(message, Hello):
            self.open_requests.add(message.id)
        return data

    def _may_precede_hello(self, message: Message) -> bool:
        # A daemon that will not talk to this peer says so instead of greeting it.
        return isinstance(message, Error)

    def _check(self, message: Message) -> None:
        if isinstance(message, Error) and message.id == 0:
            return
        if message.id not in self.open_requests:
            raise ProtocolError(
                f"a reply to request {message.id}, which is not open", type(message).__name__
            )
        if not isinstance(message, NOT_LAST):
            self.open_requests.discard(message.id)
