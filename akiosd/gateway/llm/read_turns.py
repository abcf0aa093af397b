"""A request's conversation, in the words of any provider, as turns.  Pure.

One reader for all: what APIs call messages, contents or input items differs in the names of few
fields, and none means another thing elsewhere.  What is not known counts as text, by its JSON.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator
from typing import Any, Literal

import msgspec

from akiosd.gateway.llm.providers.base import Json, arguments_of, items, mapping, text
from akiosd.gateway.redaction.strict_json import Kept, dump
from akiosd.meter.texts import Texts
from akiosd.meter.turns import MAX_TURNS, Call, Turn, goes_on_before, read_trail
from akiosd.values.spend import Trail

Kind = Literal["call", "result", "said", "told"]
Entry = tuple[Kind, Any]

MAX_ITEMS = 8 * MAX_TURNS
"""Messages that are read: a turn has at most eight where it counts."""
FEW_ITEMS = 64
_SILENT = frozenset({"thinking", "redacted_thinking", "reasoning", "encrypted_reasoning"})
"""Types of what a model thinks, which is never the same twice."""
_MODEL = frozenset({"assistant", "model"})
_BY_MODEL = frozenset({"call", "said"})


class OpenTurn(msgspec.Struct, frozen=True):
    """What a model answered last; the agent's part of the turn comes with the next request."""

    calls: tuple[Call, ...] = ()
    said: str = ""


def read_turns(
    body: Json, before: tuple[Turn, ...] = (), begun: OpenTurn | None = None, most: int = MAX_ITEMS
) -> tuple[Turn, ...]:
    """The newest turns, of which the last was ended by this request, in its newest ``most`` items.

    ``before`` and ``begun`` are of the conversation that the request refers to without holding it.
    """
    said = body.get(name_of_items(body))
    if isinstance(said, str):
        said = [{"role": "user", "content": said}]
    newest = said[-most:] if isinstance(said, list) else []
    entries = (entry for item in items(newest) for entry in _read_item(item))
    return (*before, *_group(entries, begun))[-MAX_TURNS:]


def read_newest(body: Json, texts: Texts) -> tuple[tuple[Turn, ...], Trail]:
    """The newest turns of a request that holds its conversation, and what they look like.

    Of a long conversation only the end is read, unless what is found there began before it.
    """
    turns = read_turns(body, most=FEW_ITEMS)
    trail = read_trail(turns, texts)
    said = body.get(name_of_items(body))
    if isinstance(said, list) and len(said) > FEW_ITEMS and goes_on_before(trail, len(turns)):
        turns = read_turns(body)
        trail = read_trail(turns, texts)
    return turns, trail


def name_of_items(body: Json) -> str:
    """The field of a request that holds its conversation."""
    return next((name for name in ("messages", "contents", "input") if body.get(name)), "")


def begin_of_last_turn(said: list[Any]) -> int:
    """Where the model's part of the newest turn stands; -1 where it never spoke."""
    at = len(said) - 1
    while at >= 0 and not _is_by_model(said[at]):
        at -= 1
    while at > 0 and _is_by_model(said[at - 1]):
        at -= 1
    return at


def _is_by_model(item: Any) -> bool:
    kind = text(mapping(item).get("type"))
    return text(mapping(item).get("role")) in _MODEL or kind.endswith("_call") or kind in _SILENT


def read_answer(reply: Json) -> str:
    """What a reply that is no stream says, without its tool calls and thoughts; "" for nearly every
    event of a stream.  A text that was not read stands in it by its digest.
    """
    found = [
        *items(reply.get("output")),
        *(mapping(c.get("message")) for c in items(reply.get("choices"))),
    ]
    found += [mapping(c.get("content")) for c in items(reply.get("candidates"))]
    found += [
        mapping(mapping(reply.get("output")).get("message")),
        mapping(reply.get("message")),
        {"content": reply.get("response")},  # as Ollama has it
        reply,
    ]
    answers = [
        {**item, "role": "assistant"} for item in found if item.get("content") or item.get("parts")
    ]
    return "\n".join(
        value for item in answers for kind, value in _read_item(item) if kind == "said"
    )


def _group(entries: Iterable[Entry], begun: OpenTurn | None) -> Iterator[Turn]:
    """Turns that have an agent's part; what stands before a model's first word is the question."""
    model = list[Entry]()
    if begun is not None:
        model = [("said", begun.said), *(("call", call) for call in begun.calls)]
    agent = list[Entry]()
    for entry in entries:
        if entry[0] in _BY_MODEL:
            if agent:
                yield from _turns(model, agent)
                model, agent = [], []
            model.append(entry)
        elif model:
            agent.append(entry)
    if agent:
        yield from _turns(model, agent)


def _turns(model: list[Entry], agent: list[Entry]) -> Iterator[Turn]:
    """One turn, or as many as the same call was made at once: some clients put what came one after
    the other into one message.
    """

    def of(entries: list[Entry], kind: Kind) -> list[Any]:
        return [value for found, value in entries if found == kind and value]

    results = tuple(value for kind, value in agent if kind == "result")
    said, told = "\n".join(of(model, "said")), "\n".join(of(agent, "told"))
    calls = tuple(of(model, "call"))
    if 1 < len(calls) == len(results) and all(call == calls[0] for call in calls):
        for call, result in zip(calls, results, strict=True):
            yield Turn((call,), (result,), said, told)
    else:
        yield Turn(calls, results, said, told)


def _read_item(item: Json) -> Iterator[Entry]:
    kind, role = text(item.get("type")), text(item.get("role"))
    if kind.endswith("_call_output"):
        yield "result", _flat(item.get("output"))
    elif kind.endswith("_call"):
        yield "call", (text(item.get("name")) or kind, arguments_of(item))
    elif kind in _SILENT:
        return
    elif role in ("tool", "function"):
        yield "result", _flat(item.get("content"))
    else:
        yield from _read_message(item, role in _MODEL)


def _read_message(item: Json, model: bool) -> Iterator[Entry]:
    content = item.get("content") or item.get("parts") or ""
    if isinstance(content, str | Kept):
        if content:
            yield ("said" if model else "told"), _flat(content)
    else:
        for part in items(content):
            yield from _read_part(part, model)
    for call in items(item.get("tool_calls")):
        function = mapping(call.get("function")) or mapping(call.get("custom"))
        yield (
            "call",
            (text(function.get("name")), function.get("arguments", function.get("input"))),
        )
    call = mapping(item.get("function_call"))
    if call:
        yield "call", (text(call.get("name")), call.get("arguments"))


def _read_part(part: Json, model: bool) -> Iterator[Entry]:
    kind = text(part.get("type"))
    use, result = mapping(part.get("toolUse")), mapping(part.get("toolResult"))
    asked, given = mapping(part.get("functionCall")), mapping(part.get("functionResponse"))
    if (
        kind in _SILENT
        or part.get("thought") is True
        or "reasoningContent" in part
        or "cachePoint" in part
    ):
        return
    if kind == "tool_use" or use:
        yield (
            "call",
            (
                text(part.get("name")) or text(use.get("name")),
                part.get("input", use.get("input")),
            ),
        )
    elif asked:
        yield "call", (text(asked.get("name")), asked.get("args"))
    elif kind == "tool_result" or result:
        failed = part.get("is_error") is True or result.get("status") == "error"
        yield (
            "result",
            ("failed: " if failed else "") + _flat(part.get("content") or result.get("content")),
        )
    elif given:
        yield "result", _flat(given.get("response"))
    else:
        yield ("said" if model else "told"), _flat(part)


def _flat(value: Any) -> str:
    """The text of a result; of what is not text, its JSON; of what was not read, its digest."""
    if isinstance(value, str):
        return value
    if isinstance(value, Kept):
        return hashlib.sha256(value.raw).hexdigest()
    if isinstance(value, list):
        return "\n".join(map(_flat, value))
    if isinstance(value, dict) and isinstance(value.get("text"), str | Kept):
        return _flat(value["text"])
    return "" if value is None else dump(value, sort=True).decode("utf-8", "surrogatepass")
