"""A question to a model and its answer, the same for all providers.

A provider is a :class:`Dialect`: how the question is written for it, and how its answer, whole or
as a stream of events, is read.  Everything in an answer may be missing or of another type; what
cannot be read is left out, as a model's text is.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

Json = dict[str, Any]

ANSWER = "answer"
"""The tool by which a model gives structured output where its interface has no other way."""


class Tool(NamedTuple):
    name: str
    description: str
    schema: Json


class Ask(NamedTuple):
    """``messages`` have a role (user, assistant) and text.  ``schema`` is that of structured
    output, None for text.  ``tool_choice``: auto, any, none, or the name of a tool.
    """

    model: str
    messages: list[tuple[str, str]]
    system: str = ""
    max_tokens: int = 4096
    temperature: float | None = None
    stop: tuple[str, ...] = ()
    tools: tuple[Tool, ...] = ()
    tool_choice: str = "auto"
    schema: Json | None = None
    stream: bool = False

    def with_answer_tool(self) -> Ask:
        """The same, its schema as that of a tool which must be called."""
        if self.schema is None:
            return self
        tool = Tool(ANSWER, "Give the answer by calling this.", self.schema)
        return self._replace(tools=(tool,), tool_choice=ANSWER)


class Call(NamedTuple):
    """A call of a tool that a model wants; ``arguments`` as JSON text."""

    id: str
    name: str
    arguments: str


class Answer:
    """What came so far; a stream adds to it."""

    def __init__(self) -> None:
        self.text = ""
        self.calls: dict[int, Call] = {}
        self.stop_reason = ""
        self.model = ""
        self.input_tokens = self.output_tokens = 0
        self.error = ""

    def add_call(self, at: int, id: str = "", name: str = "", arguments: str = "") -> None:
        """Begin the call of that number, or add a piece of its arguments."""
        old = self.calls.get(at, Call("", "", ""))
        self.calls[at] = Call(old.id or id, old.name or name, old.arguments + arguments)

    def end(self, reason: object) -> None:
        if isinstance(reason, str) and reason:
            self.stop_reason = reason

    def count(self, input: object, output: object) -> None:
        """The newest figures count: a stream says them more than once."""
        if isinstance(input, int) and input > 0:
            self.input_tokens = input
        if isinstance(output, int) and output > 0:
            self.output_tokens = output


class Dialect(Protocol):
    """``events`` of a stream: sse (server-sent events), lines (a JSON object each) or frames
    (application/vnd.amazon.eventstream).  ``long``: the stop reasons that mean cut at the limit.
    """

    @property
    def events(self) -> str: ...

    @property
    def long(self) -> tuple[str, ...]: ...

    def request(self, ask: Ask) -> tuple[str, Json]:
        """(path, body)."""

    def read(self, body: Json, answer: Answer) -> None:
        """A whole answer."""

    def add(self, kind: str, event: Json, answer: Answer) -> None:
        """One event of a stream."""


def mapping(value: object) -> Json:
    """``value``, or an empty mapping for anything else."""
    return value if isinstance(value, dict) else {}


def mappings(value: object) -> list[Json]:
    """The mappings in a list; empty for anything else."""
    return [item for item in value if isinstance(item, dict)] if isinstance(value, list) else []


def text(value: object) -> str:
    """``value``, or "" for anything else."""
    return value if isinstance(value, str) else ""


def number(value: object) -> int:
    """``value``, or 0 for anything else."""
    return value if isinstance(value, int) and not isinstance(value, bool) else 0


def dump(value: object) -> str:
    """Arguments that come parsed, as the text that others send."""
    return json.dumps(value, ensure_ascii=False)


def given(**fields: Any) -> Json:
    """The fields that have a value."""
    return {name: value for name, value in fields.items() if value not in (None, (), [], {}, "")}


def choose(ask: Ask, words: Mapping[str, Any], one: Any) -> Any:
    """``tool_choice`` in a provider's form: a word, or ``one`` for a tool by name; None without
    tools.
    """
    return words.get(ask.tool_choice, one) if ask.tools else None
