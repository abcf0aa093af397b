"""OpenAI: chat completions, responses, embeddings.  Source:
platform.openai.com/docs/api-reference.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator

from akiosd.gateway.llm.providers.base import (
    Channel,
    Free,
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
    route,
    text,
    tier,
)
from akiosd.gateway.llm.providers.responses import (
    TIERS,
    Compact,
    InputTokens,
    Responses,
    keeps_long,
)
from akiosd.gateway.redaction.strict_json import integer
from akiosd.values.denial import Denial
from akiosd.values.spend import Tokens

_TEXTS = ("content", "reasoning_content", "reasoning", "refusal")


class Chat(Operation):
    fields = frozenset({
        "model", "messages", "audio", "frequency_penalty", "function_call", "functions",
        "logit_bias", "logprobs", "max_completion_tokens", "max_tokens", "metadata", "modalities",
        "n", "parallel_tool_calls", "prediction", "presence_penalty", "prompt_cache_key",
        "prompt_cache_options", "prompt_cache_retention", "reasoning_effort", "response_format",
        "safety_identifier", "seed", "service_tier", "stop", "store", "stream", "stream_options",
        "temperature", "tool_choice", "tools", "top_logprobs", "top_p", "user", "verbosity",
        "web_search_options", "background",
    })  # fmt: skip
    volatile = frozenset({
        "metadata", "user", "safety_identifier", "prompt_cache_key", "stream", "stream_options",
        "store",
    })  # fmt: skip
    limits: tuple[str, ...] = ("max_completion_tokens", "max_tokens")
    """The names of the output limit, the one to inject first."""
    client_tools = frozenset({"function", "custom"})
    tiers = TIERS

    def normalise(self, body: Json) -> Denial | None:
        # Under two names the smaller limit holds, for both: lowering it then only ever makes the
        # body shorter.
        said = [limit for name in self.limits if (limit := limit_of(body.get(name)))]
        if said:
            body.update({name: min(said) for name in self.limits if body.get(name) is not None})
        return None

    def refuse(self, body: Json) -> Denial | None:
        for tool in items(body.get("tools")):
            kind = text(tool.get("type", "function"))
            if kind not in self.client_tools:
                return hosted(kind or "?")
        if body.get("web_search_options") is not None or "-search" in text(body.get("model")):
            return hosted("web_search")
        if body.get("background"):
            return Denial(
                "llm.background",
                "a background job goes on when nobody counts",
                "ask for the answer itself",
            )
        return tier(body, "service_tier", self.tiers) or keeps_long(body)

    def refers(self, body: Json) -> bool:
        # An earlier answer in sound is named by its id.
        said = any(
            mapping(message.get("audio")).get("id") for message in items(body.get("messages"))
        )
        return said or super().refers(body)

    def output(self, body: Json) -> int:
        return max((limit_of(body.get(name)) for name in self.limits), default=0)

    def set_output(self, body: Json, tokens: int) -> None:
        named = [name for name in self.limits if body.get(name) is not None]
        for name in named or self.limits[:1]:
            body[name] = tokens

    def prepare(self, body: Json) -> bool:
        if (
            body.get("stream") is not True
            or mapping(body.get("stream_options")).get("include_usage") is True
        ):
            return False
        body["stream_options"] = {**mapping(body.get("stream_options")), "include_usage": True}
        return True

    def count(self, usage: Json) -> Tokens:
        asked, given = (
            mapping(usage.get("prompt_tokens_details")),
            mapping(usage.get("completion_tokens_details")),
        )
        return Tokens(
            input=integer(usage.get("prompt_tokens")),
            output=integer(usage.get("completion_tokens")),
            cache_read=integer(asked.get("cached_tokens")),
            cache_write=integer(asked.get("cache_write_tokens")),
            reasoning=integer(given.get("reasoning_tokens")),
            input_audio=integer(asked.get("audio_tokens")),
            output_audio=integer(given.get("audio_tokens")),
        )

    def is_last(self, event: Json) -> bool:
        """Some servers count along, with every chunk."""
        return all(
            choice.get("finish_reason") or "delta" not in choice
            for choice in items(event.get("choices"))
        )

    def served(self, reply: Json) -> dict[str, str]:
        found = text(reply.get("service_tier"))
        return {"service_tier": found} if found else {}

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        for choice in items(event.get("choices")):
            at, delta = integer(choice.get("index")), choice.get("delta")
            if isinstance(delta, dict):
                yield from self._delta(at, delta)

    def _delta(self, at: int, delta: Json) -> Iterator[Piece]:
        for name in _TEXTS:
            if isinstance(delta.get(name), str):
                yield Piece((at, name), delta, name)
        audio, call = mapping(delta.get("audio")), mapping(delta.get("function_call"))
        if isinstance(audio.get("transcript"), str):
            yield Piece((at, "transcript"), audio, "transcript")
        if isinstance(call.get("arguments"), str):
            yield Piece((at, "function_call"), call, "arguments", "arguments")
        for index, tool in enumerate(items(delta.get("tool_calls"))):
            number = integer(tool.get("index", index))
            function, custom = mapping(tool.get("function")), mapping(tool.get("custom"))
            if isinstance(function.get("arguments"), str):
                yield Piece((at, "tool", number), function, "arguments", "arguments")
            if isinstance(custom.get("input"), str):
                yield Piece((at, "custom", number), custom, "input")

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        return [
            (integer(c.get("index")),)
            for c in items(event.get("choices"))
            if c.get("finish_reason")
        ]

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        at, name, *number = piece.channel
        delta: Json
        if name == "tool":
            delta = {"tool_calls": [{"index": number[0], "function": {"arguments": rest}}]}
        elif name == "custom":
            delta = {"tool_calls": [{"index": number[0], "custom": {"input": rest}}]}
        elif name == "function_call":
            delta = {"function_call": {"arguments": rest}}
        elif name == "transcript":
            delta = {"audio": {"transcript": rest}}
        else:
            delta = {str(name): rest}
        kept = {
            key: value
            for key, value in event.items()
            if key not in ("choices", "usage", "obfuscation")
        }
        return {
            **kept,
            "choices": [{"index": at, "delta": delta, "logprobs": None, "finish_reason": None}],
        }

    def strip(self, event: Json) -> Json | None:
        if "usage" not in event:
            return event
        if event["usage"] is not None and event.get("choices") == []:
            return None
        return {key: value for key, value in event.items() if key != "usage"}

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        for choice in items(event.get("choices")):
            at = integer(choice.get("index"))
            message = (
                choice.get("delta")
                if isinstance(choice.get("delta"), dict)
                else choice.get("message")
            )
            for index, tool in enumerate(items(mapping(message).get("tool_calls"))):
                function, custom = mapping(tool.get("function")), mapping(tool.get("custom"))
                key = (at, integer(tool.get("index", index)))
                yield ToolCall(
                    key,
                    text(function.get("name")) + text(custom.get("name")),
                    function.get("arguments") or custom.get("input") or "",
                )
            call = mapping(mapping(message).get("function_call"))
            if call:
                yield ToolCall((at, -1), text(call.get("name")), call.get("arguments") or "")


class Embeddings(Operation):
    fields = frozenset({"model", "input", "dimensions", "encoding_format", "user",
                        "output_dimension", "output_dtype", "metadata"})  # fmt: skip
    has_output = False

    def unreadable(self, body: Json) -> bool:
        given = body.get("input")
        return isinstance(given, list) and any(not isinstance(item, str | dict) for item in given)

    def choices(self, body: Json) -> int:
        return 1

    def count(self, usage: Json) -> Tokens:
        return Tokens(
            input=integer(usage.get("prompt_tokens")) or integer(usage.get("total_tokens"))
        )


class OpenAI(Provider):
    queries = frozenset({"limit", "after", "order"})
    routes = (
        route("POST", r"/v1/chat/completions", Chat()),
        route("POST", r"/v1/responses", Responses()),
        route("POST", r"/v1/responses/input_tokens", InputTokens()),
        route("POST", r"/v1/responses/compact", Compact()),
        route("POST", r"/v1/embeddings", Embeddings()),
        route("POST", r"/v1/moderations", Free()),
        route("GET", r"/v1/models", Read()),
        route("GET", r"/v1/models/(?P<model>[^/]+)", Read()),
    )  # fmt: skip


PROVIDER = OpenAI
