"""Anthropic: messages, and the counting of their tokens.  Source: docs.anthropic.com/en/api."""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from akiosd.gateway.llm.providers.base import (
    PLACEHOLDER,
    Channel,
    Free,
    Headers,
    Json,
    Operation,
    Piece,
    Provider,
    Read,
    ToolCall,
    hosted,
    items,
    limit_of,
    mapping,
    oauth,
    priced_apart,
    route,
    text,
    tier,
)
from akiosd.gateway.redaction.strict_json import integer
from akiosd.values.denial import Denial
from akiosd.values.spend import Tokens

_CLIENT_TOOLS = ("custom", "bash_", "text_editor_", "computer_", "memory_", "browser_toolset_")
"""Beginnings of the types of tools that the agent runs; all others run at the provider."""
_BLOCK_START, _BLOCK_DELTA, _BLOCK_STOP = (
    "content_block_start",
    "content_block_delta",
    "content_block_stop",
)
_TEXTS = {"text_delta": "text", "input_json_delta": "partial_json"}
_SIGNED = {"thinking_delta": "thinking", "signature_delta": "signature"}


class Messages(Operation):
    fields = frozenset({
        "model", "messages", "max_tokens", "cache_control", "container", "context_management",
        "diagnostics", "inference_geo", "mcp_servers", "metadata", "output_config", "output_format",
        "prefill", "service_tier", "speed", "stop_sequences", "stream", "system", "temperature",
        "thinking", "tool_choice", "tools", "top_k", "top_p", "betas", "anthropic_version",
        "anthropic_beta",
    })  # fmt: skip
    image_tokens = 8_192
    volatile = frozenset({"metadata", "stream", "cache_control", "diagnostics"})

    def refuse(self, body: Json) -> Denial | None:
        for tool in [*items(body.get("tools")), *_added_tools(body)]:
            kind = text(tool.get("type", "custom"))
            if not kind.startswith(_CLIENT_TOOLS):
                return hosted(kind)
        if body.get("mcp_servers"):
            return hosted("mcp_servers")
        if body.get("container") is not None:
            return hosted("container")
        for edit in items(mapping(body.get("context_management")).get("edits")):
            if not text(edit.get("type")).startswith("clear_"):
                return priced_apart(f"the context edit {text(edit.get('type'))[:60]!r}")
        if body.get("inference_geo") not in (None, "global", "not_available"):
            return priced_apart("a place of inference")
        if body.get("speed") not in (None, "standard", "fast"):
            return priced_apart("a speed")
        return tier(body, "service_tier", ("auto", "standard_only"))

    def refers(self, body: Json) -> bool:
        return super().refers(
            {key: value for key, value in body.items() if key != "context_management"}
        )

    def output(self, body: Json) -> int:
        return limit_of(body.get("max_tokens"))

    def floor(self, body: Json) -> int:
        return limit_of(mapping(body.get("thinking")).get("budget_tokens")) + 1

    def set_output(self, body: Json, tokens: int) -> None:
        body["max_tokens"] = tokens

    def choices(self, body: Json) -> int:
        return 1

    def usage(self, reply: Json) -> Json | None:
        found = mapping(reply.get("message", reply)).get("usage")
        return found if isinstance(found, dict) else None

    def count(self, usage: Json) -> Tokens:
        read, write = (
            integer(usage.get("cache_read_input_tokens")),
            integer(usage.get("cache_creation_input_tokens")),
        )
        hour = integer(mapping(usage.get("cache_creation")).get("ephemeral_1h_input_tokens"))
        return Tokens(
            input=integer(usage.get("input_tokens")) + read + write,
            output=integer(usage.get("output_tokens")),
            cache_read=read,
            cache_write=write,
            cache_write_1h=min(hour, write),
        )

    def is_last(self, event: Json) -> bool:
        """A stream begins with the usage of its input."""
        return event.get("type") != "message_start"

    def served(self, reply: Json) -> dict[str, str]:
        found = text((self.usage(reply) or {}).get("speed"))
        return {"speed": found} if found else {}

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        at = integer(event.get("index"))
        if event.get("type") == _BLOCK_DELTA:
            delta = mapping(event.get("delta"))
            name = text(delta.get("type"))
            if name in _TEXTS and isinstance(delta.get(_TEXTS[name]), str):
                yield Piece(
                    (at, name),
                    delta,
                    _TEXTS[name],
                    "arguments" if name == "input_json_delta" else "text",
                )
            elif name in _SIGNED and isinstance(delta.get(_SIGNED[name]), str):
                yield Piece((at, name), delta, _SIGNED[name], "signed")
        elif event.get("type") == _BLOCK_START:
            block = mapping(event.get("content_block"))
            if block.get("text") and isinstance(block["text"], str):
                yield Piece((at, "text_delta"), block, "text")

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        if event.get("type") == _BLOCK_STOP:
            return [(integer(event.get("index")),)]
        return [()] if event.get("type") in ("message_delta", "message_stop", "error") else []

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        at, name = piece.channel
        return {"type": _BLOCK_DELTA, "index": at, "delta": {"type": name, _TEXTS[str(name)]: rest}}

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        at = integer(event.get("index"))
        block = mapping(event.get("content_block"))
        if block.get("type") == "tool_use":
            yield ToolCall((at,), text(block.get("name")), block.get("input") or "")
        delta = mapping(event.get("delta"))
        if delta.get("type") == "input_json_delta":
            yield ToolCall((at,), "", text(delta.get("partial_json")))
        for index, item in enumerate(items(event.get("content"))):
            if item.get("type") == "tool_use":
                yield ToolCall((index,), text(item.get("name")), item.get("input"))


def _added_tools(body: Json) -> Iterator[Json]:
    """Tools that come in the middle of a conversation, as they are defined there; those that refer
    to one are not.
    """
    for message in items(body.get("messages")):
        for block in items(message.get("content")):
            tool = mapping(block.get("tool"))
            if block.get("type") == "tool_addition" and tool.get("type") != "tool_reference":
                yield mapping(tool.get("definition")) or tool


class Anthropic(Provider):
    queries = frozenset({"beta", "limit", "after_id", "before_id"})
    routes = (
        route("POST", r"/v1/messages", Messages()),
        route("POST", r"/v1/messages/count_tokens", Free()),
        route("GET", r"/v1/models", Read()),
        route("GET", r"/v1/models/(?P<model>[^/]+)", Read()),
    )  # fmt: skip

    def login(self, headers: Headers) -> str:
        """API keys come in ``x-api-key``; what comes as a bearer is a log-in, unless it is our
        placeholder.
        """
        for name, value in headers:
            if name == b"authorization" and PLACEHOLDER not in value.lower():
                return oauth(headers) or "a bearer token"
        return oauth(headers)


PROVIDER = Anthropic
