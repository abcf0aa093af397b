"""What stands for personal data is put back in replies of every provider, whole and streamed,
however they are cut.
"""

from __future__ import annotations

import base64
import json
from collections.abc import Callable, Iterable, Iterator
from typing import Any

import pytest
from chunk_invariance import assert_chunk_invariant
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.gateway.llm.eventstream import EventStreamCodec
from akiosd.gateway.llm.frames import Codec
from akiosd.gateway.llm.ndjson import ArrayCodec, NdjsonCodec
from akiosd.gateway.llm.providers.base import Operation
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.restore_reply import Meter, StreamReply, restore
from akiosd.gateway.llm.signed_texts import Memory
from akiosd.gateway.llm.sse import SseCodec
from akiosd.redact.engine import Engine
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from akiosd.values.spend import Tokens
from tests.e2e import models

ENGINE = Engine()
CODECS: dict[str, Callable[[], Codec]] = {
    "sse": SseCodec, "eventstream": EventStreamCodec, "array": ArrayCodec, "ndjson": NdjsonCodec,
}  # fmt: skip
TEXT = 'Mail ada@example.org, card 4012888888881881, call +1 415 555 0132 "now"\nor ada@example.org'
TOOLS: dict[str, Any] = {
    "chat": {"tools": [{"type": "function", "function": {"name": "write", "parameters": {}}}]},
    "responses": {"tools": [{"type": "function", "name": "write", "parameters": {}}]},
    "anthropic": {"tools": [{"name": "write", "input_schema": {}}]},
    "gemini": {"tools": [{"functionDeclarations": [{"name": "write"}]}]},
    "bedrock": {
        "toolConfig": {"tools": [{"toolSpec": {"name": "write", "inputSchema": {"json": {}}}}]}
    },
}


def chat(text: str) -> dict[str, Any]:
    return {"model": "m", "messages": [{"role": "user", "content": text}]}


def contents(text: str) -> dict[str, Any]:
    return {"contents": [{"role": "user", "parts": [{"text": text}]}]}


CASES: dict[str, tuple[str, str, Callable[[str], dict[str, Any]], str, bool]] = {
    # name: provider, target, body of a text, tools, streamed
    "openai chat": ("openai", "/v1/chat/completions", chat, "chat", False),
    "openai chat stream": ("openai", "/v1/chat/completions", chat, "chat", True),
    "openai responses": (
        "openai",
        "/v1/responses",
        lambda t: {"model": "m", "input": t},
        "responses",
        False,
    ),
    "openai responses stream": (
        "openai",
        "/v1/responses",
        lambda t: {"model": "m", "input": t},
        "responses",
        True,
    ),
    "anthropic": ("anthropic", "/v1/messages", chat, "anthropic", False),
    "anthropic stream": ("anthropic", "/v1/messages", chat, "anthropic", True),
    "gemini": ("gemini", "/v1beta/models/m:generateContent", contents, "gemini", False),
    "gemini sse": (
        "gemini",
        "/v1beta/models/m:streamGenerateContent?alt=sse",
        contents,
        "gemini",
        True,
    ),
    "gemini array": ("gemini", "/v1/models/m:streamGenerateContent", contents, "gemini", True),
    "mistral stream": ("mistral", "/v1/chat/completions", chat, "chat", True),
    "xai stream": ("xai", "/v1/chat/completions", chat, "chat", True),
    "bedrock converse": ("bedrock", "/model/m/converse", chat, "bedrock", False),
    "bedrock converse stream": ("bedrock", "/model/m/converse-stream", chat, "bedrock", True),
    "bedrock invoke": ("bedrock", "/model/m/invoke", chat, "anthropic", False),
    "bedrock invoke stream": (
        "bedrock",
        "/model/m/invoke-with-response-stream",
        chat,
        "anthropic",
        True,
    ),
    "ollama chat": ("ollama", "/api/chat", chat, "chat", True),
    "ollama generate": ("ollama", "/api/generate", lambda t: {"model": "m", "prompt": t}, "", True),
}


class Heard:
    """An answer put together as an SDK does."""

    def __init__(self) -> None:
        self.text = self.arguments = self.thinking = ""
        self.copies: list[str] = []

    def hear(self, provider: str, event: dict[str, Any], kind: str = "") -> None:
        getattr(self, "_" + {"mistral": "openai", "xai": "openai"}.get(provider, provider))(
            event, kind
        )

    def _arguments(self, value: Any) -> None:
        self.arguments += (
            json.dumps(value, ensure_ascii=False) if isinstance(value, dict) else value or ""
        )

    def _openai(self, event: dict[str, Any], kind: str) -> None:
        if "sequence_number" in event or event.get("object") == "response":
            self._response(event)
            return
        for choice in event["choices"]:
            message = choice.get("delta") or choice.get("message") or {}
            self.text += message.get("content") or ""
            for tool in message.get("tool_calls") or []:
                self._arguments(tool["function"].get("arguments"))

    def _response(self, event: dict[str, Any]) -> None:
        kind = event.get("type", "")
        if kind == "response.output_text.delta":
            self.text += event["delta"]
        elif kind == "response.function_call_arguments.delta":
            self.arguments += event["delta"]
        elif kind == "response.output_text.done":
            self.copies.append(event["text"])
        elif kind == "response.function_call_arguments.done":
            assert event["arguments"] == self.arguments
        for item in (
            event.get("output")
            or event.get("response", {}).get("output")
            or [event.get("item", {})]
        ):
            for part in item.get("content") or []:
                self.copies.append(part["text"])
        if "output" in event:
            self.text = self.copies[0]
            self.arguments = event["output"][-1].get("arguments", "")

    def _anthropic(self, event: dict[str, Any], kind: str) -> None:
        delta = event.get("delta", {})
        self.text += delta.get("text", "")
        self.arguments += delta.get("partial_json", "")
        self.thinking += delta.get("thinking", "")
        for block in event.get("content") or []:
            self.text += block.get("text", "")
            self.thinking += block.get("thinking", "")
            self._arguments(block.get("input"))

    def _gemini(self, event: dict[str, Any], kind: str) -> None:
        for candidate in event["candidates"]:
            for part in candidate["content"]["parts"]:
                self.text += part.get("text", "")
                self._arguments(part.get("functionCall", {}).get("args"))

    def _bedrock(self, event: dict[str, Any], kind: str) -> None:
        if "bytes" in event:
            self._anthropic(json.loads(base64.b64decode(event["bytes"])), kind)
            return
        if event.get("type") == "message":
            self._anthropic(event, kind)
            return
        delta = event.get("delta", {})
        self.text += delta.get("text", "")
        self.arguments += delta.get("toolUse", {}).get("input", "")
        for block in event.get("output", {}).get("message", {}).get("content", []):
            self.text += block.get("text", "")
            self._arguments(block.get("toolUse", {}).get("input"))

    def _ollama(self, event: dict[str, Any], kind: str) -> None:
        self.text += event.get("message", {}).get("content", "") + event.get("response", "")
        for tool in event.get("message", {}).get("tool_calls") or []:
            self._arguments(tool["function"]["arguments"])


def spoken(name: str, text: str, cut: int) -> tuple[Operation, str, models.Reply, dict[str, Any]]:
    provider, target, make, tools, streamed = CASES[name]
    body = {**make(text), **TOOLS.get(tools, {})}
    if streamed and provider not in ("gemini", "bedrock"):
        body["stream"] = True
    elif provider == "ollama":
        body["stream"] = False
    route = BY_NAME[provider].find("POST", target.partition("?")[0])
    assert route is not None
    kind = route.operation.stream(body, {"alt": "sse"} if "alt=sse" in target else {})
    if route.operation.prepare(body):
        assert body["stream_options"] == {"include_usage": True}
    return route.operation, kind, models.answer("POST", target, body, cut), body


def replied(
    name: str, text: str, cut: int, pseudonyms: Pseudonyms, sizes: list[int]
) -> tuple[Heard, Meter, Memory]:
    operation, kind, reply, _ = spoken(name, text, cut)
    memory = Memory(Redactor(ENGINE, "pseudonym", pseudonyms))
    heard = Heard()
    provider = CASES[name][0]
    data = b"".join(reply.chunks)
    if not kind:
        value = json.loads(data)
        meter = Meter(operation)
        meter.take(value, "")
        restore(value, pseudonyms, memory)
        heard.hear(provider, value)
        return heard, meter, memory
    stream = StreamReply(operation, CODECS[kind](), pseudonyms, memory, strip=True)
    out, at = b"", 0
    for size in sizes:
        out += b"".join(stream.push(data[at : at + size]))
        at += size
    out += b"".join(stream.push(data[at:])) + stream.flush()
    codec = CODECS[kind]()
    numbers = []
    for frame in [*codec.push(out), *codec.flush()]:
        if frame.data is not None and frame.data != b"[DONE]":
            event = json.loads(frame.data)
            numbers.append(event.get("sequence_number"))
            heard.hear(provider, event, frame.kind)
    assert numbers in ([None] * len(numbers), list(range(len(numbers))))
    if kind == "array":
        assert len(json.loads(out)) == len(numbers)
    return heard, stream.meter, memory


@pytest.mark.parametrize("name", CASES)
@pytest.mark.parametrize("cut", [1, 2, 3, 5, 8, 13, 1000])
def test_originals_are_put_back_however_the_model_cuts(name: str, cut: int) -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    sent = Redactor(ENGINE, "pseudonym", pseudonyms).redact(TEXT).text
    assert "ada@" not in sent and "4012888888881881" not in sent
    heard, meter, memory = replied(name, sent, cut, pseudonyms, [])
    assert heard.text == f"You said: {TEXT}"
    if CASES[name][3]:
        assert json.loads(heard.arguments) == {"path": "a.txt", "text": TEXT}
        assert len(meter.answer) == 32
    assert all(copy == heard.text for copy in heard.copies)
    expected = Tokens(input=1000, output=30, cache_read=200, reasoning=10)
    tokens = meter.tokens
    assert tokens is not None
    assert (tokens.input, tokens.output) == (expected.input, expected.output)
    assert CASES[name][0] == "ollama" or tokens.cache_read == 200
    assert meter.received >= len(sent) or not CASES[name][4]
    if heard.thinking:
        # Signed: as the provider wrote it, and known when it comes back.
        assert heard.thinking == models.THOUGHT + f"You said: {sent}"
        assert memory.signed.known(heard.thinking) and memory.signed.known(models.SIGNATURE)


@settings(max_examples=150, deadline=None)
@given(
    st.sampled_from(sorted(CASES)), st.integers(1, 12), st.lists(st.integers(1, 400), max_size=25)
)
def test_the_same_however_the_network_cuts(name: str, cut: int, sizes: list[int]) -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    sent = Redactor(ENGINE, "pseudonym", pseudonyms).redact(TEXT).text
    heard, meter, _ = replied(name, sent, cut, pseudonyms, sizes)
    assert heard.text == f"You said: {TEXT}" and meter.tokens is not None


@pytest.mark.parametrize("name", [name for name in CASES if CASES[name][4]])
def test_every_stream_is_chunk_invariant(name: str) -> None:
    """Whatever the network makes of a stream, the agent gets the same bytes: each byte on its own,
    and two parts.
    """
    pseudonyms = Pseudonyms(bytes(range(32)))
    sent = (
        Redactor(ENGINE, "pseudonym", pseudonyms)
        .redact("mail ada@example.org, card 4012888888881881")
        .text
    )
    operation, kind, reply, _ = spoken(name, sent, 6)
    data = b"".join(reply.chunks)

    def answered(chunks: Iterable[bytes]) -> Iterator[bytes]:
        memory = Memory(Redactor(ENGINE, "pseudonym", pseudonyms))
        stream = StreamReply(operation, CODECS[kind](), pseudonyms, memory, strip=True)
        for chunk in chunks:
            yield from stream.push(chunk)
        yield stream.flush()

    cuts = range(1, len(data), max(1, len(data) // 120))
    splits = [[data[i : i + 1] for i in range(len(data))], *([data[:at], data[at:]] for at in cuts)]
    assert b"".join(answered([data])) != data, "control: there is something to put back"
    assert_chunk_invariant(answered, lambda data: b"".join(answered([data])), data, splits=splits)


@pytest.mark.parametrize("name", ["openai chat stream", "anthropic stream", "gemini sse", "bedrock converse stream",
                                  "ollama generate", "openai responses stream", "gemini array"])  # fmt: skip
def test_a_stand_in_at_the_end_of_a_text_is_not_lost(name: str) -> None:
    """The last letters may begin a stand-in: they are held, and come before the end does."""
    pseudonyms = Pseudonyms(bytes(range(32)))
    redactor = Redactor(ENGINE, "pseudonym", pseudonyms)
    sent = redactor.redact("mail ada@example.org").text
    for end in range(len("mail "), len(sent) + 1):
        for cut in (1, 4, 1000):
            heard, _, _ = replied(name, sent[:end], cut, pseudonyms, [])
            assert heard.text == f"You said: {pseudonyms.restore(sent[:end])}"


def test_events_that_are_not_changed_stay_as_they_came() -> None:
    """Control: with nothing to put back the whole stream is the provider's, byte for byte."""
    for name, (_, _, _, _, streamed) in CASES.items():
        if streamed:
            operation, kind, reply, _ = spoken(name, "hello there", 3)
            pseudonyms = Pseudonyms(bytes(32))
            stream = StreamReply(
                operation,
                CODECS[kind](),
                pseudonyms,
                Memory(Redactor(ENGINE, "pseudonym", pseudonyms)),
            )
            data = b"".join(reply.chunks)
            assert b"".join(stream.push(data)) + stream.flush() == data, name


def test_the_usage_that_was_asked_for_by_us_is_taken_out() -> None:
    operation, kind, reply, _ = spoken("openai chat stream", "hello", 3)
    pseudonyms = Pseudonyms(bytes(32))
    stream = StreamReply(
        operation,
        CODECS[kind](),
        pseudonyms,
        Memory(Redactor(ENGINE, "pseudonym", pseudonyms)),
        True,
    )
    out = b"".join(stream.push(b"".join(reply.chunks))) + stream.flush()
    assert (
        b"usage" in b"".join(reply.chunks)
        and b"usage" not in out
        and out.endswith(b"data: [DONE]\n\n")
    )
    assert stream.meter.tokens == Tokens(input=1000, output=30, cache_read=200, reasoning=10)


def test_originals_with_quotes_stay_json_in_arguments() -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    stand_in = pseudonyms.give('O"Neil\\é street 12 house', "ADDRESS")
    for cut in (1, 3, 100):
        for name in (
            "openai chat stream",
            "anthropic stream",
            "openai chat",
            "openai responses stream",
        ):
            heard, _, _ = replied(name, stand_in, cut, pseudonyms, [])
            assert json.loads(heard.arguments)["text"] == 'O"Neil\\é street 12 house'


def test_answers_are_told_apart() -> None:
    pseudonyms = Pseudonyms(bytes(range(32)))
    batch = {
        name: replied(name, "hello", 3, pseudonyms, [])[1].answer
        for name in CASES
        if CASES[name][3]
    }
    assert len(set(batch.values())) == 1, (
        "the same answer is the same in every API, streamed or not"
    )
    assert replied("anthropic", "other", 3, pseudonyms, [])[1].answer not in batch.values()


def test_an_error_in_a_stream_is_seen() -> None:
    for provider, path, event in (
        ("openai", "/v1/chat/completions", {"error": {"message": "overloaded"}}),
        ("openai", "/v1/responses", {"type": "response.failed", "response": {}}),
        ("anthropic", "/v1/messages", {"type": "error", "error": {"type": "overloaded_error"}}),
    ):
        route = BY_NAME[provider].find("POST", path)
        assert route is not None
        meter = Meter(route.operation)
        meter.take(event, "")
        assert meter.failed
