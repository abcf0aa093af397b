"""The JSON Schema of workflow files, for editors; written from the structs and the steps' forms."""

from __future__ import annotations

from typing import Any

import msgspec

from akiosd.values.workflow import Step, Workflow
from akiosd.workflow.forms import fields_of
from akiosd.workflow.steps.kinds import KINDS


def file_schema() -> dict[str, Any]:
    """JSON Schema 2020-12.  What each agent takes is told by conditions on ``agent`` and
    ``action``.
    """
    (top,), parts = msgspec.json.schema_components([Workflow], ref_template="#/$defs/{name}")
    step = dict(parts[Step.__name__])
    step["allOf"] = list(_agents(parts))
    parts[Step.__name__] = step
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "AKIOS workflow",
        **top,
        "$defs": parts,
    }


def _agents(parts: dict[str, Any]) -> Any:
    """For each agent its actions, for each action its fields.  A reference may stand for any
    value, so that types of single values are left to akiosctl.
    """
    for agent, load in KINDS.items():
        actions = load()
        is_agent = {"properties": {"agent": {"const": agent}}, "required": ["agent"]}
        yield {
            "if": is_agent,
            "then": {"properties": {"action": {"enum": list(actions)}}, "required": ["action"]},
        }
        for name, action in actions.items():
            both = {
                "properties": {"agent": {"const": agent}, "action": {"const": name}},
                "required": ["agent", "action"],
            }
            fields = {"config": action.config, "parameters": action.parameters}
            yield {
                "if": both,
                "then": {"properties": {key: _names(form) for key, form in fields.items()}},
            }


def _names(form: type[msgspec.Struct]) -> dict[str, Any]:
    fields = fields_of(form)
    needed = [name for name, field in fields.items() if field.required]
    return {
        "properties": {name: {} for name in fields},
        "additionalProperties": False,
        **({"required": needed} if needed else {}),
    }
