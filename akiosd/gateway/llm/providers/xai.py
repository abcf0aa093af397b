"""xAI (Grok): chat completions and responses over REST.  Source: docs.x.ai/docs/api-reference."""

from __future__ import annotations

from akiosd.gateway.llm.providers.base import Free, Json, Provider, Read, hosted, mapping, route
from akiosd.gateway.llm.providers.openai import Chat, Embeddings
from akiosd.gateway.llm.providers.responses import Responses
from akiosd.gateway.redaction.strict_json import integer
from akiosd.values.denial import Denial
from akiosd.values.spend import Tokens

_TIERS = frozenset({"auto", "default"})


class GrokChat(Chat):
    fields = Chat.fields | {"search_parameters", "deferred"}
    client_tools = frozenset({"function"})
    image_tokens = 8_192
    tiers = _TIERS

    def refuse(self, body: Json) -> Denial | None:
        search = mapping(body.get("search_parameters"))
        if body.get("search_parameters") is not None and search.get("mode") != "off":
            return hosted("live search")
        if body.get("deferred"):
            return Denial(
                "llm.background",
                "a deferred answer is made when nobody counts",
                "ask for the answer itself",
            )
        return super().refuse(body)

    def count(self, usage: Json) -> Tokens:
        """xAI's ``completion_tokens`` are without the reasoning, its total is with it."""
        found = super().count(usage)
        both = integer(usage.get("total_tokens")) - found.input
        return Tokens(
            input=found.input,
            output=max(found.output, both),
            cache_read=found.cache_read,
            reasoning=found.reasoning,
        )


class GrokResponses(Responses):
    tiers = _TIERS


class XAI(Provider):
    routes = (
        route("POST", r"/v1/chat/completions", GrokChat()),
        route("POST", r"/v1/responses", GrokResponses()),
        route("POST", r"/v1/embeddings", Embeddings()),
        route("POST", r"/v1/tokenize-text", Free()),
        route("GET", r"/v1/(?:models|language-models|embedding-models)", Read()),
        route("GET", r"/v1/(?:models|language-models|embedding-models)/(?P<model>[^/]+)", Read()),
    )  # fmt: skip


PROVIDER = XAI
