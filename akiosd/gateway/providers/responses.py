"""The Responses API, as OpenAI has it and xAI too: items in, items out, and a stream that says everything twice.

A text arrives in ``*.delta`` events, and again whole in ``*.done`` events and in ``response.completed``.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from akiosd.gateway.providers.base import (
    Channel,
    Free,
    Json,
    Operation,
    Piece,
    Refuse,
    ToolCall,
    hosted,
    items,
    limit_of,
    mapping,
    priced_apart,
    text,
)  # fmt: skip
from akiosd.gateway.strict_json import integer
from akiosd.values.spend import Tokens

_ENDS = ("response.completed", "response.incomplete", "response.failed")
_ARGUMENTS = ("response.function_call_arguments.delta", "response.mcp_call_arguments.delta")


class Responses(Operation):
    fields = frozenset({
        "model", "input", "background", "context_management", "conversation", "include", "instructions",
        "max_output_tokens", "max_tool_calls", "metadata", "parallel_tool_calls", "previous_response_id", "prompt",
        "prompt_cache_key", "prompt_cache_options", "prompt_cache_retention", "reasoning", "safety_identifier",
        "service_tier", "store", "stream", "stream_options", "temperature", "text", "tool_choice", "tools",
        "top_logprobs", "top_p", "truncation", "user",
        "client_metadata",  # as Codex has it
    })  # fmt: skip
    volatile = frozenset({
        "metadata", "user", "safety_identifier", "prompt_cache_key", "stream", "stream_options", "store",
        "client_metadata",
    })  # fmt: skip
    client_tools = frozenset({
        "function", "custom", "apply_patch", "local_shell", "computer", "computer_use_preview", "namespace",
    })  # fmt: skip

    def refuse(self, body: Json) -> Refuse | None:
        for tool in items(body.get("tools")):
            refused = self._tool(tool)
            if refused:
                return refused
        if body.get("background"):
            return Refuse("llm.background", "a background job goes on when nobody counts", "ask for the answer itself")
        if isinstance(body.get("prompt"), dict):
            # Its tools and its model are the provider's secret until it is paid.
            return priced_apart("a stored prompt")
        return None

    def _tool(self, tool: Json) -> Refuse | None:
        kind = text(tool.get("type"))
        if kind == "shell" and mapping(tool.get("environment")).get("type") == "local":
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

    def hidden(self, body: Json, model: str) -> bool:
        return not model.startswith(("gpt-4", "gpt-3"))

    def usage(self, reply: Json) -> Json | None:
        found = mapping(reply.get("response", reply)).get("usage")
        return found if isinstance(found, dict) else None

    def count(self, usage: Json) -> Tokens:
        asked, given = mapping(usage.get("input_tokens_details")), mapping(usage.get("output_tokens_details"))
        return Tokens(
            input=integer(usage.get("input_tokens")), output=integer(usage.get("output_tokens")),
            cache_read=integer(asked.get("cached_tokens")), cache_write=integer(asked.get("cache_write_tokens")),
            reasoning=integer(given.get("reasoning_tokens")),
        )  # fmt: skip

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        name = text(event.get("type"))
        if name.endswith(".delta") and isinstance(event.get("delta"), str):
            arguments = name in _ARGUMENTS
            yield Piece(
                _channel(event, name.removesuffix(".delta")), event, "delta", "arguments" if arguments else "text"
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
        kept = {key: value for key, value in event.items() if key not in ("logprobs", "obfuscation")}
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
                what = item.get("arguments") or item.get("input") or item.get("action") or item.get("operation") or ""
                yield ToolCall(key, text(item.get("name")) or text(item.get("type")), what)

    def failed(self, event: Json, kind: str) -> bool:
        return event.get("type") in ("error", "response.failed")


def _channel(event: Json, name: str) -> Channel:
    inner = event.get("content_index", event.get("summary_index", event.get("command_index")))
    return integer(event.get("output_index")), integer(inner), name


class InputTokens(Free):
    """``POST /v1/responses/input_tokens``."""
