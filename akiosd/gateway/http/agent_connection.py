"""The agent's end of a connection: its bytes in, h11's bytes out, deadlines, and noticing that it left."""

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
"""How much of the next requests is taken in while one is answered."""
GONE = (trio.BrokenResourceError, trio.ClosedResourceError, trio.TooSlowError)
"""What reading and sending raise.  Reading sends, too: in TLS a new key is answered (RFC 8446, 4.6.3)."""


class Leaver(Protocol):
    """Who must know that the agent went away."""

    complete: trio.Event

    def leave(self) -> None: ...


class Wire:
    """Owns ``stream`` for as long as it serves; not closed here but by :meth:`reset`."""

    def __init__(self, stream: trio.abc.Stream, limits: Limits) -> None:
        self._stream, self._limits = stream, limits
        self._buffer = bytearray()

    async def read_head(self) -> bytes | None:
        """The next request's head, checked; None when nothing more is asked.  Raises :class:`BadHeadError`."""
        with trio.move_on_after(self._limits.idle_seconds) as patience:
            while True:
                # Empty lines before a request are overlooked (RFC 9112 §2.2).
                while self._buffer[:2] == b"\r\n":
                    del self._buffer[:2]
                if self._buffer and patience.deadline - trio.current_time() > self._limits.head_seconds:
                    patience.deadline = trio.current_time() + self._limits.head_seconds
                end = self._buffer.find(END, 0, self._limits.head_bytes + len(END))
                if end >= 0:
                    return self._take_head(end + len(END))
                if len(self._buffer) > self._limits.head_bytes:
                    raise BadHeadError(f"the head is larger than {self._limits.head_bytes} bytes", 431)
                data = await self._stream.receive_some(_READ)
                if not data:
                    return None
                self._buffer += data
        if self._buffer:
            raise BadHeadError("the head did not come in time", 408)
        return None

    def _take_head(self, size: int) -> bytes:
        head = bytes(self._buffer[:size])
        del self._buffer[:size]
        check_head(head, self._limits)
        return head

    def give_back(self, data: bytes) -> None:
        """``data`` belongs to the next request."""
        self._buffer[:0] = data

    async def next_event(self, http: h11.Connection, leaver: Leaver) -> h11.Event:
        """Data or EndOfMessage of a request.  When the agent is gone, its handler ends.

        Raises :class:`MalformedError`.
        """
        while True:
            try:
                event = http.next_event()
            except h11.RemoteProtocolError:
                # h11's words quote the agent's bytes.
                raise MalformedError("the body is not framed as HTTP has it", "request body") from None
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

    async def send_event(self, http: h11.Connection, events: h11.Event | Sequence[h11.Event], leaver: Leaver) -> None:
        """Send what h11 makes of ``events``; when the agent does not take it, its handler ends."""
        several = [events] if isinstance(events, h11.Event) else events
        data = b"".join(http.send(event) or b"" for event in several)
        if data and not await self.send(data):
            await self._gone(leaver)

    async def send(self, data: bytes) -> bool:
        """False when the agent is gone, or did not read in time."""
        try:
            await self._stream.send_all(data)
            return True
        except GONE:
            return False

    async def _gone(self, leaver: Leaver) -> None:
        leaver.leave()
        await trio.lowlevel.checkpoint()
        # Reached in a shielded scope, or outside of the handler.
        raise trio.BrokenResourceError("the agent is gone")

    async def watch(self, leaver: Leaver) -> None:
        """While a request is answered: notice that nobody waits for it; what comes early is kept for later."""
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
        """Break the connection off so that it cannot look complete: TCP reset, no close_notify."""
        stream = self._stream
        while isinstance(stream, trio.SSLStream):
            stream = stream.transport_stream
        if isinstance(stream, trio.SocketStream | PromptStream):
            # struct linger {on, 0 s}: close(2) sends RST (socket(7)).
            stream.socket.setsockopt(trio.socket.SOL_SOCKET, trio.socket.SO_LINGER, struct.pack("ii", 1, 0))
        await trio.aclose_forcefully(self._stream)
