"""Serves an ASGI application on one listening socket, by hypercorn's protocol machinery.

hypercorn's own loop has no time limit for writing: a client that never reads would hold a
connection, and the end of the server, for ever.  So the accepted streams are wrapped here: whoever
takes nothing for ``WRITE_SECONDS`` is cut off.
"""

from __future__ import annotations

import ssl
from typing import Any

import trio
from hypercorn.app_wrappers import ASGIWrapper
from hypercorn.config import Config
from hypercorn.trio.tcp_server import TCPServer
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.typing import ConnectionState
from starlette.types import ASGIApp

WRITE_SECONDS = 15.0
"""How long a client may take nothing of what is sent to it."""
MOST_CONNECTIONS = 512
_GRACE_SECONDS = 3.0
_PIECE = 1 << 16


class PatientStream(trio.abc.HalfCloseableStream):
    """A stream whose writes end: ``BrokenResourceError`` when the other side does not read.

    It owns ``stream``.
    """

    def __init__(self, stream: trio.SocketStream, seconds: float) -> None:
        self._stream, self._seconds = stream, seconds
        self.socket = stream.socket

    async def send_all(self, data: bytes | bytearray | memoryview) -> None:
        view = memoryview(data)
        for start in range(0, len(view), _PIECE):
            with trio.move_on_after(self._seconds) as limit:
                await self._stream.send_all(view[start : start + _PIECE])
            if limit.cancelled_caught:
                await trio.aclose_forcefully(self._stream)
                raise trio.BrokenResourceError("the client does not read")

    async def wait_send_all_might_not_block(self) -> None:
        await self._stream.wait_send_all_might_not_block()

    async def send_eof(self) -> None:
        await self._stream.send_eof()

    async def receive_some(self, max_bytes: int | None = None) -> bytes:
        return bytes(await self._stream.receive_some(max_bytes))

    async def aclose(self) -> None:
        await self._stream.aclose()


class Connections:
    """``seconds`` as ``WRITE_SECONDS``, ``most`` as ``MOST_CONNECTIONS``."""

    def __init__(
        self,
        app: ASGIApp,
        tls: ssl.SSLContext | None = None,
        seconds: float = WRITE_SECONDS,
        most: int = MOST_CONNECTIONS,
    ) -> None:
        self._app, self._tls, self._seconds = ASGIWrapper(app), tls, seconds  # type: ignore[arg-type]
        self._config = Config()
        self._config.include_server_header = False
        self._config.loglevel = "WARNING"
        self._context = WorkerContext(None)
        self._most, self._open = most, 0

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
        if self._open >= self._most:
            await trio.aclose_forcefully(stream)
            return
        self._open += 1
        try:
            await self._speak(stream)
        finally:
            self._open -= 1
            with trio.CancelScope(shield=True):
                await trio.aclose_forcefully(stream)

    async def _speak(self, stream: trio.SocketStream) -> None:
        patient: Any = PatientStream(stream, self._seconds)
        if self._tls is not None:
            patient = trio.SSLStream(patient, self._tls, server_side=True, https_compatible=True)
        try:
            await TCPServer(
                self._app, self._config, self._context, ConnectionState({}), patient
            ).run()
        except* (trio.BrokenResourceError, trio.ClosedResourceError):
            pass  # the client is gone


def tls_context(certificate: str, key: str) -> ssl.SSLContext:
    """A server's context for HTTP/1.1.  Raises ``OSError`` and ``ssl.SSLError`` for files that are
    no certificate and key.
    """
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    context.set_alpn_protocols(["http/1.1"])
    context.load_cert_chain(certificate, key)
    return context
