"""What one provider has and others have not: tiers, summaries, tools that come later, bodies within
bodies.
"""

from __future__ import annotations

import base64
import json
import math
from collections.abc import Iterator
from typing import Any

import pytest
from akiosd.values.policy import Budget
from akiosd.values.records import NetDenied
from genai_prices import Usage, calc_price
from tests.e2e.models import Models
from tests.unit.gateway.llm_harness import post, talking

PLANTED = "ada@example.org"
MODEL = "o4-mini"
ASKED: dict[str, dict[str, Any]] = {
    "/v1/chat/completions": {
        "model": MODEL,
        "messages": [{"role": "user", "content": "hi"}],
        "max_tokens": 99,
    },
    "/v1/responses": {"model": MODEL, "input": "hi", "max_output_tokens": 99},
}


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    yield server
    server.fail = None


def listed(provider: str, model: str, **context: str) -> int:
    """What 800 fresh and 200 cached input tokens and 30 of output cost, by the package's own
    reckoning, rounded up.
    """
    usage = Usage(input_tokens=1000, cache_read_tokens=200, output_tokens=30)
    found = calc_price(usage, model, provider_id=provider, price_context=context)
    return math.ceil(found.total_price * 1_000_000)


def answer(target: str, tier: str) -> bytes:
    used = {"total_tokens": 1030}
    if target.endswith("/responses"):
        used |= {"input_tokens": 1000, "output_tokens": 30}
        return json.dumps(
            {
                "id": "r",
                "object": "response",
                "service_tier": tier,
                "output": [],
                "usage": {**used, "input_tokens_details": {"cached_tokens": 200}},
            }
        ).encode()
    used |= {"prompt_tokens": 1000, "completion_tokens": 30}
    return json.dumps(
        {
            "id": "r",
            "service_tier": tier,
            "choices": [],
            "usage": {**used, "prompt_tokens_details": {"cached_tokens": 200}},
        }
    ).encode()


@pytest.mark.parametrize("target", ASKED)
async def test_the_tier_that_served_is_the_one_paid_for(models: Models, target: str) -> None:
    """The vendor bills by the tier it names in its answer, which may be dearer or cheaper than the
    one asked for.
    """
    plain = listed("openai", MODEL)
    dear, cheap = (listed("openai", MODEL, service_tier=tier) for tier in ("priority", "flex"))
    assert cheap < plain < dear, "control: the tiers have prices of their own"
    cases = (
        ({}, "default", plain),
        ({"service_tier": "priority"}, "priority", dear),
        ({"service_tier": "fast"}, "priority", dear),
        ({"service_tier": "priority"}, "default", plain),
        ({"service_tier": "flex"}, "flex", cheap),
        ({"service_tier": "flex"}, "default", plain),
        ({}, "priority", dear),
        ({}, "no-such-tier", plain),
    )
    async with talking(models, "openai") as (gateway, agent):
        for asked, served, _ in cases:
            models.fail = (200, {}, answer(target, served))
            status, _, body = await post(agent, "openai", target, {**ASKED[target], **asked})
            assert status == 200, body
    assert [bill.usd_micro for bill in gateway.link.bills] == [cost for _, _, cost in cases]


async def test_fast_claude_costs_what_its_answer_says(models: Models) -> None:
    asked = {
        "model": "claude-opus-5-5",
        "max_tokens": 50,
        "messages": [{"role": "user", "content": "hi"}],
    }
    used = {"input_tokens": 800, "cache_read_input_tokens": 200, "output_tokens": 30}
    plain, fast = (
        listed("anthropic", asked["model"], speed=speed) for speed in ("standard", "fast")
    )
    assert plain < fast
    async with talking(models, "anthropic") as (gateway, agent):
        for speed in ("standard", "fast"):
            told = {
                "type": "message",
                "content": [],
                "usage": {**used, "speed": speed, "service_tier": "standard"},
            }
            models.fail = (200, {}, json.dumps(told).encode())
            assert (await post(agent, "anthropic", "/v1/messages", {**asked, "speed": "fast"}))[
                0
            ] == 200
    assert [bill.usd_micro for bill in gateway.link.bills] == [plain, fast]


async def test_tools_the_agent_runs_may_come_later(models: Models) -> None:
    """As Codex sends its tools, and Claude Code those it finds."""
    tools = [
        {"type": "namespace", "name": "n", "tools": [{"type": "custom", "name": "exec"}]},
        {"type": "function", "name": "f", "parameters": {}},
    ]
    said = {"role": "user", "content": "hi"}
    items = [
        {"type": "additional_tools", "role": "developer", "tools": tools},
        {"type": "tool_search_output", "execution": "client", "tools": tools},
        said,
    ]
    search = [{"type": "tool_search", "execution": "client", "parameters": {}}]
    async with talking(models, "openai") as (_, agent):
        status, _, body = await post(
            agent, "openai", "/v1/responses", {"model": "m", "input": items, "tools": search}
        )
        assert status == 200, body
    added = [
        {"type": "tool_addition", "tool": {"type": "tool_reference", "name": "f"}},
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"name": "g"}}},
    ]
    async with talking(models, "anthropic") as (_, agent):
        asked = {
            "model": "m",
            "max_tokens": 9,
            "messages": [said, {"role": "system", "content": added}],
        }
        status, _, body = await post(agent, "anthropic", "/v1/messages", asked)
        assert status == 200, body


async def test_a_summary_has_no_limit_so_the_longest_is_reserved(models: Models) -> None:
    asked = {"model": "m", "input": [{"role": "user", "content": f"mail {PLANTED}"}]}
    async with talking(models, "openai") as (gateway, agent):
        status, _, body = await post(agent, "openai", "/v1/responses/compact", asked)
        assert status == 200 and json.loads(body)["object"] == "response.compaction"
        assert PLANTED.encode() not in models.received[0].everything()
        assert json.loads(models.received[0].body).keys() == asked.keys()
    [settled] = gateway.link.settled
    assert settled.open.tokens.output == 8_000 and settled.usd_micro == 800 * 3 + 60 + 30 * 15
    # 8,000 tokens of output may cost $0.12: with less left it is refused, not shortened.
    async with talking(models, "openai", limits=Budget(usd_micro=100_000)) as (_, agent):
        assert (await post(agent, "openai", "/v1/responses/compact", asked))[0] == 402


async def test_a_request_to_be_counted_within_a_request(models: Models) -> None:
    """Bedrock counts requests to InvokeModel, which come as base64 of their JSON."""
    inner = {
        "anthropic_version": "bedrock-2023-05-31",
        "max_tokens": 9,
        "messages": [{"role": "user", "content": f'Mail {PLANTED}: "now"' + " and so on" * 50}],
    }
    target = "/model/anthropic.claude-3-haiku/count-tokens"

    def wrapped(data: bytes) -> dict[str, Any]:
        return {"input": {"invokeModel": {"body": base64.b64encode(data).decode()}}}

    async with talking(models, "bedrock") as (gateway, agent):
        status, _, body = await post(agent, "bedrock", target, wrapped(json.dumps(inner).encode()))
        assert (status, json.loads(body)) == (200, {"inputTokens": 12}) and gateway.link.asks == []
        sent = json.loads(
            base64.b64decode(json.loads(models.received[0].body)["input"]["invokeModel"]["body"])
        )
        said = sent["messages"][0]["content"]
        assert (
            sent.keys() == inner.keys()
            and PLANTED not in said
            and said.endswith(': "now"' + " and so on" * 50)
        )
        assert (await post(agent, "bedrock", target, wrapped(b"x")))[0] == 400
        # The other form, and Control: nothing is changed where nothing is found.
        asked = {
            "input": {"converse": {"messages": [{"role": "user", "content": [{"text": "hi"}]}]}}
        }
        assert (await post(agent, "bedrock", target, asked))[0] == 200
        assert json.loads(models.received[-1].body) == asked


async def test_an_hour_in_the_cache_is_reserved_where_it_is_asked_for(models: Models) -> None:
    asked: dict[str, Any] = {"model": "claude-sonnet-4-5", "max_tokens": 50}
    async with talking(models, "anthropic") as (gateway, agent):
        for ttl in ("5m", "1h"):
            part = {
                "type": "text",
                "text": "x" * 9_000,
                "cache_control": {"type": "ephemeral", "ttl": ttl},
            }
            await post(
                agent,
                "anthropic",
                "/v1/messages",
                {**asked, "messages": [{"role": "user", "content": [part]}]},
            )
    short, long = gateway.link.asks
    assert short.input_tokens == long.input_tokens
    # $3.75 and $6 a million tokens.
    assert short.input_usd_micro == math.ceil(short.input_tokens * 3.75)
    assert long.input_usd_micro == long.input_tokens * 6


async def test_codex_is_told_in_a_way_it_does_not_try_again(models: Models) -> None:
    """It sends everything again but what was a bad request; others are told what it is."""
    hosted = {"model": "m", "input": "x", "tools": [{"type": "web_search"}]}
    async with talking(models, "openai") as (_, agent):
        for headers, expected in (((("originator", "codex_exec"),), 400), ((), 403)):
            status, fields, body = await post(
                agent, "openai", "/v1/responses", hosted, headers=headers
            )
            assert (status, fields["x-should-retry"]) == (expected, "false")
            assert json.loads(body)["error"]["rule"] == "llm.hosted_tools"
        # What failed may be tried again by all.
        models.fail = (200, {}, b"no JSON")
        plain = {"model": "m", "input": "x"}
        assert (
            await post(
                agent, "openai", "/v1/responses", plain, headers=(("originator", "codex_exec"),)
            )
        )[0] == 502


@pytest.mark.parametrize("live", [False, True])
async def test_a_search_that_codex_offers_unasked_is_left_out(models: Models, live: bool) -> None:
    search = {"type": "web_search", "external_web_access": live}
    function = {"type": "function", "name": "f", "parameters": {}}
    asked = {"model": "m", "input": "x", "tool_choice": "auto", "tools": [function, search]}
    async with talking(models, "openai") as (gateway, agent):
        assert (await post(agent, "openai", "/v1/responses", asked))[0] == 200
        assert json.loads(models.received[0].body)["tools"] == [function]
        [denied] = gateway.link.of(NetDenied)
        assert (denied.rule, denied.hint) == (
            "llm.hosted_tools",
            "web_search was left out of the request",
        )
        # Whoever wants it is told that it is not to be had.
        for change in (
            {"tools": [search]},
            {"tools": [function, {"type": "web_search"}]},
            {"tool_choice": {"type": "web_search"}},
            {"tool_choice": "required"},
        ):
            assert (await post(agent, "openai", "/v1/responses", {**asked, **change}))[0] == 403
    assert len(models.received) == 1


@pytest.mark.parametrize(
    ("provider", "target"),
    [
        ("gemini", "/v1beta/models/ada%40example.org:generateContent"),
        ("gemini", "/v1/models/ada@example.org:embedContent"), ("bedrock", "/model/ada%40example.org/converse"),
        ("openai", "/v1/responses"),
    ],
)  # fmt: skip
async def test_no_planted_value_in_the_name_of_a_model(
    models: Models, provider: str, target: str
) -> None:
    """It is recorded with every call and every refusal."""
    body = {"model": PLANTED, "input": "x"} if provider == "openai" else {"contents": []}
    body = (
        {"messages": []}
        if provider == "bedrock"
        else {"content": {}}
        if "embed" in target
        else body
    )
    async with talking(models, provider) as (gateway, agent):
        status, _, answer = await post(agent, provider, target, body)
        assert (
            status == 403 and json.loads(answer).get("error", {}).get("rule", "prices") == "prices"
        ), answer
    [ask] = gateway.link.asks
    assert ask.model and PLANTED not in ask.model
    assert models.received == []


async def test_what_google_clients_make_of_bytes(models: Models) -> None:
    """They read base64 of the standard alphabet and write that for URLs: signatures and pictures
    pass all the same.
    """
    signature = base64.b64encode(("??>>ÿÿ~~" * 5 + f" signed for {PLANTED}").encode()).decode()
    assert "+" in signature and "/" in signature
    call = {"functionCall": {"name": "f", "args": {}}, "thoughtSignature": signature}
    reply = {
        "candidates": [{"content": {"role": "model", "parts": [call]}}],
        "usageMetadata": {"promptTokenCount": 1},
    }
    picture = base64.urlsafe_b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 4).decode()
    assert "-" in picture and "_" in picture
    target = "/v1beta/models/m:generateContent"
    async with talking(models, "gemini") as (gateway, agent):
        models.fail = (200, {}, json.dumps(reply).encode())
        await post(agent, "gemini", target, {"contents": []})
        again = signature.replace("+", "-").replace("/", "_").rstrip("=")
        parts = [
            {**call, "thoughtSignature": again},
            {"inlineData": {"mimeType": "image/png", "data": picture}},
        ]
        await post(agent, "gemini", target, {"contents": [{"role": "model", "parts": parts}]})
        assert json.loads(models.received[-1].body)["contents"][0]["parts"] == parts
        # Control: one that was never given is read, and what is in it found.
        forged = {**call, "thoughtSignature": "YWFh" + again}
        await post(agent, "gemini", target, {"contents": [{"role": "model", "parts": [forged]}]})
        assert json.loads(models.received[-1].body)["contents"][0]["parts"] != [forged]
    # A picture is not counted by its characters.
    assert gateway.link.asks[1].input_tokens < gateway.link.asks[0].input_tokens + 16_384 + 1_000


@pytest.mark.parametrize("target", ["/v1/responses", "/v1/messages"])
async def test_apis_of_others_on_ollama(models: Models, target: str) -> None:
    asked = {
        "model": "qwen",
        "max_tokens": 99,
        "messages": [{"role": "user", "content": f"to {PLANTED}"}],
    }
    if target == "/v1/responses":
        asked = {"model": "qwen", "input": f"to {PLANTED}"}
    async with talking(models, "ollama") as (gateway, agent):
        for stream in (False, True):
            status, _, body = await post(agent, "ollama", target, {**asked, "stream": stream})
            assert status == 200 and (stream or f"You said: to {PLANTED}".encode() in body)
        hosted = {**asked, "tools": [{"type": "web_search_20250305", "name": "web_search"}]}
        assert (await post(agent, "ollama", target, hosted))[0] == 403
    assert all(PLANTED.encode() not in received.everything() for received in models.received)
    assert [bill.usd_micro for bill in gateway.link.bills] == [0, 0]
