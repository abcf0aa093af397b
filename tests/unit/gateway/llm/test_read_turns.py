"""A conversation is the same turns in the words of every API, and what a provider keeps is
bounded.
"""

from __future__ import annotations

import json
from typing import Any

import pytest

from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.read_turns import (
    FEW_ITEMS,
    OpenTurn,
    begin_of_last_turn,
    name_of_items,
    read_newest,
    read_turns,
)
from akiosd.gateway.llm.restore_reply import Meter
from akiosd.gateway.llm.threads import MAX_KEPT, MAX_PART, MAX_PARTS, MAX_SAID, MAX_THREADS, Threads
from akiosd.meter.texts import Texts
from akiosd.meter.turns import Turn
from tests.unit.meter.traces import shapes

GIVEN = {"path": "a.txt"}


def talked(kind: type[shapes.Talk]) -> shapes.Talk:
    talk = kind("What is in it?")
    talk.use(("read", GIVEN), "nothing", said="I look.")
    talk.say("Nothing is in it.", "Look again.")
    talk.step("", ("read", GIVEN), ("list", {}))
    talk.results("nothing", "a.txt")
    return talk


@pytest.mark.parametrize("kind", [kind for kind in shapes.ALL if kind is not shapes.Chained])
def test_every_api_tells_the_same(kind: type[shapes.Talk]) -> None:
    body = talked(kind).body()
    turns = [
        (
            [
                (name, json.loads(given) if isinstance(given, str) else given)
                for name, given in turn.calls
            ],
            turn,
        )
        for turn in read_turns(body)
    ]
    assert [calls for calls, _ in turns] == [[("read", GIVEN)], [], [("read", GIVEN), ("list", {})]]
    assert [turn.said for _, turn in turns] == ["I look.", "Nothing is in it.", ""]
    assert [turn.told for _, turn in turns] == ["", "Look again.", ""]
    results = [
        [result.strip('{}"').removeprefix('output":"') for result in turn.results]
        for _, turn in turns
    ]
    assert results == [["nothing"], [], ["nothing", "a.txt"]]


@pytest.mark.parametrize("kind", [kind for kind in shapes.ALL if kind is not shapes.Chained])
def test_the_request_before_is_found(kind: type[shapes.Talk]) -> None:
    before = talked(kind)
    said = list(before.body()[name_of_items(before.body())])
    before.use(("read", GIVEN), "nothing")
    after = before.body()[name_of_items(before.body())]
    assert after[: begin_of_last_turn(after)] == said
    assert begin_of_last_turn(kind("first").body()[name_of_items(before.body())]) == -1


@pytest.mark.parametrize("body", [
    {}, {"messages": None}, {"messages": "x"}, {"messages": [1, None, [], "x", {}]}, {"input": {"a": 1}},
    {"messages": [{"role": "assistant", "content": [None, 3, {"type": 7}]}, {"role": 5, "content": {"a": "b"}}]},
    {"contents": [{"role": "model", "parts": {"functionCall": []}}, {"parts": [{"functionResponse": 3}]}]},
    {"input": [{"type": "function_call"}, {"type": "function_call_output"}, {"type": [], "role": {}}]},
    {"messages": [{"role": "assistant", "tool_calls": [{"function": "x"}, 3]}, {"role": "tool"}]},
])  # fmt: skip
def test_what_has_no_shape_is_no_turn_and_no_error(body: dict[str, Any]) -> None:
    turns = read_turns(body)
    assert all(
        isinstance(text, str) for turn in turns for text in (*turn.results, turn.said, turn.told)
    )
    said = body.get(name_of_items(body))
    begin_of_last_turn(said if isinstance(said, list) else [said])


@pytest.mark.parametrize("turns", [3, 31, 32, 33, 300])
def test_of_a_long_conversation_the_end_is_read_unless_a_loop_began_before(turns: int) -> None:
    loop, work = shapes.Claude("Find it."), shapes.Claude("Find it.")
    for number in range(turns):
        loop.use(("read", GIVEN), "nothing")
        work.use(("read", {"path": str(number)}), "nothing")
    found, trail = read_newest(loop.body(), Texts())
    assert trail.rounds[0] == len(found) == turns
    found, trail = read_newest(work.body(), Texts())
    assert trail.rounds[0] == 1 and trail.live and len(found) == min(turns, FEW_ITEMS // 2)


def test_a_call_that_was_made_at_once_is_as_many_turns() -> None:
    talk = shapes.Claude("Find it.")
    talk.step("", *[("read", GIVEN)] * 3)
    talk.results("nothing", "nothing", "something")
    assert [turn.results for turn in read_turns(talk.body())] == [
        ("nothing",),
        ("nothing",),
        ("something",),
    ]


def test_what_a_provider_keeps_is_remembered_in_bounds() -> None:
    threads, turns = Threads(), tuple[Turn, ...]()
    many = tuple(("f" * 999, {"a": "x" * 9_999}) for _ in range(19))
    for number in range(MAX_KEPT + MAX_THREADS + 9):
        threads.remember(f"resp_{number}", turns, OpenTurn(many, "y" * 9_999))
        given = [{"type": "function_call_output", "output": f"{number}" * 2_999} for _ in range(19)]
        turns, _ = threads.read({"previous_response_id": f"resp_{number}", "input": given})
    kept = threads._kept
    assert len(kept) == MAX_THREADS and max(len(before) for before, _ in kept.values()) == MAX_KEPT
    for before, begun in kept.values():
        for turn in before:
            assert len(turn.calls) <= MAX_PARTS and len(turn.results) <= MAX_PARTS
            assert (
                max(map(len, (*turn.results, *(str(given) for _, given in turn.calls)))) <= MAX_PART
            )
        assert len(begun.said) <= MAX_SAID and len(begun.calls) <= MAX_PARTS
    assert (
        len(turns) > 1 and threads.read({"previous_response_id": "resp_0", "input": "go"})[0] == ()
    )
    threads.remember("r" * 9999, turns, OpenTurn())
    threads.remember("", turns, OpenTurn())
    assert len(threads._kept) == MAX_THREADS and "" not in threads._kept


@pytest.mark.parametrize(("provider", "path", "events"), [
    ("openai", "/v1/chat/completions", lambda t: [
        {"choices": [{"index": 0, "delta": {"reasoning_content": t}}]},
        {"choices": [{"index": 0, "delta": {"content": "It is done."}}]},
    ]),
    ("anthropic", "/v1/messages", lambda t: [
        {"type": "content_block_delta", "index": 0, "delta": {"type": "thinking_delta", "thinking": t}},
        {"type": "content_block_delta", "index": 1, "delta": {"type": "text_delta", "text": "It is done."}},
    ]),
    ("openai", "/v1/responses", lambda t: [
        {"type": "response.reasoning_summary_text.delta", "output_index": 0, "delta": t},
        {"type": "response.output_text.delta", "output_index": 1, "delta": "It is done."},
    ]),
    ("gemini", "/v1beta/models/m:streamGenerateContent", lambda t: [
        {"candidates": [{"index": 0, "content": {"parts": [{"text": t, "thought": True}]}}]},
        {"candidates": [{"index": 0, "content": {"parts": [{"text": "It is done."}]}}]},
    ]),
])  # fmt: skip
def test_an_answer_is_the_same_whatever_was_thought(provider: str, path: str, events: Any) -> None:
    route = BY_NAME[provider].find("POST", path)
    assert route is not None

    def heard(thought: str, said: str) -> bytes:
        meter = Meter(route.operation)
        for event in json.loads(json.dumps(events(thought)).replace("It is done.", said)):
            meter.take(event, "")
        assert meter.open_turn == OpenTurn((), said)
        return meter.answer

    assert (
        heard("one", "It is done.") == heard("another", "It is done.") != heard("one", "It is not.")
    )
