"""A workflow as its file says it: the structs that YAML is read into.

The JSON Schema of the file (``akiosctl workflow schema``) and the keys of akios-workflow(5) are
written from these structs, so that what stands beside a field is its paragraph in the manual.
What is in ``parameters`` and ``config`` belongs to the kind of step
(:mod:`akiosd.workflow.steps.kinds`).
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import UNSET, Meta, UnsetType

NAME = r"^[A-Za-z_][A-Za-z0-9_-]{0,63}$"
MAX_STEPS = 256
MAX_INSTANCES = 256
"""Of one step with a matrix."""

Name = Annotated[str, Meta(pattern=NAME)]
Variable = Annotated[str, Meta(pattern=r"^[A-Za-z_][A-Za-z0-9_]{0,127}$")]
Backoff = Literal["constant", "exponential"]
InputType = Literal["text", "integer", "number", "boolean", "list", "map"]
Agent = Literal["llm", "http", "filesystem", "tool", "webhook", "database", "mcp", "approve"]
"""The kinds of steps; ``approve`` asks a person."""


class Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base of what a workflow file is made of."""


class Input(Part, frozen=True, kw_only=True):
    """A value that whoever starts the workflow gives."""

    type: Annotated[
        InputType,
        Meta(description="text, integer, number, boolean, list or map."),
    ] = "text"
    description: Annotated[
        str, Meta(description="What it is for; who is asked for it sees this.")
    ] = ""
    default: Annotated[
        Any,
        Meta(description="What holds where nothing is given. Without it a value must be given."),
    ] = UNSET
    choices: Annotated[
        tuple[Any, ...], Meta(description="The only values that are taken; all where it is empty.")
    ] = ()


class Retry(Part, frozen=True, kw_only=True):
    """How often a step that failed is tried again."""

    attempts: Annotated[
        int, Meta(ge=1, le=20, description="How often it is tried in all, the first time included.")
    ] = 1
    backoff: Annotated[
        Backoff,
        Meta(
            description="constant: the same delay each time. exponential: twice as long each time."
        ),
    ] = "constant"
    delay: Annotated[
        str | int | float, Meta(description="Time before the second attempt, as in 2s.")
    ] = "1s"
    jitter: Annotated[
        bool,
        Meta(description="Wait a random part of the delay, so that many do not return at once."),
    ] = False


class Step(Part, frozen=True, kw_only=True):
    """One thing that is done, in a cage."""

    name: Annotated[
        Name,
        Meta(description="What other steps call it. Letters, digits, _ and -. Every step has one."),
    ] = ""
    agent: Annotated[
        Agent | UnsetType,
        Meta(
            description="The kind of step: llm, http, filesystem, tool, webhook, database, mcp or "
            "approve. Left out only where parallel is written."
        ),
    ] = UNSET
    action: Annotated[
        str, Meta(description="What the agent does, as in complete (llm) or read (filesystem).")
    ] = ""
    config: Annotated[
        dict[str, Any], Meta(description="Settings of the agent, such as provider and model.")
    ] = {}
    parameters: Annotated[
        dict[str, Any], Meta(description="The values of the action. References are filled in here.")
    ] = {}
    needs: Annotated[
        str | tuple[str, ...] | UnsetType,
        Meta(
            description="Steps that must be done before, by name. Left out: the step before it in "
            "the file; an empty list: none."
        ),
    ] = UNSET
    condition: Annotated[
        str | bool | UnsetType,
        Meta(description="A condition. The step is left out where it is false."),
    ] = msgspec.field(default=UNSET, name="if")
    matrix: Annotated[
        dict[str, Any],
        Meta(
            description="Lists by name, or a reference to one. The step is done once for each "
            "combination, which it sees as {matrix.NAME}."
        ),
    ] = {}
    parallel: Annotated[
        tuple[Step, ...],
        Meta(description="Steps that are done at the same time, in the place of a step."),
    ] = ()
    retry: Annotated[
        Retry | UnsetType, Meta(description="Attempts after a failure; none where it is left out.")
    ] = UNSET
    timeout: Annotated[
        str | int | float | UnsetType,
        Meta(description="The longest that one attempt may take, as in 5m."),
    ] = UNSET
    continue_on_error: Annotated[
        bool, Meta(description="Whether the workflow goes on where the step failed.")
    ] = False
    outputs: Annotated[
        dict[Name, str],
        Meta(
            description="Further outputs by name, each a reference to what the step brought, as in "
            "title: '{outputs.json.title}'."
        ),
    ] = {}
    policy: Annotated[
        dict[str, Any],
        Meta(description="A policy as in akios-policy(5) that takes away from the workflow's."),
    ] = {}


class Workflow(Part, frozen=True, kw_only=True):
    """A whole file."""

    version: Annotated[Literal[1], Meta(description="Always 1.")] = 1
    name: Annotated[str, Meta(min_length=1, max_length=128, description="What people call it.")]
    description: Annotated[str, Meta(description="What it does, for people.")] = ""
    inputs: Annotated[dict[Name, Input], Meta(description="Values to be given, by name.")] = {}
    env: Annotated[
        tuple[Variable, ...],
        Meta(
            description="Variables of the caller that the file may read as ${NAME} or "
            "${NAME:-default}. No other is read."
        ),
    ] = ()
    policy: Annotated[
        dict[str, Any],
        Meta(description="A policy as in akios-policy(5) that takes away from that of a run here."),
    ] = {}
    steps: Annotated[
        tuple[Step, ...],
        Meta(
            min_length=1,
            max_length=MAX_STEPS,
            description="What is done, in the order of the file.",
        ),
    ]
