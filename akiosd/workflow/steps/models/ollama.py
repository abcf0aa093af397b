"""Ollama's chat.  Source: docs.ollama.com/api/chat."""

from __future__ import annotations

from akiosd.workflow.steps.models.ask import (
    Answer,
    Ask,
    Json,
    dump,
    given,
    mapping,
    mappings,
    text,
)


class LocalChat:
    events = "lines"
    long = ("length",)

    def request(self, ask: Ask) -> tuple[str, Json]:
        messages = [{"role": "system", "content": ask.system}] if ask.system else []
        messages += [{"role": role, "content": words} for role, words in ask.messages]
        # There is no word for a choice: without tools it calls none.
        tools = [
            {
                "type": "function",
                "function": {
                    "name": tool.name,
                    "description": tool.description,
                    "parameters": tool.schema,
                },
            }
            for tool in ask.tools
            if ask.tool_choice != "none"
        ]
        options = given(
            num_predict=ask.max_tokens, temperature=ask.temperature, stop=list(ask.stop)
        )
        body: Json = {"model": ask.model, "messages": messages, "options": options}
        return "/api/chat", body | {"stream": ask.stream} | given(tools=tools, format=ask.schema)

    def read(self, body: Json, answer: Answer) -> None:
        self.add("", body, answer)

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        message = mapping(event.get("message"))
        answer.text += text(message.get("content"))
        for call in mappings(message.get("tool_calls")):
            function = mapping(call.get("function"))
            words, at = dump(function.get("arguments") or {}), len(answer.calls)
            answer.add_call(at, text(call.get("id")), text(function.get("name")), words)
        answer.model = text(event.get("model")) or answer.model
        answer.error = text(event.get("error")) or answer.error
        answer.end(event.get("done_reason"))
        answer.count(event.get("prompt_eval_count"), event.get("eval_count"))


OLLAMA = LocalChat()
