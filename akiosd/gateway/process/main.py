"""The main function of a gateway: serves one cage's sockets under its policy until akiosd ends
the link.
"""

from __future__ import annotations

import errno
import socket
from collections.abc import Awaitable, Callable
from functools import partial

import trio

from akiosd.gateway.context import Context
from akiosd.gateway.daemon_link.link import Link, LinkLostError
from akiosd.gateway.net import dns, tls
from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.redaction import redactors
from akiosd.gateway.serve import accept, serve
from akiosd.gateway.serve.serve_dns import DnsServer
from akiosd.gateway.upstream import upstream
from akiosd.values.records import GatewayFailed, NetDenied
from akiosd.wire.gateway import Captured, Connection, Listener

_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)

Handler = Callable[[trio.SocketStream], Awaitable[None]]


def preload() -> None:
    """Read and compile, once and in the zygote, everything that a confined gateway could not."""
    import encodings.idna  # noqa: F401  getaddrinfo looks it up when first asked for a name

    upstream.preload()
    dns.preload()
    tls.preload()
    redactors.preload()


def run(sock: socket.socket, relink: socket.socket, posture: tuple[str, ...]) -> int:
    """The whole life of a gateway; returns its exit code.

    ``sock`` is the link to akiosd, and on ``relink`` another akiosd sends the next one; both are
    owned from now on. ``posture`` are the layers that confine this process.
    """
    trio.run(_serve, sock, relink, posture)
    return 0


async def _serve(sock: socket.socket, relink: socket.socket, posture: tuple[str, ...]) -> None:
    link = Link(sock, relink)
    try:
        setup, sockets = await link.start(posture)
        context = Context(setup, link)
        async with trio.open_nursery() as nursery:
            server = DnsServer(context)
            nursery.start_soon(link.run, partial(_take_connection, context, server, nursery))
            for listener, found in zip(setup.listeners, sockets, strict=True):
                found.setblocking(False)
                ours = trio.socket.from_stdlib_socket(found)
                if listener.kind == "dns":
                    nursery.start_soon(server.serve_datagrams, ours)
                else:
                    nursery.start_soon(
                        _accept, context, ours, _handler(context, server, listener), listener.port
                    )
    except* LinkLostError:
        pass
    finally:
        await link.say_last_words()


def _handler(context: Context, server: DnsServer, listener: Listener) -> Handler:
    if listener.kind == "dns-tcp":
        return server.serve_stream
    handle = accept.serve_local if listener.kind == "local" else accept.serve_captured
    return lambda stream: handle(context, stream, listener.port)


async def _accept(
    context: Context, listener: trio.socket.SocketType, handle: Handler, port: int
) -> None:
    """Accept connections: no more than the limit at once, and none while too many records wait to
    be sent.
    """
    async with trio.open_nursery() as nursery:
        while True:
            await context.link.wait_room()
            try:
                sock, _address = await listener.accept()
            except OSError as error:
                if error.errno in _EXHAUSTED:
                    await trio.sleep(0.1)
                continue  # else one that was broken off before it was taken (accept(2))
            if context.connections >= context.limits.connections:
                sock.close()
                context.link.report(
                    NetDenied(ts=0, host=b"", rule="connections", protocol="tcp", port=port)
                )
                continue
            context.connections += 1
            nursery.start_soon(_hold, context, sock, handle)


async def _hold(context: Context, sock: trio.socket.SocketType, handle: Handler) -> None:
    """Serve one connection; closes ``sock`` and gives its place free whatever happens."""
    try:
        try:
            stream = trio.SocketStream(sock)
        except OSError:
            return  # ENOTCONN: it was gone before we looked
        await handle(stream)
    except OSError as error:
        context.link.report(GatewayFailed(ts=0, what=serve.where(error)))
    finally:
        context.connections -= 1
        sock.close()


def _take_connection(
    context: Context,
    server: DnsServer,
    nursery: trio.Nursery,
    sock: socket.socket,
    message: Connection | Captured,
) -> None:
    sock.setblocking(False)
    if isinstance(message, Captured):
        _take_captured(context, server, nursery, sock, message)
        return
    socket_stream = trio.SocketStream(trio.socket.from_stdlib_socket(sock))
    stream = PromptStream(socket_stream, send_seconds=context.limits.send_seconds)
    nursery.start_soon(serve.serve_proxy, context, stream)


def _take_captured(
    context: Context,
    server: DnsServer,
    nursery: trio.Nursery,
    sock: socket.socket,
    captured: Captured,
) -> None:
    """What the agent connected, as if it had come to one of our own sockets."""
    if context.connections >= context.limits.connections:
        sock.close()
        context.link.report(
            NetDenied(ts=0, host=b"", rule="connections", protocol="tcp", port=captured.port)
        )
        return
    context.connections += 1
    ours = trio.socket.from_stdlib_socket(sock)
    if captured.way == "dns":
        nursery.start_soon(_hold_packets, context, server, ours)
    else:
        nursery.start_soon(_hold, context, ours, _handler_of(context, server, captured))


def _handler_of(context: Context, server: DnsServer, captured: Captured) -> Handler:
    if captured.way == "dns-tcp":
        return server.serve_stream
    if captured.way == "local":
        return lambda stream: accept.serve_local(context, stream, captured.port)
    return lambda stream: accept.serve_captured(context, stream, captured.port, captured.address)


async def _hold_packets(context: Context, server: DnsServer, sock: trio.socket.SocketType) -> None:
    try:
        await server.serve_packets(sock)
    finally:
        context.connections -= 1
        sock.close()
