"""Handles one request to a provider: read, redacted, reserved, sent with the real key, answered
with originals restored, and settled exactly once.
"""

from __future__ import annotations

import math
import time
from weakref import WeakKeyDictionary

from akiosd.gateway.context import Context
from akiosd.gateway.http.exchange import Exchange
from akiosd.gateway.llm.call import Call, CallDeniedError
from akiosd.gateway.llm.prepare import prepare, safe_head
from akiosd.gateway.llm.providers.base import Provider, Route
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.sender import Sender, read_reply, reply_headers
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.llm.unpriced_paths import forward_passed
from akiosd.gateway.net.names import named_path
from akiosd.gateway.net.remedies import KEEP_KEY, Asked, hint
from akiosd.gateway.net.request_head import Headers
from akiosd.gateway.redaction.redactors import Redactors
from akiosd.redact.json_and_forms import Structured
from akiosd.values.denial import Denial
from akiosd.values.providers import ProviderFacts
from akiosd.wire.gateway import ProviderSetup

MAX_REQUEST = 64 << 20
"""Largest decoded request body, in bytes."""

_memories: WeakKeyDictionary[Redactors, Memory] = WeakKeyDictionary()


def memory_of(context: Context) -> Memory:
    """The memory that all calls of this gateway share; made on first use."""
    found = _memories.get(context.redactors)
    if found is None:
        found = _memories[context.redactors] = Memory(context.redactors.models)
    return found


async def handle(context: Context, exchange: Exchange) -> None:
    """Answer one request to a provider's host.

    Raises :class:`UpstreamError`, :class:`RedactError` and the errors of reading the body; the
    server answers for them.
    """
    provider = BY_NAME[exchange.rule.provider]
    target = exchange.target.decode("ascii")
    setup = next(
        (s for s in context.setup.providers if s.name == provider.name),
        ProviderSetup(provider.name),
    )
    found = provider.find(exchange.method, target.partition("?")[0])
    denial = _stopped(provider, setup, exchange, found, context)
    if denial is not None:
        await exchange.refuse(denial)
        return
    sender = Sender(context, exchange, provider, setup)
    if found is None:
        await forward_passed(sender, target)
    elif found.operation.kind == "read":
        await _read(sender, target)
    else:
        await _call(sender, found, target)


def _stopped(
    provider: Provider,
    setup: ProviderSetup,
    exchange: Exchange,
    found: Route | None,
    context: Context,
) -> Denial | None:
    """The denial of a request whose head is enough to refuse it: unknown path, a log-in instead of
    a key, no key.
    """
    host = exchange.host
    path = exchange.target.decode("ascii").partition("?")[0]
    if found is None and not named_path(
        context.setup.policy.network.llm_paths, provider.name, path
    ):
        # The hint goes into the log, so it names the path with personal data masked.
        safe = exchange.safe_path.decode("utf-8", "replace")
        words = f"{exchange.method} {safe} is not a request known to AKIOS"
        asked = Asked("network.llm_paths", host, path=path if safe == path else "")
        what_helps = hint(context.setup, context.names, asked)
        return Denial(rule="network.llm_paths", words=words, host=host, hint=what_helps)
    login = provider.login(exchange.headers)
    if login:
        what_helps = f"akiosctl keys set {provider.name}, and use the key the cage is given"
        return Denial(
            rule="llm.login",
            words=f"{login} is not passed: only API keys are",
            host=host,
            hint=what_helps,
        )
    if provider.facts.needs_key and not setup.key:
        what_helps = f"an administrator keeps one: {KEEP_KEY} {provider.name}"
        return Denial(
            rule="llm.key", words=f"there is no key for {provider.name}", host=host, hint=what_helps
        )
    return None


async def _read(sender: Sender, target: str) -> None:
    """A request that only reads, such as a list of models: no budget, no restoring."""
    exchange = sender.exchange
    structured = Structured(sender.context.redactors.models)
    head = safe_head(structured, sender.provider, exchange.headers, target)
    if isinstance(head, Denial):
        await sender.refuse(head)
        return
    url, headers = sender.head(
        head[1], [pair for pair in head[0] if pair[0] != b"content-type"], b""
    )
    async with sender.context.upstreams.request(exchange.method, url, headers) as response:
        with sender.context.replies.share() as share:
            body = await read_reply(response, share, sender.context.limits.reply_bytes)
            await exchange.respond(response.status, reply_headers(response), body)
    sender.context.link.report(exchange.record("llm"))


async def _call(sender: Sender, route: Route, target: str) -> None:
    """A request with a body: a paid call, or one that is free of charge (``kind`` "free")."""
    context, exchange = sender.context, sender.exchange
    memory = memory_of(context)
    raw = await exchange.read_body(MAX_REQUEST)
    request = prepare(
        sender.provider,
        route,
        raw,
        exchange.headers,
        target,
        memory=memory,
        overrides=context.setup.prices,
        binary=context.setup.policy.redact.binary,
        now_ns=time.time_ns(),
    )
    if isinstance(request, Denial):
        await sender.refuse(request)
        return
    if route.operation.kind == "free":
        await Call(sender, request, memory, None).run()
        return
    reservation = context.link.reserve(
        request.ask, patience_seconds(sender.provider.facts, exchange.headers)
    )
    call = Call(sender, request, memory, reservation)
    try:
        await call.run()
    except CallDeniedError as refused:
        await sender.refuse(refused.denial)
    finally:
        # Also when this task is cancelled: settle() does not wait, so it cannot be interrupted.
        reservation.settle(call.bill())


def patience_seconds(facts: ProviderFacts, headers: Headers) -> float:
    """How long a call may wait for others: half of what its client waits for an answer, where that
    is known.

    The SDKs of OpenAI and Anthropic say it in a header.
    """
    found = [value for name, value in headers if name == b"x-stainless-timeout"]
    named = float(found[0]) if found and found[0].isdigit() and len(found[0]) < 9 else math.inf
    return min(named / 2, facts.patience_seconds)
