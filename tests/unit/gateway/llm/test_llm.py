"""Calls to models through the gateway: what leaves, what comes back, what is paid, what is
refused.
"""

from __future__ import annotations

import base64
import json
import socket
import threading
from collections.abc import Iterator
from functools import partial
from typing import Any

import h11
import pytest
import trio
import trio.testing

from akiosd.gateway.http.exchange import Destination
from akiosd.gateway.net.names import Rule
from akiosd.gateway.serve.serve import serve_stream
from akiosd.meter import prices
from akiosd.values.policy import Budget, Network, Redact
from akiosd.values.records import GatewayFailed, NetDenied, NetRequest, Redaction
from akiosd.values.spend import ModelPrice
from tests.e2e import models as stand_in
from tests.e2e.models import Models
from tests.unit.gateway import llm_harness
from tests.unit.gateway.harness import Agent
from tests.unit.gateway.llm.test_replies import CASES, CODECS, TEXT, TOOLS, Heard
from tests.unit.gateway.llm_harness import HOSTS, KEYS, PRICE, AccountLink, post, talking

SECRETS = (b"ada@example.org", b"4012888888881881", b"415 555 0132")
PLACEHOLDER = "sk-akios-placeholder"
# 800 fresh and 200 cached input tokens, 30 of output: 2400 + 60 + 450 micro-USD.
COST = 800 * 3 + 200 * 3 // 10 + 30 * 15
CHAT = {"model": "m", "messages": [{"role": "user", "content": "hello"}], "max_tokens": 100}


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    yield server
    server.fail, server.pause, server.breaks, server.cut = None, None, False, 3


def body_of(name: str, text: str) -> dict[str, Any]:
    provider, _, make, tools, streamed = CASES[name]
    body = {**make(text), **TOOLS.get(tools, {})}
    if provider == "anthropic" or "invoke" in name:
        body["max_tokens"] = 500
    if "invoke" in name:
        body["anthropic_version"] = "bedrock-2023-05-31"
        del body["model"]
    if name.startswith("bedrock converse"):
        del body["model"]
    if streamed and provider not in ("gemini", "bedrock"):
        body["stream"] = True
    elif provider == "ollama":
        body["stream"] = False
    return body


def heard(name: str, headers: dict[str, str], body: bytes) -> Heard:
    provider, target, _, _, streamed = CASES[name]
    found = Heard()
    if not streamed:
        found.hear(provider, json.loads(body))
        return found
    kind = {"bedrock": "eventstream", "ollama": "ndjson"}.get(provider, "sse")
    codec = CODECS["array" if target.endswith(":streamGenerateContent") else kind]()
    for frame in [*codec.push(body), *codec.flush()]:
        if frame.data is not None and frame.data != b"[DONE]":
            found.hear(provider, json.loads(frame.data), frame.kind)
    return found


@pytest.mark.parametrize("name", CASES)
async def test_a_call_of_every_api(models: Models, name: str) -> None:
    provider, target = CASES[name][:2]
    agents_own = (
        ("authorization", f"Bearer {PLACEHOLDER}"),
        ("x-api-key", PLACEHOLDER),
        ("cookie", "session=1"),
        ("x-goog-api-key", PLACEHOLDER),
        ("x-http-method-override", "DELETE"),
        ("user-agent", "sdk/1 (ada@example.org)"),
    )
    async with talking(models, provider) as (gateway, agent):
        status, headers, body = await post(
            agent, provider, target, body_of(name, TEXT), headers=agents_own
        )
    assert status == 200, body
    assert headers["x-request-id"] == "req_1"
    answer = heard(name, headers, body)
    assert answer.text == f"You said: {TEXT}"
    if CASES[name][3]:
        assert json.loads(answer.arguments)["text"] == TEXT
    received = models.received[0]
    for secret in (*SECRETS, PLACEHOLDER.encode(), b"session=1", b"method-override"):
        assert secret not in received.everything(), secret
    sent = {name.lower(): value for name, value in received.headers}
    expected = {"gemini": "x-goog-api-key", "anthropic": "x-api-key"}.get(provider, "authorization")
    if provider == "bedrock":
        assert sent[expected].startswith("AWS4-HMAC-SHA256 Credential=AKIDEXAMPLE/")
        assert "/eu-west-1/bedrock/aws4_request" in sent[expected]
    else:
        assert sent[expected].removeprefix("Bearer ") == KEYS[provider].decode()
    [bill] = gateway.link.bills
    assert bill.outcome == "completed" and not bill.estimated and gateway.link.account.open == {}
    assert bill.usd_micro == (COST if provider != "ollama" else 1000 * 3 + 30 * 15)
    assert gateway.link.asks[0].input_usd_micro >= bill.usd_micro - 450 or provider == "ollama"
    [redaction] = gateway.link.of(Redaction)
    assert redaction.towards == provider and {f.type for f in redaction.findings} >= {
        "EMAIL",
        "CREDIT_CARD",
    }
    assert any(
        f.place.startswith(("messages[0]", "contents[0]", "input", "prompt"))
        for f in redaction.findings
    )
    [record] = gateway.link.of(NetRequest)
    assert (record.mode, record.status, record.host) == ("llm", 200, HOSTS[provider])


PLANTED = "ada@example.org"
CARRIERS: dict[str, bytes] = {
    "plain": json.dumps(PLANTED).encode(),
    "escaped": b'"' + b"".join(b"\\u%04x" % ord(c) for c in PLANTED) + b'"',
    "base64": json.dumps(base64.b64encode(f"to: {PLANTED}, thanks".encode()).decode()).encode(),
    "data url": json.dumps(
        "data:image/png;base64," + base64.b64encode(f"x {PLANTED} y".encode() * 9).decode()
    ).encode(),
    "json in a string": json.dumps(json.dumps({"to": {"deep": [PLANTED]}})).encode(),
    "json in json in a string": json.dumps(json.dumps({"a": json.dumps({"b": PLANTED})})).encode(),
    "a name": json.dumps({PLANTED: 1}).encode(),
    "percent": json.dumps(PLANTED.replace("@", "%40")).encode(),
    "full width": json.dumps("ａda＠example.org").encode(),
    "zero width": json.dumps("ada\u200b@example.org").encode(),
}
PLACES = (
    b'{"model":"m","messages":[{"role":"user","content":%b}]}',
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"text","text":%b}]}]}',
    b'{"model":"m","messages":[{"role":"assistant","tool_calls":[{"id":"call_abcdefgh","type":"function",'
    b'"function":{"name":"f","arguments":%b}}]}]}',
    b'{"model":"m","messages":[],"tools":[{"type":"function","function":{"name":"f","description":%b}}]}',
    b'{"model":"m","messages":[{"role":"user","content":[{"type":"image_url","image_url":{"url":%b}}]}]}',
    b'{"model":"m","messages":[{"role":"assistant","thinking":%b,"signature":%b}]}',
    b'{"model":"m","messages":[],"user":%b}', b'{"model":"m","messages":[],"metadata":{"id":%b}}',
)  # fmt: skip


@pytest.mark.parametrize("carrier", CARRIERS)
async def test_no_planted_value_reaches_the_provider(models: Models, carrier: str) -> None:
    async with talking(models, "openai") as (_, agent):
        for place in PLACES:
            raw = place.replace(b"%b", CARRIERS[carrier])
            status, _, body = await post(agent, "openai", "/v1/chat/completions", raw)
            assert status == 200, (body, place)
    assert len(models.received) == len(PLACES)
    for received in models.received:
        assert not leaks(received.body), received.body


def leaks(body: bytes) -> bool:
    """Whether the value can be read out of ``body`` with all that a reader may undo."""
    found: list[Any] = [json.loads(body)]
    while found:
        item = found.pop()
        if isinstance(item, dict):
            found += [*item, *item.values()]
        elif isinstance(item, list):
            found += item
        elif isinstance(item, str):
            plain = (
                item.replace("\u200b", "").replace("%40", "@").replace("＠", "@").replace("ａ", "a")
            )
            if "ada@example" in plain:
                return True
            try:
                found.append(base64.b64decode(item.rpartition(",")[2], validate=True).decode())
            except ValueError:
                pass
            if item[:1] in ("{", "["):
                found.append(json.loads(item))
    return False


async def test_control_the_value_reaches_a_provider_when_redaction_is_off(models: Models) -> None:
    async with talking(models, "openai", redact=Redact(models="off")) as (_, agent):
        for carrier in CARRIERS.values():
            await post(agent, "openai", "/v1/chat/completions", PLACES[0].replace(b"%b", carrier))
    assert all(leaks(received.body) for received in models.received)


async def test_a_name_that_is_personal_data_comes_back(models: Models) -> None:
    body = {"model": "m", "messages": [{"role": "user", "content": json.dumps({PLANTED: "x"})}]}
    async with talking(models, "openai") as (_, agent):
        _, _, answer = await post(agent, "openai", "/v1/chat/completions", body)
    assert (
        json.loads(answer)["choices"][0]["message"]["content"]
        == f"You said: {json.dumps({PLANTED: 'x'})}"
    )


async def test_block_and_binary(models: Models) -> None:
    picture = base64.b64encode(b"\x89PNG\r\n\x1a\n" + bytes(range(256))).decode()
    image = {"type": "image_url", "image_url": {"url": f"data:image/png;base64,{picture}"}}
    body = {"model": "m", "messages": [{"role": "user", "content": [image]}]}
    async with talking(models, "openai", redact=Redact(models="block")) as (gateway, agent):
        status, _, answer = await post(
            agent, "openai", "/v1/chat/completions", {**CHAT, "user": PLANTED}
        )
        assert (
            status == 403
            and json.loads(answer)["error"]["rule"] == "redact.models"
            and b"ada" not in answer
        )
        assert models.received == [] and gateway.link.asks == []
        assert (await post(agent, "openai", "/v1/chat/completions", body))[0] == 200
        assert picture in models.received[0].body.decode()
    async with talking(models, "openai", redact=Redact(binary="block")) as (_, agent):
        status, _, answer = await post(agent, "openai", "/v1/chat/completions", body)
        assert status == 403 and "not text" in json.loads(answer)["error"]["message"]


RESPONSE = {"model": "m", "input": "x"}
CONTENTS: dict[str, Any] = {"contents": []}
CONVERSE: dict[str, Any] = {"messages": []}
COMPLETIONS, RESPONSES, MESSAGES = "/v1/chat/completions", "/v1/responses", "/v1/messages"
GENERATE, TALK = "/v1beta/models/m:generateContent", "/model/m/converse"
JWT = "Bearer eyJhbGciOi.eyJzdWIi.c2ln"
LIMIT = {"additionalModelRequestFields": {"max_tokens": 1}}
# name: (provider, path, body, rule[, authorization])
REFUSED: dict[str, tuple[Any, ...]] = {
    "no such path": ("openai", "/v1/files", {}, "network.llm_paths"),
    "a batch": ("openai", "/v1/batches", {}, "network.llm_paths"),
    "dots": ("openai", "/v1/chat/../models", {}, "network.llm_paths"),
    "a model of dots": ("bedrock", "/model/%2e%2e/converse", {}, "network.llm_paths"),
    "a Claude log-in": ("anthropic", MESSAGES, CHAT, "llm.login", "Bearer sk-ant-oat01-x"),
    "a bearer": ("anthropic", MESSAGES, CHAT, "llm.login", "Bearer something"),
    "a ChatGPT log-in": ("openai", RESPONSES, RESPONSE, "llm.login", JWT),
    "a Google log-in": ("gemini", GENERATE, CONTENTS, "llm.login", "Bearer ya29.x"),
    "web search": ("openai", RESPONSES, {**RESPONSE, "tools": [{"type": "web_search"}]}, "llm.hosted_tools"),
    "file search": ("openai", RESPONSES, {**RESPONSE, "tools": [{"type": "file_search"}]}, "llm.hosted_tools"),
    "in a namespace": ("openai", RESPONSES, {**RESPONSE, "tools": [{"type": "namespace", "tools": [{"type": "mcp"}]}]},
                       "llm.hosted_tools"),
    "later tools": ("openai", RESPONSES, {"model": "m", "input": [
        {"type": "additional_tools", "role": "developer", "tools": [{"type": "web_search"}]}]}, "llm.hosted_tools"),
    "found tools": ("openai", RESPONSES, {"model": "m", "input": [
        {"type": "tool_search_output", "tools": [{"type": "mcp", "server_label": "x"}]}]}, "llm.hosted_tools"),
    "a search by the provider": ("openai", RESPONSES, {**RESPONSE, "tools": [{"type": "tool_search"}]},
                                 "llm.hosted_tools"),
    "a tier of its own price": ("openai", RESPONSES, {**RESPONSE, "service_tier": "ultrafast"}, "llm.unpriced"),
    "a tier in a chat": ("openai", COMPLETIONS, {**CHAT, "service_tier": ["flex"]}, "llm.unpriced"),
    "a long cache": ("openai", RESPONSES, {**RESPONSE, "prompt_cache_options": {"ttl": "12h"}}, "llm.unpriced"),
    "a long cache of a part": ("openai", COMPLETIONS, {"model": "m", "messages": [{"role": "user", "content": [
        {"type": "text", "text": "x", "prompt_cache_breakpoint": {"mode": "explicit", "ttl": "12h"}}]}]},
        "llm.unpriced"),
    "search options": ("openai", COMPLETIONS, {**CHAT, "web_search_options": {}}, "llm.hosted_tools"),
    "background": ("openai", RESPONSES, {**RESPONSE, "background": True}, "llm.background"),
    "stored prompt": ("openai", RESPONSES, {"model": "m", "prompt": {"id": "p"}}, "llm.unpriced"),
    "unknown field": ("openai", COMPLETIONS, {**CHAT, "teleport": 1}, "llm.fields"),
    "server tool": ("anthropic", MESSAGES, {**CHAT, "tools": [{"type": "code_execution_2"}]}, "llm.hosted_tools"),
    "added tool": ("anthropic", MESSAGES, {**CHAT, "messages": [{"role": "system", "content": [
        {"type": "tool_addition", "tool": {"type": "tool_definition", "definition": {"type": "web_fetch_2"}}}]}]},
        "llm.hosted_tools"),
    "added toolset": ("anthropic", MESSAGES, {**CHAT, "messages": [{"role": "system", "content": [
        {"type": "tool_addition", "tool": {"type": "mcp_toolset_reference", "server_name": "x"}}]}]},
        "llm.hosted_tools"),
    "a speed": ("anthropic", MESSAGES, {**CHAT, "speed": "faster"}, "llm.unpriced"),
    "a tier": ("anthropic", MESSAGES, {**CHAT, "service_tier": "batch"}, "llm.unpriced"),
    "fallbacks": ("anthropic", MESSAGES, {**CHAT, "fallbacks": [{"model": "x"}]}, "llm.fields"),
    "mcp": ("anthropic", MESSAGES, {**CHAT, "mcp_servers": [{"url": "https://x"}]}, "llm.hosted_tools"),
    "compaction": ("anthropic", MESSAGES, {**CHAT, "context_management": {"edits": [{"type": "compact_1"}]}},
                   "llm.unpriced"),
    "google search": ("gemini", GENERATE, {**CONTENTS, "tools": [{"googleSearch": {}}]}, "llm.hosted_tools"),
    "google_search": ("gemini", GENERATE, {**CONTENTS, "tools": [{"google_search": {}}]}, "llm.hosted_tools"),
    "two spellings": ("gemini", GENERATE, {**CONTENTS, "generationConfig": {}, "generation_config": {}}, "llm.fields"),
    "a field mask": ("gemini", GENERATE + "?fields=candidates", CONTENTS, "llm.fields"),
    "another model": ("gemini", GENERATE, {**CONTENTS, "generation_config": {"routing_config": {"autoMode": {}}}},
                      "llm.unpriced"),
    "a tier of Gemini": ("gemini", GENERATE, {**CONTENTS, "serviceTier": "priority"}, "llm.unpriced"),
    "a tier of xAI": ("xai", RESPONSES, {**RESPONSE, "service_tier": "priority"}, "llm.unpriced"),
    "live search": ("xai", COMPLETIONS, {**CHAT, "search_parameters": {"mode": "auto"}}, "llm.hosted_tools"),
    "deferred": ("xai", COMPLETIONS, {**CHAT, "deferred": True}, "llm.background"),
    "grounding": ("bedrock", TALK, {**CONVERSE, "toolConfig": {"tools": [{"systemTool": {"name": "x"}}]}},
                  "llm.hosted_tools"),
    "guardrail": ("bedrock", TALK, {**CONVERSE, "guardrailConfig": {"guardrailIdentifier": "x"}}, "llm.unpriced"),
    "own field": ("bedrock", TALK, {**CONVERSE, **LIMIT}, "llm.fields"),
    "other vendor": ("bedrock", "/model/m/invoke", {"inputText": "x"}, "llm.fields"),
    "pull": ("ollama", "/api/pull", {"model": "m"}, "network.llm_paths"),
    "unknown model": ("openai", COMPLETIONS, {**CHAT, "model": "no-such-model"}, "prices"),
    "names twice": ("openai", COMPLETIONS, b'{"model":"m","model":"x","messages":[]}', "llm.body"),
    "no JSON": ("openai", COMPLETIONS, b"model=m", "llm.body"),
    "NaN": ("openai", COMPLETIONS, b'{"model":"m","temperature":NaN}', "llm.body"),
    "not UTF-8": ("openai", COMPLETIONS, b'{"model":"m\xff"}', "llm.body"),
    "a list": ("openai", COMPLETIONS, b"[]", "llm.body"),
}  # fmt: skip


async def test_tokens_are_no_text(models: Models) -> None:
    """langchain sends embeddings so by default: nothing could be found in them."""
    async with talking(models, "openai") as (_, agent):
        for numbers in ([1, 2], [[1, 2]]):
            status, _, body = await post(
                agent, "openai", "/v1/embeddings", {"model": "m", "input": numbers}
            )
            assert (status, json.loads(body)["error"]["rule"]) == (403, "redact.models")
        assert models.received == []
        assert (
            await post(agent, "openai", "/v1/embeddings", {"model": "m", "input": [PLANTED, "x"]})
        )[0] == 200
    async with talking(models, "openai", redact=Redact(models="off")) as (gateway, agent):
        assert (await post(agent, "openai", "/v1/embeddings", {"model": "m", "input": [[1]]}))[
            0
        ] == 200
    # 8 tokens at $3 a million.
    assert gateway.link.account.usd_micro == 24


@pytest.mark.parametrize(
    "target",
    [
        "/v1/models/ada%40example.org", "/v1/models/ada@example.org",
        "/v1/models?after=ada%40example.org", "/v1/models?after=ada@example.org&limit=2",
    ],
)  # fmt: skip
async def test_no_planted_value_in_a_url(models: Models, target: str) -> None:
    async with talking(models, "openai") as (gateway, agent):
        status, _, _ = await agent.ask("GET", target, host=HOSTS["openai"])
        assert status == 200
        while not gateway.link.of(NetRequest):
            await trio.lowlevel.checkpoint()
        assert b"ada" not in gateway.link.of(NetRequest)[0].path
    assert b"ada" not in models.received[0].everything()


async def test_the_region_is_that_of_the_host(models: Models) -> None:
    gone = llm_harness.REGIONS.pop("bedrock")
    try:
        async with talking(models, "bedrock") as (_, agent):
            await post(agent, "bedrock", TALK, CONVERSE)
    finally:
        llm_harness.REGIONS["bedrock"] = gone
    assert any("/eu-west-1/bedrock/" in value for _, value in models.received[0].headers)


@pytest.mark.parametrize("name", REFUSED)
async def test_refused_before_anything_is_sent(models: Models, name: str) -> None:
    provider, target, body, rule, *login = REFUSED[name]
    headers = (("authorization", login[0]),) if login else ()
    async with talking(models, provider) as (gateway, agent):
        got, fields, answer = await post(agent, provider, target, body, headers=headers)
        expected = 400 if rule == "llm.body" else 403
        assert (got, fields["x-should-retry"]) == (expected, "false"), answer
        [denied] = gateway.link.of(NetDenied)
        assert denied.rule == rule
        assert models.received == [] and gateway.link.bills == []
        # Control: the connection goes on, and a plain call passes on it.
        plain = {
            "openai": "openai chat",
            "anthropic": "anthropic",
            "gemini": "gemini",
            "xai": "xai stream",
            "bedrock": "bedrock converse",
            "ollama": "ollama chat",
        }[provider]
        assert (await post(agent, provider, CASES[plain][1], body_of(plain, "hi")))[0] == 200


async def test_without_a_key_nothing_is_sent(models: Models) -> None:
    async with talking(models, "openai", without_keys=True) as (_, agent):
        status, _, answer = await post(agent, "openai", "/v1/chat/completions", CHAT)
    assert status == 403 and "akiosctl keys set openai" in answer.decode() and models.received == []
    async with talking(models, "ollama", without_keys=True) as (_, agent):
        assert (await post(agent, "ollama", "/api/chat", {"model": "m", "messages": []}))[0] == 200


async def test_lists_and_counts_are_free(models: Models) -> None:
    async with talking(models, "openai") as (gateway, agent):
        status, _, body = await agent.ask(
            "GET", "/v1/models?limit=3", headers=[], host=HOSTS["openai"]
        )
        assert status == 200 and json.loads(body)["data"]
    async with talking(models, "anthropic") as (gateway, agent):
        body_sent = {"model": "m", "messages": [{"role": "user", "content": PLANTED}]}
        status, _, body = await post(
            agent, "anthropic", "/v1/messages/count_tokens?beta=true", body_sent
        )
        assert (status, json.loads(body)) == (200, {"input_tokens": 12})
    assert gateway.link.asks == [] and gateway.link.bills == []
    assert PLANTED.encode() not in models.received[-1].everything()
    assert ("x-api-key", KEYS["anthropic"].decode()) in models.received[-1].headers


async def test_the_key_in_a_url_is_replaced(models: Models) -> None:
    async with talking(models, "gemini") as (_, agent):
        for name in ("key", "%6bey", "KEY", "access_token"):
            target = f"/v1beta/models/m:generateContent?{name}=AIzaAgents"
            status = (await post(agent, "gemini", target, {"contents": []}))[0]
            assert status == (403 if name == "KEY" else 200)
    assert len(models.received) == 3
    assert all(b"AIzaAgents" not in r.everything() and "?" not in r.target for r in models.received)


@pytest.mark.parametrize(
    ("name", "body", "field"),
    [
        ("openai chat", {}, "max_completion_tokens"),
        ("openai chat", {"max_tokens": 7000}, "max_tokens"),
        ("openai responses", {}, "max_output_tokens"),
        ("anthropic", {"max_tokens": 7000}, "max_tokens"),
        ("mistral stream", {}, "max_tokens"),
        ("gemini", {}, "generationConfig.maxOutputTokens"),
        (
            "gemini",
            {"generation_config": {"max_output_tokens": 7000}},
            "generationConfig.maxOutputTokens",
        ),
        ("bedrock converse", {}, "inferenceConfig.maxTokens"),
    ],
)
async def test_the_answer_is_limited_to_what_is_left(
    models: Models, name: str, body: Any, field: str
) -> None:
    """A budget of 2 cents has room for some 1,000 tokens of output, not for 7,000 or 8,000."""
    provider, target = CASES[name][:2]
    async with talking(models, provider, limits=Budget(usd_micro=20_000, same_request=0)) as (
        gateway,
        agent,
    ):
        status, _, answer = await post(agent, provider, target, {**body_of(name, "hi"), **body})
        assert status == 200, answer
    sent = json.loads(models.received[0].body)
    for part in field.split("."):
        sent = sent[part]
    assert 500 < sent < 1333
    assert gateway.link.account.usd_micro == COST


async def test_small_limits_and_thinking_stay(models: Models) -> None:
    thinking = {"type": "enabled", "budget_tokens": 2000}
    async with talking(models, "anthropic") as (_, agent):
        await post(agent, "anthropic", "/v1/messages", {**CHAT, "max_tokens": 64})
        assert json.loads(models.received[-1].body)["max_tokens"] == 64
    async with talking(models, "anthropic", limits=Budget(usd_micro=20_000)) as (gateway, agent):
        asked = {**CHAT, "max_tokens": 4000, "thinking": thinking}
        status, _, answer = await post(agent, "anthropic", "/v1/messages", asked)
        assert status == 402 and json.loads(answer)["error"]["rule"] == "budget.usd"
        assert gateway.link.asks[-1].floor == 2001 and len(models.received) == 1


async def test_parallel_calls_wait_for_each_other_and_never_pass_the_cap(models: Models) -> None:
    """Twenty at once, each with a reservation of about 6 cents and a bill of a third of one,
    against 20 cents.
    """
    limits = Budget(usd_micro=200_000, same_request=0)
    gate = models.pause = threading.Event()
    statuses: list[int] = []
    async with talking(models, "openai", limits=limits) as (gateway, _):

        async def call() -> None:
            ours, theirs = trio.testing.memory_stream_pair()
            where = Destination(HOSTS["openai"], 443, True, Rule("llm", "x", "openai"))
            async with trio.open_nursery() as inner:
                inner.start_soon(serve_stream, gateway, theirs, where)
                body = {**CHAT, "max_tokens": 4000, "stream": True}
                statuses.append(
                    (await post(Agent(ours), "openai", "/v1/chat/completions", body))[0]
                )
                await ours.aclose()

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(call)
            while len(gateway.link.line) + len(models.received) < 20:
                await trio.lowlevel.checkpoint()
            assert len(models.received) == 3 and gateway.link.account.reserved_usd_micro <= 200_000
            gate.set()
    assert statuses == [200] * 20 and len(models.received) == 20
    assert gateway.link.account.usd_micro == 20 * COST <= 200_000


async def test_a_call_that_fits_only_alone_is_lowered_and_told_so(models: Models) -> None:
    async with talking(models, "openai", limits=Budget(usd_micro=100_000)) as (gateway, agent):
        status, headers, _ = await post(
            agent, "openai", "/v1/chat/completions", {**CHAT, "max_tokens": 50_000}
        )
        assert status == 200
        lowered = int(headers["akios-output-limit"])
        assert 0 < lowered < 50_000
        assert json.loads(models.received[-1].body)["max_tokens"] == lowered
        assert gateway.link.settled[-1].open.lowered == lowered
        # The control: what fits is not lowered.
        _, headers, _ = await post(
            agent, "openai", "/v1/chat/completions", {**CHAT, "max_tokens": 50}
        )
        assert "akios-output-limit" not in headers


async def test_server_side_state_reserves_the_whole_window(models: Models) -> None:
    url = {"type": "image_url", "image_url": {"url": "https://example.com/a.png"}}
    whole = prices.bound_input(prices._given(PRICE), PRICE.context)
    cases: list[tuple[str, str, dict[str, Any], bool]] = [
        ("openai", "/v1/responses", {"model": "m", "input": "x"}, False),
        (
            "openai",
            "/v1/responses",
            {"model": "m", "input": "x", "previous_response_id": "resp_1"},
            True,
        ),
        ("openai", "/v1/responses", {"model": "m", "input": "x", "conversation": "conv_1"}, True),
        (
            "openai",
            "/v1/chat/completions",
            {"model": "m", "messages": [{"role": "user", "content": [url]}]},
            True,
        ),
        (
            "openai",
            "/v1/responses",
            {
                "model": "m",
                "input": [
                    {"role": "user", "content": [{"type": "input_file", "file_id": "file-1"}]}
                ],
            },
            True,
        ),
        (
            "anthropic",
            "/v1/messages",
            {
                **CHAT,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "document", "source": {"type": "file", "file_id": "f"}}
                        ],
                    }
                ],
            },
            True,
        ),
        (
            "anthropic",
            "/v1/messages",
            {
                **CHAT,
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "image", "source": {"type": "url", "url": "https://x/y.png"}}
                        ],
                    }
                ],
            },
            True,
        ),
        (
            "anthropic",
            "/v1/messages",
            {**CHAT, "tools": [{"name": "f", "input_schema": {"file_id": {}}}]},
            False,
        ),
        ("openai", "/v1/responses", {"model": "m", "input": [{"id": "rs_1"}]}, True),
        (
            "openai",
            "/v1/responses",
            {"model": "m", "input": [{"id": "m1", "role": "user", "content": "x"}]},
            False,
        ),
        ("openai", "/v1/responses/compact", {"model": "m", "previous_response_id": "resp_1"}, True),
        (
            "mistral",
            "/v1/chat/completions",
            {
                "model": "m",
                "messages": [
                    {
                        "role": "user",
                        "content": [
                            {"type": "input_audio", "input_audio": "https://example.com/a.mp3"}
                        ],
                    }
                ],
            },
            True,
        ),
        (
            "mistral",
            "/v1/chat/completions",
            {
                "model": "m",
                "messages": [
                    {
                        "role": "user",
                        "content": [{"type": "resource_link", "uri": "https://example.com/a"}],
                    }
                ],
            },
            True,
        ),
        (
            "bedrock",
            "/model/m/converse",
            {
                "messages": [
                    {
                        "role": "user",
                        "content": [{"document": {"source": {"s3Location": {"uri": "s3://a/b"}}}}],
                    }
                ]
            },
            True,
        ),
        (
            "gemini",
            "/v1/models/m:generateContent",
            {"contents": [], "cached_content": "cachedContents/1"},
            True,
        ),
        (
            "gemini",
            "/v1/models/m:generateContent",
            {"contents": [{"parts": [{"file_data": {"file_uri": "x"}}]}]},
            True,
        ),
    ]
    for provider, target, body, state in cases:
        async with talking(models, provider) as (gateway, agent):
            status, _, answer = await post(agent, provider, target, body)
            assert status == 200, answer
            assert (gateway.link.asks[0].input_tokens == PRICE.context) == state, body
            assert (gateway.link.asks[0].input_usd_micro == whole) == state


async def test_choices_are_reserved_and_paid(models: Models) -> None:
    async with talking(models, "openai") as (gateway, agent):
        status, _, _ = await post(
            agent, "openai", "/v1/chat/completions", {**CHAT, "n": 3, "stream": True}
        )
        assert status == 200 and gateway.link.asks[0].choices == 3


async def test_usage_is_asked_for_and_taken_out_again(models: Models) -> None:
    async with talking(models, "openai") as (gateway, agent):
        _, _, quiet = await post(agent, "openai", "/v1/chat/completions", {**CHAT, "stream": True})
        asked = {**CHAT, "stream": True, "stream_options": {"include_usage": True}}
        _, _, told = await post(agent, "openai", "/v1/chat/completions", asked)
    assert b"usage" not in quiet and b'"usage"' in told
    assert [bill.usd_micro for bill in gateway.link.bills] == [COST, COST]
    assert json.loads(models.received[0].body)["stream_options"] == {"include_usage": True}


@pytest.mark.parametrize("stream", [False, True])
async def test_the_providers_errors_pass(models: Models, stream: bool) -> None:
    async with talking(models, "openai") as (gateway, agent):
        await post(agent, "openai", "/v1/chat/completions", {**CHAT, "user": PLANTED})
        stand_in = json.loads(models.received[0].body)["user"]
        words = json.dumps(
            {"error": {"message": f"too many from {stand_in}", "type": "rate_limit"}}
        ).encode()
        models.fail = (429, {"retry-after": "7", "x-ratelimit-remaining-requests": "0"}, words)
        status, headers, body = await post(
            agent, "openai", "/v1/chat/completions", {**CHAT, "stream": stream}
        )
    assert (status, headers["retry-after"], headers["x-ratelimit-remaining-requests"]) == (
        429,
        "7",
        "0",
    )
    assert (
        "x-should-retry" not in headers
        and json.loads(body)["error"]["message"] == f"too many from {PLANTED}"
    )
    assert gateway.link.bills[-1].outcome == "failed" and gateway.link.account.usd_micro == COST
    assert gateway.link.account.open == {}


async def test_an_upstream_that_breaks_off(models: Models) -> None:
    models.breaks = True
    async with talking(models, "openai") as (gateway, agent):
        with pytest.raises(h11.RemoteProtocolError):
            await post(agent, "openai", "/v1/chat/completions", {**CHAT, "stream": True})
    [settled] = gateway.link.settled
    assert settled.outcome == "cut" and settled.estimated
    assert 0 < settled.usd_micro <= settled.open.usd_micro and gateway.link.account.open == {}


async def test_a_provider_that_is_not_there_costs_nothing(models: Models) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        models_gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
    there, models.url = models.url, models_gone
    try:
        async with talking(models, "openai") as (gateway, agent):
            status, headers, _ = await post(agent, "openai", "/v1/chat/completions", CHAT)
    finally:
        models.url = there
    assert status == 502 and "x-should-retry" not in headers
    assert gateway.link.bills[0].outcome == "failed" and gateway.link.account.usd_micro == 0


async def test_nothing_is_sent_before_it_may_be(models: Models) -> None:
    """The provider is reached while akiosd decides; the first byte leaves after that, and none
    where it says no.
    """
    heard: list[bytes] = []
    reached = trio.Event()

    async def provider(stream: trio.SocketStream) -> None:
        reached.set()
        async for data in stream:
            heard.append(bytes(data))

    there = models.url
    async with trio.open_nursery() as nursery:
        [listener] = await nursery.start(partial(trio.serve_tcp, provider, 0, host="127.0.0.1"))
        models.url = f"http://127.0.0.1:{listener.socket.getsockname()[1]}"
        try:
            for limits, status in ((Budget(usd_micro=1), 402), (Budget(), 200)):
                async with talking(models, "openai", limits=limits) as (gateway, agent):
                    gateway.link.undecided = []
                    raw = json.dumps(CHAT).encode()
                    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: {HOSTS['openai']}\r\n"
                    long = f"X-Title: {'x' * 30_000}\r\nContent-Length: {len(raw)}\r\n\r\n"
                    await agent.send((head + long).encode() + raw)
                    await reached.wait()
                    await trio.testing.wait_all_tasks_blocked(0.02)
                    assert heard == [] and not gateway.link.of(Redaction)
                    [decide] = gateway.link.undecided
                    decide()
                    if status == 402:
                        assert (await agent.stream.receive_some(4096)).startswith(b"HTTP/1.1 402")
                    else:
                        while not b"".join(heard).endswith(b"}"):
                            await trio.lowlevel.checkpoint()
                reached = trio.Event()
                assert bool(heard) == (status == 200), "control: what is granted is sent"
                assert [bill.outcome for bill in gateway.link.bills] == (
                    [] if status == 402 else ["cut"]
                )
        finally:
            models.url = there
            nursery.cancel_scope.cancel()


async def test_an_answer_that_is_shortened_leaves_the_length_that_was_told(models: Models) -> None:
    for asked, left in (
        ({"max_tokens": 7000}, 20_000),
        ({"max_tokens": None}, 20_000),
        ({"max_tokens": None}, 0),
    ):
        models.received.clear()
        body = {name: value for name, value in {**CHAT, **asked}.items() if value is not None}
        async with talking(models, "openai", limits=Budget(usd_micro=left, same_request=0)) as (
            gateway,
            agent,
        ):
            status, _, answer = await post(agent, "openai", "/v1/chat/completions", body)
            assert status == 200, answer
        [received] = models.received
        length = {name.lower(): value for name, value in received.headers}["content-length"]
        assert int(length) == len(received.body)
        sent = json.loads(received.body)
        most = sent.get("max_completion_tokens", sent.get("max_tokens"))
        assert 500 < most < 1333 if left else most is None
        [record] = gateway.link.of(NetRequest)
        assert record.bytes_out == len(received.body.rstrip())


@pytest.mark.parametrize(
    ("more", "status"),
    [({"max_tokens": 10**30}, 200), ({"n": 10**30}, 402), ({"model": "\ud800"}, 400), ({"model": "m" * 2**21}, 400)],
    ids=["output", "choices", "no Unicode", "long"],
)  # fmt: skip
async def test_what_cannot_be_told_to_akiosd_is_answered_as_a_request(
    models: Models, more: Any, status: int
) -> None:
    async with talking(models, "openai") as (gateway, agent):
        assert (await post(agent, "openai", "/v1/chat/completions", {**CHAT, **more}))[0] == status
    assert not gateway.link.of(GatewayFailed) and gateway.link.account.open == {}


@pytest.mark.parametrize(("less", "more"), [(0, 1000), (300, 1000), (5, 1000)])
async def test_a_limit_under_two_names_is_lowered_under_both(
    models: Models, less: int, more: int
) -> None:
    """There is room for some 500 tokens: three digits, where one name had fewer."""
    body = {**CHAT, "max_tokens": less, "max_completion_tokens": more}
    async with talking(models, "openai", limits=Budget(usd_micro=9_000, same_request=0)) as (
        gateway,
        agent,
    ):
        status, _, answer = await post(agent, "openai", "/v1/chat/completions", body)
        assert status == 200, answer
    sent = json.loads(models.received[0].body)
    assert sent["max_tokens"] == sent["max_completion_tokens"]
    assert sent["max_tokens"] == less if less else 400 < sent["max_tokens"] < 600
    assert [bill.outcome for bill in gateway.link.bills] == ["completed"]


@pytest.mark.parametrize("usd_micro", [1, 10_000_000])
async def test_the_budget_has_the_word_also_where_nobody_is_reached(
    models: Models, usd_micro: int
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as closed:
        gone = f"http://127.0.0.1:{closed.getsockname()[1]}"
    there, models.url = models.url, gone
    try:
        async with talking(models, "openai", limits=Budget(usd_micro=usd_micro)) as (
            gateway,
            agent,
        ):
            gateway.link.undecided = []
            async with trio.open_nursery() as nursery:

                async def decide() -> None:
                    while not gateway.link.undecided:
                        await trio.lowlevel.checkpoint()
                    await trio.testing.wait_all_tasks_blocked(0.02)
                    gateway.link.undecided[0]()

                nursery.start_soon(decide)
                status, _, _ = await post(agent, "openai", "/v1/chat/completions", CHAT)
    finally:
        models.url = there
    assert status == (402 if usd_micro == 1 else 502)
    assert [bill.outcome for bill in gateway.link.bills] == ([] if usd_micro == 1 else ["failed"])
    assert gateway.link.account.open == {}


@pytest.mark.parametrize("provider", ["openai", "anthropic", "gemini"])
async def test_an_agent_that_goes_away_pays_what_was_reserved(
    models: Models, provider: str
) -> None:
    models.pause = threading.Event()
    name = {
        "openai": "openai chat stream",
        "anthropic": "anthropic stream",
        "gemini": "gemini sse",
    }[provider]
    async with talking(models, provider) as (gateway, agent):
        raw = json.dumps(body_of(name, "hello " * 40)).encode()
        head = f"POST {CASES[name][1]} HTTP/1.1\r\nHost: {HOSTS[provider]}\r\nContent-Length: {len(raw)}\r\n\r\n"
        await agent.send(head.encode() + raw)
        seen = b""
        while seen.count(b"data:") < 10:
            seen += await agent.stream.receive_some(4096)
        await agent.stream.aclose()
        while not gateway.link.bills:
            await trio.lowlevel.checkpoint()
    [settled] = gateway.link.settled
    assert settled.outcome == "cut" and 0 < settled.usd_micro == settled.open.usd_micro
    assert settled.tokens == settled.open.tokens and gateway.link.account.open == {}


async def test_an_answer_beyond_its_reservation_is_cut(models: Models) -> None:
    """The upstream ignores the limit, or counts more than the request had."""
    dear = ModelPrice(input=1, output=1_000_000_000, context=100_000, max_output=8_000)
    asked = {"contents": [{"parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 10}}
    long = {
        **CHAT,
        "messages": [{"role": "user", "content": "hello " * 300}],
        "max_tokens": 2,
        "stream": True,
    }
    for provider, target, body, model in (
        ("gemini", "/v1/models/m:streamGenerateContent?alt=sse", asked, dear),
        ("anthropic", "/v1/messages", long, PRICE),
    ):
        async with talking(models, provider, m=model) as (gateway, agent):
            with pytest.raises(h11.RemoteProtocolError):
                await post(agent, provider, target, body)
        [settled] = gateway.link.settled
        assert settled.outcome == "cut" and 0 < settled.usd_micro <= settled.open.usd_micro


async def test_signed_thinking_goes_back_byte_for_byte(models: Models) -> None:
    async with talking(models, "anthropic") as (gateway, agent):
        for stream in (False, True):
            asked = {**CHAT, "messages": [{"role": "user", "content": TEXT}], "stream": stream}
            _, headers, body = await post(agent, "anthropic", "/v1/messages", asked)
            thinking = heard("anthropic stream" if stream else "anthropic", headers, body).thinking
            assert "ada@" not in thinking and "example.invalid" in thinking
            block = {"type": "thinking", "thinking": thinking, "signature": stand_in.SIGNATURE}
            said = [{"role": "assistant", "content": [block]}, {"role": "user", "content": "go on"}]
            await post(agent, "anthropic", "/v1/messages", {**CHAT, "messages": said})
            assert json.loads(models.received[-1].body)["messages"][0]["content"] == [block]
        # What only claims to be signed is read.
        forged = {"type": "thinking", "thinking": f"I think of {PLANTED}", "signature": "c2lnbmVk"}
        said = [{"role": "assistant", "content": [forged]}]
        await post(agent, "anthropic", "/v1/messages", {**CHAT, "messages": said})
    assert PLANTED.encode() not in models.received[-1].body
    assert gateway.link.account.open == {}


async def test_numbers_keep_their_spelling(models: Models) -> None:
    raw = (
        b'{"model":"m","messages":[{"role":"user","content":"x"}],"temperature":1.50,"top_p":1e-0,'
        b'"seed":123456789012345678901234567890,"max_tokens":5}'
    )
    async with talking(
        models, "openai", redact=Redact(disable=("financial", "personal", "health"))
    ) as (_, agent):
        assert (await post(agent, "openai", "/v1/chat/completions", raw))[0] == 200
    sent = models.received[0].body
    assert b'"temperature":1.50,"top_p":1e-0,"seed":123456789012345678901234567890' in sent


async def test_the_same_request_is_the_same_whatever_its_ids_are(models: Models) -> None:
    def asked(number: str, text: str) -> dict[str, Any]:
        call = {
            "id": f"call_{number}",
            "type": "function",
            "function": {"name": "f", "arguments": "{}"},
        }
        return {
            "model": "m",
            "user": number,
            "messages": [
                {"role": "assistant", "tool_calls": [call]},
                {"role": "tool", "tool_call_id": f"call_{number}", "content": text},
            ],
        }

    async with talking(models, "openai") as (gateway, agent):
        for number, text in (("aaaaaaaa1", "x"), ("bbbbbbbb2", "x"), ("aaaaaaaa1", "y")):
            await post(agent, "openai", "/v1/chat/completions", asked(number, text))
    first, same, other = (ask.request for ask in gateway.link.asks)
    assert first == same != other and len(first) == 32


async def test_a_loop_is_warned_of_in_words_the_agent_reads(models: Models) -> None:
    call = {"id": "call_1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
    work = [
        {"role": "assistant", "tool_calls": [call]},
        {"role": "tool", "tool_call_id": "call_1", "content": "x"},
    ]
    body = {**CHAT, "messages": [*CHAT["messages"], *work]}
    async with talking(models, "openai", limits=Budget(same_request=3)) as (_, agent):
        assert [
            (await post(agent, "openai", "/v1/chat/completions", body))[0] for _ in range(2)
        ] == [200, 200]
        status, headers, reply = await post(agent, "openai", "/v1/chat/completions", body)
        # The control: what is no agent's work may be asked as often as one likes.
        assert [
            (await post(agent, "openai", "/v1/chat/completions", CHAT))[0] for _ in range(9)
        ] == [200] * 9
    assert (status, headers["x-should-retry"]) == (400, "false") and len(models.received) == 11
    message = json.loads(reply)["error"]["message"]
    assert (
        "2 times in a row" in message
        and "budget.same_request is 3; akios.yaml may raise it up to 50" in message
    )


async def test_paths_the_policy_names(models: Models) -> None:
    network = Network(llm_paths=("openai:/v1/files",))
    async with talking(models, "openai", network=network) as (gateway, agent):
        parts = (
            b'--b\r\nContent-Disposition: form-data; name="purpose"\r\n\r\nassistants\r\n'
            b'--b\r\nContent-Disposition: form-data; name="file"; filename="a.txt"\r\n\r\n'
            b"to ada@example.org\r\n--b--\r\n"
        )
        fields = [("content-type", "multipart/form-data; boundary=b")]
        status, _, _ = await agent.ask("POST", "/v1/files", parts, fields, host=HOSTS["openai"])
        assert status == 404 and models.received[0].target == "/v1/files"
        assert b"ada@" not in models.received[0].body and b"assistants" in models.received[0].body
        assert ("authorization", f"Bearer {KEYS['openai'].decode()}") in models.received[0].headers
        while not gateway.link.of(NetRequest):
            await trio.lowlevel.checkpoint()
        [record] = gateway.link.of(NetRequest)
        assert record.error == "not priced: network.llm_paths" and gateway.link.asks == []
        for path in (
            "/v1/filesystem",
            "/v1/files/../batches",
            "/v1/files/%2e%2e/batches",
            "/v1//files",
        ):
            assert (await post(agent, "openai", path, {}))[0] == 403
        assert len(models.received) == 1


async def test_unread_answers_are_not_passed(models: Models) -> None:
    models.fail = (200, {"content-encoding": "gzip"}, b"\x1f\x8b")
    async with talking(models, "openai") as (gateway, agent):
        status, _, body = await post(agent, "openai", "/v1/chat/completions", CHAT)
    assert status == 502 and b"\x1f" not in body
    assert gateway.link.bills[0].outcome == "cut", "it may have been paid"


def test_the_link_notices_a_second_settlement() -> None:
    """Control of the harness: settling twice is an error there."""
    from akiosd.errors import ProtocolError
    from akiosd.values.spend import Bill

    with pytest.raises(ProtocolError):
        AccountLink(Budget()).settle(1, Bill("failed"))
