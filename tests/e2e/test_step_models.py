"""Steps that ask a model: each provider, plain and as a stream, with tools and structured, in a cage
before the stand-in models.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import pytest

from akiosd.values.policy import PROVIDERS
from tests.e2e.daemon import Daemon
from tests.e2e.models import USAGE, Models
from tests.e2e.standing import before_models
from tests.e2e.steps import Steps, many, said, step

SECRET = "ada.lovelace@example.org"
MODELS = {
    "openai": "gpt-4o",
    "anthropic": "claude-sonnet-4-5",
    "gemini": "gemini-2.5-flash",
    "mistral": "mistral-large-latest",
    "xai": "grok-4",
    "bedrock": "anthropic.claude-3-5-sonnet-20240620-v1:0",
    "ollama": "llama3",
}
SCHEMA = {
    "type": "object",
    "properties": {"path": {"type": "string"}, "text": {"type": "string"}},
    "required": ["path", "text"],
    "additionalProperties": False,
}
TOOL = {"name": "write_file", "description": "Writes a file.", "parameters": SCHEMA}


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as running:
        yield running


@pytest.fixture(scope="module")
def daemon(models: Models) -> Iterator[Daemon]:
    with before_models(models) as daemon:
        yield daemon


@pytest.fixture
def do(daemon: Daemon) -> Iterator[Steps]:
    with many(daemon, daemon.workspace()) as steps:
        yield steps


def ask(do: Steps, provider: str, **parameters: Any) -> dict[str, Any]:
    config = parameters.pop("config", {})
    config = {"provider": provider, "model": MODELS[provider], "max_tokens": 300} | config
    action = "chat" if "messages" in parameters else "complete"
    return do("llm", action, parameters, config)


@pytest.mark.parametrize("provider", PROVIDERS)
def test_each_provider(do: Steps, models: Models, provider: str) -> None:
    """What is not streamed here is below, and the other way round."""
    before = len(models.received)
    check_text(do, provider, stream=False)
    check_text(do, provider, stream=True)
    check_tool(do, provider, stream=True)
    check_structured(do, provider, stream=False)
    check_sent(models, before)


@pytest.mark.named_set("workflow")
@pytest.mark.parametrize("provider", PROVIDERS)
def test_the_rest_of_each_provider(do: Steps, models: Models, provider: str) -> None:
    before = len(models.received)
    check_tool(do, provider, stream=False)
    check_structured(do, provider, stream=True)
    check_sent(models, before)


WORDS = f"Greet {SECRET}"


def check_text(do: Steps, provider: str, stream: bool) -> None:
    found = ask(do, provider, prompt=WORDS, system="Be brief.", config={"stream": stream})
    assert found["outputs"]["text"] == f"You said: {WORDS}", found
    assert found["usage"]["input_tokens"] == USAGE["input"]
    assert found["usage"]["output_tokens"] == USAGE["output"]


def check_tool(do: Steps, provider: str, stream: bool) -> None:
    found = ask(do, provider, prompt=WORDS, tools=[TOOL], config={"stream": stream})
    (call,) = found["outputs"]["tool_calls"]
    assert (call["name"], call["arguments"]["text"]) == ("write_file", WORDS)


def check_structured(do: Steps, provider: str, stream: bool) -> None:
    wanted = json.dumps({"path": "a.txt", "text": WORDS})
    found = ask(do, provider, prompt=wanted, schema=SCHEMA, config={"stream": stream})
    assert found["outputs"]["data"]["path"] == "a.txt", found


def check_sent(models: Models, before: int) -> None:
    """Redacted, with the real key in the placeholder's place."""
    sent = b"".join(one.everything() for one in models.received[before:])
    assert sent and SECRET.encode() not in sent and b"placeholder" not in sent.lower()


def test_a_conversation(do: Steps, models: Models) -> None:
    turns = [
        {"role": "system", "content": "Be kind."},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "two"},
        {"role": "user", "content": "three"},
    ]
    assert ask(do, "openai", messages=turns)["outputs"]["text"] == "You said: three"
    sent = json.loads(models.received[-1].body)["messages"]
    assert [one["content"] for one in sent] == ["Be kind.", "one", "two", "three"]
    assert "the last message is not of the role user" in said(ask(do, "openai", messages=turns[:3]))


def test_an_answer_that_is_not_as_wanted(do: Steps) -> None:
    found = ask(do, "openai", prompt='{"path": 3}', schema=SCHEMA)
    assert "['path']: 3 is not of type \"string\"" in said(found), found
    assert found["outputs"]["text"] == '{"path": 3}' and "data" not in found["outputs"]
    assert "is not JSON" in said(ask(do, "openai", prompt="nothing", schema=SCHEMA))


@pytest.mark.parametrize(
    "schema",
    [
        {"type": "objekt"},
        {"$ref": "https://schemas.example/x.json"},
        {"$ref": "file://{workspace}/there.json"},
        {"type": "string", "pattern": "("},
        # Look-around and back-references need an engine that goes back: for them there is none.
        {"type": "string", "pattern": "^(?=(a+)+$)a"},
        {"type": "string", "pattern": r"^(a+)\1$"},
    ],
)
def test_a_schema_that_is_none_is_not_sent(
    do: Steps, models: Models, schema: dict[str, Any]
) -> None:
    """One that refers to a file that is there is not read from it, too."""
    (do.workspace / "there.json").write_text('{"type": "string"}')
    before = len(models.received)
    text = json.dumps(schema).replace("{workspace}", str(do.workspace))
    assert "schema cannot be used" in said(ask(do, "openai", prompt="x", schema=json.loads(text)))
    assert len(models.received) == before


def test_a_pattern_of_a_schema_takes_linear_time(do: Steps) -> None:
    """A backtracking engine takes 2^40 steps for this; the time limit of the cage would end it."""
    schema = {"type": "string", "pattern": "^(a+)+$"}
    found = ask(do, "openai", prompt=json.dumps("a" * 40 + "!"), schema=schema)
    assert "does not match" in said(found)


def test_what_goes_wrong_is_said(do: Steps, models: Models) -> None:
    config = {"api_key": "sk-real"}
    assert "akiosctl keys set openai" in said(ask(do, "openai", prompt="x", config=config))
    assert "max_tokens" in said(ask(do, "openai", prompt="x", config={"max_tokns": 1}))
    models.failures.append((400, {}, b'{"error": {"message": "no such thing"}}'))
    assert "400 Bad Request: no such thing" in said(ask(do, "openai", prompt="x"))
    unknown = ask(do, "openai", prompt="x", config={"model": "gpt-nobody-knows"})
    assert "llm." in said(unknown) or "price" in said(unknown), unknown


def test_a_stream_that_breaks_off(do: Steps, models: Models) -> None:
    models.breaks = True
    try:
        found = ask(do, "anthropic", prompt="a long answer", config={"stream": True})
    finally:
        models.breaks = False
    assert "failure" in found, found


def test_the_program_by_itself(daemon: Daemon) -> None:
    config = {"provider": "mistral", "model": MODELS["mistral"]}
    found = step(daemon, daemon.workspace(), "llm", "complete", {"prompt": "Hello"}, config)
    assert found["outputs"]["text"] == "You said: Hello" and found["usage"]["input_tokens"]
