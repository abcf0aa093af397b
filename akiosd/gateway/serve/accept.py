"""Serves an accepted connection of the agent: its local address tells which name is wanted, and
that name's rule decides.
"""

from __future__ import annotations

import contextlib

import trio

from akiosd.gateway.context import Context
from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.names import LOCAL_PORTS, Rule, canonical
from akiosd.gateway.net.remedies import Asked, hint
from akiosd.gateway.net.tls_hello import (
    MAX_HELLO,
    NO_APPLICATION_PROTOCOL,
    UNRECOGNIZED_NAME,
    BadHelloError,
    Hello,
    alert,
    parse_hello,
)
from akiosd.gateway.serve import serve
from akiosd.gateway.sites import passthrough
from akiosd.values.records import NetDenied

HELLO_SECONDS = 10
"""For the ClientHello to arrive, and again for the rest of the handshake."""
_TLS = b"\x16"
_MAX_HINT = 300
_LOCAL = {port: Rule("llm", provider, provider) for port, provider in LOCAL_PORTS.items()}


def _prompt(context: Context, stream: trio.SocketStream, first: bytes = b"") -> PromptStream:
    return PromptStream(stream, first, send_seconds=context.limits.send_seconds)


async def serve_local(context: Context, stream: trio.SocketStream, port: int) -> None:
    """Serve a connection to the ``port`` at which the agent expects a provider on this machine.
    ``stream`` is closed.
    """
    await serve.serve_stream(
        context, _prompt(context, stream), Destination("localhost", port, False, _LOCAL[port])
    )


async def serve_captured(
    context: Context, stream: trio.SocketStream, port: int, address: str = ""
) -> None:
    """Serve one connection until it ends.  ``stream`` is closed.  ``address`` is what it was made
    to; "": the socket's own.

    An address that stands for no name, or a name that no rule allows on ``port``, is denied and
    recorded.
    """
    async with stream:
        address = address or stream.socket.getsockname()[0]
        name = context.addresses.name_of(address)
        if name is None:
            await _deny(context, address.encode(), port, "")
            return
        rule = context.names.find(name, port)
        if rule is None:
            asked = Asked("network.allowed_domains", name, port)
            found = hint(context.setup, context.names, asked)
            await _deny(context, name.encode(), port, found)
            return
        if rule.kind == "raw":
            await passthrough.relay(context, stream, Destination(name, port, False, rule))
        elif port == 80:
            await serve.serve_stream(
                context, _prompt(context, stream), Destination(name, port, False, rule)
            )
        else:
            await _serve_tls_or_plain(context, stream, Destination(name, port, True, rule))


async def _serve_tls_or_plain(
    context: Context, stream: trio.SocketStream, destination: Destination
) -> None:
    """Port 443 must be TLS; on other ports the first byte tells."""
    first = bytearray()
    try:
        with trio.fail_after(HELLO_SECONDS):
            hello = await _read_hello(stream, first, must=destination.port == 443)
    except (BadHelloError, trio.TooSlowError) as error:
        await _deny_tls(context, destination, "tls", str(error))
        return
    except trio.BrokenResourceError:
        return
    if not first:
        return
    if hello is None:
        await _serve_plain(context, _prompt(context, stream, bytes(first)), destination)
        return
    refused = _refuse_hello(context, hello, destination)
    if refused is not None:
        description, words, what_helps = refused
        await _deny_tls(context, destination, words, what_helps)
        with contextlib.suppress(trio.BrokenResourceError), trio.move_on_after(1):
            await stream.send_all(alert(description))
    elif destination.rule.kind == "passthrough":
        await passthrough.relay(context, stream, destination, already=bytes(first))
    else:
        await _serve_tls(context, _prompt(context, stream, bytes(first)), destination)


async def _read_hello(stream: trio.SocketStream, first: bytearray, *, must: bool) -> Hello | None:
    """Read into ``first`` until it holds a whole ClientHello.

    None at end of file, and where the bytes are not TLS and TLS is not a ``must``. Raises
    :class:`BadHelloError`.
    """
    while True:
        data = await stream.receive_some(MAX_HELLO)
        if not data:
            return None
        first += data
        if not must and not first.startswith(_TLS):
            return None
        hello = parse_hello(bytes(first))
        if hello is not None:
            return hello


async def _serve_plain(context: Context, stream: PromptStream, destination: Destination) -> None:
    if destination.tls and destination.port == 443:
        return  # the client closed in the middle of its hello
    if destination.rule.kind == "passthrough":
        await _deny_tls(
            context,
            destination,
            "network.passthrough",
            "without TLS there is no server name to check",
        )
        return
    plain = Destination(destination.name, destination.port, False, destination.rule)
    await serve.serve_stream(context, stream, plain)


def _refuse_hello(
    context: Context, hello: Hello, destination: Destination
) -> tuple[int, str, str] | None:
    """(alert, rule, hint) for a ClientHello that is refused, None for one that is accepted."""
    try:
        name = canonical(hello.name or b"")
    except ValueError:
        name = ""
    if name != destination.name:
        return (
            UNRECOGNIZED_NAME,
            "tls.server_name",
            "the server name must be the name that was resolved",
        )
    if destination.rule.kind != "passthrough" and hello.alpn and b"http/1.1" not in hello.alpn:
        return NO_APPLICATION_PROTOCOL, "tls.alpn", _unopened(context, destination, "tls.alpn")
    return None


async def _serve_tls(context: Context, transport: PromptStream, destination: Destination) -> None:
    stream = trio.SSLStream(
        transport,
        context.tls.server_context(destination.name),
        server_side=True,
        https_compatible=True,
    )
    try:
        with trio.fail_after(HELLO_SECONDS):
            await stream.do_handshake()
    except (trio.BrokenResourceError, trio.TooSlowError):
        # Most likely a client that does not trust the cage's authority: it pins, or has roots of
        # its own.
        what_helps = _unopened(context, destination, "tls.handshake")
        await _deny_tls(context, destination, "tls.handshake", what_helps)
        return
    await serve.serve_stream(context, stream, destination)


def _unopened(context: Context, destination: Destination, rule: str) -> str:
    asked = Asked(rule, destination.name, destination.port)
    return hint(context.setup, context.names, asked)


async def _deny_tls(context: Context, destination: Destination, rule: str, words: str) -> None:
    await context.link.report_durable(
        NetDenied(
            ts=0,
            host=destination.name.encode(),
            rule=rule,
            protocol="tls",
            port=destination.port,
            hint=words[:_MAX_HINT],
        )
    )


async def _deny(context: Context, host: bytes, port: int, words: str) -> None:
    await context.link.report_durable(
        NetDenied(
            ts=0, host=host, rule="network.allowed_domains", protocol="tcp", port=port, hint=words
        )
    )
