"""A gateway without a cage: one context, a link that keeps what it is told, and an agent that
speaks raw bytes.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

import h11
import msgspec
import trio
import trio.testing

from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.eager_stream import PromptStream
from akiosd.gateway.net.limits import DEFAULT_LIMITS, Limits
from akiosd.gateway.net.names import Names, Rule
from akiosd.gateway.net.rates import RateLimiter
from akiosd.gateway.net.room import Room
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.gateway.serve.serve import serve_proxy, serve_stream
from akiosd.gateway.upstream.upstream import Upstreams
from akiosd.values.policy import DEFAULT_POLICY, Network, Policy, Redact
from akiosd.values.records import Record
from akiosd.wire.frame import encode_frame
from akiosd.wire.gateway import Setup

NAME = "site.example"


class Link:
    """Keeps records in order; ``durable`` are those that were waited for."""

    def __init__(self) -> None:
        self.records: list[Record] = []
        self.durable: list[Record] = []

    def report(self, *records: Record) -> None:
        for record in records:
            # As the link does it: what cannot be encoded is not told.
            encode_frame(msgspec.msgpack.encode(record))
        self.records += records

    async def wait_room(self) -> None:
        pass

    async def report_durable(self, *records: Record) -> None:
        await trio.lowlevel.checkpoint()
        self.report(*records)
        self.durable += records

    def of(self, kind: type[Any]) -> list[Any]:
        return [record for record in self.records if isinstance(record, kind)]


@dataclass
class Context:
    """What ``akiosd.gateway.process.main.Context`` is to the handlers."""

    setup: Setup
    names: Names
    link: Link
    upstreams: Upstreams
    redactors: Redactors
    limits: Limits
    rates: RateLimiter
    replies: Room
    more: dict[str, Any] = field(default_factory=dict)


def make_context(
    *,
    port: int = 0,
    redact: Redact = DEFAULT_POLICY.redact,
    network: Network | None = None,
    roots: bytes = b"",
    **limits: Any,
) -> Context:
    """``NAME`` leads to ``port`` on loopback."""
    network = network or Network(allowed_domains=(NAME, f"*.{NAME}"))
    setup = Setup(
        cage="test",
        policy=Policy(network=network, redact=redact),
        system=Policy(allow_widening=True),
        hosts={NAME: f"127.0.0.1:{port}"},
        roots=roots,
    )
    bounds = msgspec.structs.replace(DEFAULT_LIMITS, **limits)
    return Context(
        setup,
        Names(setup.policy),
        Link(),
        Upstreams.from_setup(setup, bounds),
        Redactors(redact, b"k" * 32),
        bounds,
        RateLimiter(network.requests_per_minute),
        Room(bounds.held_replies_bytes),
    )


def destination(*, tls: bool = False, kind: Any = "inspect", **more: Any) -> Destination:
    port = 443 if tls else 80
    return Destination(NAME, port, tls, Rule(kind, NAME, **more))


class Agent:
    """The agent's end of a connection."""

    def __init__(self, stream: trio.abc.Stream) -> None:
        self.stream = stream
        self._http = h11.Connection(h11.CLIENT)

    async def send(self, data: bytes) -> None:
        await self.stream.send_all(data)

    async def ask(
        self,
        method: str = "GET",
        target: str = "/",
        body: bytes | None = None,
        headers: Iterable[tuple[str, str]] = (),
        host: str = NAME,
    ) -> tuple[int, dict[str, str], bytes]:
        """One request written plainly, and its answer."""
        lines = [
            f"{method} {target} HTTP/1.1",
            f"Host: {host}",
            *(f"{name}: {value}" for name, value in headers),
        ]
        if body is not None:
            lines.append(f"Content-Length: {len(body)}")
        await self.send("\r\n".join([*lines, "", ""]).encode("latin-1") + (body or b""))
        return await self.answer(method)

    async def answer(self, method: str = "GET") -> tuple[int, dict[str, str], bytes]:
        """The next answer.  Raises ``h11.RemoteProtocolError`` for one that is broken off."""
        if self._http.our_state is h11.DONE:
            self._http.start_next_cycle()
        self._http.send(h11.Request(method=method, target="/", headers=[("host", "x")]))
        self._http.send(h11.EndOfMessage())
        status, headers, body = 0, {}, bytearray()
        while True:
            event = self._http.next_event()
            if event is h11.NEED_DATA:
                try:
                    self._http.receive_data(await self.stream.receive_some(1 << 16))
                except trio.BrokenResourceError:
                    self._http.receive_data(b"")
            elif isinstance(event, h11.Response):
                status = event.status_code
                headers = {name.decode(): value.decode("latin-1") for name, value in event.headers}
            elif isinstance(event, h11.Data):
                body += event.data
            elif isinstance(event, h11.EndOfMessage):
                return status, headers, bytes(body)
            elif isinstance(event, h11.ConnectionClosed):
                raise h11.RemoteProtocolError("closed")

    async def everything(self) -> bytes:
        """All that comes until the end."""
        data = bytearray()
        try:
            while piece := await self.stream.receive_some(1 << 16):
                data += piece
        except trio.BrokenResourceError:
            pass
        return bytes(data)


def socket_pair(send_seconds: float = 60) -> tuple[trio.abc.Stream, trio.abc.Stream]:
    """As memory_stream_pair, but the second is what a gateway has."""
    ours, theirs = (trio.SocketStream(one) for one in trio.socket.socketpair())
    return ours, PromptStream(theirs, send_seconds=send_seconds)


@asynccontextmanager
async def connected(
    context: Any,
    where: Destination | None = None,
    *,
    proxy: bool = False,
    pair: Callable[[], tuple[trio.abc.Stream, trio.abc.Stream]] = trio.testing.memory_stream_pair,
) -> AsyncIterator[Agent]:
    """An agent whose connection is being served; after the block the connection has ended."""
    ours, theirs = pair()
    async with trio.open_nursery() as nursery:
        if proxy:
            nursery.start_soon(serve_proxy, context, theirs)
        else:
            nursery.start_soon(serve_stream, context, theirs, where or destination())
        yield Agent(ours)
        await ours.aclose()
    await context.upstreams.aclose()
