"""Amazon Bedrock's runtime: Converse, and InvokeModel for Anthropic's models.

Source: docs.aws.amazon.com/bedrock/latest/APIReference.  Streams are event-stream frames; those of
InvokeModel hold the vendor's event in base64.
"""

from __future__ import annotations

import base64
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

from akiosd.gateway.llm.providers import sigv4
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
)
from akiosd.gateway.redaction.strict_json import BadJsonError, dump, integer, parse
from akiosd.values.denial import BAD_REQUEST, Denial
from akiosd.values.spend import Tokens

_MODEL_FIELDS = frozenset({
    "thinking", "top_k", "topK", "anthropic_beta", "reasoning_effort", "reasoning_config",
    "reasoningConfig", "output_config", "tools", "tool_choice",
})  # fmt: skip


class Converse(Operation):
    fields = frozenset({
        "messages", "system", "inferenceConfig", "toolConfig", "additionalModelRequestFields",
        "additionalModelResponseFieldPaths", "requestMetadata", "guardrailConfig",
        "performanceConfig", "serviceTier", "promptVariables", "outputConfig",
    })  # fmt: skip
    image_tokens = 8_192
    volatile = frozenset({"requestMetadata"})
    streaming = False

    def model(self, body: Json, named: str) -> str:
        return named

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return "eventstream" if self.streaming else ""

    def refuse(self, body: Json) -> Denial | None:
        for tool in items(mapping(body.get("toolConfig")).get("tools")):
            for kind in tool:
                if kind not in ("toolSpec", "cachePoint"):
                    return hosted(kind)
        more = mapping(body.get("additionalModelRequestFields"))
        for name in more:
            if name not in _MODEL_FIELDS:
                return Denial(
                    "llm.fields",
                    f"the model's own field {name[:60]!r} is not known to AKIOS",
                    "leave it out",
                )
        if body.get("guardrailConfig") or body.get("promptVariables"):
            return priced_apart("a guardrail or a stored prompt")
        if mapping(body.get("performanceConfig")).get("latency") not in (None, "standard"):
            return priced_apart("optimised latency")
        if mapping(body.get("serviceTier")).get("type") not in (None, "default", "flex"):
            return priced_apart("a service tier")
        return Messages().refuse({"tools": more.get("tools")})

    def _config(self, body: Json) -> Json:
        return mapping(body.get("inferenceConfig"))

    def output(self, body: Json) -> int:
        return limit_of(self._config(body).get("maxTokens"))

    def floor(self, body: Json) -> int:
        more = mapping(body.get("additionalModelRequestFields"))
        return Messages().floor({"thinking": more.get("thinking") or more.get("reasoning_config")})

    def set_output(self, body: Json, tokens: int) -> None:
        body["inferenceConfig"] = {**self._config(body), "maxTokens": tokens}

    def choices(self, body: Json) -> int:
        return 1

    def count(self, usage: Json) -> Tokens:
        read, write = (
            integer(usage.get("cacheReadInputTokens")),
            integer(usage.get("cacheWriteInputTokens")),
        )
        hour = sum(
            integer(part.get("inputTokens"))
            for part in items(usage.get("cacheDetails"))
            if part.get("ttl") == "1h"
        )
        return Tokens(
            input=integer(usage.get("inputTokens")) + read + write,
            output=integer(usage.get("outputTokens")),
            cache_read=read,
            cache_write=write,
            cache_write_1h=min(hour, write),
        )

    def pieces(self, event: Json, kind: str) -> Iterator[Piece]:
        if kind != "contentBlockDelta":
            return
        at, delta = integer(event.get("contentBlockIndex")), mapping(event.get("delta"))
        if isinstance(delta.get("text"), str):
            yield Piece((at, "text"), delta, "text")
        tool, thought = mapping(delta.get("toolUse")), mapping(delta.get("reasoningContent"))
        if isinstance(tool.get("input"), str):
            yield Piece((at, "tool"), tool, "input", "arguments")
        for name in ("text", "signature", "redactedContent"):
            if isinstance(thought.get(name), str):
                yield Piece((at, name, "signed"), thought, name, "signed")

    def closes(self, event: Json, kind: str) -> Iterable[Channel]:
        if kind == "contentBlockStop":
            return [(integer(event.get("contentBlockIndex")),)]
        return [()] if kind == "messageStop" or self.failed(event, kind) else []

    def remainder(self, event: Json, kind: str, piece: Piece, rest: str) -> Json:
        at, name = piece.channel
        return {
            "contentBlockIndex": at,
            "delta": {"toolUse": {"input": rest}} if name == "tool" else {"text": rest},
        }

    def tools(self, event: Json, kind: str) -> Iterator[ToolCall]:
        at = integer(event.get("contentBlockIndex"))
        if kind == "contentBlockStart":
            yield ToolCall(
                (at,), text(mapping(mapping(event.get("start")).get("toolUse")).get("name")), ""
            )
        elif kind == "contentBlockDelta":
            yield ToolCall(
                (at,), "", text(mapping(mapping(event.get("delta")).get("toolUse")).get("input"))
            )
        message = mapping(mapping(event.get("output")).get("message"))
        for number, block in enumerate(items(message.get("content"))):
            use = block.get("toolUse")
            if isinstance(use, dict):
                yield ToolCall((number,), text(use.get("name")), use.get("input"))

    def failed(self, event: Json, kind: str) -> bool:
        return kind.endswith("Exception")


class ConverseStream(Converse):
    streaming = True


class Invoke(Messages):
    """The body is the vendor's own; that of other vendors than Anthropic goes through Converse."""

    streaming = False

    def model(self, body: Json, named: str) -> str:
        return named

    def stream(self, body: Json, query: Mapping[str, str]) -> Stream:
        return "eventstream" if self.streaming else ""

    def refuse(self, body: Json) -> Denial | None:
        if "anthropic_version" not in body:
            return Denial(
                "llm.fields",
                "InvokeModel is known for Anthropic's models only",
                "use Converse for this model",
            )
        return super().refuse(body)

    def open(self, event: Any, kind: str) -> Any:
        if kind != "chunk":
            return event
        try:
            return parse(base64.b64decode(mapping(event).get("bytes") or "", validate=True))
        except (BadJsonError, ValueError, TypeError):
            return None

    def close(self, event: Any, inner: Any) -> Any:
        if "bytes" not in mapping(event):
            return inner
        # The padding hides the length of what was there before.
        return {
            **{k: v for k, v in event.items() if k != "p"},
            "bytes": base64.b64encode(dump(inner)).decode(),
        }

    def usage(self, reply: Json) -> Json | None:
        found = super().usage(reply)
        metrics = reply.get("amazon-bedrock-invocationMetrics")
        if found is None and isinstance(metrics, dict):
            return {
                "output_tokens": metrics.get("outputTokenCount"),
                "input_tokens": metrics.get("inputTokenCount"),
            }
        return found

    def failed(self, event: Json, kind: str) -> bool:
        return kind.endswith("Exception") or super().failed(event, kind)


class InvokeStream(Invoke):
    streaming = True


class CountTokens(Free):
    """The request to be counted; one for InvokeModel comes as base64 of its JSON."""

    def normalise(self, body: Json) -> Denial | None:
        inner = mapping(mapping(body.get("input")).get("invokeModel"))
        if "body" in inner:
            try:
                inner["body"] = parse(base64.b64decode(inner["body"], validate=True))
            except (BadJsonError, ValueError, TypeError):
                words = "input.invokeModel.body is not base64 of JSON"
                return Denial("llm.body", words, "send it as boto3 does", BAD_REQUEST)
        return None

    def encode(self, body: Json) -> None:
        inner = mapping(mapping(body.get("input")).get("invokeModel"))
        if "body" in inner:
            inner["body"] = base64.b64encode(dump(inner["body"])).decode()


_PATH = r"/model/(?P<model>[^/]+)/"


class Bedrock(Provider):
    routes = (
        route("POST", _PATH + "converse", Converse()),
        route("POST", _PATH + "converse-stream", ConverseStream()),
        route("POST", _PATH + "invoke", Invoke()),
        route("POST", _PATH + "invoke-with-response-stream", InvokeStream()),
        route("POST", _PATH + "count-tokens", CountTokens()),
    )  # fmt: skip

    def login(self, headers: Headers) -> str:
        return oauth([(name, value) for name, value in headers if not value.startswith(b"AWS4-")])

    def sign(self, key: bytes, request: Outgoing) -> Headers:
        """``key``: access key id, secret key and session token in lines; one line is a Bedrock API
        key (a bearer).
        """
        lines = key.decode("ascii", "replace").split("\n")
        if len(lines) == 1:
            return super().sign(key, request)
        credentials = sigv4.Credentials(lines[0], lines[1], lines[2] if len(lines) > 2 else "")
        return sigv4.sign(credentials, request, self.facts.signed_as)


PROVIDER = Bedrock
