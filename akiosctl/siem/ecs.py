"""Records as events of the Elastic Common Schema, 9.1 (elastic.co/docs/reference/ecs).

The whole record stands under ``akios``, a name that the schema leaves to its users.
"""

from __future__ import annotations

import ipaddress
from datetime import UTC, datetime
from typing import Any

from akiosctl.siem.facts import (
    PRODUCT,
    VENDOR,
    Source,
    argv_of,
    cage_of,
    message_of,
    name_of,
    program_of,
    reason_of,
    rest_of,
    target_of,
)
from akiosctl.siem.table import DENIED, FILE, PROCESS, Event, Row, path_of, row_of

VERSION = "9.1.0"
_SECOND = 1_000_000_000


def to_ecs(event: Event, source: Source) -> dict[str, Any] | None:
    """The event; None for a record that is left out."""
    row = row_of(event)
    if row is None:
        return None
    fields = _common(event, row, source) | _of_program(event, row) | _of_network(event)
    return _nest({name: value for name, value in fields.items() if value not in ("", None, [])})


def _common(event: Event, row: Row, source: Source) -> dict[str, Any]:
    reason = reason_of(event)
    return {
        "@timestamp": time_text(event["ts"]),
        "message": message_of(event, row),
        "ecs.version": VERSION,
        "event.kind": "alert" if row.action == DENIED else "event",
        "event.category": [row.category] if row.category else [],
        "event.type": list(row.types),
        "event.outcome": row.outcome,
        "event.action": row.words,
        "event.code": event["kind"],
        "event.id": name_of(event),
        "event.sequence": event["index"],
        "event.severity": row.severity,
        "event.reason": reason,
        "event.duration": event.get("duration_ns"),
        "event.module": "akios",
        "event.dataset": "akios.events",
        "event.provider": PRODUCT,
        "observer.vendor": VENDOR,
        "observer.product": PRODUCT,
        "observer.type": "sandbox",
        "observer.version": source.version,
        "host.hostname": source.host,
        "container.id": cage_of(event),
        "user.id": str(event["uid"]) if "uid" in event else "",
        "rule.name": event.get("rule"),
        "error.message": event.get("error"),
        "akios": rest_of(event),
    }


def _of_program(event: Event, row: Row) -> dict[str, Any]:
    argv = argv_of(event)
    return {
        "process.pid": event.get("pid"),
        "process.args": argv,
        "process.command_line": " ".join(argv),
        "process.executable": program_of(event) if row.ocsf == PROCESS else "",
        "process.exit_code": event.get("exit_code"),
        "process.working_directory": event.get("cwd"),
        "file.path": path_of(event) if row.ocsf == FILE else "",
        "file.target_path": event.get("path2") if row.ocsf == FILE else "",
    }


def _of_network(event: Event) -> dict[str, Any]:
    name, address, port = target_of(event)
    tokens = event.get("tokens", {})
    return {
        "destination.address": name or address,
        "destination.domain": "" if _is_address(name) else name,
        "destination.ip": address if _is_address(address) else "",
        "destination.port": port or None,
        "destination.bytes": event.get("bytes_in"),
        "source.bytes": event.get("bytes_out"),
        "network.protocol": event.get("protocol"),
        "dns.question.name": name if event.get("protocol") == "dns" else "",
        "http.request.method": event.get("method"),
        "http.response.status_code": event.get("status"),
        "url.domain": name if event.get("method") else "",
        "url.path": event.get("path") if event.get("method") else "",
        "service.name": event.get("provider"),
        "gen_ai.system": event["provider"] if event["kind"] == "llm_call" else "",
        "gen_ai.request.model": event.get("model"),
        "gen_ai.usage.input_tokens": tokens.get("input"),
        "gen_ai.usage.output_tokens": tokens.get("output"),
    }


def _is_address(text: str) -> bool:
    try:
        ipaddress.ip_address(text)
    except ValueError:
        return False
    return True


def time_text(ts: int) -> str:
    """Unix time in ns as ISO 8601 in UTC, with all digits."""
    seconds, rest = divmod(ts, _SECOND)
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{rest:09d}Z"
    except (OverflowError, ValueError, OSError):
        return "1970-01-01T00:00:00.000000000Z"


def _nest(fields: dict[str, Any]) -> dict[str, Any]:
    """``{"a.b": 1}`` as ``{"a": {"b": 1}}``."""
    nested: dict[str, Any] = {}
    for name, value in fields.items():
        *parents, last = name.split(".")
        place = nested
        for parent in parents:
            place = place.setdefault(parent, {})
        place[last] = value
    return nested
