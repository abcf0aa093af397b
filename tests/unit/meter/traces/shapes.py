"""How agents write to models: the same conversation in the requests and replies of each API.

A :class:`Talk` holds one conversation as an agent does.  :meth:`Talk.ask` is its next request,
:meth:`Talk.answer` the model's reply, which the agent takes into its history; then it brings
results or words of its own.  Ids are new each time, as in life.
"""

from __future__ import annotations

import json
from typing import Any

import msgspec

Json = dict[str, Any]
Calls = tuple[tuple[str, Any], ...]
USAGE = {"input_tokens": 100, "output_tokens": 20, "prompt_tokens": 100, "completion_tokens": 20}


class Step(msgspec.Struct):
    """One request and its reply.  ``round``: which time round a loop it is, 0 where it is none.

    ``failed``: the provider refused, so an SDK sends the same again.  ``cut``: the answer broke
    off.
    """

    provider: str
    target: str
    body: Json
    reply: Json
    round: int = 0
    outcome: str = "completed"
    together: bool = False
    """It is begun before those since the last that was not are answered."""


class Talk:
    provider, target = "openai", "/v1/chat/completions"
    model = "gpt-4o"
    _ids = 0

    def __init__(
        self, asked: str, system: str = "You are a careful engineer.", **more: Any
    ) -> None:
        self.system, self.more = system, more
        self.history: list[Json] = []
        self.round = 0
        self._open: list[str] = []
        self.tell(asked)

    def new_id(self, prefix: str) -> str:
        Talk._ids += 1
        return f"{prefix}{Talk._ids * 0x9E3779B97F4A7C15 % (1 << 64):016x}"

    # ---- what each API has its own words for ----------------------------------------------------

    def body(self) -> Json:
        return {
            "model": self.model,
            "messages": [{"role": "system", "content": self.system}, *self.history],
        }

    def tell(self, words: str) -> None:
        self.history.append({"role": "user", "content": words})

    def results(self, *texts: str) -> None:
        for text, call in zip(texts, self._open, strict=True):
            self.history.append({"role": "tool", "tool_call_id": call, "content": text})

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = [self.new_id("call_") for _ in calls]
        made = [
            {"id": id_, "type": "function", "function": {"name": name, "arguments": dumped(given)}}
            for id_, (name, given) in zip(self._open, calls, strict=True)
        ]
        return {
            "role": "assistant",
            "content": said or None,
            **({"tool_calls": made} if made else {}),
        }

    def _reply(self, message: Json) -> Json:
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return {
            "id": self.new_id("chatcmpl-"),
            "object": "chat.completion",
            "choices": [choice],
            "usage": USAGE,
        }

    def _take(self, message: Json) -> None:
        self.history.append(message)

    # ---- a turn ---------------------------------------------------------------------------------

    def step(self, said: str = "", *calls: tuple[str, Any], keep: bool = True, **more: Any) -> Step:
        """The request as it stands, answered so; ``keep``: the answer goes into the history."""
        body = json.loads(json.dumps({**self.body(), **self.more}))
        message = self._message(said, calls)
        reply = self._reply(message)
        if keep:
            self._take(message)
        return Step(self.provider, self.target, body, reply, round=self.round, **more)

    def use(self, call: tuple[str, Any], result: str, said: str = "") -> Step:
        """A turn with one tool."""
        made = self.step(said, call)
        self.results(result)
        return made

    def say(self, said: str, told: str) -> Step:
        """A turn without tools."""
        made = self.step(said)
        self.tell(told)
        return made


def dumped(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


class Claude(Talk):
    """Claude Code: Anthropic's messages; thinking and reminders between."""

    provider, target, model = "anthropic", "/v1/messages", "claude-sonnet-4-5"

    def body(self) -> Json:
        return {
            "model": self.model,
            "max_tokens": 4096,
            "system": self.system,
            "messages": self.history,
        }

    def tell(self, words: str) -> None:
        self.history.append({"role": "user", "content": [{"type": "text", "text": words}]})

    def results(self, *texts: str) -> None:
        blocks = [
            {
                "type": "tool_result",
                "tool_use_id": call,
                "content": [{"type": "text", "text": text}],
            }
            for text, call in zip(texts, self._open, strict=True)
        ]
        self.history.append({"role": "user", "content": blocks})

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = [self.new_id("toolu_") for _ in calls]
        blocks: list[Json] = [{"type": "text", "text": said}] if said else []
        blocks += [
            {"type": "tool_use", "id": id_, "name": name, "input": given}
            for id_, (name, given) in zip(self._open, calls, strict=True)
        ]
        return {"role": "assistant", "content": blocks}

    def _reply(self, message: Json) -> Json:
        return {"id": self.new_id("msg_"), "type": "message", **message, "usage": USAGE}


class Codex(Talk):
    """Codex: items of the Responses API, all of them with every request."""

    target, model = "/v1/responses", "gpt-5.4"

    def body(self) -> Json:
        return {
            "model": self.model,
            "instructions": self.system,
            "input": self.history,
            "store": False,
        }

    def tell(self, words: str) -> None:
        content = [{"type": "input_text", "text": words}]
        self.history.append({"type": "message", "role": "user", "content": content})

    def results(self, *texts: str) -> None:
        for text, call in zip(texts, self._open, strict=True):
            self.history.append({"type": "function_call_output", "call_id": call, "output": text})

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = [self.new_id("call_") for _ in calls]
        content = [{"type": "output_text", "text": said}]
        made: list[Json] = [{"type": "reasoning", "id": self.new_id("rs_"), "summary": []}]
        made += [{"type": "message", "role": "assistant", "content": content}] if said else []
        made += [
            {"type": "function_call", "call_id": id_, "name": name, "arguments": dumped(given)}
            for id_, (name, given) in zip(self._open, calls, strict=True)
        ]
        return {"output": made}

    def _reply(self, message: Json) -> Json:
        return {
            "id": self.new_id("resp_"),
            "object": "response",
            "status": "completed",
            **message,
            "usage": USAGE,
        }

    def _take(self, message: Json) -> None:
        self.history += message["output"]


class Chained(Codex):
    """The Responses API with the provider keeping the conversation: only what is new is sent."""

    _last = ""

    def body(self) -> Json:
        before = {"previous_response_id": self._last} if self._last else {}
        return {"model": self.model, "instructions": self.system, "input": self.history, **before}

    def _reply(self, message: Json) -> Json:
        reply = super()._reply(message)
        self._last = reply["id"]
        return reply

    def _take(self, message: Json) -> None:
        self.history = []


class Gemini(Talk):
    provider, model = "gemini", "gemini-2.5-pro"
    target = f"/v1beta/models/{model}:generateContent"

    def body(self) -> Json:
        return {"systemInstruction": {"parts": [{"text": self.system}]}, "contents": self.history}

    def tell(self, words: str) -> None:
        self.history.append({"role": "user", "parts": [{"text": words}]})

    def results(self, *texts: str) -> None:
        parts = [
            {"functionResponse": {"name": name, "response": {"output": text}}}
            for text, name in zip(texts, self._open, strict=True)
        ]
        self.history.append({"role": "user", "parts": parts})

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = [name for name, _ in calls]
        parts: list[Json] = [{"text": said}] if said else []
        return {
            "role": "model",
            "parts": parts + [{"functionCall": {"name": n, "args": a}} for n, a in calls],
        }

    def _reply(self, message: Json) -> Json:
        usage = {"promptTokenCount": 100, "candidatesTokenCount": 20}
        candidate = {"index": 0, "content": message, "finishReason": "STOP"}
        return {"candidates": [candidate], "usageMetadata": usage, "responseId": self.new_id("")}


class Converse(Talk):
    """Bedrock."""

    provider, model = "bedrock", "anthropic.claude-sonnet-4-5-20250929-v1:0"
    target = f"/model/{model}/converse"

    def body(self) -> Json:
        return {"system": [{"text": self.system}], "messages": self.history}

    def tell(self, words: str) -> None:
        self.history.append({"role": "user", "content": [{"text": words}]})

    def results(self, *texts: str) -> None:
        blocks = [
            {"toolResult": {"toolUseId": call, "content": [{"text": text}], "status": "success"}}
            for text, call in zip(texts, self._open, strict=True)
        ]
        self.history.append({"role": "user", "content": blocks})

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = [self.new_id("tooluse_") for _ in calls]
        blocks: list[Json] = [{"text": said}] if said else []
        blocks += [
            {"toolUse": {"toolUseId": id_, "name": name, "input": given}}
            for id_, (name, given) in zip(self._open, calls, strict=True)
        ]
        return {"role": "assistant", "content": blocks}

    def _reply(self, message: Json) -> Json:
        usage = {"inputTokens": 100, "outputTokens": 20, "totalTokens": 120}
        return {"output": {"message": message}, "stopReason": "end_turn", "usage": usage}


class Ollama(Talk):
    """Ollama's own chat."""

    provider, target, model = "ollama", "/api/chat", "qwen3:8b"

    def body(self) -> Json:
        return {**super().body(), "stream": False}

    def _message(self, said: str, calls: Calls) -> Json:
        self._open = ["" for _ in calls]
        made = [{"function": {"name": name, "arguments": given}} for name, given in calls]
        return {"role": "assistant", "content": said, **({"tool_calls": made} if made else {})}

    def results(self, *texts: str) -> None:
        self.history += [{"role": "tool", "content": text} for text in texts]

    def _reply(self, message: Json) -> Json:
        return {
            "model": self.model,
            "message": message,
            "done": True,
            "prompt_eval_count": 9,
            "eval_count": 9,
        }


class Mistral(Talk):
    provider, model = "mistral", "mistral-large-latest"


class Windowed(Talk):
    """An agent that remembers its last ``window`` turns only, as buffers of frameworks do."""

    window = 3

    def body(self) -> Json:
        return {
            **super().body(),
            "messages": [{"role": "system", "content": self.system}, *self.kept()],
        }

    def kept(self) -> list[Json]:
        begins = [at for at, message in enumerate(self.history) if message["role"] == "assistant"]
        return self.history[begins[-self.window] :] if len(begins) > self.window else self.history


ALL: tuple[type[Talk], ...] = (Talk, Claude, Codex, Chained, Gemini, Converse, Ollama, Mistral)
