"""The agent's end of one HTTP connection: reads heads and bodies, sends h11's events, and notices
that the agent left.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Protocol

import h11
import trio

from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.limits import Limits
from akiosd.gateway.net.request_head import END, BadHeadError, MalformedError, check_head

_READ = 64 << 10
_AHEAD = 64 << 10
"""While a request is answered, at most this many bytes of the following requests are read."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""What reading and sending raise when the other side is gone.  Reading may send as well: TLS
answers a new key (RFC 8446 §4.6.3), so it can raise what sending raises.
"""


class Leaver(Protocol):
    """Whoever must be told that the agent went away: the exchange in progress."""

    complete: trio.Event
    """Set once the request has arrived whole."""

    def leave(self) -> None:
        """The agent is gone."""
        ...


class Wire:
    """Reads from and writes to ``stream``, which may be TLS.

    ``stream`` belongs to the caller, who closes it; only :meth:`reset` closes it here.
    """

    def __init__(self, stream: trio.abc.Stream, limits: Limits) -> None:
        self._stream, self._limits = stream, limits
        self._buffer = bytearray()

    async def read_head(self) -> bytes | None:
        """The next request's head, checked by :func:`check_head`; None when the agent closes, or
        asks nothing within ``idle_seconds``.

        Raises :class:`BadHeadError` for a head that is malformed, larger than ``head_bytes``, or
        not complete ``head_seconds`` after its first byte; one of ``GONE`` when the agent is gone.
        """
        with trio.move_on_after(self._limits.idle_seconds) as patience:
            while True:
                # Empty lines before a request are overlooked (RFC 9112 §2.2).
                while self._buffer[:2] == b"\r\n":
                    del self._buffer[:2]
                if (
                    self._buffer
                    and patience.deadline - trio.current_time() > self._limits.head_seconds
                ):
                    patience.deadline = trio.current_time() + self._limits.head_seconds
                end = self._buffer.find(END, 0, self._limits.head_bytes + len(END))
                if end >= 0:
                    return self._take_head(end + len(END))
                if len(self._buffer) > self._limits.head_bytes:
                    raise BadHeadError(
                        f"the request line and headers have more than {self._limits.head_bytes}"
                        " bytes",
                        431,
                        "send shorter headers",
                    )
                data = await self._stream.receive_some(_READ)
                if not data:
                    return None
                self._buffer += data
        if self._buffer:
            raise BadHeadError(
                "the request line and headers did not come in time", 408, "send it without a pause"
            )
        return None

    def _take_head(self, size: int) -> bytes:
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        check_head(head, self._limits)
        return head

    def give_back(self, data: bytes) -> None:
        """Put ``data``, which h11 read and did not use, back in front of the buffer: it begins the
        next request.
        """
        self._buffer[:0] = data

    async def next_event(self, http: h11.Connection, leaver: Leaver) -> h11.Event:
        """The next ``Data`` or ``EndOfMessage`` of the request's body; answers ``Expect:
        100-continue`` first.

        Raises :class:`MalformedError` for bad framing. When the agent is gone, ``leaver`` is told,
        and the handler that waits here is cancelled; where cancellation is shielded,
        ``trio.BrokenResourceError`` is raised.
        """
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError:
                # h11's words quote the agent's bytes.
                raise MalformedError(
                    "the request does not give the length of its body as HTTP asks for",
                    "request body",
                ) from None
            if event is not h11.NEED_DATA:
                assert isinstance(event, h11.Event)
                return event
            if http.they_are_waiting_for_100_continue:
                go_on = h11.InformationalResponse(status_code=100, headers=[], reason=b"Continue")
                await self.send_event(http, go_on, leaver)
            data = await self._receive()
            if not data:
                await self._gone(leaver)
            http.receive_data(data)

    async def _receive(self) -> bytes:
        if self._buffer:
            data = bytes(self._buffer)
            self._buffer.clear()
            return data
        with trio.move_on_after(self._limits.body_seconds):
            try:
                return bytes(await self._stream.receive_some(_READ))
            except GONE:
                return b""
        return b""

    async def send_event(
        self, http: h11.Connection, events: h11.Event | Sequence[h11.Event], leaver: Leaver
    ) -> None:
        """Send what h11 makes of ``events``.  When the agent is gone, this ends as
        :meth:`next_event` does.
        """
        several = [events] if isinstance(events, h11.Event) else events
        data = b"".join(http.send(event) or b"" for event in several)
        if data and not await self.send(data):
            await self._gone(leaver)

    async def send(self, data: bytes) -> bool:
        """Send ``data``; returns False when the agent is gone, or did not read it in time."""
        try:
            await self._stream.send_all(data)
            return True
        except GONE:
            return False

    async def _gone(self, leaver: Leaver) -> None:
        leaver.leave()
        await trio.lowlevel.checkpoint()
        # Only reached where leave() did not cancel this task: in a shielded scope, or outside of
        # the handler.
        raise trio.BrokenResourceError("the agent is gone")

    async def watch(self, leaver: Leaver) -> None:
        """Read while a request is answered, to notice at once that the agent closed, and then tell
        ``leaver``.

        Begins when the request has arrived whole. What the agent sends early is kept, up to 64 KiB,
        for the next request.
        """
        await leaver.complete.wait()
        try:
            while len(self._buffer) < _AHEAD:
                data = await self._stream.receive_some(_READ)
                if not data:
                    leaver.leave()
                    return
                self._buffer += data
        except GONE:
            leaver.leave()

    async def reset(self) -> None:
        """Close the connection with a TCP reset and without TLS close_notify, so that a cut answer
        cannot look complete.
        """
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream | PromptStream):
            # struct linger {on, 0 s}: close(2) sends RST (socket(7)).
            stream.socket.setsockopt(
                trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0)
            )
        await trio.aclose_forcefully(self._stream)
