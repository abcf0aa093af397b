"""Handles requests to allowed sites: their rule and rate are checked, personal data is taken out.
Answers pass unchanged.
"""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator
from contextlib import aclosing, suppress

import trio

from akiosd.gateway.context import Context
from akiosd.gateway.http.exchange import Exchange
from akiosd.gateway.net.request_head import Headers, MalformedError
from akiosd.gateway.redaction.bodies import (
    BlockedError,
    Channel,
    Found,
    channel_for,
    clean_names,
    form_names,
)
from akiosd.gateway.redaction.redactors import redact_target
from akiosd.gateway.upstream.client import UpstreamError
from akiosd.gateway.upstream.upstream import NotPublicError
from akiosd.redact.model import Span
from akiosd.redact.redactor import Redactor
from akiosd.values.denial import Denial
from akiosd.values.records import Redaction

SAFE_METHODS = ("GET", "HEAD", "OPTIONS")
_COLLECT = 4 << 20
"""A request body up to this size is sent with its length; a larger one is sent in chunks as it
comes.
"""
# Headers that carry what the site gave the agent to identify itself: tokens in them pass, while
# personal data of people is still redacted.
_CREDENTIAL = re.compile(r"auth|cookie|token|key|secret|session|signature|csrf|none-match|if-match")
# Set anew for the request to the upstream.
_OURS = (b"host", b"content-length", b"expect")
# It would lead the agent to a protocol that the gateway does not speak.
_UNSAID = (b"alt-svc",)
# Some servers take the method from these instead of from the request line.
_OTHER_METHOD = (b"x-http-method-override", b"x-http-method", b"x-method-override")


async def handle(context: Context, exchange: Exchange) -> None:
    """Answer one request to a site.  Raises :class:`AkiosError` for what the server answers in its
    place.
    """
    denial = _refused(context, exchange)
    if denial is not None:
        await exchange.refuse(denial)
        return
    found = Found(context.redactors.sites, context.setup.policy.redact.binary)
    sent = _Counter()
    error, denied = "the agent went away", True
    try:
        await _pass_on(context, exchange, found, sent)
        error, denied = "", False
    except BlockedError as blocked:
        denial = Denial(
            rule=blocked.rule, words=blocked.what, host=exchange.host, hint=blocked.next
        )
    except NotPublicError:
        raise
    except UpstreamError as failed:
        error, denied = failed.what, False
        raise
    except trio.Cancelled:
        denied = False
        raise
    finally:
        if found.findings():
            mode = context.redactors.sites.mode
            context.link.report(
                Redaction(ts=0, towards=exchange.host, mode=mode, findings=found.findings())
            )
        if not denied:
            record = exchange.record(
                "inspect", bytes_out=sent.size, unread=min(found.unread, sent.size), error=error
            )
            context.link.report(record)
    if denial is not None and not exchange.started:
        await exchange.refuse(denial)


def _refused(context: Context, exchange: Exchange) -> Denial | None:
    """The denial of a request against ``get_only`` or above the site's rate, None for others."""
    host = exchange.host
    if exchange.rule.get_only and exchange.method not in SAFE_METHODS:
        return _only_get(exchange, exchange.method)
    if exchange.rule.get_only and any(exchange.header(name) for name in _OTHER_METHOD):
        return _only_get(exchange, "another method in a header")
    # Counted for each line of the policy: otherwise names made up under a wildcard would multiply
    # the rate.
    wait = context.rates.take(exchange.rule.pattern, trio.current_time())
    if wait:
        words = "more requests in a minute than the policy allows to one site"
        rule = "network.requests_per_minute"
        found = f"wait, or raise it: {exchange.what_helps(rule)}"
        retry = int(wait) + 1
        return Denial(status=429, rule=rule, words=words, host=host, hint=found, retry_after=retry)
    return None


def _only_get(exchange: Exchange, method: str) -> Denial:
    words = f"only GET, HEAD and OPTIONS are passed to this site, not {method}"
    rule = "network.get_only"
    return Denial(rule=rule, words=words, host=exchange.host, hint=exchange.what_helps(rule))


class _Counter:
    def __init__(self) -> None:
        self.size = 0

    async def counted(self, pieces: AsyncGenerator[bytes]) -> AsyncGenerator[bytes]:
        async for piece in pieces:
            self.size += len(piece)
            yield piece


async def _pass_on(context: Context, exchange: Exchange, found: Found, sent: _Counter) -> None:
    """Redact the request, send it, and pass the answer on as it comes."""
    place = exchange.destination
    scheme = "https" if place.tls else "http"
    plain = context.redactors.sites.mode == "off"
    if not plain:
        # A first reading, for the redactor's memory only: a value found in one part is then found
        # in all.
        for_now = Found(found.redactor, found.binary)
        for read in (
            lambda: _headers(exchange.headers, for_now),
            lambda: _target(exchange.target, for_now),
        ):
            # A refusal is raised again, and reported, by the second reading.
            with suppress(BlockedError, MalformedError):
                read()
    async with aclosing(exchange.body(decode=not plain)) as pieces:
        body: bytes | AsyncGenerator[bytes] = b""
        length = exchange.length
        if exchange.has_body and plain:
            body = pieces
        elif exchange.has_body:
            body, length = await _body(exchange, pieces, found)
        headers = [pair for pair in exchange.headers if pair[0] not in _OURS]
        headers = headers if plain else _headers(headers, found)
        target = exchange.target if plain else _target(exchange.target, found)
        if isinstance(body, bytes):
            sent.size = len(body)
        else:
            body = sent.counted(body)
            if length is not None:
                headers.append((b"content-length", b"%d" % length))
        url = f"{scheme}://{place.name}:{place.port}{target.decode('ascii')}"
        async with context.upstreams.request(exchange.method, url, headers, body) as response:
            exchange.findings = found.findings()
            framed = any(name == b"transfer-encoding" for name, _ in response.headers)
            unsaid = (*_UNSAID, b"content-length") if framed else _UNSAID
            await exchange.start(
                response.status, [pair for pair in response.headers if pair[0] not in unsaid]
            )
            async with aclosing(response.chunks(exchange.flush)) as chunks:
                async for chunk in chunks:
                    await exchange.send(chunk)
            await exchange.finish()


async def _body(
    exchange: Exchange, pieces: AsyncGenerator[bytes], found: Found
) -> tuple[bytes | AsyncGenerator[bytes], int | None]:
    """The redacted body and its length: whole if it is small, else a generator, with None where the
    length may change.
    """
    path = exchange.target.partition(b"?")[0]
    git = path.endswith((b"/git-upload-pack", b"/git-receive-pack"))
    channel = channel_for(exchange.header(b"content-type").decode("latin-1"), found, git=git)
    held = bytearray()
    taken = 0
    async for piece in pieces:
        taken += len(piece)
        held += channel.push(piece)
        if taken > _COLLECT:
            same = channel.verbatim and not exchange.encoded
            return _rest(bytes(held), pieces, channel), exchange.length if same else None
    held += channel.finish()
    return bytes(held), None


async def _rest(
    first: bytes, pieces: AsyncGenerator[bytes], channel: Channel
) -> AsyncGenerator[bytes]:
    yield first
    async for piece in pieces:
        safe = channel.push(piece)
        if safe:
            yield safe
    last = channel.finish()
    if last:
        yield last


def _target(target: bytes, found: Found) -> bytes:
    """Path and query with their values redacted; where a name in them is personal data, the whole
    is redacted as text.
    """
    text = target.decode("ascii")
    if not clean_names(form_names(text.partition("?")[2]), found.redactor):
        result = found.redactor.read(text)
        for span in result.spans:
            found.add(span.type, span.category, "url")
        if result.blocked:
            found.block()
        text = result.text
    structured = found.structured()
    safe = redact_target(structured, text).encode("ascii", "backslashreplace")
    found.take(structured)
    if not safe.startswith(b"/"):
        raise MalformedError(
            "without its personal data, the path no longer begins with /",
            "request target",
            "leave personal data out of the path",
        )
    return safe


def _headers(headers: Headers, found: Found) -> Headers:
    safe = []
    for name, value in headers:
        text = value.decode("utf-8", "surrogateescape")
        title = name.decode("ascii")
        redacted = _header(title, text, found)
        if redacted != text and name == b"content-type":
            raise BlockedError(
                "Content-Type holds personal data", "header.content-type", "send a plain media type"
            )
        safe.append((name, redacted.encode("utf-8", "surrogateescape")))
    if not clean_names((name.decode("ascii") for name, _ in headers), found.redactor):
        raise BlockedError(
            "the name of a header is personal data",
            "header",
            "move it into the value of the header",
        )
    return safe


def _is_personal(span: Span) -> bool:
    return span.category != "digital"


def _header(name: str, text: str, found: Found) -> str:
    redactor: Redactor = found.redactor
    if _CREDENTIAL.search(name):
        if text[:6].lower() == "basic ":
            return text
        result = redactor.apply(
            text, [s for s in redactor.find(text, name, _is_personal) if _is_personal(s)]
        )
    else:
        result = redactor.read(text, name)
    for span in result.spans:
        found.add(span.type, span.category, f"header.{name}")
    if result.blocked:
        found.block()
    return result.text
