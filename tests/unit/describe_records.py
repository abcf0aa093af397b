"""The records in akios-ledger(5) and akios-events(5), written from their types: ``python -m
tests.unit.describe_records`` renews them.
"""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args, get_origin

import msgspec

from akiosd.values.records import KnownRecord

PAGE = Path(__file__).resolve().parents[2] / "packaging" / "man" / "akios-ledger.5"
EVENTS = PAGE.with_name("akios-events.5")
BEGIN, END = '.\\" Records begin: written by tests/unit/describe_records.py\n', '.\\" Records end\n'


def type_name(kind: Any) -> str:
    """As a reader of msgpack meets it."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inner = ", ".join(
            f"{field.name} {type_name(field.type)}" for field in msgspec.structs.fields(kind)
        )
        return f"map of ({inner})"
    plain = {bytes: "bin", str: "str", int: "int", bool: "bool", type(None): "nil", float: "float"}
    if kind in plain:
        return plain[kind]
    arguments = [argument for argument in get_args(kind) if argument is not ...]
    if get_origin(kind) is tuple:
        inner = ", ".join(map(type_name, arguments))
        return (
            f"array of {inner}"
            if len(arguments) == 1 or ... in get_args(kind)
            else f"array ({inner})"
        )
    if arguments and all(isinstance(argument, str) for argument in arguments):
        return "str (" + " or ".join(arguments) + ")"
    return " or ".join(map(type_name, arguments))


def json_type(kind: Any) -> str:
    """As a reader of JSON lines meets it: bytes are escaped text or hexadecimal."""
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        inner = (f"{field.name} {json_type(field.type)}" for field in msgspec.structs.fields(kind))
        return f"object ({', '.join(inner)})"
    plain = {bytes: "string", str: "string", int: "number", bool: "boolean", float: "number"}
    if kind in plain:
        return plain[kind]
    arguments = [one for one in get_args(kind) if one not in (..., type(None))]
    if get_origin(kind) is tuple:
        inner_types = ", ".join(map(json_type, arguments))
        whole = len(arguments) == 1 or ... in get_args(kind)
        return f"array of {inner_types}" if whole else f"array ({inner_types})"
    if all(isinstance(argument, str) for argument in arguments):
        return "string (" + " or ".join(arguments) + ")"
    return " or ".join(map(json_type, arguments))


def roff(text: str) -> str:
    text = " ".join(text.replace("``", "").split())
    for a, b in (("\\", "\\e"), ("-", "\\-"), ("'", "\\(aq"), (":class:", "")):
        text = text.replace(a, b)
    return text


def describe() -> str:
    """A paragraph for each kind: what it says, and its fields besides those that all have."""
    parts = []
    for kind in KnownRecord.__args__:
        fields = [
            field
            for field in msgspec.structs.fields(kind)
            if field.name not in ("ts", "v", "truncated")
        ]
        words = "; ".join(f"\\fI{field.name}\\fR {roff(type_name(field.type))}" for field in fields)
        said = roff(kind.__doc__ or "") if "Struct" not in (kind.__doc__ or "") else ""
        parts.append(
            f".TP\n\\fB{kind.__struct_config__.tag}\\fR\n{said + ' ' if said else ''}{words or 'No fields.'}\n"
        )
    return "".join(parts)


def describe_json() -> str:
    """A paragraph for each kind: its fields in JSON besides those that all have."""
    parts = []
    for kind in KnownRecord.__args__:
        fields = [one for one in msgspec.structs.fields(kind) if one.name not in ("ts", "v")]
        words = "; ".join(f"\\fI{one.name}\\fR {roff(json_type(one.type))}" for one in fields)
        parts.append(f".TP\n\\fB{kind.__struct_config__.tag}\\fR\n{words}\n")
    return "".join(parts)


def renewed_events(page: str) -> str:
    begin, end = (mark.replace("Records", "Kinds") for mark in (BEGIN, END))
    before, _, rest = page.partition(begin)
    return before + begin + describe_json() + end + rest.partition(end)[2]


def renewed(page: str) -> str:
    return re.sub(
        re.escape(BEGIN) + ".*" + re.escape(END),
        lambda _: BEGIN + describe() + END,
        page,
        flags=re.DOTALL,
    )


if __name__ == "__main__":
    PAGE.write_text(renewed(PAGE.read_text()))
    EVENTS.write_text(renewed_events(EVENTS.read_text()))
