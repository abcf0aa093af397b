"""The prompts of a workflow as far as they are known before it runs.

Inputs and variables are filled in as they will be.  What a step before brings is not there yet: its
reference stays in the text and is named.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, NamedTuple

from akiosctl.preview import Preview, Price, preview, price_of, together
from akiosd.errors import AkiosError
from akiosd.workflow.interpolate import Reference, Variable, fill, parse_text
from akiosd.workflow.plan import Plan, PlannedStep
from akiosd.workflow.references import Scope, show
from akiosd.workflow.steps.kind import read_form
from akiosd.workflow.steps.kinds import find_action
from akiosd.workflow.steps.llm import make_ask


class Prompt(NamedTuple):
    """``messages``: (role, what the model would get).  ``later``: references that are filled in
    when it runs.  ``whole`` adds the messages up; its price is None where none is known.
    """

    step: str
    model: str
    messages: list[tuple[str, Preview]]
    later: list[str]
    whole: Preview
    max_tokens: int


def show_prompts(
    plan: Plan, inputs: Mapping[str, Any], variables: Mapping[str, str], step: str = ""
) -> list[Prompt]:
    """Those of all llm steps, or of one.  Raises :class:`AkiosError`."""
    named = [one for one in plan.steps if step in ("", one.name)]
    if not named:
        names = ", ".join(one.name for one in plan.steps if one.agent == "llm")
        raise AkiosError(
            f"there is no step {step!r}", "--step", f"steps with a prompt: {names or 'none'}"
        )
    chosen = [one for one in named if one.agent == "llm"]
    if step and not chosen:
        raise AkiosError(f"{step} asks no model", "--step", "name a step with agent: llm")
    declared = {name: variables[name] for name in plan.variables if name in variables}
    scope = Scope(inputs=inputs, variables=declared)
    return [_prompt(one, scope) for one in chosen]


def _prompt(step: PlannedStep, scope: Scope) -> Prompt:
    later: dict[str, None] = {}
    config, parameters = (
        _fill_known(value, scope, later) for value in (step.config, step.parameters)
    )
    action = find_action("llm", step.action)
    where = f"step {step.name}"
    settings = read_form(action.config, config, f"{where}: config")
    ask = make_ask(settings, read_form(action.parameters, parameters, f"{where}: parameters"))
    said = [("system", ask.system)] if ask.system else []
    messages = [(role, preview(words)) for role, words in (*said, *ask.messages)]
    shown = [one for _, one in messages]
    model = f"{settings.provider}/{settings.model}"
    price = _known_price(model, sum(one.tokens for one in shown))
    return Prompt(step.name, model, messages, list(later), together(shown, price), ask.max_tokens)


def _known_price(model: str, tokens: int) -> Price | None:
    try:
        return price_of(model, tokens)
    except AkiosError:
        return None  # such a call is refused, unless akiosd.yaml has a price


def _fill_known(value: Any, scope: Scope, later: dict[str, None]) -> Any:
    """Plain data with the references that are known filled in; the others stay, and are noted."""
    if isinstance(value, Mapping):
        return {key: _fill_known(inner, scope, later) for key, inner in value.items()}
    if isinstance(value, list | tuple):
        return [_fill_known(inner, scope, later) for inner in value]
    if not isinstance(value, str):
        return value
    pieces = parse_text(value)
    unknown = [piece for piece in pieces if _is_later(piece, scope)]
    if not unknown:
        return fill(value, scope)
    later.update(dict.fromkeys(_written(piece) for piece in unknown))
    return "".join(
        _written(piece)
        if isinstance(piece, str) or piece in unknown
        else _text(fill(_written(piece), scope))
        for piece in pieces
    )


def _is_later(piece: str | Reference | Variable, scope: Scope) -> bool:
    if isinstance(piece, Reference):
        return piece.path[0] != "inputs" or len(piece.path) < 2 or piece.path[1] not in scope.inputs
    return False


def _written(piece: str | Reference | Variable) -> str:
    if isinstance(piece, str):
        return piece
    if isinstance(piece, Variable):
        default = "" if piece.default is None else f":-{piece.default}"
        return f"${{{piece.name}{default}}}"
    return f"{{{show(piece.path)}}}"


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
