"""The published schemas of OCSF and ECS, as far as AKIOS writes them, and a parser of CEF.

``ocsf-1.6.0.json`` holds its classes and objects as the OCSF's repository defines them at that
version (Apache-2.0): which attributes there are, of what type, which must be there.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

OCSF = json.loads(Path(__file__).with_name("ocsf-1.6.0.json").read_text())
_NUMBERS = ("integer_t", "long_t", "timestamp_t", "port_t")
# ECS 9.1: the fields that are written, out of its list.
_ECS = """
@timestamp message ecs.version event.kind event.category event.type event.outcome event.action
event.code event.id event.sequence event.severity event.reason event.duration event.module
event.dataset event.provider observer.vendor observer.product observer.type observer.version
host.hostname container.id user.id rule.name error.message process.pid process.args
process.command_line process.executable process.exit_code process.working_directory file.path
file.target_path destination.address destination.domain destination.ip destination.port
destination.bytes source.bytes network.protocol dns.question.name http.request.method
http.response.status_code url.domain url.path service.name gen_ai.system gen_ai.request.model
gen_ai.usage.input_tokens gen_ai.usage.output_tokens
"""
ECS_FIELDS = frozenset(_ECS.split())
# ECS: category → the types that are expected with it.
ECS_TYPES = {
    "api": "access admin allowed change creation deletion denied end info start user",
    "configuration": "access change creation deletion info",
    "file": "access change creation deletion info",
    "host": "access change end info start",
    "iam": "admin change creation deletion group info user",
    "intrusion_detection": "allowed denied info",
    "network": "access allowed connection denied end info protocol start",
    "package": "access change deletion info installation start",
    "process": "access change end info start",
    "session": "start end info",
}


def ocsf_faults(told: dict[str, Any]) -> Iterator[str]:
    """What is wrong with an event of OCSF."""
    found = OCSF["classes"][str(told["class_uid"])]
    yield from _faults(told, found, "")
    if str(told["activity_id"]) not in found["activities"]:
        yield f"activity {told['activity_id']} of {found['name']}"
    if told["type_uid"] != told["class_uid"] * 100 + told["activity_id"]:
        yield "type_uid"
    if told["category_uid"] != told["class_uid"] // 1000:
        yield "category_uid"


def _faults(told: dict[str, Any], schema: dict[str, Any], where: str) -> Iterator[str]:
    for name in schema["required"]:
        if name not in told:
            yield f"{where}{name} is missing"
    if schema["one_of"] and not set(schema["one_of"]) & set(told):
        yield f"{where or 'event '}none of {schema['one_of']}"
    for name, value in told.items():
        if name not in schema["attributes"]:
            yield f"{where}{name} is no attribute"
            continue
        kind, many = schema["attributes"][name]
        if not kind.endswith("_t"):
            if not isinstance(value, dict):
                yield f"{where}{name} is no object"
            elif kind in OCSF["objects"]:
                yield from _faults(value, OCSF["objects"][kind], f"{where}{name}.")
        elif not isinstance(value, list if many else int if kind in _NUMBERS else str):
            yield f"{where}{name} is no {kind}"


def ecs_faults(told: dict[str, Any]) -> Iterator[str]:
    """What is wrong with an event of ECS."""
    for name in _flat({key: value for key, value in told.items() if key != "akios"}):
        if name not in ECS_FIELDS:
            yield f"{name} is no field"
    event = told["event"]
    for category in event.get("category", ()):
        yield from (
            f"{kind} of {category}"
            for kind in event["type"]
            if kind not in ECS_TYPES[category].split()
        )
    if event["kind"] not in ("event", "alert"):
        yield f"event.kind {event['kind']}"
    if event.get("outcome", "unknown") not in ("success", "failure", "unknown"):
        yield f"event.outcome {event['outcome']}"


def _flat(told: dict[str, Any], before: str = "") -> Iterator[str]:
    for name, value in told.items():
        if isinstance(value, dict):
            yield from _flat(value, f"{before}{name}.")
        else:
            yield before + name


def parse_cef(line: str) -> tuple[list[str], dict[str, str]]:
    """Header and extension of a line, as a reader finds them: a field ends at a bar, and a value at
    a space that a key follows.
    """
    assert "\n" not in line and "\r" not in line
    parts = re.match(r"((?:(?:\\.|[^\\|])*\|){7})(.*)\Z", line)
    assert parts is not None, line
    header = re.findall(r"((?:\\.|[^\\|])*)\|", parts[1])
    pairs: dict[str, str] = {}
    for found in re.finditer(r"(\w+)=((?:\\.|[^\\=])*)(?:(?= \w+=)|\Z)", parts[2]):
        pairs[found[1]] = _unescape(found[2])
    return [_unescape(field) for field in header], pairs


def _unescape(text: str) -> str:
    return re.sub(r"\\(.)", lambda m: {"n": "\n", "r": "\r"}.get(m[1], m[1]), text)
