"""Anthropic's messages.  Source: docs.claude.com/en/api/messages."""

from __future__ import annotations

from akiosd.workflow.steps.models.ask import (
    Answer,
    Ask,
    Json,
    choose,
    dump,
    given,
    mapping,
    mappings,
    number,
    text,
)


class Messages:
    events = "sse"
    long = ("max_tokens", "model_context_window_exceeded")

    def request(self, ask: Ask) -> tuple[str, Json]:
        ask = ask.with_answer_tool()
        messages = [{"role": role, "content": words} for role, words in ask.messages]
        tools = [
            {"name": tool.name, "description": tool.description, "input_schema": tool.schema}
            for tool in ask.tools
        ]
        words = {name: {"type": name} for name in ("auto", "any", "none")}
        choice = choose(ask, words, {"type": "tool", "name": ask.tool_choice})
        return "/v1/messages", {
            "model": ask.model,
            "messages": messages,
            "max_tokens": ask.max_tokens,
            **given(
                system=ask.system,
                temperature=ask.temperature,
                stop_sequences=list(ask.stop),
                tools=tools,
                tool_choice=choice,
                stream=ask.stream or None,
            ),
        }

    def read(self, body: Json, answer: Answer) -> None:
        self._note(body, answer)
        for at, block in enumerate(mappings(body.get("content"))):
            if block.get("type") == "text":
                answer.text += text(block.get("text"))
            elif block.get("type") == "tool_use":
                name, words = text(block.get("name")), dump(block.get("input"))
                answer.add_call(at, text(block.get("id")), name, words)

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        at, delta = number(event.get("index")), mapping(event.get("delta"))
        match event.get("type"):
            case "message_start":
                self._note(mapping(event.get("message")), answer)
            case "content_block_start":
                block = mapping(event.get("content_block"))
                if block.get("type") == "tool_use":
                    answer.add_call(at, text(block.get("id")), text(block.get("name")))
            case "content_block_delta":
                answer.text += text(delta.get("text"))
                if "partial_json" in delta:
                    answer.add_call(at, arguments=text(delta["partial_json"]))
            case "message_delta":
                answer.end(delta.get("stop_reason"))
                answer.count(0, mapping(event.get("usage")).get("output_tokens"))
            case "error":
                answer.error = text(mapping(event.get("error")).get("message")) or "no reason given"

    def _note(self, message: Json, answer: Answer) -> None:
        usage = mapping(message.get("usage"))
        parts = ("input_tokens", "cache_read_input_tokens", "cache_creation_input_tokens")
        answer.count(sum(number(usage.get(part)) for part in parts), usage.get("output_tokens"))
        answer.model = text(message.get("model")) or answer.model
        answer.end(message.get("stop_reason"))


ANTHROPIC = Messages()
