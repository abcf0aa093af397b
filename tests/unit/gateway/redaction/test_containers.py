"""Labelled secrets through the whole gateway: in every container, and wherever they stand again."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any
from urllib.parse import quote, unquote_plus

import pytest

from akiosd.gateway.redaction.redactors import Redactors
from akiosd.redact.known_values import Known
from akiosd.values.policy import Redact
from tests.e2e.models import Models
from tests.e2e.upstreams import Upstream
from tests.unit.gateway.harness import connected, make_context
from tests.unit.gateway.llm_harness import post, talking
from tests.unit.redact.written import ANY, PLAIN

OFF = Redact(models="off", sites="off")
PASSWORD, KEY = "hunter22!", "f3a9c1b27d8e4056a1b2"
SECRETS = {"password": PASSWORD, "api_key": KEY}
CALL = {
    "id": "c1",
    "type": "function",
    "function": {"name": "log_in", "arguments": json.dumps(SECRETS)},
}
TOOL_USE = {"type": "tool_use", "id": "t1", "name": "log_in", "input": SECRETS}
EXAMPLES: dict[str, tuple[str, str, list[dict[str, Any]]]] = {
    "the content of a tool message": ("openai", "/v1/chat/completions", [
        {"role": "user", "content": "log in"}, {"role": "assistant", "tool_calls": [CALL | {"function": {
            "name": "f", "arguments": "{}"}}]},
        {"role": "tool", "tool_call_id": "c1", "content": json.dumps(SECRETS)}]),
    "the arguments of a tool": ("openai", "/v1/chat/completions", [
        {"role": "user", "content": "log in"}, {"role": "assistant", "tool_calls": [CALL]},
        {"role": "tool", "tool_call_id": "c1", "content": "done"}]),
    "the input of a tool": ("anthropic", "/v1/messages", [
        {"role": "user", "content": "log in"}, {"role": "assistant", "content": [TOOL_USE]},
        {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t1", "content": "done"}]}]),
}  # fmt: skip


@pytest.fixture
def models(server: Models) -> Iterator[Models]:
    server.received.clear()
    yield server


async def sent(
    models: Models,
    provider: str,
    target: str,
    *bodies: Any,
    redact: Redact = Redact(),  # noqa: B008
) -> list[str]:
    """What the model got of each of ``bodies``, and what the log holds."""
    async with talking(models, provider, redact=redact) as (gateway, agent):
        for messages in bodies:
            status, _, answer = await post(
                agent, provider, target, {"model": "m", "max_tokens": 50, "messages": messages}
            )
            assert status == 200, answer
        record = repr(gateway.link.records)
    assert PASSWORD not in record and KEY not in record
    return [received.everything().decode() for received in models.received]


@pytest.mark.parametrize("name", EXAMPLES)
async def test_labelled_secrets_do_not_reach_the_model(models: Models, name: str) -> None:
    provider, target, messages = EXAMPLES[name]
    [seen] = await sent(models, provider, target, messages)
    assert PASSWORD not in seen and KEY not in seen
    models.received.clear()
    [seen] = await sent(models, provider, target, messages, redact=OFF)
    assert PASSWORD in seen and KEY in seen, "the control: they were there"


@pytest.mark.parametrize("container", [*ANY, *PLAIN])
async def test_nor_from_any_container(models: Models, container: str) -> None:
    text = {**ANY, **PLAIN}[container](SECRETS)
    [seen] = await sent(
        models, "openai", "/v1/chat/completions", [{"role": "user", "content": text}]
    )
    assert PASSWORD not in unquote_plus(seen) and KEY not in seen


CHAT = ("openai", "/v1/chat/completions")
AGAIN = {"role": "user", "content": f"log in with {PASSWORD} please"}


async def test_the_second_occurrence_goes_too(models: Models) -> None:
    """In the same text, in a message before it, and in the next request."""
    told = {
        "role": "user",
        "content": f"take {PASSWORD}.\npassword: {PASSWORD}\nso log in with {PASSWORD}!",
    }
    for bodies in ([[told]], [[AGAIN, told]], [[told, AGAIN]], [[told], [AGAIN]]):
        models.received.clear()
        assert not any(PASSWORD in seen for seen in await sent(models, *CHAT, *bodies)), bodies
    models.received.clear()
    assert PASSWORD in (await sent(models, *CHAT, [AGAIN]))[0], (
        "the control: in another cage nobody knows it"
    )


async def test_it_comes_back_to_the_agent(models: Models) -> None:
    async with talking(models, "openai") as (_, agent):
        body = {"model": "m", "messages": [{"role": "user", "content": json.dumps(SECRETS)}]}
        _, _, answer = await post(agent, *CHAT, body)
    assert (
        json.loads(
            json.loads(answer)["choices"][0]["message"]["content"].removeprefix("You said: ")
        )
        == SECRETS
    )


async def arrived(
    redactors: Redactors, target: str, headers: list[tuple[str, str]], body: bytes, policy: Redact
) -> str:
    """All that a site saw of one request."""
    with Upstream() as up:
        context = make_context(port=up.port, redact=policy)
        context.redactors = redactors
        async with connected(context) as agent:
            status, _, answer = await agent.ask("POST", target, body, headers)
            assert status == 200, answer
        assert PASSWORD not in repr(context.link.records) and KEY not in repr(context.link.records)
    return unquote_plus(up.received.decode())


PARTS = (
    f'--B\r\nContent-Disposition: form-data; name="password"\r\n\r\n{PASSWORD}\r\n'
    f'--B\r\nContent-Disposition: form-data; name="api_key"\r\n\r\n{KEY}\r\n--B--\r\n'
)
BODIES = {
    **{name: (write(SECRETS), kind) for name, kind, write in (
        ("JSON", "application/json", ANY["JSON"]), ("XML", "application/xml", ANY["XML"]),
        ("CSV", "text/csv", ANY["CSV"]),
        ("YAML", "application/yaml", ANY["YAML with values below"]), ("TOML", "application/toml", ANY["TOML"]),
        ("JSON lines", "application/x-ndjson", ANY["JSON lines"]), ("text", "text/plain", ANY["JSON in prose"]),
        ("no kind", "", ANY["a property list"]), ("a form", "application/x-www-form-urlencoded", ANY["a form"]))},
    "multipart": (PARTS, "multipart/form-data; boundary=B"),
}  # fmt: skip


@pytest.mark.parametrize("name", BODIES)
async def test_nor_do_they_reach_a_site(name: str) -> None:
    body, kind = BODIES[name]
    for policy, there in ((Redact(), False), (OFF, True)):
        headers = [("content-type", kind)] if kind else []
        seen = await arrived(Redactors(policy, bytes(32)), "/", headers, body.encode(), policy)
        assert (PASSWORD in seen) == (KEY in seen) == there


@pytest.mark.parametrize("where", ["target", "header", "body", "later body"])
async def test_what_one_channel_gives_away_is_found_in_all(where: str) -> None:
    policy = Redact()
    redactors = Redactors(policy, bytes(32))
    told = {"target": "/", "headers": [("content-type", "text/plain")], "body": b"nothing"}
    if where == "target":
        told["target"] = f"/?password={quote(PASSWORD)}"
    elif where == "header":
        told["headers"] = [("content-type", "text/plain"), ("x-note", f"password: {PASSWORD}")]
    else:
        told["body"] = json.dumps({"password": PASSWORD}).encode()
    if where != "later body":
        bare: dict[str, Any] = {
            "target": f"/a/{quote(PASSWORD)}",
            "headers": [("x-any", f"is {PASSWORD}")],
            "body": f"it is {PASSWORD}".encode(),
        }
        both = {
            "target": bare["target"] + told["target"].removeprefix("/"),
            "headers": bare["headers"] + told["headers"],
            "body": bare["body"] + b"\n" + told["body"],
        }
        assert PASSWORD not in await arrived(redactors, **both, policy=policy)
        assert PASSWORD in await arrived(Redactors(policy, bytes(32)), **bare, policy=policy), (
            "the control"
        )
        return
    await arrived(redactors, **told, policy=policy)
    seen = await arrived(
        redactors, "/", [("content-type", "text/plain")], f"it is {PASSWORD}".encode(), policy
    )
    assert PASSWORD not in seen


async def test_what_a_site_was_told_the_model_is_not(models: Models) -> None:
    async with talking(models, "openai") as (gateway, agent):
        await arrived(
            gateway.redactors, "/", [], json.dumps(SECRETS).encode(), gateway.setup.policy.redact
        )
        body = {"model": "m", "messages": [AGAIN]}
        assert (await post(agent, *CHAT, body))[0] == 200
    assert PASSWORD not in models.received[0].everything().decode()


async def test_a_cage_that_has_shown_too_many_is_refused_and_told_why(models: Models) -> None:
    async with talking(models, "openai") as (gateway, agent):
        gateway.redactors.models.known = Known(most=1)
        told = [json.dumps({"password": value}) for value in (PASSWORD, "oneT00many!")]
        bodies = [{"model": "m", "messages": [{"role": "user", "content": text}]} for text in told]
        assert (await post(agent, *CHAT, bodies[0]))[0] == 200, "the control"
        status, _, answer = await post(agent, *CHAT, bodies[1])
    assert (
        status >= 400
        and "start a new run" in answer.decode()
        and "oneT00many" not in answer.decode()
    )
    assert len(models.received) == 1
