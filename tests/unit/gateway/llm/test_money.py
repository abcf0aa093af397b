"""What a call is booked at when its reply does not say, breaks off or is tried again; and loops, at
their number.
"""

from __future__ import annotations

import base64
import json
import re
from collections.abc import Iterator
from typing import Any

import h11
import pytest

from akiosd.gateway.llm.eventstream import pack
from akiosd.values.policy import Budget
from tests.e2e.models import Models, answer
from tests.unit.gateway.llm.test_llm import body_of
from tests.unit.gateway.llm.test_replies import CASES
from tests.unit.gateway.llm_harness import post, talking
from tests.unit.gateway.pack_headers import pack_headers

CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}
PLAIN = {**CHAT, "model": "gpt-4o-mini"}
COST = 800 * 3 + 200 * 3 // 10 + 30 * 15


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    yield server
    server.fail, server.plan, server.breaks = None, None, False
    server.failures.clear()


def no_usage(data: bytes, content_type: str) -> bytes:
    """A reply of the stand-in with every word of usage taken out."""
    if "eventstream" in content_type:
        return b"".join(
            frame for frame in frames(data) if b"usage" not in frame and b"dXNhZ2" not in frame
        )
    if "event-stream" in content_type:
        return b"\n\n".join(bare_line(line) for line in data.split(b"\n\n"))
    if "ndjson" in content_type:
        return b"".join(
            json.dumps(bare(json.loads(line))).encode() + b"\n" for line in data.splitlines()
        )
    return json.dumps(bare(json.loads(data))).encode()


def frames(data: bytes) -> Iterator[bytes]:
    while data:
        size = int.from_bytes(data[:4], "big")
        frame, data = data[:size], data[size:]
        head = int.from_bytes(frame[4:8], "big")
        payload = json.loads(frame[12 + head : -4])
        if "bytes" in payload:
            inner = bare(json.loads(base64.b64decode(payload["bytes"])))
            payload["bytes"] = base64.b64encode(json.dumps(inner).encode()).decode()
        kind = "chunk" if "bytes" in payload else "metadata" if "usage" in payload else "event"
        if kind == "chunk":
            headers = pack_headers({":event-type": "chunk", ":message-type": "event"})
            yield pack(headers, json.dumps(payload).encode())
        elif kind == "event":
            yield frame


def bare_line(line: bytes) -> bytes:
    head, mark, data = line.partition(b"data: ")
    return head + mark + json.dumps(bare(json.loads(data))).encode() if data[:1] == b"{" else line


def bare(value: Any) -> Any:
    if isinstance(value, dict):
        gone = (
            "usage",
            "usageMetadata",
            "prompt_eval_count",
            "eval_count",
            "amazon-bedrock-invocationMetrics",
        )
        return {name: bare(item) for name, item in value.items() if name not in gone}
    return [bare(item) for item in value] if isinstance(value, list) else value


@pytest.mark.parametrize("name", CASES)
async def test_a_reply_that_says_nothing_of_usage(models: Models, name: str) -> None:
    """More may have been made than was shown: what was reserved is booked."""
    provider, target = CASES[name][:2]
    async with talking(models, provider) as (gateway, agent):
        status, headers, _ = await post(agent, provider, target, body_of(name, "hi"))
        received = models.received[-1]
        raw = b"".join(answer("POST", received.target, json.loads(received.body)).chunks)
        models.fail = (
            200,
            {"content-type": headers["content-type"]},
            no_usage(raw, headers["content-type"]),
        )
        assert (await post(agent, provider, target, body_of(name, "hi")))[0] == status == 200
    said, silent = gateway.link.settled
    assert not said.estimated and silent.estimated
    assert silent.outcome == "completed" and silent.tokens == silent.open.tokens
    assert 0 < silent.usd_micro == silent.open.usd_micro
    assert gateway.link.account.open == {}


@pytest.mark.parametrize(
    "name", ["openai chat stream", "anthropic stream", "gemini sse", "bedrock converse stream"]
)
async def test_an_upstream_that_closes_early(models: Models, name: str) -> None:
    """The agent sees an error, and what was reserved is booked."""
    provider, target = CASES[name][:2]
    models.breaks = True
    async with talking(models, provider) as (gateway, agent):
        with pytest.raises(h11.RemoteProtocolError):
            await post(agent, provider, target, body_of(name, "hello " * 30))
    [settled] = gateway.link.settled
    assert settled.outcome == "cut" and settled.estimated and gateway.link.account.open == {}
    assert 0 < settled.usd_micro == settled.open.usd_micro and settled.tokens == settled.open.tokens


async def test_a_count_that_cannot_be_true_is_booked_all_the_same(models: Models) -> None:
    reply = {"choices": [], "usage": {"prompt_tokens": 10**30, "completion_tokens": 1}}
    models.failures = [(200, {"content-type": "application/json"}, json.dumps(reply).encode())]
    async with talking(models, "openai") as (gateway, agent):
        assert (await post(agent, "openai", "/v1/chat/completions", CHAT))[0] == 200
    [settled] = gateway.link.settled
    assert (
        settled.tokens.input > 10**9
        and settled.usd_micro > 10**9
        and gateway.link.account.open == {}
    )


@pytest.mark.parametrize(
    "usage", [{"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": "9", "completion_tokens": "4"},
              {"total": 13}, {"prompt_tokens": -9, "completion_tokens": -4}],
)  # fmt: skip
async def test_a_count_of_nothing_is_no_count(models: Models, usage: dict[str, Any]) -> None:
    """Servers that do not count say so with zeros; every request has a token at least."""
    said = {
        "choices": [{"index": 0, "message": {"role": "assistant", "content": "hello"}}],
        "usage": usage,
    }
    models.failures = [(200, {"content-type": "application/json"}, json.dumps(said).encode())]
    async with talking(models, "openai") as (gateway, agent):
        assert (await post(agent, "openai", "/v1/chat/completions", CHAT))[0] == 200
        assert (await post(agent, "openai", "/v1/chat/completions", CHAT))[0] == 200
    silent, counted = gateway.link.settled
    assert (
        silent.estimated
        and 0 < silent.usd_micro == silent.open.usd_micro
        and silent.tokens == silent.open.tokens
    )
    assert not counted.estimated and counted.usd_micro == COST, (
        "the control: what is counted is booked as counted"
    )


async def test_what_is_tried_again_is_paid_once_and_no_loop(models: Models) -> None:
    """As SDKs do after 408, 409, 429 and 5xx: the same request, to the byte."""
    limits = Budget(same_request=2, cycles=2, usd_micro=10_000_000)
    models.failures = [
        (status, {"retry-after": "0"}, b'{"error":{}}') for status in (429, 500, 503, 529, 408, 409)
    ]
    async with talking(models, "openai", limits=limits) as (gateway, agent):
        statuses = [
            (await post(agent, "openai", "/v1/chat/completions", CHAT))[0] for _ in range(7)
        ]
    assert statuses == [429, 500, 503, 529, 408, 409, 200]
    assert [bill.usd_micro for bill in gateway.link.bills] == [0] * 6 + [COST]
    assert gateway.link.account.usd_micro == COST and gateway.link.account.calls == 1


def turn(number: int, result: str, name: str = "write") -> list[dict[str, Any]]:
    call = {
        "id": f"call_{number}",
        "type": "function",
        "function": {"name": name, "arguments": '{"path":"a.txt"}'},
    }
    return [
        {"role": "assistant", "content": None, "tool_calls": [call]},
        {"role": "tool", "tool_call_id": f"call_{number}", "content": result},
    ]


async def worked(models: Models, limits: Budget, turns: list[list[dict[str, Any]]]) -> list[int]:
    """The status of each request of a conversation that grows by ``turns``."""
    said, statuses = list(CHAT["messages"]), []
    async with talking(models, "openai", limits=limits) as (_, agent):
        for number, more in enumerate([[], *turns]):
            said += more
            body = {**CHAT, "messages": said, "stream": bool(number % 2)}
            statuses.append((await post(agent, "openai", "/v1/chat/completions", body))[0])
    return statuses


@pytest.mark.parametrize("limit", [3, 5])
async def test_the_same_tool_calls_and_results_at_their_number_and_not_before(
    models: Models, limit: int
) -> None:
    turns = [turn(number, f"no such file at 12:00:0{number}") for number in range(limit)]
    statuses = await worked(models, Budget(same_tool_calls=limit), turns)
    assert statuses == [200] * limit + [400] and len(models.received) == limit


async def test_other_results_of_the_same_calls_are_no_loop(models: Models) -> None:
    """Control: the same tool with the same arguments, and what it says goes on."""
    turns = [turn(number, f"{number} % built") for number in range(9)]
    assert await worked(models, Budget(same_tool_calls=3), turns) == [200] * 10


@pytest.mark.parametrize("period", [2, 3, 4])
async def test_cycles_at_their_number_and_not_before(models: Models, period: int) -> None:
    turns = [turn(number, "done", f"tool{number % period}") for number in range(3 * period)]
    statuses = await worked(models, Budget(cycles=3), turns)
    assert statuses == [200] * (3 * period) + [400]


async def test_embeddings_of_the_same_text_are_no_loop(models: Models) -> None:
    body = {"model": "m", "input": "hello"}
    limits = Budget(same_request=1, same_answers=1, cycles=1, same_tool_calls=1)
    async with talking(models, "openai", limits=limits) as (gateway, agent):
        assert [(await post(agent, "openai", "/v1/embeddings", body))[0] for _ in range(70)] == [
            200
        ] * 70
    assert {ask.request for ask in gateway.link.asks} == {b""}


@pytest.mark.parametrize("stream", [True, False])
@pytest.mark.parametrize("by", ["previous_response_id", "conversation"])
async def test_a_conversation_that_the_provider_keeps_is_followed(
    models: Models, by: str, stream: bool
) -> None:
    """The request holds what is new, and what was answered is known from the reply."""
    models.plan = ("look", {"path": "a.txt"})
    limits = Budget(same_tool_calls=4)
    tools = [{"type": "function", "name": "look", "parameters": {}}]
    for looping in (True, False):
        statuses, last = [], ""
        async with talking(models, "openai", limits=limits) as (_, agent):
            for number in range(7):
                result = "empty" if looping else f"{number} lines"
                given = (
                    [{"type": "function_call_output", "call_id": "c", "output": result}]
                    if number
                    else "go"
                )
                kept = {by: last} if last else {}
                body = {"model": "m", "input": given, "tools": tools, "stream": stream, **kept}
                if by == "conversation":
                    body["conversation"] = {"id": "conv_1"}
                status, _, reply = await post(agent, "openai", "/v1/responses", body)
                statuses.append(status)
                last = response_id(reply) if status == 200 and by != "conversation" else last
        assert statuses == ([200] * 4 + [400] * 3 if looping else [200] * 7), (looping, statuses)


def response_id(reply: bytes) -> str:
    found = re.search(rb'"id": ?"(resp_[^"]+)"', reply)
    assert found is not None, reply[:400]
    return found[1].decode()


async def test_choices_are_paid_as_the_provider_counts_them(models: Models) -> None:
    """``n`` multiplies what is reserved; the provider's count is of all of them."""
    async with talking(models, "openai") as (gateway, agent):
        await post(agent, "openai", "/v1/chat/completions", {**CHAT, "n": 5})
    [settled] = gateway.link.settled
    assert settled.open.tokens.output == 500 and settled.usd_micro == COST
