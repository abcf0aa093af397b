"""Mistral: chat, fill in the middle, embeddings.  Source: docs.mistral.ai/api."""

from __future__ import annotations

from collections.abc import Iterator

from akiosd.gateway.llm.providers.base import Json, Piece, Provider, Read, items, refers, route
from akiosd.gateway.llm.providers.openai import Chat, Embeddings
from akiosd.values.denial import Denial


class MistralChat(Chat):
    fields = frozenset({
        "model", "messages", "temperature", "top_p", "max_tokens", "stream", "stop", "random_seed",
        "metadata", "response_format", "tools", "tool_choice", "presence_penalty",
        "frequency_penalty", "n", "prediction", "parallel_tool_calls", "prompt_mode", "safe_prompt",
        "reasoning_effort", "prompt_cache_key", "user", "stream_options", "min_tokens",
        "repetition_penalty", "top_k", "logprobs", "top_logprobs", "prompt_logprobs",
        "top_prompt_logprobs", "service_tier",
    })  # fmt: skip
    limits = ("max_tokens",)
    client_tools = frozenset({"function"})
    tiers = frozenset({"auto", "standard_only"})
    image_tokens = 8_192

    def prepare(self, body: Json) -> bool:
        """Usage comes in the last chunk without being asked for; the field to ask is not known
        there.
        """
        return False

    def refers(self, body: Json) -> bool:
        return refers(body.get("messages")) or super().refers(body)

    def _delta(self, at: int, delta: Json) -> Iterator[Piece]:
        yield from super()._delta(at, delta)
        for part in items(delta.get("content")):
            if isinstance(part.get("text"), str):
                yield Piece((at, "content"), part, "text")
            for thought in items(part.get("thinking")):
                if isinstance(thought.get("text"), str):
                    yield Piece((at, "thinking"), thought, "text")

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        made = super().remainder(event, kind, piece, rest)
        if piece.channel[1] == "thinking":
            thinking = {"type": "thinking", "thinking": [{"type": "text", "text": rest}]}
            made["choices"][0]["delta"] = {"content": [thinking]}
        for tool in made["choices"][0]["delta"].get("tool_calls", ()):
            tool["function"]["name"] = ""  # its clients want one in every piece
        return made


class Fim(MistralChat):
    fields = frozenset({
        "model", "prompt", "suffix", "temperature", "top_p", "max_tokens", "min_tokens", "stream",
        "stop", "random_seed", "metadata", "prompt_cache_key",
    })  # fmt: skip

    def refuse(self, body: Json) -> Denial | None:
        return None


class Mistral(Provider):
    routes = (
        route("POST", r"/v1/chat/completions", MistralChat()),
        route("POST", r"/v1/fim/completions", Fim()),
        route("POST", r"/v1/embeddings", Embeddings()),
        route("GET", r"/v1/models", Read()),
        route("GET", r"/v1/models/(?P<model>[^/]+)", Read()),
    )  # fmt: skip


PROVIDER = Mistral
