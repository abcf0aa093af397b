"""Turns a request as the agent made it into one that may be sent, and works out what it may cost at
most.  Pure.
"""

from __future__ import annotations

import hashlib
from typing import Any
from urllib.parse import parse_qsl, unquote_plus

import msgspec

from akiosd.gateway.llm.providers.base import (
    Json,
    Operation,
    Provider,
    Route,
    Stream,
    unknown_field,
)
from akiosd.gateway.llm.read_turns import begin_of_last_turn, name_of_items
from akiosd.gateway.llm.redact_request import Outward
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.net.request_head import Headers
from akiosd.gateway.redaction.redactors import redact_target
from akiosd.gateway.redaction.strict_json import BadJsonError, dump, parse
from akiosd.meter import prices
from akiosd.meter.models import UNKNOWN_OUTPUT
from akiosd.meter.turns import Turn
from akiosd.redact.json_and_forms import Structured
from akiosd.values.denial import BAD_REQUEST, Denial
from akiosd.values.providers import FACTS
from akiosd.values.records import Finding
from akiosd.values.spend import Ask, ModelPrice

_MAX_MODEL = 2048
"""Longest name of a model, in characters: Bedrock allows as many, and a longer one does not fit
into a message to akiosd.
"""
_OVERHEAD, _TOOLS_OVERHEAD = 256, 2048
"""Tokens that providers add: around each message, and to explain tools."""
_IDS = frozenset(
    {"id", "call_id", "tool_call_id", "tool_use_id", "toolUseId", "item_id", "cache_control"}
)
"""Names whose values differ with every attempt; they are left out of the fingerprint."""

_CREDENTIALS = frozenset({"key", "access_token", "oauth_token", "bearer_token"})
"""Parameters of a URL that carry a key in place of a header."""
_KEPT_HEADERS = frozenset(
    {
        b"accept",
        b"content-type",
        b"user-agent",
        b"accept-language",
        b"idempotency-key",
        b"x-client-request-id",
        b"http-referer",
        b"x-title",
        b"x-session-affinity",
        b"originator",
        b"session_id",
        b"conversation_id",
    }
).union(*(facts.client_headers for facts in FACTS.values()))
"""The only headers that are sent on.  Others may be log-ins or cookies, change the method, or
remove usage from the reply.
"""


class Request(msgspec.Struct):
    """A request that may be sent once it is granted.

    ``target`` and ``headers`` are redacted and hold no key. ``body`` is redacted JSON that
    :meth:`grant` may still change. ``ask`` goes to akiosd. ``quote`` are the model's prices, None
    when unknown. ``strip``: usage was asked for only by AKIOS and is taken out of the reply again.
    ``left_out`` are hosted tools that were removed.
    """

    operation: Operation
    target: str
    headers: Headers
    body: Json
    ask: Ask
    quote: prices.Quote | None
    stream: Stream = ""
    strip: bool = False
    findings: tuple[Finding, ...] = ()
    left_out: tuple[str, ...] = ()
    turns: tuple[Turn, ...] = ()

    def grant(self, output: int) -> bytes:
        """The encoded body, asking for at most ``output`` tokens (0: as the agent asked)."""
        if output and self.operation.has_output:
            asked = self.operation.output(self.body)
            if not asked or asked > output:
                self.operation.set_output(self.body, output)
        return dump(self.body)


def kept_headers(headers: Headers) -> Headers:
    """Those of ``headers`` that may be sent on."""
    return [
        (name, value)
        for name, value in headers
        if name in _KEPT_HEADERS or name.startswith(b"x-stainless-")
    ]


def without_key(target: str) -> str:
    """``target`` without an API key or token in its query."""
    path, _, query = target.partition("?")
    pieces = [piece for piece in query.split("&") if piece]
    query = "&".join(
        piece
        for piece in pieces
        if unquote_plus(piece.partition("=")[0]).lower() not in _CREDENTIALS
    )
    return path + ("?" + query if query else "")


def safe_head(
    structured: Structured, provider: Provider, headers: Headers, target: str
) -> tuple[Headers, str] | Denial:
    """Headers and target, redacted and without the agent's own credentials.

    A denial when the query has a parameter that the provider's table does not know.
    """
    for name, _ in parse_qsl(target.partition("?")[2], keep_blank_values=True):
        if name not in _CREDENTIALS and name not in provider.queries:
            return Denial(
                "llm.fields", f"the parameter {name[:60]!r} is not known to AKIOS", "leave it out"
            )
    safe = redact_target(structured, without_key(target))
    texts = [
        (name.decode("ascii"), value.decode("latin-1")) for name, value in kept_headers(headers)
    ]
    fields = [
        (name.encode(), value.encode("latin-1", "replace"))
        for name, value in structured.headers(texts)
    ]
    return fields, safe


def read_body(raw: bytes) -> Json | Denial:
    """The JSON object in ``raw``; a denial when it is none, or can be read in two ways."""
    try:
        body = parse(raw)
    except BadJsonError as error:
        return Denial(
            "llm.body",
            f"the body is not JSON with one meaning: {error}",
            "send plain JSON",
            BAD_REQUEST,
        )
    if not isinstance(body, dict):
        return Denial("llm.body", "the body is not a JSON object", "send an object", BAD_REQUEST)
    return body


def prepare(
    provider: Provider,
    route: Route,
    raw: bytes,
    headers: Headers,
    target: str,
    *,
    memory: Memory,
    overrides: dict[str, ModelPrice],
    binary: Any,
    now_ns: int,
) -> Request | Denial:
    """The request that may be sent, or why it may not.

    ``raw`` is the decoded body; ``overrides`` are prices set by the administrator; ``binary`` is
    the policy's ``redact.binary``; ``now_ns`` is Unix time. Raises
    :class:`akiosd.redact.model.RedactError` for text that cannot be redacted.
    """
    operation = route.operation
    body = read_body(raw)
    if isinstance(body, Denial):
        return body
    refused = operation.normalise(body) or unknown_field(operation, body)
    left_out = () if refused else operation.leave_out(body)
    if operation.kind == "call":
        refused = refused or operation.refuse(body)
    if refused:
        return refused
    if memory.redactor.mode != "off" and operation.unreadable(body):
        return Denial(
            "redact.models",
            "personal data cannot be looked for in the numbers of tokens",
            "send text (langchain: check_embedding_ctx_length=False)",
        )
    outward, structured = Outward(memory, binary), Structured(memory.redactor)
    body = outward.body(body)
    operation.encode(body)
    head = safe_head(structured, provider, headers, target)
    if isinstance(head, Denial):
        return head
    outward.found(structured.findings)
    if outward.blocked or structured.blocked:
        return Denial(
            "redact.models",
            f"{outward.blocked or 'personal data in the head'} may not be sent",
            "leave it out, or set redact.models",
        )
    query = dict(parse_qsl(target.partition("?")[2]))
    # The model's name in the path goes into the log, so it is redacted like any other text.
    model = operation.model(body, outward.text(route.model, ("model",), "") if route.model else "")
    if operation.kind == "call" and not (model.isprintable() and 0 < len(model) <= _MAX_MODEL):
        return Denial("llm.body", "the body names no model", "name one", BAD_REQUEST)
    quote = prices.quote(
        provider.name, model, overrides, now_ns=now_ns, context=operation.pricing(body)
    )
    request = Request(
        operation,
        head[1],
        head[0],
        body,
        Ask(provider.name, model, b""),
        quote,
        operation.stream(body, query),
        findings=outward.findings(),
        left_out=left_out,
    )
    if operation.kind == "call":
        request.ask = _ask(request, outward)
        if operation.has_output:
            request.turns, trail = memory.threads.read(body)
            request.ask = msgspec.structs.replace(request.ask, trail=trail)
        request.strip = operation.prepare(body)
    return request


def _ask(request: Request, outward: Outward) -> Ask:
    """What akiosd is asked: a fingerprint of the request for loops, and upper bounds of its tokens
    and money.
    """
    ask, operation, quote, body = request.ask, request.operation, request.quote, request.body
    if operation.has_output:
        # To turn the same text into numbers twice is no loop.
        own, before = _fingerprints(ask, operation, body)
        ask = msgspec.structs.replace(ask, request=own, before=before)
    if quote is None:
        return msgspec.structs.replace(ask, priced=False)
    tokens = bound_input(operation, body, outward, quote.context)
    # Caching for an hour costs more, and is asked for by this value in every API.
    dearest = prices.bound_input(quote, tokens, hour_cache=b'"1h"' in dump(body))
    made = msgspec.structs.replace(
        ask,
        input_tokens=tokens,
        input_usd_micro=dearest,
        choices=operation.choices(body),
    )
    if not operation.has_output:
        return made
    return msgspec.structs.replace(
        made,
        output_usd_nano=prices.bound_output(quote, tokens),
        output=operation.output(body),
        floor=operation.floor(body),
        ceiling=prices.ceiling(quote, tokens) if quote.max_output else UNKNOWN_OUTPUT,
    )


def bound_input(operation: Operation, body: Json, outward: Outward, context: int) -> int:
    """Most input tokens of the request: a token has at least one byte, so the body's size bounds
    them.

    The model's whole ``context`` where the request refers to content that is stored at the
    provider, or holds a file that is no image.
    """
    if operation.refers(body) or any(not binary.image for binary in outward.binaries):
        return context
    size = len(dump(body)) - sum(binary.size for binary in outward.binaries)
    size += len(outward.binaries) * operation.image_tokens + _OVERHEAD
    if body.get("tools") or body.get("toolConfig") or body.get("functions"):
        size += _TOOLS_OVERHEAD
    return min(size, context)


def _fingerprints(ask: Ask, operation: Operation, body: Json) -> tuple[bytes, bytes]:
    """Of the request, and of the one that came before the newest turn of its conversation."""
    name = name_of_items(body)
    said = body.get(name)
    said = said if isinstance(said, list) else [said]
    head = _meaning({key: value for key, value in body.items() if key != name}, operation)
    digest = hashlib.sha256(
        dump([ask.provider, type(operation).__name__, ask.model, head], sort=True)
    )
    bare, begin = [_bare(item) for item in said], begin_of_last_turn(said)
    before = b""
    if begin >= 0:
        digest.update(dump(bare[:begin], sort=True)[1:-1])
        before = digest.digest()
    else:
        begin = 0
    newest = dump(bare[begin:], sort=True)[1:-1]
    digest.update((b"," if begin and newest else b"") + newest)
    return digest.digest(), before


def _meaning(body: Json, operation: Operation) -> Json:
    """The body without what differs between two attempts of the same request."""
    return {name: _bare(value) for name, value in body.items() if name not in operation.volatile}


def _bare(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _bare(item) for name, item in value.items() if name not in _IDS}
    return [_bare(item) for item in value] if isinstance(value, list) else value
