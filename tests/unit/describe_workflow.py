"""The keys in akios-workflow(5), written from the JSON Schema of workflow files:
``python -m tests.unit.describe_workflow`` renews them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import msgspec
from msgspec import NODEFAULT
from msgspec.structs import FieldInfo

from akiosd.workflow.publish import file_schema
from akiosd.workflow.steps.kind import Time
from akiosd.workflow.steps.kinds import KINDS
from tests.unit.describe_records import roff
from tests.unit.workflow_meanings import BRINGS, CONFIG, DOES, PARAMETERS

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
        if {"TEXT", "N", "NUMBER"} <= set(kinds):
            return "TIME"
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
        default = about.get("default")
        if default not in (None, "", [], {}, ()) and key != "version":
            needed = f" Left out: {str(default).lower()}."
        text = roff(about["description"] + needed)
        found += f".TP\n\\fB{roff(key)}\\fR \\fI{_kind(about)}\\fR\n{text}\n"
    return found


def _type(field: FieldInfo) -> str:
    """The word for a value of a step's field."""
    kind = field.type
    if kind == Time:
        return "TIME"
    found = msgspec.json.schema(kind)
    if "anyOf" in found:
        rest = [one for one in found["anyOf"] if one != {"type": "null"}]
        found = rest[0] if len(rest) == 1 else {"anyOf": rest}
    return _kind(found)


def _default(field: FieldInfo) -> str:
    """What holds where a field is left out, as it would be written in the file."""
    if field.default_factory is not NODEFAULT:
        value = field.default_factory()
    else:
        value = field.default
    match value:
        case msgspec.UNSET | None | "" | [] | {}:
            return ""
        case bool():
            return f", {str(value).lower()} by default"
        case int() if value >= 1 << 20 and value % (1 << 20) == 0:
            return f", {value} ({value >> 20} MiB) by default"
        case _ if _type(field) == "TIME" and not isinstance(value, str):
            return f", {value}s by default"
        case _:
            return f", {value} by default"


def _describe_fields(form: type[msgspec.Struct], meanings: dict[str, str]) -> str:
    """The tagged paragraphs of a form; each field has its meaning, and each meaning its field."""
    fields = msgspec.structs.fields(form)
    assert {field.encode_name for field in fields} == set(meanings), (form, sorted(meanings))
    found = ""
    for field in fields:
        name = field.encode_name
        needed = ", required" if field.required else _default(field)
        found += f".TP\n\\fB{roff(name)}\\fR \\fI{_type(field)}\\fR{roff(needed)}\n"
        found += f"{roff(meanings[name])}\n"
    return found


def describe_actions(agent: str) -> str:
    """The config of an agent, and its actions: what each takes, and what comes out."""
    actions = KINDS[agent]()
    (config,) = {action.config for action in actions.values()}
    found = ".PP\n\\fIIn config:\\fR\n" + _describe_fields(config, CONFIG[agent])
    for name, action in actions.items():
        if (agent, name) not in DOES:
            continue
        others = [
            other
            for other in actions
            if (agent, other) not in DOES and actions[other].parameters is action.parameters
        ]
        assert all(PARAMETERS[agent, other] == PARAMETERS[agent, name] for other in others)
        assert all(BRINGS[agent, other] == BRINGS[agent, name] for other in others)
        names = ", ".join(f"\\fB{one}\\fR" for one in (name, *others))
        meanings = PARAMETERS[agent, name]
        takes = " \\fIIn parameters:\\fR" if meanings else ""
        found += f".PP\n{names} {roff(DOES[agent, name])}{takes}\n"
        found += _describe_fields(action.parameters, meanings)
        found += f".PP\nOut comes: {roff(BRINGS[agent, name])}.\n"
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
