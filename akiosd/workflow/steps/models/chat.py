"""OpenAI's chat completions, which Mistral and xAI speak with differences.

Sources: platform.openai.com/docs/api-reference/chat, docs.mistral.ai/api, docs.x.ai.
"""

from __future__ import annotations

from typing import Any

from akiosd.workflow.steps.models.ask import (
    ANSWER,
    Answer,
    Ask,
    Json,
    choose,
    given,
    mapping,
    mappings,
    number,
    text,
)


class Chat:
    """``limit`` is the name of the field with the most tokens of an answer; ``must`` the word for
    "call a tool"; ``counts``: whether a stream is to be asked for its usage.
    """

    events = "sse"
    long = ("length", "model_length")

    def __init__(self, limit: str, must: str, counts: bool) -> None:
        self._limit, self._must, self._counts = limit, must, counts

    def request(self, ask: Ask) -> tuple[str, Json]:
        messages = [{"role": "system", "content": ask.system}] if ask.system else []
        messages += [{"role": role, "content": words} for role, words in ask.messages]
        body: Json = {"model": ask.model, "messages": messages, self._limit: ask.max_tokens}
        body |= given(temperature=ask.temperature, stop=list(ask.stop))
        if ask.tools:
            body["tools"] = [
                {"type": "function", "function": _function(tool)} for tool in ask.tools
            ]
            words = {"auto": "auto", "none": "none", "any": self._must}
            one = {"type": "function", "function": {"name": ask.tool_choice}}
            body["tool_choice"] = choose(ask, words, one)
        if ask.schema is not None:
            schema = {"name": ANSWER, "schema": ask.schema}
            body["response_format"] = {"type": "json_schema", "json_schema": schema}
        if ask.stream:
            body["stream"] = True
            if self._counts:
                body["stream_options"] = {"include_usage": True}
        return "/v1/chat/completions", body

    def read(self, body: Json, answer: Answer) -> None:
        self._note(body, answer)
        for choice in mappings(body.get("choices"))[:1]:
            self._take(mapping(choice.get("message")), answer)
            answer.end(choice.get("finish_reason"))

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        self._note(event, answer)
        for choice in mappings(event.get("choices"))[:1]:
            self._take(mapping(choice.get("delta")), answer)
            answer.end(choice.get("finish_reason"))

    def _note(self, body: Json, answer: Answer) -> None:
        usage = mapping(body.get("usage"))
        answer.count(usage.get("prompt_tokens"), usage.get("completion_tokens"))
        answer.model = text(body.get("model")) or answer.model

    def _take(self, message: Json, answer: Answer) -> None:
        content = message.get("content")
        answer.text += text(content) + "".join(text(part.get("text")) for part in mappings(content))
        for place, call in enumerate(mappings(message.get("tool_calls"))):
            function = mapping(call.get("function"))
            at = number(call["index"]) if "index" in call else place
            name, words = text(function.get("name")), text(function.get("arguments"))
            answer.add_call(at, text(call.get("id")), name, words)


def _function(tool: Any) -> Json:
    return {"name": tool.name, "description": tool.description, "parameters": tool.schema}


OPENAI = Chat("max_completion_tokens", "required", counts=True)
XAI = Chat("max_completion_tokens", "required", counts=True)
MISTRAL = Chat("max_tokens", "any", counts=False)
