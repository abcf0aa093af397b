"""JSON Schema (2020-12) of the lines of ``events --json``, made from the types of records."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

import msgspec

from akiosctl.records_text import HIDDEN
from akiosd.values.records import SCHEMA_VERSION, KnownRecord

_NAMES: dict[Any, dict[str, Any]] = {
    # Text that is escaped, or a digest in hexadecimal.
    bytes: {"type": "string"},
    str: {"type": "string"},
    int: {"type": "integer"},
    bool: {"type": "boolean"},
}
_PLACE = {
    "log": {"type": "string", "description": "The id of the cage, or host."},
    "index": {"type": "integer", "minimum": 0, "description": "The place in that log."},
    "ts": {"type": "integer", "description": "Unix time in nanoseconds."},
}


def record_schema() -> dict[str, Any]:
    """A line is a record of a kind that is described, of one that is not, or a gap."""
    kinds = {str(kind.__struct_config__.tag): kind for kind in get_args(KnownRecord)}
    parts = {name: _describe_kind(name, kind) for name, kind in kinds.items()}
    parts["unknown"] = {
        "description": "A kind of a later version: a reader passes over it.",
        "type": "object",
        "properties": _PLACE | {"kind": {"type": "string", "not": {"enum": list(kinds)}}},
        "required": ["log", "index", "ts", "kind"],
    }
    parts["gap"] = {
        "description": "Records that were not sent: the first index, and the one behind the last.",
        "type": "object",
        "properties": {
            "log": _PLACE["log"],
            "gap": {"type": "array", "items": {"type": "integer"}, "minItems": 2, "maxItems": 2},
        },
        "required": ["log", "gap"],
    }
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "$id": f"urn:akios:records:{SCHEMA_VERSION}",
        "title": f"Records of AKIOS, version {SCHEMA_VERSION}",
        "oneOf": [{"$ref": f"#/$defs/{name}"} for name in parts],
        "$defs": parts,
    }


def _describe_kind(name: str, kind: type[msgspec.Struct]) -> dict[str, Any]:
    fields = [one for one in msgspec.structs.fields(kind) if one.name not in HIDDEN]
    needed = [
        one.name
        for one in fields
        if one.default is msgspec.NODEFAULT and one.default_factory is msgspec.NODEFAULT
    ]
    words = " ".join((kind.__doc__ or "").replace("``", "").split())
    return {
        "description": words.partition(". ")[0],
        "type": "object",
        "properties": _PLACE
        | {"kind": {"const": name}}
        | {one.name: _describe(one.type) for one in fields},
        "required": ["log", "index", "ts", "kind", *needed],
    }


def _describe(kind: Any) -> dict[str, Any]:
    """As ``records_text.plain_value`` writes a value of this type."""
    if kind in _NAMES:
        return _NAMES[kind]
    if isinstance(kind, type) and issubclass(kind, msgspec.Struct):
        fields = msgspec.structs.fields(kind)
        return {
            "type": "object",
            "properties": {one.name: _describe(one.type) for one in fields},
            "required": [one.name for one in fields],
        }
    parts = [one for one in get_args(kind) if one is not ...]
    if get_origin(kind) is Literal:
        return {"enum": parts}
    if get_origin(kind) is tuple:
        if ... in get_args(kind):
            return {"type": "array", "items": _describe(parts[0])}
        return {"type": "array", "prefixItems": [_describe(one) for one in parts]}
    # What may be absent is left out of the line.
    [one] = [part for part in parts if part is not type(None)]
    return _describe(one)
