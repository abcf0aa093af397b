"""Serves an ASGI application on one listening socket, by hypercorn's protocol machinery.

hypercorn's own loop has no time limit for writing, and none for reading where HTTP/2 was begun: a
client that never reads, or never asks, would hold a connection, and the end of the server, for
ever.  So the accepted streams are wrapped here: whoever takes nothing for ``WRITE_SECONDS``, or
asks nothing for ``IDLE_SECONDS``, is cut off.

It also takes compressed messages of WebSockets, and inflates them before it looks how much that
becomes: none are taken here.  And it keeps what comes after a message has become too large.
"""

from __future__ import annotations

import ssl
from collections.abc import Callable
from typing import Any, NamedTuple

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.protocol import ws_stream
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp, Receive, Scope, Send
from wsproto.events import Message
from wsproto.extensions import PerMessageDeflate

WRITE_SECONDS = 15.0
"""How long a client may take nothing of what is sent to it."""
IDLE_SECONDS = 10.0
"""How long a connection may be open on which no request is at work."""
MOST_CONNECTIONS = 512
_HTTP2 = b"PRI * HTTP/2.0"
"""How a client begins that takes HTTP/2 for granted (RFC 9113, 3.4): it is not spoken here."""
_GRACE_SECONDS = 3.0
_MOST_MESSAGE = 1 << 16
"""Bytes of one message of a client's on a WebSocket: only terminals listen to it."""
_PIECE = 1 << 16


class Patience(NamedTuple):
    """Seconds that a client may take nothing, and ask nothing."""

    write: float = WRITE_SECONDS
    idle: float = IDLE_SECONDS


PATIENCE = Patience()


class PatientStream(trio.abc.HalfCloseableStream):
    """A stream whose writes end: ``BrokenResourceError`` when the other side does not read.  Its
    reads end, as if the other side had closed, where ``is_busy`` says that nothing is at work: also
    for one that says something all the while and asks nothing, as with pings of HTTP/2.

    It owns ``stream``.
    """

    def __init__(
        self, stream: trio.SocketStream, patience: Patience, is_busy: Callable[[], bool]
    ) -> None:
        self._stream, self._patience, self._is_busy = stream, patience, is_busy
        self._begin: bytes | None = b""
        self._worked = trio.current_time()
        self._sending = trio.Lock()
        self.socket = stream.socket
        self.ended = trio.Event()
        """Set when nothing more will be read."""

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        async with self._sending:  # it may be closed in the middle of an answer
            for start in range(0, len(view), _PIECE):
                with trio.move_on_after(self._patience.write) as limit:
                    await self._stream.send_all(view[start : start + _PIECE])
                if limit.cancelled_caught:
                    await trio.aclose_forcefully(self._stream)
                    raise trio.BrokenResourceError("the client does not read")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        if self._sending.locked():
            raise trio.BusyResourceError("something is being sent")
        async with self._sending:
            await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        while True:
            now, busy = trio.current_time(), self._is_busy()
            self._worked = now if busy else self._worked
            # Twice: what came at the end of the first time may be a request.
            if now - self._worked > 2 * self._patience.idle:
                return self._noted(b"")
            with trio.move_on_after(self._patience.idle) as limit:
                data = bytes(await self._stream.receive_some(max_bytes))
                if self._begin is None:
                    return self._noted(data)
                self._begin += data
                if data and len(self._begin) < len(_HTTP2) and _HTTP2.startswith(self._begin):
                    continue
                data, self._begin = self._begin if data else b"", None
                return self._noted(b"" if data.startswith(_HTTP2) else data)
            if limit.cancelled_caught and not self._is_busy():
                return self._noted(b"")

    def worked(self) -> None:
        """Something was at work until now."""
        self._worked = trio.current_time()

    def _noted(self, data: bytes) -> bytes:
        if not data:
            self.ended.set()
        return data

    async def aclose(self) -> None:
        await self._stream.aclose()


class _NoDeflate(PerMessageDeflate):
    """Declines; so a message that is compressed all the same breaks the protocol."""

    def accept(self, offer: str) -> None:
        return None


class _Bounded(ws_stream.WebsocketBuffer):
    """A message as it comes: it is too large before it is kept, and the rest of it is not kept."""

    def extend(self, event: Message[Any]) -> None:
        if self.length + len(event.data) > self.max_length:
            self.value, self.length = None, self.max_length
            raise ws_stream.FrameTooLargeError()
        super().extend(event)


ws_stream.PerMessageDeflate = _NoDeflate  # type: ignore[attr-defined]
ws_stream.WebsocketBuffer = _Bounded  # type: ignore[misc]
"""hypercorn has no settings for these."""


class Connections:
    """``most`` as ``MOST_CONNECTIONS``."""

    def __init__(
        self,
        app: ASGIApp,
        tls: ssl.SSLContext | None = None,
        patience: Patience = PATIENCE,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._app, self._tls, self._patience = app, tls, patience
        self._config = Config()
        self._config.include_server_header = False
        self._config.loglevel = "WARNING"
        self._config.keep_alive_timeout = patience.idle
        self._config.websocket_max_message_size = _MOST_MESSAGE
        self._context = WorkerContext(None)
        self._most, self._open = most, 0
        self._resting: dict[trio.CancelScope, None] = {}
        """Connections on which no request is at work, that which began to rest first at first."""

    async def serve(self, listener: trio.SocketListener, stop: trio.Event) -> None:
        """Until ``stop`` is set; then no connection is taken any more, and those that are open have
        a few seconds to come to their end.
        """
        async with trio.open_nursery() as connections:
            async with trio.open_nursery() as accepting:
                accepting.start_soon(self._accept, listener, connections)
                await stop.wait()
                accepting.cancel_scope.cancel()
            await self._context.terminated.set()
            connections.cancel_scope.deadline = trio.current_time() + _GRACE_SECONDS

    async def _accept(self, listener: trio.SocketListener, connections: trio.Nursery) -> None:
        await trio.serve_listeners(self._serve_one, [listener], handler_nursery=connections)

    async def _serve_one(self, stream: trio.SocketStream) -> None:
        # Whoever opens all there are and asks nothing must not keep others out.
        if self._open >= self._most and not self._let_go():
            await trio.aclose_forcefully(stream)
            return
        self._open += 1
        try:
            await self._speak(stream)
        finally:
            self._open -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    def _let_go(self) -> bool:
        """End the connection that has asked nothing for the longest time; False where all are at
        work.
        """
        if not self._resting:
            return False
        scope = next(iter(self._resting))
        del self._resting[scope]
        scope.cancel()
        return True

    async def _speak(self, stream: trio.SocketStream) -> None:
        active, rested, whole = 0, trio.lowlevel.ParkingLot(), trio.CancelScope()

        async def counted(scope: Scope, receive: Receive, send: Send) -> None:
            nonlocal active
            active += 1
            self._resting.pop(whole, None)
            try:
                await self._app(scope, receive, send)
            finally:
                active -= 1
                if not active and not whole.cancel_called:
                    self._resting[whole] = None
                patient.worked()
                rested.unpark_all()

        async def leave(cancel: Callable[[], object]) -> None:
            # hypercorn would keep what nobody can ask on any more until its own time is over.
            await patient.ended.wait()
            while active:
                await rested.park()
            cancel()

        patient = PatientStream(stream, self._patience, lambda: active > 0)
        outer: Any = patient
        if self._tls is not None:
            outer = trio.SSLStream(patient, self._tls, server_side=True, https_compatible=True)
        app = ASGIWrapper(counted)  # type: ignore[arg-type]
        server = TCPServer(app, self._config, self._context, ConnectionState({}), outer)
        self._resting[whole] = None
        try:
            with whole:
                async with trio.open_nursery() as nursery:
                    nursery.start_soon(leave, nursery.cancel_scope.cancel)
                    await server.run()
                    nursery.cancel_scope.cancel()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone
        finally:
            self._resting.pop(whole, None)


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context for HTTP/1.1.  Raises ``OSError`` and ``ssl.SSLError`` for files that are
    no certificate and key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context
