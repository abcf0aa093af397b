"""Gemini: generateContent and its stream, countTokens, embeddings.  Source: ai.google.dev/api.

Google's JSON takes every name in camelCase and in snake_case; both are brought to the first here.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

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
    Stream,
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

_SNAKE = re.compile(r"_([a-z0-9])")
_FREE_FORM = frozenset({
    "args", "response", "parameters", "parametersJsonSchema", "responseSchema",
    "responseJsonSchema", "_responseJsonSchema", "labels",
})  # fmt: skip
"""Names whose content is the agent's, not the API's."""


def camel(value: Any, inner: bool = True) -> Any:
    """``value`` with names in camelCase.  Raises ValueError when two names become one."""
    if isinstance(value, list):
        return [camel(item) for item in value]
    if not isinstance(value, dict):
        return value
    found: Json = {}
    for name, item in value.items():
        better = name[:1] + _SNAKE.sub(lambda match: match[1].upper(), name[1:])
        if better in found:
            raise ValueError(better)
        found[better] = item if better in _FREE_FORM else camel(item)
    return found


class Google(Operation):
    """What all operations of Gemini share."""

    def normalise(self, body: Json) -> Denial | None:
        try:
            better = camel(body)
        except ValueError as error:
            return Denial(
                "llm.fields",
                f"the field {str(error)[:60]!r} stands there in two spellings",
                "leave one out",
            )
        body.clear()
        body.update(better)
        return None

    def usage(self, reply: Json) -> Json | None:
        found = reply.get("usageMetadata")
        return found if isinstance(found, dict) else None

    def count(self, usage: Json) -> Tokens:
        thoughts = integer(usage.get("thoughtsTokenCount"))
        sound = sum(
            integer(d.get("tokenCount"))
            for d in items(usage.get("promptTokensDetails"))
            if d.get("modality") == "AUDIO"
        )
        spoken = sum(
            integer(d.get("tokenCount"))
            for d in items(usage.get("candidatesTokensDetails"))
            if d.get("modality") == "AUDIO"
        )
        return Tokens(
            input=integer(usage.get("promptTokenCount"))
            + integer(usage.get("toolUsePromptTokenCount")),
            output=integer(usage.get("candidatesTokenCount")) + thoughts,
            reasoning=thoughts,
            cache_read=integer(usage.get("cachedContentTokenCount")),
            input_audio=sound,
            output_audio=spoken,
        )


class Generate(Google):
    fields = frozenset({
        "contents", "systemInstruction", "tools", "toolConfig", "safetySettings",
        "generationConfig", "cachedContent", "model", "labels", "serviceTier", "store",
    })  # fmt: skip
    image_tokens = 16_384
    volatile = frozenset({"labels"})
    streaming = False
    client_tools = frozenset({"functionDeclarations", "computerUse"})

    def model(self, body: Json, named: str) -> str:
        return named.removeprefix("models/")

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return "" if not self.streaming else "sse" if query.get("alt") == "sse" else "array"

    def refuse(self, body: Json) -> Denial | None:
        for tool in items(body.get("tools")):
            for kind in tool:
                if kind not in self.client_tools:
                    return hosted(kind)
        settings = mapping(body.get("generationConfig"))
        if settings.get("routingConfig") or settings.get("modelSelectionConfig"):
            return priced_apart("another model than the one that is named")
        kinds = settings.get("responseModalities")
        if kinds is not None and (
            not isinstance(kinds, list) or any(text(k).upper() != "TEXT" for k in kinds)
        ):
            return priced_apart("an answer that is not text")
        return tier(
            body, "serviceTier", ("standard", "flex", "unspecified", "service_tier_unspecified")
        )

    def pricing(self, body: Json) -> dict[str, str]:
        asked = text(body.get("serviceTier")).lower()
        return {"service_tier": asked} if asked else {}

    def refers(self, body: Json) -> bool:
        return bool(body.get("cachedContent")) or super().refers({"contents": body.get("contents")})

    def _config(self, body: Json) -> Json:
        return mapping(body.get("generationConfig"))

    def output(self, body: Json) -> int:
        return limit_of(self._config(body).get("maxOutputTokens"))

    def floor(self, body: Json) -> int:
        return limit_of(mapping(self._config(body).get("thinkingConfig")).get("thinkingBudget")) + 1

    def set_output(self, body: Json, tokens: int) -> None:
        body["generationConfig"] = {**self._config(body), "maxOutputTokens": tokens}

    def choices(self, body: Json) -> int:
        return max(1, integer(self._config(body).get("candidateCount")))

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        for at, part in self._parts(event):
            if isinstance(part.get("text"), str):
                yield Piece(
                    (at, "thought" if part.get("thought") is True else "text"), part, "text"
                )

    def _parts(self, event: Json) -> Iterator[tuple[int, Json]]:
        for candidate in items(event.get("candidates")):
            at = integer(candidate.get("index"))
            for part in items(mapping(candidate.get("content")).get("parts")):
                yield at, part

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        ended = [
            (integer(c.get("index")),)
            for c in items(event.get("candidates"))
            if c.get("finishReason")
        ]
        broken = [(at, "text") for at, part in self._parts(event) if "text" not in part]
        spoken = [
            (at, "thought")
            for at, part in self._parts(event)
            if "text" in part and not part.get("thought")
        ]
        return [*ended, *broken, *spoken]

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        at, name = piece.channel
        part: Json = {"text": rest, "thought": True} if name == "thought" else {"text": rest}
        kept = {
            key: value for key, value in event.items() if key not in ("candidates", "usageMetadata")
        }
        return {
            "candidates": [{"index": at, "content": {"role": "model", "parts": [part]}}],
            **kept,
        }

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        for number, (at, part) in enumerate(self._parts(event)):
            call = part.get("functionCall")
            if isinstance(call, dict):
                yield ToolCall(
                    (at, number, text(call.get("id"))), text(call.get("name")), call.get("args")
                )


class StreamGenerate(Generate):
    streaming = True
    counts_along = True

    def is_last(self, event: Json) -> bool:
        candidates = items(event.get("candidates"))
        return (
            any(candidate.get("finishReason") for candidate in candidates)
            or "promptFeedback" in event
        )


class Embed(Google):
    """The reply of embedContent often says nothing of usage: it is counted by us then."""

    fields = frozenset({
        "content", "requests", "model", "taskType", "title", "outputDimensionality",
        "embedContentConfig",
    })  # fmt: skip
    has_output = False

    def model(self, body: Json, named: str) -> str:
        return named.removeprefix("models/")

    def refuse(self, body: Json) -> Denial | None:
        for request in items(body.get("requests")):
            if text(request.get("model")).startswith("tunedModels/"):
                return priced_apart("a tuned model")
        return None

    def choices(self, body: Json) -> int:
        return 1


class Count(Google, Free):
    kind = "free"


_MODEL = r"/v1(?:beta|alpha)?/models/(?P<model>[^/:]+)"


class Gemini(Provider):
    queries = frozenset({"alt", "pageSize", "pageToken"})
    routes = (
        route("POST", _MODEL + ":generateContent", Generate()),
        route("POST", _MODEL + ":streamGenerateContent", StreamGenerate()),
        route("POST", _MODEL + ":countTokens", Count()),
        route("POST", _MODEL + ":(?:embedContent|batchEmbedContents)", Embed()),
        route("GET", r"/v1(?:beta|alpha)?/models", Read()),
        route("GET", _MODEL, Read()),
    )  # fmt: skip

    def login(self, headers: Headers) -> str:
        for name, value in headers:
            if name == b"authorization" and PLACEHOLDER not in value.lower():
                return oauth(headers) or "a bearer token"
        return ""


PROVIDER = Gemini
