"""The cage's DNS server: reads datagrams and streams, and sends the answers of
:mod:`akiosd.gateway.net.dns`.
"""

from __future__ import annotations

import contextlib

import trio

from akiosd.gateway.context import Context
from akiosd.gateway.net import dns
from akiosd.gateway.net.remedies import Asked, hint
from akiosd.meter.token_bucket import TokenBucket
from akiosd.values.records import NetDenied

RATE, BURST = 300.0, 900.0
"""Questions a second.  Faster ones wait in the socket or are dropped there by the kernel, at no
cost for the gateway.
"""
DENIED_RATE, DENIED_BURST = 50.0, 100.0
"""The same for refused names, each of which is a record on the host's disk before it is
answered.
"""
_IDLE_SECONDS = 10


class DnsServer:
    """One for a cage; datagrams and streams share its rate limits."""

    def __init__(self, context: Context) -> None:
        self._context = context
        self._bucket = TokenBucket(RATE, BURST, trio.current_time())
        self._denied = TokenBucket(DENIED_RATE, DENIED_BURST, trio.current_time())

    async def serve_datagrams(self, sock: trio.socket.SocketType) -> None:
        """Serve UDP until cancelled.  ``sock`` belongs to the caller."""
        while True:
            await self._throttle(self._bucket)
            # One byte more than the limit, so that a longer query is seen to be too long.
            query, sender = await sock.recvfrom(dns.MAX_QUERY + 1)
            reply = await self._answer(query, dns.MAX_QUERY)
            if reply:
                with contextlib.suppress(OSError):  # it has closed its socket, or reads no answers
                    await sock.sendto(reply, sender)

    async def serve_packets(self, sock: trio.socket.SocketType) -> None:
        """Serve the questions of one socket that keeps the borders of messages, until it is closed
        at the other end.  ``sock`` belongs to the caller.
        """
        with contextlib.suppress(OSError):
            while query := await sock.recv(dns.MAX_QUERY + 1):
                await self._throttle(self._bucket)
                reply = await self._answer(query, dns.MAX_QUERY)
                if reply:
                    await sock.send(reply)

    async def serve_stream(self, stream: trio.SocketStream) -> None:
        """Serve one TCP connection (RFC 7766): each message follows its length in two bytes.
        ``stream`` is closed.
        """
        async with stream:
            with contextlib.suppress(trio.BrokenResourceError, trio.TooSlowError):
                while True:
                    await self._throttle(self._bucket)
                    with trio.fail_after(_IDLE_SECONDS):
                        length = int.from_bytes(await _read_exactly(stream, 2), "big")
                        query = (
                            await _read_exactly(stream, length)
                            if 0 < length <= dns.MAX_TCP_QUERY
                            else b""
                        )
                    reply = await self._answer(query, dns.MAX_TCP_QUERY)
                    if not reply:
                        return
                    with trio.fail_after(_IDLE_SECONDS):
                        await stream.send_all(len(reply).to_bytes(2, "big") + reply)

    async def _throttle(self, bucket: TokenBucket) -> None:
        seconds = bucket.spend(trio.current_time())
        if seconds:
            self._context.link.report(
                NetDenied(ts=0, host=b"", rule="dns.rate", protocol="dns", port=53)
            )
            await trio.sleep(seconds)

    async def _answer(self, query: bytes, limit: int) -> bytes:
        reply = dns.answer(query, self._context.resolve, limit)
        if reply.denied:
            await self._throttle(self._denied)
            asked = Asked("network.allowed_domains", reply.denied.decode("ascii"))
            await self._context.link.report_durable(
                NetDenied(
                    ts=0,
                    host=reply.denied,
                    rule="network.allowed_domains",
                    protocol="dns",
                    port=53,
                    hint=hint(self._context.setup, self._context.names, asked),
                )
            )
        return reply.wire


async def _read_exactly(stream: trio.SocketStream, count: int) -> bytes:
    data = bytearray()
    while len(data) < count:
        more = await stream.receive_some(count - len(data))
        if not more:
            raise trio.BrokenResourceError
        data += more
    return bytes(data)
