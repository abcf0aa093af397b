"""Ollama on this host: chat, generate, embeddings; nothing that changes its models.  Source:
docs.ollama.com/api.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping

from akiosd.gateway.llm.providers.anthropic import Messages
from akiosd.gateway.llm.providers.base import (
    Channel,
    Free,
    Headers,
    Json,
    Operation,
    Outgoing,
    Piece,
    Provider,
    Read,
    Stream,
    ToolCall,
    items,
    limit_of,
    mapping,
    route,
    text,
)
from akiosd.gateway.llm.providers.openai import Chat, Embeddings
from akiosd.gateway.llm.providers.responses import Responses
from akiosd.gateway.redaction.strict_json import integer
from akiosd.values.spend import Tokens


class OllamaChat(Operation):
    image_tokens = 8_192
    volatile = frozenset({"stream", "keep_alive"})

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return "" if body.get("stream") is False else "ndjson"

    def output(self, body: Json) -> int:
        return limit_of(mapping(body.get("options")).get("num_predict"))

    def set_output(self, body: Json, tokens: int) -> None:
        body["options"] = {**mapping(body.get("options")), "num_predict": tokens}

    def choices(self, body: Json) -> int:
        return 1

    def usage(self, reply: Json) -> Json | None:
        return reply if "prompt_eval_count" in reply or "eval_count" in reply else None

    def count(self, usage: Json) -> Tokens:
        return Tokens(
            input=integer(usage.get("prompt_eval_count")), output=integer(usage.get("eval_count"))
        )

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        for owner, names in (
            (mapping(event.get("message")), ("content", "thinking")),
            (event, ("response", "thinking")),
        ):
            for name in names:
                if isinstance(owner.get(name), str):
                    yield Piece((0, name), owner, name)

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        return [()] if event.get("done") is True else []

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        kept = {key: value for key, value in event.items() if key in ("model", "created_at")}
        name = str(piece.channel[1])
        if "message" in event:
            return {
                **kept,
                "message": {"role": "assistant", "content": "", name: rest},
                "done": False,
            }
        return {**kept, "response": "", name: rest, "done": False}

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        for number, call in enumerate(items(mapping(event.get("message")).get("tool_calls"))):
            function = mapping(call.get("function"))
            key = (number, text(call.get("id")), text(function.get("name")))
            yield ToolCall(key, text(function.get("name")), function.get("arguments"))


class OllamaEmbed(OllamaChat):
    has_output = False

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return ""


class LocalChat(Chat):
    fields = frozenset()


class LocalResponses(Responses):
    fields = frozenset()


class LocalMessages(Messages):
    fields = frozenset()


class LocalEmbeddings(Embeddings):
    fields = frozenset()


class Ollama(Provider):
    routes = (
        route("POST", r"/api/(?:chat|generate)", OllamaChat()),
        route("POST", r"/api/embed(?:dings)?", OllamaEmbed()),
        route("POST", r"/api/show", Free()),
        route("GET", r"/api/(?:tags|version|ps)", Read()),
        route("GET", r"/", Read()),
        route("POST", r"/v1/chat/completions", LocalChat()),
        route("POST", r"/v1/responses", LocalResponses()),
        route("POST", r"/v1/messages", LocalMessages()),
        route("POST", r"/v1/embeddings", LocalEmbeddings()),
        route("GET", r"/v1/models(?:/(?P<model>[^/]+))?", Read()),
    )  # fmt: skip

    def sign(self, key: bytes, request: Outgoing) -> Headers:
        return request.headers if not key else super().sign(key, request)


PROVIDER = Ollama
