"""Records as events of the Open Cybersecurity Schema Framework, 1.6.0 (schema.ocsf.io).

Classes and activities are those of the table; here stands what each class says of a record.
"""

from __future__ import annotations

from collections.abc import Callable
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
from akiosctl.siem.table import (
    API,
    DATA_SECURITY,
    DENIED,
    DETECTION,
    DNS,
    ENTITY,
    EVENT_LOG,
    FILE,
    HTTP,
    LIFECYCLE,
    NETWORK,
    PROCESS,
    Event,
    Row,
    path_of,
    row_of,
)

VERSION = "1.6.0"
_MILLISECOND = 1_000_000
_SEVERITIES = {1: "Informational", 2: "Low", 3: "Medium", 4: "High"}
_STATUS = {"success": (1, "Success"), "failure": (2, "Failure")}
_METHODS = {"CONNECT": 1, "DELETE": 2, "GET": 3, "HEAD": 4, "OPTIONS": 5, "POST": 6, "PUT": 7}
_METHODS |= {"TRACE": 8}
_UNKNOWN_DEVICE, _REGULAR_FILE, _OTHER_FILE = 0, 1, 99


def to_ocsf(event: Event, source: Source) -> dict[str, Any] | None:
    """The event; None for a record that is left out."""
    row = row_of(event)
    if row is None:
        return None
    told = _common(event, row, source)
    more = _OF_CLASS.get(row.ocsf)
    return told | (more(event, source) if more is not None else {})


def _common(event: Event, row: Row, source: Source) -> dict[str, Any]:
    activity = _activity(event, row)
    told: dict[str, Any] = {
        "class_uid": row.ocsf,
        "category_uid": row.ocsf // 1000,
        "activity_id": activity,
        "activity_name": row.words,
        "type_uid": row.ocsf * 100 + activity,
        "severity_id": row.severity,
        "severity": _SEVERITIES[row.severity],
        "time": event["ts"] // _MILLISECOND,
        "message": message_of(event, row),
        "metadata": _metadata(event, source),
        "device": {"type_id": _UNKNOWN_DEVICE, "hostname": source.host},
        "actor": _actor(event),
        "unmapped": rest_of(event),
    }
    if event.get("count"):
        told["count"] = event["count"]
    if event.get("duration_ns"):
        told["duration"] = event["duration_ns"] // _MILLISECOND
    if row.outcome in _STATUS:
        told["status_id"], told["status"] = _STATUS[row.outcome]
    if row.action:
        denied = row.action == DENIED
        told |= {"action_id": 2 if denied else 1, "action": row.action.capitalize()}
        told |= {"disposition_id": 2 if denied else 1}
        told |= {"disposition": "Blocked" if denied else "Allowed"}
    if event.get("rule"):
        told["firewall_rule"] = {"name": event["rule"]}
    return told


def _activity(event: Event, row: Row) -> int:
    return _METHODS.get(event.get("method", ""), 99) if row.ocsf == HTTP else row.activity


def _metadata(event: Event, source: Source) -> dict[str, Any]:
    cage = cage_of(event)
    return {
        "version": VERSION,
        "product": {"name": PRODUCT, "vendor_name": VENDOR, "version": source.version},
        "profiles": ["host", "security_control"],
        "uid": name_of(event),
        "log_name": event["log"],
        "event_code": event["kind"],
        "sequence": event["index"],
        **({"correlation_uid": cage} if cage else {}),
    }


def _actor(event: Event) -> dict[str, Any]:
    cage = cage_of(event)
    actor: dict[str, Any] = {"app_name": "AKIOS cage", "app_uid": cage} if cage else {}
    actor = actor or {"app_name": "akiosd"}
    if "uid" in event:
        actor["user"] = {"uid": str(event["uid"])}
    if "pid" in event:
        actor["process"] = {"pid": event["pid"]}
    return actor


def _name_of_path(path: str) -> str:
    return path.rstrip("/").rpartition("/")[2] or path or "unknown"


def _of_file(event: Event, source: Source) -> dict[str, Any]:
    path = path_of(event)
    regular = event["kind"] == "file_used"
    kind = _REGULAR_FILE if regular else _OTHER_FILE
    return {"file": {"name": _name_of_path(path), "path": path, "type_id": kind}}


def _of_process(event: Event, source: Source) -> dict[str, Any]:
    program, argv = program_of(event), argv_of(event)
    process: dict[str, Any] = {"uid": f"{event['log']}/{event.get('program', event.get('pid', 0))}"}
    if "pid" in event:
        process["pid"] = event["pid"]
    if program:
        process["name"] = _name_of_path(program)
        file = {"name": _name_of_path(program), "path": program, "type_id": _REGULAR_FILE}
        process["file"] = file
    if argv:
        process["cmd_line"] = " ".join(argv)
    ended = {"exit_code": event.get("exit_code", 0)} if event["kind"] == "program_ended" else {}
    return {"process": process} | ended


def _of_log(event: Event, source: Source) -> dict[str, Any]:
    return {"log_name": cage_of(event) or event["log"]}


def _of_finding(event: Event, source: Source) -> dict[str, Any]:
    title = reason_of(event) or str(event.get("name", event["kind"]))
    return {"finding_info": {"uid": name_of(event), "title": title}}


def _of_network(event: Event, source: Source) -> dict[str, Any]:
    name, address, port = target_of(event)
    target: dict[str, Any] = {"hostname": name} if name else {}
    target |= {"ip": address} if address else {}
    target |= {"port": port} if port and target else {}
    here = {"name": cage_of(event) or source.host}
    return {"src_endpoint": here} | ({"dst_endpoint": target} if target else {})


def _of_dns(event: Event, source: Source) -> dict[str, Any]:
    name = str(event.get("host", ""))
    return _of_network(event, source) | ({"query": {"hostname": name}} if name else {})


def _of_http(event: Event, source: Source) -> dict[str, Any]:
    name, _, port = target_of(event)
    path = str(event.get("path", ""))
    url = {"hostname": name, "path": path or "/"} | ({"port": port} if port else {})
    request = {"http_method": event.get("method", ""), "url": url}
    told = _of_network(event, source) | {"http_request": request}
    if event.get("status"):
        told["http_response"] = {"code": event["status"]}
    return told


def _of_app(event: Event, source: Source) -> dict[str, Any]:
    cage = cage_of(event)
    app = {"name": "AKIOS cage", "uid": cage} if cage else {"name": "akiosd"}
    version = {"version": source.version} if not cage else {}
    return {"app": {"vendor_name": VENDOR, **app, **version}}


def _of_api(event: Event, source: Source) -> dict[str, Any]:
    if event["kind"] == "llm_call":
        service = {"name": event["provider"]}
        api = {"operation": event["model"], "service": service}
        return {"api": api, "src_endpoint": {"name": cage_of(event)}}
    operation = "commit" if event.get("committed") else "discard"
    return {"api": {"operation": operation}, "src_endpoint": {"hostname": source.host}}


def _of_entity(event: Event, source: Source) -> dict[str, Any]:
    if event["kind"] == "provider_key":
        return {"entity": {"name": event["provider"], "type": "key of a provider"}}
    return {"entity": {"name": f"epoch {event['epoch']}", "type": "key of the logs"}}


_OF_CLASS: dict[int, Callable[[Event, Source], dict[str, Any]]] = {
    FILE: _of_file,
    PROCESS: _of_process,
    EVENT_LOG: _of_log,
    DETECTION: _of_finding,
    DATA_SECURITY: _of_finding,
    ENTITY: _of_entity,
    NETWORK: _of_network,
    HTTP: _of_http,
    DNS: _of_dns,
    LIFECYCLE: _of_app,
    API: _of_api,
}
