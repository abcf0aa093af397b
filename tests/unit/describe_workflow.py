"""The keys in akios-workflow(5), written from the JSON Schema of workflow files:
``python -m tests.unit.describe_workflow`` renews them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec

from akiosd.workflow.publish import file_schema
from akiosd.workflow.steps.kinds import KINDS
from tests.unit.describe_records import roff

PAGE = Path(__file__).resolve().parents[2] / "packaging" / "man" / "akios-workflow.5"
_PART = re.compile(
    r'(\.\\" (Keys|Actions) of (\w+) begin: written by tests/unit/describe_workflow.py\n)'
    r'.*?(\.\\" (?:Keys|Actions) end\n)',
    re.DOTALL,
)
_WORDS = {
    "string": "TEXT",
    "integer": "N",
    "number": "NUMBER",
    "boolean": "FLAG",
    "array": "LIST",
    "object": "TABLE",
}


def _kind(schema: dict[str, Any]) -> str:
    """The word for a value of a key."""
    if "enum" in schema:
        return "WORD"
    if "anyOf" in schema:
        kinds = [_kind(one) for one in schema["anyOf"]]
        return kinds[0] if len(set(kinds)) == 1 else "|".join(dict.fromkeys(kinds))
    if "$ref" in schema:
        return "TABLE"
    return _WORDS.get(schema.get("type", ""), "VALUE")


def describe_keys(name: str) -> str:
    """The tagged paragraphs of one struct's keys."""
    schema = file_schema()["$defs"][name]
    found = ""
    for key, about in schema["properties"].items():
        needed = " Required." if key in schema.get("required", ()) else ""
        text = roff(about["description"] + needed)
        found += f".TP\n\\fB{roff(key)}\\fR \\fI{_kind(about)}\\fR\n{text}\n"
    return found


def describe_actions(agent: str) -> str:
    """The actions of an agent with the names in config and parameters."""
    found = ""
    for name, action in KINDS[agent]().items():
        parts = []
        for part, form in (("config", action.config), ("parameters", action.parameters)):
            fields = msgspec.structs.fields(form)
            names = ", ".join(
                f.encode_name + ("" if not f.required else " (required)") for f in fields
            )
            parts.append(f"{part}: {names or 'nothing'}.")
        found += f".TP\n\\fB{name}\\fR\n{roff(' '.join(parts))}\n"
    return found


def described(page: str) -> set[str]:
    """The structs and agents that are written into the page."""
    return {match[3] for match in _PART.finditer(page)}


def renewed(page: str) -> str:
    def part(match: re.Match[str]) -> str:
        describe = describe_keys if match[2] == "Keys" else describe_actions
        return match[1] + describe(match[3]) + match[4]

    return _PART.sub(part, page)


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
