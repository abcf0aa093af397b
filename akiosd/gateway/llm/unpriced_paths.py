"""Requests to paths of a provider's API that only the policy names (``network.llm_paths``):
redacted and sent with the key, but not priced.
"""

from __future__ import annotations

from contextlib import aclosing

import msgspec

from akiosd.gateway.llm.prepare import kept_headers, without_key
from akiosd.gateway.llm.providers.base import Headers
from akiosd.gateway.llm.sender import Sender, plain_encoding, reply_headers
from akiosd.gateway.redaction.bodies import BlockedBinaryError, BlockedError, Found, channel_for
from akiosd.gateway.redaction.redactors import redact_target
from akiosd.values.denial import Denial

MAX_BODY = 64 << 20
"""Largest decoded request body, in bytes."""


async def forward_passed(sender: Sender, target: str) -> None:
    """Redact the request, send it, and pass the answer on as it comes.  Raises
    :class:`UpstreamError`.
    """
    context, exchange = sender.context, sender.exchange
    found = Found(context.redactors.models, context.setup.policy.redact.binary)
    raw = await exchange.read_body(MAX_BODY) if exchange.has_body else b""
    try:
        channel = channel_for(exchange.header(b"content-type").decode("latin-1"), found)
        body = channel.push(raw) + channel.finish()
        fields, safe = _head(found, exchange.headers, target)
    except BlockedError as blocked:
        rule = "redact.binary" if isinstance(blocked, BlockedBinaryError) else "redact.models"
        await sender.refuse(Denial(rule, blocked.what, "leave it out"))
        return
    sender.tell(found.findings())
    url, headers = sender.head(safe, fields, body)
    async with context.upstreams.request(exchange.method, url, headers, body) as response:
        plain_encoding(response)
        await exchange.start(response.status, reply_headers(response))
        async with aclosing(response.chunks(exchange.flush)) as chunks:
            async for chunk in chunks:
                await exchange.send(chunk)
        await exchange.finish()
    record = exchange.record("llm", bytes_out=len(body), unread=found.unread)
    context.link.report(msgspec.structs.replace(record, error="not priced: network.llm_paths"))


def _head(found: Found, headers: Headers, target: str) -> tuple[Headers, str]:
    structured = found.structured()
    safe = redact_target(structured, without_key(target))
    texts = [
        (name.decode("ascii"), value.decode("latin-1")) for name, value in kept_headers(headers)
    ]
    fields = [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in structured.headers(texts)
    ]
    found.take(structured)
    return fields, safe
