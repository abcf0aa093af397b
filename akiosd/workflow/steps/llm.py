"""Steps that ask a model: complete (a prompt) and chat (messages), each with tools or with
structured output where wanted.

There is no key in a cage.  The gateway puts it in, redacts what goes out, restores what comes back,
and counts the money; a step sends the placeholder that the cage's environment has.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from typing import Any, Literal

from akiosd.errors import AkiosError
from akiosd.values.providers import FACTS, ProviderFacts
from akiosd.values.step_call import StepUsage
from akiosd.workflow.steps import http_client
from akiosd.workflow.steps.http_client import Reply, Url, read_url
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds
from akiosd.workflow.steps.models.ask import ANSWER, Answer, Ask, Dialect, Tool
from akiosd.workflow.steps.models.dialects import DIALECTS, HEADERS, Provider
from akiosd.workflow.steps.models.streams import read_events
from akiosd.workflow.steps.structured import check_schema, read_structured

_MAX_ANSWER = 16 << 20


class Config(Form, kw_only=True):
    """``timeout`` in seconds (or as in ``5m``), of the whole answer.  ``region`` is for Bedrock."""

    provider: Provider
    model: str
    max_tokens: int = 4096
    temperature: float | None = None
    stop: list[str] = []
    stream: bool = False
    timeout: Time = 300
    region: str = ""
    system: str = ""
    api_key: str = ""


class ToolForm(Form):
    """``parameters`` is the JSON schema of the tool's arguments."""

    name: str
    description: str = ""
    parameters: dict[str, Any] = {}


class Asked(Form):
    """What a step may say of its own instead of its ``config``, and what it may want back."""

    system: str | None = None
    max_tokens: int | None = None
    temperature: float | None = None
    tools: list[ToolForm] = []
    tool_choice: str = "auto"
    schema: dict[str, Any] | None = None


class Complete(Asked, kw_only=True):
    prompt: str


class Message(Form):
    role: Literal["system", "user", "assistant"]
    content: str


class Chat(Asked, kw_only=True):
    messages: list[Message]


def make_ask(config: Config, wanted: Complete | Chat) -> Ask:
    """The question, before it is written for a provider.  Raises :class:`AkiosError`."""
    if isinstance(wanted, Complete):
        said = [("user", wanted.prompt)]
    else:
        said = [(one.role, one.content) for one in wanted.messages]
    own = config.system if wanted.system is None else wanted.system
    messages = [(role, words) for role, words in said if role != "system"]
    if not messages or messages[-1][0] != "user":
        raise AkiosError(
            "the last message is not of the role user",
            "llm: messages",
            "add a message with role: user at the end",
        )
    if wanted.tools and wanted.schema is not None:
        raise AkiosError("tools and schema contradict each other", "llm", "give one of them")
    return Ask(
        config.model,
        messages,
        "\n\n".join(filter(None, [own, *(words for role, words in said if role == "system")])),
        config.max_tokens if wanted.max_tokens is None else wanted.max_tokens,
        config.temperature if wanted.temperature is None else wanted.temperature,
        tuple(config.stop),
        tuple(
            Tool(one.name, one.description, one.parameters or {"type": "object"})
            for one in wanted.tools
        ),
        wanted.tool_choice,
        wanted.schema,
        config.stream,
    )


def _perform(work: Work, config: Config, wanted: Complete | Chat) -> None:
    if config.api_key:
        raise AkiosError(
            "a key in a workflow is not used: the agent could read it in the cage",
            "llm: config.api_key",
            f"take it out, and type: sudo akiosctl keys set {config.provider}",
        )
    ask = make_ask(config, wanted)
    validator = None if ask.schema is None else check_schema(ask.schema)
    dialect, facts = DIALECTS[config.provider], FACTS[config.provider]
    path, body = dialect.request(ask)
    data = json.dumps(body, ensure_ascii=False).encode()
    work.sent += len(data)
    url = read_url(_base(facts, config.region) + path)
    reply = http_client.ask("POST", url, _headers(facts), data, seconds(config.timeout))
    answer = Answer()
    try:
        _check_status(reply, url)
        if ask.stream:
            for kind, event in read_events(dialect.events, _bounded(reply)):
                dialect.add(kind, event, answer)
        else:
            dialect.read(_parse(reply), answer)
    finally:
        reply.close()
        work.received += reply.received
        _keep(work, config, answer)
    _judge(work, dialect, ask, answer, validator)


def _base(facts: ProviderFacts, region: str) -> str:
    if facts.local_port:
        return facts.local_url
    if facts.regions is not None:
        named = [os.environ.get(name, "") for name in facts.regions.variables]
        chosen = region or next(filter(None, named), facts.regions.default)
        return f"https://{facts.hosts[0].replace('*', chosen)}"
    return f"https://{facts.hosts[0]}"


def _headers(facts: ProviderFacts) -> dict[str, str]:
    headers = {"Content-Type": "application/json", **HEADERS.get(facts.name, {})}
    if facts.placeholders and not facts.signed_as:
        key = next(iter(facts.placeholders.values()))
        headers[facts.key_header.decode()] = facts.key_prefix.decode() + key
    return headers


def _bounded(reply: Reply) -> Iterator[bytes]:
    for piece in reply.pieces():
        if reply.received > _MAX_ANSWER:
            raise AkiosError(
                f"the answer has more than {_MAX_ANSWER} bytes", "llm", "ask for a shorter answer"
            )
        yield piece


def _check_status(reply: Reply, url: Url) -> None:
    if reply.status < 400:
        return
    text = reply.read(4096)[0].decode("utf-8", "replace").strip()
    try:
        found = json.loads(text)
        inner = found.get("error", found)
        text = inner if isinstance(inner, str) else inner.get("message") or text
    except (ValueError, AttributeError):
        pass  # it is shown as it is
    again = (
        "try again later" if reply.status in (429, 500, 502, 503, 504, 529) else "correct the step"
    )
    what = f"the provider answers {reply.status} {reply.reason}: {str(text)[:500]}".rstrip(": ")
    raise AkiosError(what, url.host, again)


def _parse(reply: Reply) -> dict[str, Any]:
    data = b"".join(_bounded(reply))
    try:
        found = json.loads(data)
    except (ValueError, RecursionError):
        found = None
    if not isinstance(found, dict):
        raise AkiosError("the provider's answer is not a JSON object", "llm", "try again")
    return found


def _keep(work: Work, config: Config, answer: Answer) -> None:
    """Also of an answer that broke off: it was paid for."""
    model = answer.model or config.model
    if answer.input_tokens or answer.output_tokens:
        work.usage = StepUsage(model, answer.input_tokens, answer.output_tokens)
    work.outputs |= {"text": answer.text, "model": model, "stop_reason": answer.stop_reason}


def _judge(work: Work, dialect: Dialect, ask: Ask, answer: Answer, validator: Any) -> None:
    if answer.error:
        raise AkiosError(f"the provider ended its answer: {answer.error}", "llm", "try again")
    is_cut = answer.stop_reason in dialect.long
    if is_cut:
        work.notes.append(f"the answer was cut at max_tokens ({ask.max_tokens})")
        work.outputs["truncated"] = True
    if validator is not None:
        if is_cut:
            raise AkiosError(
                f"the answer was cut at max_tokens ({ask.max_tokens}) and is not whole",
                "llm",
                "set max_tokens higher",
            )
        given = [call.arguments for call in answer.calls.values() if call.name == ANSWER]
        work.outputs["text"] = given[0] if given else answer.text
        work.outputs["data"] = read_structured(work.outputs["text"], validator)
    elif ask.tools:
        work.outputs["tool_calls"] = [
            {"id": call.id, "name": call.name, "arguments": _arguments(call.name, call.arguments)}
            for _, call in sorted(answer.calls.items())
        ]


def _arguments(name: str, text: str) -> Any:
    try:
        return json.loads(text or "{}")
    except (ValueError, RecursionError):
        raise AkiosError(
            f"the model calls {name!r} with arguments that are not JSON", "llm", "try again"
        ) from None


ACTIONS: Actions = {
    "complete": Action(Config, Complete, _perform),
    "chat": Action(Config, Chat, _perform),
}
