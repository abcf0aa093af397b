"""Large replies through a gateway: restored exactly, booked as counted, refused as ever, and within
their memory.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest
import trio

from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.llm import restore_reply
from akiosd.gateway.llm.call import EVENT_COPIES
from akiosd.gateway.llm.providers.registry import BY_NAME
from akiosd.gateway.llm.read_turns import read_answer
from akiosd.gateway.llm.restore_reply import Meter
from akiosd.gateway.net.names import Rule
from akiosd.gateway.net.room import Room
from akiosd.gateway.redaction.sparse_json import LARGE, parse_sparse
from akiosd.redact.engine import Engine
from akiosd.redact.pseudonyms import Pseudonyms
from akiosd.redact.redactor import Redactor
from akiosd.values.records import LlmCall
from tests.e2e.models import Models, answer, sse
from tests.unit.gateway import harness
from tests.unit.gateway.llm.test_llm import body_of
from tests.unit.gateway.llm.test_replies import CASES, TEXT, TOOLS, replied
from tests.unit.gateway.llm_harness import HOSTS, Gateway, post, talking

JSON = {"content-type": "application/json"}
WHOLE = [name for name, (*_, streamed) in CASES.items() if not streamed]
WHERE = Destination(HOSTS["openai"], 443, True, Rule("llm", HOSTS["openai"], "openai", 443))
EMBED = {"model": "m", "input": ["a text"] * 10}


class Watched(Room):
    """Writes down what is held."""

    def __init__(self, bound: int, most: list[int]) -> None:
        super().__init__(bound)
        self.seen = most

    def _admit(self) -> None:
        super()._admit()
        self.seen.append(self.held)


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    yield server
    server.fail = None
    server.failures.clear()


def grown(value: Any) -> bytes:
    """A reply with so much more in it that it is a large one, behind everything else."""
    more = {"numbers": [[n / 7 for n in range(2000)]] * 3, "words": "so it goes\n" * 6000}
    return json.dumps({**value, "more": more}).encode()


@pytest.mark.parametrize("name", WHOLE)
async def test_it_costs_and_brings_what_a_small_one_does(models: Models, name: str) -> None:
    """The same reply, with and without bulk: the same bill, the same loops, the same originals in
    it.
    """
    provider, target = CASES[name][:2]
    body = body_of(name, TEXT)
    async with talking(models, provider) as (gateway, agent):
        _, _, small = await post(agent, provider, target, body)
        received = models.received[-1]
        said = json.loads(
            b"".join(answer("POST", received.target, json.loads(received.body)).chunks)
        )
        models.fail = (200, JSON, grown(said))
        status, _, large = await post(agent, provider, target, body)
    assert status == 200 and len(large) > LARGE
    found = json.loads(large)
    assert found.pop("more") == json.loads(grown({}))["more"]
    assert found == json.loads(small)
    assert "ada@example.org" in json.dumps(found)
    first, second = gateway.link.settled
    assert (first.usd_micro, first.tokens) == (second.usd_micro, second.tokens)
    assert not second.estimated and second.outcome == "completed"
    assert gateway.link.bills[0].answer == gateway.link.bills[1].answer
    assert gateway.replies.held == 0


@pytest.mark.parametrize("name", [*WHOLE, "ollama chat", "ollama generate"])
@pytest.mark.parametrize("size", [9, 2 * LARGE])
def test_answers_are_told_apart_though_what_is_long_is_not_read(name: str, size: int) -> None:
    """The same answer twice may be a loop, and another one is none: also in texts and arguments
    that are left as bytes.
    """
    provider, target, make, tools, _ = CASES[name]
    route = BY_NAME[provider].find("POST", target)
    assert route is not None

    def heard(text: str, tool: bool) -> Meter:
        body = {**make(text), "stream": False, **(TOOLS.get(tools, {}) if tool else {})}
        reply = parse_sparse(b"".join(answer("POST", target, body).chunks))
        meter = Meter(route.operation)
        meter.take(reply, "")
        assert len(read_answer(reply)) < LARGE, "what is long is not read for it"
        return meter

    one, again, other = (heard(letter * size, True) for letter in "xxy")
    assert one.answer == again.answer != other.answer and one.open_turn == again.open_turn
    assert len(json.dumps(one.open_turn.calls)) < LARGE
    assert heard("x" * size, False).answer != heard("y" * size, False).answer
    assert heard("x" * size, False).open_turn.said


@pytest.mark.parametrize("broken", [b"}", b"", b"\xff", b'],"usage":{"prompt_tokens":1}}x'])
async def test_what_is_no_json_is_a_502(models: Models, broken: bytes) -> None:
    """Nothing of it reaches the agent, and what was reserved is booked."""
    models.fail = (200, JSON, b'{"data":["' + b"x" * 2 * LARGE + b'"' + broken)
    async with talking(models, "openai") as (gateway, agent):
        status, _, data = await post(agent, "openai", "/v1/embeddings", EMBED)
        assert status == 502 and b"xxx" not in data and b"not JSON" in data
    [settled] = gateway.link.settled
    assert settled.estimated and settled.usd_micro == settled.open.usd_micro > 0
    assert gateway.replies.held == 0


async def test_a_large_refusal_of_the_provider_is_restored(models: Models) -> None:
    async with talking(models, "openai") as (_, agent):
        body = {"model": "m", "messages": [{"role": "user", "content": TEXT}]}
        await post(agent, "openai", "/v1/chat/completions", body)
        seen = json.loads(models.received[-1].body)["messages"][0]["content"]
        assert "ada@example.org" not in seen
        error = {"error": {"message": "no " * LARGE + seen}}
        models.fail = (400, JSON, json.dumps(error).encode())
        status, _, data = await post(agent, "openai", "/v1/chat/completions", body)
    assert status == 400 and json.loads(data)["error"]["message"].endswith(TEXT)


async def test_many_at_once_hold_no_more_than_there_is_room_for(models: Models) -> None:
    """Twenty answers where there is room for two: all come whole, and the most that was held is
    told.
    """
    reply = grown({"data": [], "usage": {"prompt_tokens": 12, "total_tokens": 12}})
    models.fail = (200, JSON, reply)
    most: list[int] = []

    async def call(gateway: Gateway) -> None:
        async with harness.connected(gateway, WHERE) as other:
            status, _, data = await post(other, "openai", "/v1/embeddings", EMBED)
            assert status == 200 and data == reply

    async with talking(models, "openai") as (gateway, _):
        gateway.replies = Watched(2 * len(reply), most)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(20):
                    nursery.start_soon(call, gateway)
    assert 2 * LARGE < max(most) <= 3 * len(reply) and most[-1] == 0
    assert [one.usd_micro for one in gateway.link.settled] == [36] * 20


async def test_one_beyond_the_bound_is_refused(models: Models) -> None:
    models.fail = (200, JSON, b'{"a":"' + b"x" * (1 << 20) + b'"}')
    async with talking(models, "openai") as (gateway, agent):
        gateway.limits = msgspec.structs.replace(gateway.limits, reply_bytes=1 << 20)
        assert (await post(agent, "openai", "/v1/embeddings", EMBED))[0] == 502
    assert gateway.replies.held == 0 and len(gateway.link.of(LlmCall)) == 0


@pytest.mark.parametrize("name", [name for name, (*_, streamed) in CASES.items() if streamed])
@pytest.mark.parametrize("cut", [3, 8, 1000])
def test_of_long_events_only_the_form_is_kept(
    monkeypatch: pytest.MonkeyPatch, name: str, cut: int
) -> None:
    """Where every event is a long one, a stream says and costs the same, whatever is held of it."""
    pseudonyms = Pseudonyms(bytes(range(32)))
    sent = Redactor(Engine(), "pseudonym", pseudonyms).redact(TEXT).text
    for end in (len(sent), len(sent) - 4, len(sent) - 9):
        monkeypatch.setattr(restore_reply, "LARGE", LARGE)
        plain, counted, _ = replied(name, sent[:end], cut, pseudonyms, [])
        monkeypatch.setattr(restore_reply, "LARGE", 0)
        heard, meter, _ = replied(name, sent[:end], cut, pseudonyms, [])
        assert (heard.text, heard.arguments) == (plain.text, plain.arguments)
        assert "ada@example.org" in heard.text
        assert (meter.tokens, meter.answer) == (counted.tokens, counted.answer)


async def test_long_events_of_streams_share_the_room(models: Models) -> None:
    """Ten streams of one long event each, where there is room for two: all come whole and cost the
    same.
    """
    said = {"choices": [{"index": 0, "delta": {"content": "so it goes " * 30_000}}]}
    ended = {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]}
    usage = {"choices": [], "usage": {"prompt_tokens": 12, "completion_tokens": 2}}
    reply = b"".join(sse([said, ended, usage], done=True))
    models.fail = (200, {"content-type": "text/event-stream"}, reply)
    most: list[int] = []
    body = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}

    async def call(gateway: Gateway) -> None:
        async with harness.connected(gateway, WHERE) as other:
            status, _, data = await post(other, "openai", "/v1/chat/completions", body)
            assert status == 200 and data.startswith(reply.partition(b"\n")[0])

    async with talking(models, "openai") as (gateway, _):
        gateway.replies = Watched(EVENT_COPIES * 2 * len(reply), most)
        with trio.fail_after(60):
            async with trio.open_nursery() as nursery:
                for _ in range(10):
                    nursery.start_soon(call, gateway)
    assert len(reply) < max(most) <= EVENT_COPIES * 3 * (len(reply) + LARGE) and most[-1] == 0
    assert [one.usd_micro for one in gateway.link.settled] == [66] * 10
