"""Sends a request to its provider: the URL, the key, and how the answer is read."""

from __future__ import annotations

import time
from contextlib import aclosing

import msgspec

from akiosd.gateway.context import Context
from akiosd.gateway.http.exchange import Exchange
from akiosd.gateway.llm.providers.base import Headers, Outgoing, Provider
from akiosd.gateway.net.room import Share
from akiosd.gateway.redaction.sparse_json import LARGE
from akiosd.gateway.upstream.client import ProviderError, Response
from akiosd.values.denial import Denial
from akiosd.values.records import Finding, NetDenied, Redaction
from akiosd.wire.gateway import ProviderSetup

_DROPPED = frozenset({b"content-length", b"content-encoding"})


class Sender:
    """Where the requests of one exchange go, and with which key."""

    def __init__(
        self, context: Context, exchange: Exchange, provider: Provider, setup: ProviderSetup
    ) -> None:
        self.context, self.exchange, self.provider, self._setup = context, exchange, provider, setup

    def url(self, target: str) -> str:
        """The provider's URL for ``target``: the administrator's upstream, or the host that the
        agent asked for.
        """
        if self._setup.upstream:
            return self._setup.upstream.rstrip("/") + target
        if self.provider.facts.local_port:
            return self.provider.facts.local_url + target
        return f"https://{self.exchange.host}{target}"

    def head(self, target: str, headers: Headers, body: bytes) -> tuple[str, Headers]:
        """URL and headers with the real key on them; ``body`` is what the key signs, where the
        provider signs bodies.
        """
        url = self.url(target)
        region = self._setup.region or self._region()
        fields = [*headers, (b"accept-encoding", b"identity")]
        request = Outgoing(self.exchange.method, url, fields, body, time.time(), region)
        return url, self.provider.sign(self._setup.key, request)

    def _region(self) -> str:
        """The one that the agent's host names, else the provider's default."""
        facts, host = self.provider.facts, self.exchange.host
        if facts.regions is None:
            return ""
        return host.split(".")[1] if host.count(".") > 2 else facts.regions.default

    async def refuse(self, denial: Denial) -> None:
        """Answer the agent with ``denial``, once that is recorded."""
        await self.exchange.refuse(msgspec.structs.replace(denial, host=self.exchange.host))

    def tell(self, findings: tuple[Finding, ...]) -> None:
        """Report what was redacted in the request."""
        if findings:
            redactors = self.context.redactors
            self.context.link.report(
                Redaction(
                    ts=0, towards=self.provider.name, mode=redactors.models.mode, findings=findings
                )
            )

    def tell_left_out(self, kinds: tuple[str, ...]) -> None:
        """Report each hosted tool that was removed from the request: a denial, although the request
        is sent.
        """
        exchange = self.exchange
        for kind in kinds:
            self.context.link.report(
                NetDenied(
                    ts=0,
                    host=exchange.host.encode(),
                    rule="llm.hosted_tools",
                    protocol="http",
                    port=exchange.destination.port,
                    method=exchange.method,
                    path=exchange.safe_path,
                    hint=f"{kind} was left out of the request",
                )
            )


def plain_encoding(response: Response) -> None:
    """Raises :class:`UpstreamError` for a reply that is compressed: it could not be read."""
    if response.header(b"content-encoding") not in (b"", b"identity"):
        raise ProviderError(
            "the provider's answer is compressed though that was not asked for", "reply"
        )


def reply_headers(response: Response) -> Headers:
    """The provider's headers without those of length and encoding, which are set anew."""
    return [(name, value) for name, value in response.headers if name not in _DROPPED]


async def read_reply(response: Response, share: Share, most: int) -> bytearray:
    """The whole answer.  What is beyond a small one waits for its ``share`` of the memory, and is
    read then.

    Raises :class:`UpstreamError`.
    """
    plain_encoding(response)
    whole = bytearray()
    async with aclosing(response.chunks()) as chunks:
        async for chunk in chunks:
            size = len(whole) + len(chunk)
            if size > most:
                raise ProviderError(f"the provider's answer is larger than {most} bytes", "reply")
            if size > LARGE:
                await share.grow(size - share.size)
            whole += chunk
    return whole
