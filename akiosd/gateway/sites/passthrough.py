"""Relays bytes as they are: TLS that the policy leaves closed, and raw TCP to a named host and
port.
"""

from __future__ import annotations

import trio

from akiosd.gateway.context import Context
from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.remedies import Asked, hint
from akiosd.gateway.upstream.client import UpstreamError
from akiosd.gateway.upstream.upstream import NotPublicError
from akiosd.values.records import NetDenied, NetRequest

_PIECE = 64 << 10


class _Relay:
    """Copies in both directions.  Each ends by itself; both end when nothing moves in either for
    ``idle_seconds``.

    ``out`` and ``back`` count bytes to and from the upstream.
    """

    def __init__(self, idle_seconds: float) -> None:
        self._idle = idle_seconds
        self._patience = trio.CancelScope()
        self.out = self.back = 0

    async def run(
        self, agent: trio.abc.HalfCloseableStream, upstream: trio.SocketStream, already: bytes
    ) -> bool:
        """Relay until both directions have ended; False when nothing moved for too long.

        ``already`` was read from ``agent`` and is sent first. Raises ``trio.BrokenResourceError``.
        """
        broken = False
        with self._patience:
            self._moved()
            async with trio.open_nursery() as nursery:

                async def direction(outward: bool) -> None:
                    nonlocal broken
                    try:
                        await (
                            self._send(agent, upstream, already)
                            if outward
                            else self._receive(upstream, agent)
                        )
                    except (trio.BrokenResourceError, trio.ClosedResourceError):
                        broken = True
                        nursery.cancel_scope.cancel()

                nursery.start_soon(direction, True)
                nursery.start_soon(direction, False)
        if broken:
            raise trio.BrokenResourceError
        return not self._patience.cancelled_caught

    def _moved(self) -> None:
        self._patience.deadline = trio.current_time() + self._idle

    async def _send(
        self, agent: trio.abc.Stream, upstream: trio.abc.HalfCloseableStream, already: bytes
    ) -> None:
        data = already or await agent.receive_some(_PIECE)
        while data:
            await upstream.send_all(data)
            self.out += len(data)
            self._moved()
            data = await agent.receive_some(_PIECE)
        await upstream.send_eof()

    async def _receive(
        self, upstream: trio.abc.Stream, agent: trio.abc.HalfCloseableStream
    ) -> None:
        while data := await upstream.receive_some(_PIECE):
            await agent.send_all(data)
            self.back += len(data)
            self._moved()
        await agent.send_eof()


async def relay(
    context: Context,
    stream: trio.abc.HalfCloseableStream,
    destination: Destination,
    *,
    already: bytes = b"",
) -> None:
    """Relay ``stream`` to ``destination`` until both sides have closed or nothing moves.
    ``stream`` is closed.

    ``already`` was read from it (its server name is checked). Reports one :class:`NetRequest` with
    byte counts at the end, or :class:`NetDenied` where the name leads to an address that is not
    public.
    """
    begun = trio.current_time()
    bytes_moved = _Relay(context.limits.relay_idle_seconds)
    error, denied = "ended from outside", False
    try:
        async with stream:
            upstream = await context.upstreams.dial(destination.name, destination.port)
            async with upstream:
                error = (
                    ""
                    if await bytes_moved.run(stream, upstream, already)
                    else "nothing moved for too long"
                )
    except NotPublicError:
        denied = True
        found = hint(context.setup, context.names, Asked("upstream", destination.name))
        host = destination.name.encode()
        await context.link.report_durable(
            NetDenied(
                ts=0,
                host=host,
                rule="upstream",
                protocol="upstream",
                port=destination.port,
                hint=found,
            )
        )
    except UpstreamError as failed:
        error = failed.what
    except (trio.BrokenResourceError, trio.ClosedResourceError):
        error = "the connection broke"
    finally:
        if not denied:
            context.link.report(
                NetRequest(
                    ts=0,
                    host=destination.name,
                    port=destination.port,
                    mode="raw" if destination.rule.kind == "raw" else "passthrough",
                    bytes_out=bytes_moved.out,
                    bytes_in=bytes_moved.back,
                    unread=bytes_moved.out,
                    error=error,
                    duration_ns=int((trio.current_time() - begun) * 1e9),
                )
            )
