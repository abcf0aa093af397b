"""Amazon Bedrock's Converse.  Source: docs.aws.amazon.com/bedrock/latest/APIReference.

Requests are signed by the gateway, which holds the keys.
"""

from __future__ import annotations

from urllib.parse import quote

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


class Converse:
    events = "frames"
    long = ("max_tokens", "model_context_window_exceeded")

    def request(self, ask: Ask) -> tuple[str, Json]:
        ask = ask.with_answer_tool()
        body: Json = {
            "messages": [
                {"role": role, "content": [{"text": words}]} for role, words in ask.messages
            ],
            "inferenceConfig": given(
                maxTokens=ask.max_tokens,
                temperature=ask.temperature,
                stopSequences=list(ask.stop),
            ),
        }
        if ask.system:
            body["system"] = [{"text": ask.system}]
        # There is no word for "none": a model without tools calls none.
        if ask.tools and ask.tool_choice != "none":
            words: Json = {name: {name: {}} for name in ("auto", "any")}
            tools = [
                {
                    "toolSpec": {
                        "name": tool.name,
                        "description": tool.description or tool.name,
                        "inputSchema": {"json": tool.schema},
                    }
                }
                for tool in ask.tools
            ]
            choice = choose(ask, words, {"tool": {"name": ask.tool_choice}})
            body["toolConfig"] = {"tools": tools, "toolChoice": choice}
        verb = "converse-stream" if ask.stream else "converse"
        return f"/model/{quote(ask.model, safe='')}/{verb}", body

    def read(self, body: Json, answer: Answer) -> None:
        message = mapping(mapping(body.get("output")).get("message"))
        for at, block in enumerate(mappings(message.get("content"))):
            answer.text += text(block.get("text"))
            use = mapping(block.get("toolUse"))
            if use:
                name, words = text(use.get("name")), dump(use.get("input"))
                answer.add_call(at, text(use.get("toolUseId")), name, words)
        answer.end(body.get("stopReason"))
        self._count(body, answer)

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        at, delta = number(event.get("contentBlockIndex")), mapping(event.get("delta"))
        match kind:
            case "contentBlockStart":
                use = mapping(mapping(event.get("start")).get("toolUse"))
                if use:
                    answer.add_call(at, text(use.get("toolUseId")), text(use.get("name")))
            case "contentBlockDelta":
                answer.text += text(delta.get("text"))
                if "toolUse" in delta:
                    words = text(mapping(delta["toolUse"]).get("input"))
                    answer.add_call(at, arguments=words)
            case "messageStop":
                answer.end(event.get("stopReason"))
            case "metadata":
                self._count(event, answer)
            case _ if kind.endswith("Exception"):
                answer.error = text(event.get("message")) or kind

    def _count(self, body: Json, answer: Answer) -> None:
        usage = mapping(body.get("usage"))
        parts = ("inputTokens", "cacheReadInputTokens", "cacheWriteInputTokens")
        answer.count(sum(number(usage.get(part)) for part in parts), usage.get("outputTokens"))


BEDROCK = Converse()
