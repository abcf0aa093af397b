"""Google's Gemini.  Source: ai.google.dev/api/generate-content."""

from __future__ import annotations

from urllib.parse import quote

from akiosd.workflow.steps.models.ask import (
    Answer,
    Ask,
    Json,
    dump,
    given,
    mapping,
    mappings,
    number,
    text,
)

_ROLES = {"assistant": "model"}
_MODES = {"auto": "AUTO", "none": "NONE"}


class Generate:
    events = "sse"
    long = ("MAX_TOKENS",)

    def request(self, ask: Ask) -> tuple[str, Json]:
        body: Json = {
            "contents": [
                {"role": _ROLES.get(role, role), "parts": [{"text": words}]}
                for role, words in ask.messages
            ],
            "generationConfig": given(
                maxOutputTokens=ask.max_tokens,
                temperature=ask.temperature,
                stopSequences=list(ask.stop),
                responseMimeType="application/json" if ask.schema is not None else None,
                responseJsonSchema=ask.schema,
            ),
        }
        if ask.system:
            body["systemInstruction"] = {"parts": [{"text": ask.system}]}
        if ask.tools:
            declared = [
                {
                    "name": one.name,
                    "description": one.description,
                    "parametersJsonSchema": one.schema,
                }
                for one in ask.tools
            ]
            body["tools"] = [{"functionDeclarations": declared}]
            mode: Json = {"mode": _MODES.get(ask.tool_choice, "ANY")}
            if ask.tool_choice not in ("auto", "none", "any"):
                mode["allowedFunctionNames"] = [ask.tool_choice]
            body["toolConfig"] = {"functionCallingConfig": mode}
        verb = "streamGenerateContent?alt=sse" if ask.stream else "generateContent"
        return f"/v1beta/models/{quote(ask.model.removeprefix('models/'), safe='')}:{verb}", body

    def read(self, body: Json, answer: Answer) -> None:
        self.add("", body, answer)

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        usage = mapping(event.get("usageMetadata"))
        output = number(usage.get("candidatesTokenCount")) + number(usage.get("thoughtsTokenCount"))
        answer.count(usage.get("promptTokenCount"), output)
        answer.model = text(event.get("modelVersion")) or answer.model
        for candidate in mappings(event.get("candidates"))[:1]:
            for part in mappings(mapping(candidate.get("content")).get("parts")):
                call = mapping(part.get("functionCall"))
                if call:
                    words, at = dump(call.get("args") or {}), len(answer.calls)
                    answer.add_call(at, text(call.get("id")), text(call.get("name")), words)
                elif not part.get("thought"):
                    answer.text += text(part.get("text"))
            answer.end(candidate.get("finishReason"))
        blocked = mapping(event.get("promptFeedback")).get("blockReason")
        if blocked:
            answer.error = f"the prompt was blocked: {blocked}"


GEMINI = Generate()
