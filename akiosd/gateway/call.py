"""One paid request and its reply: sent with the real key, answered with originals back, and what it cost."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, suppress
from typing import Any

import msgspec
import trio

from akiosd.gateway.eventstream import EventStreamCodec
from akiosd.gateway.frames import BrokenStream, Codec
from akiosd.gateway.inward import Meter, StreamReply, restore
from akiosd.gateway.memory import Memory
from akiosd.gateway.ndjson import ArrayCodec, NdjsonCodec
from akiosd.gateway.prepare import Request
from akiosd.gateway.sender import Sender, plain_encoding, read_reply, reply_headers
from akiosd.gateway.sse import SseCodec
from akiosd.gateway.strict_json import BadJson, dump, parse
from akiosd.gateway.upstream import Response, UpstreamFailed
from akiosd.meter import prices
from akiosd.values.spend import Bill, Grant, Outcome, Tokens

HIDDEN_TOKENS_PER_SECOND = 1000
"""No hosted model writes faster: what a cut-off answer may have cost before anything of it could be seen."""
MAX_TOKEN_BYTES = 256
"""No vocabulary has a longer token: text beyond that is more than was asked for."""

_CODECS: Mapping[str, type[Codec]] = {
    "sse": SseCodec, "ndjson": NdjsonCodec, "eventstream": EventStreamCodec, "array": ArrayCodec,
}  # fmt: skip
_TYPES = {
    "sse": b"text/event-stream", "ndjson": b"ndjson", "eventstream": b"amazon.eventstream",
    "array": b"application/json",
}  # fmt: skip


class Call:
    """One reserved request and its reply."""

    def __init__(self, sender: Sender, request: Request, memory: Memory) -> None:
        self._sender, self._request, self._memory = sender, request, memory
        self._context, self._exchange = sender.context, sender.exchange
        self._meter = Meter(request.operation)
        self._sent = self._answered = self._complete = False
        self._begun = 0.0
        self._status = 0
        self._output = 0

    async def run(self, grant: Grant) -> None:
        self._output = grant.output or self._request.ask.output
        body = self._request.grant(grant.output)
        url, headers = self._sender.head(self._request.target, self._request.headers, body)
        self._begun = trio.current_time()
        error = ""
        try:
            fields = [*headers, (b"content-length", b"%d" % len(body))]
            async with self._context.upstreams.request("POST", url, fields, self._send(body)) as response:
                self._status = response.status
                self._answered = True
                await self._answer(response, grant)
        except (UpstreamFailed, BrokenStream) as failure:
            error = str(failure)[:200]
            if isinstance(failure, BrokenStream):
                raise UpstreamFailed(f"the provider's stream cannot be read: {failure}", "reply") from None
            raise
        finally:
            self._context.link.report(self._exchange.record("llm", bytes_out=len(body), error=error))

    async def _send(self, body: bytes) -> AsyncIterator[bytes]:
        """The body, asked for once the provider was reached: from here on it may be at work, answered or not."""
        self._sent = True
        yield body

    async def _answer(self, response: Response, grant: Grant) -> None:
        stream = self._request.stream
        if response.status >= 300:
            await self._fail(response)
        elif stream and _TYPES[stream] in response.header(b"content-type"):
            await self._stream(response, grant)
        else:
            await self._whole(response)

    async def _fail(self, response: Response) -> None:
        """The provider's own refusal: status, Retry-After and limits as they are; nothing is paid."""
        body = await read_reply(response)
        with suppress(BadJson):
            body = self._restored(body, parse(body))
        await self._exchange.respond(response.status, reply_headers(response), body)

    def _restored(self, body: bytes, value: Any) -> bytes:
        if not isinstance(value, dict | list):
            return body
        pseudonyms = self._context.redactors.pseudonyms
        changed = restore(value, pseudonyms if pseudonyms.may_be_in(body) else None, self._memory)
        return dump(value) if changed else body

    async def _whole(self, response: Response) -> None:
        body = await read_reply(response)
        try:
            value = parse(body)
        except BadJson:
            raise UpstreamFailed("the provider's answer is not JSON", "reply") from None
        for event in value if isinstance(value, list) else [value]:
            if isinstance(event, dict):
                self._meter.take(event, "")
        self._complete = True
        self._meter.received += 0 if self._meter.tokens else len(body)
        await self._exchange.respond(response.status, reply_headers(response), self._restored(body, value))

    async def _stream(self, response: Response, grant: Grant) -> None:
        plain_encoding(response)
        request, exchange = self._request, self._exchange
        reply = StreamReply(
            request.operation, _CODECS[request.stream](), self._context.redactors.pseudonyms,
            self._memory, request.strip,
        )  # fmt: skip
        self._meter = reply.meter
        await exchange.start(response.status, reply_headers(response))
        async with aclosing(response.chunks(exchange.flush)) as chunks:
            async for chunk in chunks:
                for ready in reply.push(chunk):
                    await self._pass(ready)
                if self._is_beyond(grant):
                    await exchange.flush()
                    raise UpstreamFailed("the answer went beyond what was reserved for it", "reply")
        await self._pass(reply.flush())
        self._complete = not reply.meter.failed
        await exchange.finish()

    async def _pass(self, ready: bytes) -> None:
        """The first of an answer goes at once, whatever came with it; the rest as it comes."""
        if ready:
            first = not self._exchange.bytes_in
            await self._exchange.send(ready)
            if first:
                await self._exchange.flush()

    def _is_beyond(self, grant: Grant) -> bool:
        """Money by a count that the provider gives along the way, or more text than so many tokens can hold.

        A count that comes with the end comes too late: what it says is booked, and the answer passed.
        """
        tokens, quote = self._meter.tokens, self._request.quote
        along = self._request.operation.counts_along
        if along and tokens and quote and 0 < grant.usd_micro < prices.cost(quote, tokens):
            return True
        most = self._output * self._request.ask.choices
        return bool(most) and self._meter.received > most * MAX_TOKEN_BYTES

    # ---- what it cost -----------------------------------------------------------------------------

    def bill(self, grant: Grant) -> Bill:
        """What is owed for what happened."""
        stream, status = bool(self._request.stream), self._status
        if not self._sent or (self._answered and status >= 300):
            return Bill("failed", status=status, stream=stream)
        told = self._meter.tokens
        outcome: Outcome = "completed" if self._complete else "cut"
        final = told is not None and self._complete
        tokens = told if told is not None and (final or self._request.operation.counts_along) else self._estimate(told)
        quote = self._quote()
        cost = prices.cost(quote, tokens) if quote else 0
        if not final and grant.usd_micro:
            cost = min(cost, grant.usd_micro)
        return Bill(outcome, cost, tokens, not final, self._meter.tool_calls, status, stream)

    def _quote(self) -> prices.Quote | None:
        """The prices of the tier that served the call, where the provider says which and its prices are known."""
        request, served = self._request, self._meter.served
        if request.quote is None or not served:
            return request.quote
        asked = request.operation.pricing(request.body)
        found = prices.quote(
            request.ask.provider, request.ask.model, self._context.setup.prices,
            now_ns=time.time_ns(), context=asked | served,
        )  # fmt: skip
        return found or request.quote

    def _estimate(self, told: Tokens | None) -> Tokens:
        """An upper bound of what a reply without a last word cost: what is not known counts as reserved."""
        ask, meter = self._request.ask, self._meter
        output = meter.received
        if self._request.hidden:
            output += int((trio.current_time() - self._begun) * HIDDEN_TOKENS_PER_SECOND)
        most = self._output * ask.choices
        output = min(output, most) if most else output
        known = told or Tokens()
        return msgspec.structs.replace(
            known, input=known.input or ask.input_tokens, output=max(known.output, output if ask.output_usd_nano else 0)
        )
