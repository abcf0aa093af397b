"""The Responses API, as OpenAI has it and xAI too: items in, items out, and a stream that says
everything twice.

A text arrives in ``*.delta`` events, and again whole in ``*.done`` events and in
``response.completed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from akiosd.gateway.llm.providers.base import (
    Channel,
    Free,
    Json,
    Operation,
    Piece,
    Stream,
    ToolCall,
    arguments_of,
    hosted,
    items,
    limit_of,
    mapping,
    priced_apart,
    text,
    tier,
)
from akiosd.gateway.redaction.strict_json import integer
from akiosd.values.denial import Denial
from akiosd.values.spend import Tokens

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_ARGUMENTS = ("response.function_call_arguments.delta", "response.mcp_call_arguments.delta")
_CODEX_SEARCHES = tuple(
    {"type": "web_search", "external_web_access": live} for live in (False, True)
)
TIERS = frozenset({"auto", "default", "flex", "priority", "fast"})
"""Tiers whose prices are known, or said to be those of another."""


def keeps_long(body: Json) -> Denial | None:
    """A prompt kept for longer than half an hour is written at a price that is not published."""
    waiting: list[Any] = [body]
    while waiting:
        item = waiting.pop()
        if isinstance(item, list):
            waiting += item
            continue
        for name, inner in item.items() if isinstance(item, dict) else ():
            lasts = (
                mapping(inner).get("ttl")
                if name in ("prompt_cache_options", "prompt_cache_breakpoint")
                else None
            )
            if lasts not in (None, "30m"):
                return priced_apart(f"a prompt cache for {text(lasts)[:20]!r}")
            if isinstance(inner, dict | list):
                waiting.append(inner)
    return None


class Responses(Operation):
    fields = frozenset({
        "model", "input", "background", "context_management", "conversation", "include",
        "instructions", "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls",
        "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store",
        "stream", "stream_options", "temperature", "text", "tool_choice", "tools", "top_logprobs",
        "top_p", "truncation", "user",
        "client_metadata",  # as Codex has it
    })  # fmt: skip
    volatile = frozenset({
        "metadata", "user", "safety_identifier", "prompt_cache_key", "stream", "stream_options",
        "store", "client_metadata",
    })  # fmt: skip
    threads = True
    client_tools = frozenset({
        "function", "custom", "apply_patch", "local_shell", "computer", "computer_use_preview",
        "namespace",
    })  # fmt: skip
    tiers = TIERS

    def leave_out(self, body: Json) -> tuple[str, ...]:
        """Codex offers a search by the provider whether it is wanted or not; without it, it works
        as well.
        """
        tools = items(body.get("tools"))
        kept = [tool for tool in tools if tool not in _CODEX_SEARCHES]
        if not kept or len(kept) == len(tools) or body.get("tool_choice") not in (None, "auto"):
            return ()
        body["tools"] = kept
        return ("web_search",)

    def refuse(self, body: Json) -> Denial | None:
        later = [tool for item in items(body.get("input")) for tool in items(item.get("tools"))]
        for tool in [*items(body.get("tools")), *later]:
            refused = self._tool(tool)
            if refused:
                return refused
        if body.get("background"):
            return Denial(
                "llm.background",
                "a background job goes on when nobody counts",
                "ask for the answer itself",
            )
        if isinstance(body.get("prompt"), dict):
            # Its tools and its model are the provider's secret until it is paid.
            return priced_apart("a stored prompt")
        return tier(body, "service_tier", self.tiers) or keeps_long(body)

    def refers(self, body: Json) -> bool:
        # An item that is nothing but an id is a stored one.
        given = items(body.get("input"))
        stored = any(
            item.get("id") and not item.get("type") and "role" not in item for item in given
        )
        return stored or super().refers(body)

    def _tool(self, tool: Json) -> Denial | None:
        kind = text(tool.get("type"))
        if kind == "shell" and mapping(tool.get("environment")).get("type") == "local":
            return None
        if kind == "tool_search" and tool.get("execution") == "client":
            return None
        if kind not in self.client_tools:
            return hosted(kind or "?")
        for inner in items(tool.get("tools")):
            if text(inner.get("type")) not in self.client_tools:
                return hosted(text(inner.get("type")) or "?")
        return None

    def output(self, body: Json) -> int:
        return limit_of(body.get("max_output_tokens"))

    def set_output(self, body: Json, tokens: int) -> None:
        body["max_output_tokens"] = tokens

    def choices(self, body: Json) -> int:
        return 1

    def usage(self, reply: Json) -> Json | None:
        found = mapping(reply.get("response", reply)).get("usage")
        return found if isinstance(found, dict) else None

    def count(self, usage: Json) -> Tokens:
        asked, given = (
            mapping(usage.get("input_tokens_details")),
            mapping(usage.get("output_tokens_details")),
        )
        return Tokens(
            input=integer(usage.get("input_tokens")),
            output=integer(usage.get("output_tokens")),
            cache_read=integer(asked.get("cached_tokens")),
            cache_write=integer(asked.get("cache_write_tokens")),
            reasoning=integer(given.get("reasoning_tokens")),
        )

    def is_last(self, event: Json) -> bool:
        return "response" not in event or event.get("type") in _ENDS

    def served(self, reply: Json) -> dict[str, str]:
        found = text(mapping(reply.get("response", reply)).get("service_tier"))
        return {"service_tier": found} if found else {}

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        name = text(event.get("type"))
        if name.endswith(".delta") and isinstance(event.get("delta"), str):
            arguments = name in _ARGUMENTS
            yield Piece(
                _channel(event, name.removesuffix(".delta")),
                event,
                "delta",
                "arguments" if arguments else "text",
            )

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        name = text(event.get("type"))
        if name in _ENDS or name == "error":
            return [()]
        if name == "response.output_item.done":
            return [(integer(event.get("output_index")),)]
        if name.endswith(".done"):
            return [_channel(event, name.removesuffix(".done"))]
        return []

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        kept = {
            key: value for key, value in event.items() if key not in ("logprobs", "obfuscation")
        }
        if "logprobs" in event:
            kept["logprobs"] = []
        return {**kept, "delta": rest}

    def number(self, event: Json, place: Json, added: int) -> bool:
        number = place.get("sequence_number")
        if not isinstance(number, int) or (event is place and not added):
            return False
        event["sequence_number"] = number + added
        return True

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        if event.get("type") == "response.output_item.done":
            found = [mapping(event.get("item"))]
        else:
            found = items(event.get("output"))
        for at, item in enumerate(found):
            if text(item.get("type")).endswith("_call"):
                key = (text(item.get("call_id")) or text(item.get("id")), at)
                name = text(item.get("name")) or text(item.get("type"))
                yield ToolCall(key, name, arguments_of(item))

    def failed(self, event: Json, kind: str) -> bool:
        return event.get("type") in ("error", "response.failed")


def _channel(event: Json, name: str) -> Channel:
    inner = event.get("content_index", event.get("summary_index", event.get("command_index")))
    return integer(event.get("output_index")), integer(inner), name


class InputTokens(Free):
    """``POST /v1/responses/input_tokens``."""


class Compact(Responses):
    """``POST /v1/responses/compact``: the model writes a summary of any length, so the longest is
    reserved.
    """

    fields = frozenset({
        "model", "input", "image", "instructions", "previous_response_id", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "service_tier",
    })  # fmt: skip

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return ""

    def output(self, body: Json) -> int:
        return 0

    def floor(self, body: Json) -> int:
        return 1 << 40

    def set_output(self, body: Json, tokens: int) -> None: ...
