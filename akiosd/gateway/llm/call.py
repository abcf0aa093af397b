"""One call to a model: the request is sent with the real key, the reply is passed on with originals
restored, and what it cost is worked out.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator, Mapping
from contextlib import aclosing, suppress
from typing import Any

from akiosd.gateway.daemon_link.link import Reservation
from akiosd.gateway.llm.eventstream import EventStreamCodec
from akiosd.gateway.llm.frames import BrokenStreamError, Codec
from akiosd.gateway.llm.ndjson import ArrayCodec, NdjsonCodec
from akiosd.gateway.llm.prepare import Request
from akiosd.gateway.llm.restore_large import may_be_in
from akiosd.gateway.llm.restore_reply import Meter, StreamReply, restore
from akiosd.gateway.llm.sender import Sender, plain_encoding, read_reply, reply_headers
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.llm.sse import SseCodec
from akiosd.gateway.llm.threads import named_thread
from akiosd.gateway.net.request_head import Headers
from akiosd.gateway.net.room import Share
from akiosd.gateway.redaction.sparse_json import LARGE, parse_sparse
from akiosd.gateway.redaction.strict_json import BadJsonError, dump
from akiosd.gateway.upstream.client import ProviderError, Response, UpstreamError
from akiosd.meter import prices
from akiosd.meter.budget import longest as longest_output
from akiosd.values.denial import Denial
from akiosd.values.spend import Bill, Grant, Outcome

MAX_TOKEN_BYTES = 256
"""No tokenizer has a longer token, so text beyond this times the tokens granted is more than was
granted.
"""

EVENT_COPIES = 4
"""An event of a stream as it comes, as it is read, and as it goes on."""

_CODECS: Mapping[str, type[Codec]] = {
    "sse": SseCodec, "ndjson": NdjsonCodec, "eventstream": EventStreamCodec, "array": ArrayCodec,
}  # fmt: skip
_TYPES = {
    "sse": b"text/event-stream", "ndjson": b"ndjson", "eventstream": b"amazon.eventstream",
    "array": b"application/json",
}  # fmt: skip


class CallDeniedError(Exception):
    """akiosd denied the call; nothing was sent to the provider."""

    def __init__(self, denial: Denial) -> None:
        self.denial = denial


class _WaitsError(Exception):
    """The call has to wait in line; meanwhile no connection to its provider is kept."""


class Call:
    """One request, which is sent once its ``reservation`` is granted, and its reply.

    Without a reservation the call is free of charge. The provider is connected to while akiosd
    decides, but no byte of the request leaves before the grant; a call that has to wait for others
    gives the connection up and makes another. When :meth:`run` has ended, however it ended,
    :meth:`bill` says what is owed.
    """

    def __init__(
        self, sender: Sender, request: Request, memory: Memory, reservation: Reservation | None
    ) -> None:
        self._sender, self._request, self._memory, self._reservation = (
            sender,
            request,
            memory,
            reservation,
        )
        self._grant: Grant | None = None if reservation is not None else Grant()
        self._context, self._exchange = sender.context, sender.exchange
        self._meter = Meter(request.operation)
        self._sent = self._answered = self._complete = self._told = False
        self._status = 0
        self._output = 0
        self._size = self._longest = 0

    async def run(self) -> None:
        """Make the call and answer the agent.

        Raises :class:`CallDeniedError`, and :class:`UpstreamError` when the provider fails or its
        reply cannot be read.
        """
        if self._sender.provider.facts.signed_as:
            await self._wait_grant()
        try:
            await self._attempt()
        except _WaitsError:
            await self._wait_grant()
            await self._attempt()

    async def _attempt(self) -> None:
        request, error = self._request, ""
        # The grant is usually not known yet: the longest body that any grant can lead to is
        # prepared.
        self._longest = longest_output(self._context.setup.policy.budget, request.ask)
        longest = request.grant(self._grant.output if self._grant else self._longest)
        url, headers = self._sender.head(request.target, request.headers, longest)
        fields = [*headers, (b"content-length", b"%d" % len(longest))]
        try:
            async with self._context.upstreams.request(
                "POST", url, fields, self._send(longest)
            ) as response:
                self._status = response.status
                self._answered = True
                await self._answer(response)
        except (UpstreamError, BrokenStreamError) as failure:
            # A denial takes precedence over a provider that could not be reached.
            await self._wait_grant()
            error = str(failure)[:200]
            if isinstance(failure, BrokenStreamError):
                raise ProviderError(
                    f"the provider's stream cannot be read: {failure}", "reply"
                ) from None
            raise
        finally:
            if self._grant is not None:
                self._tell()
                self._context.link.report(
                    self._exchange.record("llm", bytes_out=self._size, error=error)
                )

    async def _wait_grant(self) -> Grant:
        if self._grant is None:
            assert self._reservation is not None
            verdict = await self._reservation.wait_verdict()
            if isinstance(verdict, Denial):
                raise CallDeniedError(verdict) from None
            self._grant = verdict
            self._output = verdict.output or self._request.ask.output
        return self._grant

    async def _send(self, longest: bytes) -> AsyncGenerator[bytes]:
        """Wait for the grant, then yield the body: from here on the provider may work on it,
        whether it answers or not.
        """
        if (
            self._grant is None
            and self._reservation is not None
            and not await self._reservation.wait_word()
        ):
            raise _WaitsError
        grant = await self._wait_grant()
        body = longest if grant.output == self._longest else self._request.grant(grant.output)
        self._sent, self._size = True, len(body)
        self._linger()
        # Content-Length was sent for the longest body; JSON may end in blanks (RFC 8259 §2).
        yield body.ljust(len(longest))
        self._tell()

    def _linger(self) -> None:
        """Let the reply be read to its end for a bounded time although the agent leaves, to learn
        what it cost.

        From now on the call is paid whoever waits for it. The agent's connection counts among those
        of its cage until then.
        """
        if self._request.operation.kind == "call":
            limits = self._context.limits
            self._exchange.lingers = (
                limits.paid_stream_seconds if self._request.stream else limits.paid_seconds
            )

    def _tell(self) -> None:
        """Report, once, what was redacted in the request and which tools were left out of it."""
        if not self._told:
            self._told = True
            self._sender.tell(self._request.findings)
            self._sender.tell_left_out(self._request.left_out)

    async def _answer(self, response: Response) -> None:
        stream = self._request.stream
        if response.status >= 300:
            await self._fail(response)
        elif stream and _TYPES[stream] in response.header(b"content-type"):
            await self._stream(response)
        else:
            await self._whole(response)

    async def _fail(self, response: Response) -> None:
        """The provider's own refusal: status, Retry-After and limits as they are; nothing is
        paid.
        """
        with self._context.replies.share() as share:
            body: bytes | bytearray = await read_reply(
                response, share, self._context.limits.reply_bytes
            )
            with suppress(BadJsonError):
                body = self._restored(body, parse_sparse(body))
            await self._exchange.respond(response.status, reply_headers(response), body)

    def _restored(self, body: bytes | bytearray, value: Any) -> bytes | bytearray:
        if not isinstance(value, dict | list):
            return body
        pseudonyms = self._context.redactors.pseudonyms
        changed = restore(value, pseudonyms if may_be_in(body, pseudonyms) else None, self._memory)
        return dump(value) if changed else body

    async def _whole(self, response: Response) -> None:
        with self._context.replies.share() as share:
            body = await read_reply(response, share, self._context.limits.reply_bytes)
            ready = self._read(body)
            await self._exchange.respond(response.status, self._reply_headers(response), ready)

    def _read(self, body: bytearray) -> bytes | bytearray:
        """What the agent gets of an answer, once it is counted."""
        try:
            value = parse_sparse(body)
        except BadJsonError:
            raise ProviderError("the provider's answer is not JSON", "reply") from None
        for event in value if isinstance(value, list) else [value]:
            if isinstance(event, dict):
                self._meter.take(event, "")
        self._complete = True
        return self._restored(body, value)

    def _reply_headers(self, response: Response) -> Headers:
        """With a word on an answer that could not become as long as was asked for."""
        lowered = self._grant.lowered if self._grant is not None else 0
        told = [(b"akios-output-limit", b"%d" % lowered)] if lowered else []
        return [*reply_headers(response), *told]

    async def _stream(self, response: Response) -> None:
        plain_encoding(response)
        request, exchange = self._request, self._exchange
        reply = StreamReply(
            request.operation,
            _CODECS[request.stream](),
            self._context.redactors.pseudonyms,
            self._memory,
            request.strip,
        )
        self._meter = reply.meter
        await exchange.start(response.status, self._reply_headers(response))
        with self._context.replies.share() as share:
            async with aclosing(response.chunks(exchange.flush)) as chunks:
                async for chunk in chunks:
                    await self._push(reply, chunk, share)
                    if self._is_beyond():
                        await exchange.flush()
                        raise UpstreamError(
                            "the answer cost more than was reserved for it, and was cut off",
                            "reply",
                            "ask for fewer tokens (max_tokens), or correct the model's max_output"
                            " in akiosd.yaml",
                        )
            await self._pass(reply.flush())
        self._complete = not reply.meter.failed
        await exchange.finish()

    async def _push(self, reply: StreamReply, chunk: bytes, share: Share) -> None:
        """A long event waits for its share of the memory, and gives it back once it was passed
        on.
        """
        most = EVENT_COPIES * (reply.held + len(chunk)) if reply.held > LARGE else 0
        if most > share.size:
            await share.grow(most - share.size)
        for ready in reply.push(chunk):
            await self._pass(ready)
        if share.size and reply.held <= LARGE:
            await self._exchange.flush()
            share.shrink(0)

    async def _pass(self, ready: bytes) -> None:
        """Send a part of the reply; the first part is flushed at once, so that the first token is
        not delayed.
        """
        if ready:
            first = not self._exchange.bytes_in
            await self._exchange.send(ready)
            if first:
                await self._exchange.flush()

    def _is_beyond(self) -> bool:
        """Whether the reply costs or holds more than was granted.

        Either the provider counts tokens while it streams, and they cost more than the grant; or
        there is more text than the granted tokens can hold. A count that comes with the end of the
        reply comes too late to stop it: the reply is passed on and what the count says is billed.
        """
        tokens, quote = self._meter.tokens, self._request.quote
        along = self._request.operation.counts_along
        if (
            along
            and tokens
            and quote
            and self._grant
            and 0 < self._grant.usd_micro < prices.cost(quote, tokens)
        ):
            return True
        most = self._output * self._request.ask.choices
        return bool(most) and self._meter.received > most * MAX_TOKEN_BYTES

    # ---- what it cost ----------------------------------------------------------------------------

    def bill(self) -> Bill:
        """What is owed: what the provider's final usage says, or all that was reserved where it
        says none.

        Nothing is owed when nothing was sent or the provider refused.
        """
        stream, status, meter = bool(self._request.stream), self._status, self._meter
        if not self._sent or self._grant is None or (self._answered and status >= 300):
            return Bill("failed", status=status, stream=stream)
        # A reply that the agent did not wait for counts as cut, so that asking again after a time-
        # out
        # is not taken for a loop.
        outcome: Outcome = "completed" if self._complete and not self._exchange.left else "cut"
        if outcome == "completed":
            self._remember()
        tokens = meter.tokens
        # Every request has at least one token: zeros come from servers that do not count.
        counted = tokens is not None and (tokens.input > 0 or tokens.output > 0)
        if tokens is None or not counted or not meter.final:
            return Bill(outcome, estimated=True, answer=meter.answer, status=status, stream=stream)
        quote = self._quote()
        cost = prices.cost(quote, tokens) if quote else 0
        return Bill(outcome, cost, tokens, answer=meter.answer, status=status, stream=stream)

    def _remember(self) -> None:
        """The answer, for who goes on from it without repeating the conversation."""
        request, meter = self._request, self._meter
        if request.operation.threads and request.body.get("store") is not False:
            name = named_thread(request.body) if request.body.get("conversation") else meter.name
            self._memory.threads.remember(name, request.turns, meter.open_turn)

    def _quote(self) -> prices.Quote | None:
        """The prices of the tier that served the call, where the reply names one whose prices are
        known; else those asked for.
        """
        request, served = self._request, self._meter.served
        if request.quote is None or not served:
            return request.quote
        asked = request.operation.pricing(request.body)
        found = prices.quote(
            request.ask.provider,
            request.ask.model,
            self._context.setup.prices,
            now_ns=time.time_ns(),
            context=asked | served,
        )
        return found or request.quote
