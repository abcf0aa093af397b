"""What each record is to security monitoring: a row for each kind, or the reason why it has none.

A record is given as its JSON (:func:`akiosctl.records_text.record_json`): text in it is escaped.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

import msgspec

from akiosd.values.syscalls import FACTS

Event = Mapping[str, Any]
INFO, LOW, MEDIUM, HIGH = 1, 2, 3, 4
"""Severities of OCSF (``severity_id``)."""
DENIED, ALLOWED = "denied", "allowed"
BASE, FILE, PROCESS, EVENT_LOG = 0, 1001, 1007, 1008
DETECTION, DATA_SECURITY, ENTITY = 2004, 2006, 3004
NETWORK, HTTP, DNS = 4001, 4002, 4003
LIFECYCLE, API, ERROR = 6002, 6003, 6008


class Row(msgspec.Struct, frozen=True):
    """``ocsf`` and ``activity``: class and activity of OCSF.  ``category`` and ``types``: those of
    ECS.  ``words`` say it to people.  ``action``: ``denied``, ``allowed`` or "" where nothing was
    decided.  ``outcome``: of ECS; "" where it is no matter of success.
    """

    ocsf: int
    activity: int
    severity: int
    category: str
    types: tuple[str, ...]
    words: str
    action: str = ""
    outcome: str = ""


def _file(activity: int, kind: str, words: str, denied: bool) -> Row:
    """Of a call on a file, which was denied, or whose result is not known."""
    if denied:
        told = f"{words} denied"
        return Row(FILE, activity, MEDIUM, "file", (kind,), told, DENIED, "failure")
    told = f"{words} requested"
    return Row(FILE, activity, INFO, "file", (kind,), told, outcome="unknown")


# Kind of call (akiosd.values.syscalls) → activity of OCSF's File System Activity, type of ECS, words.
_FILE_CALLS: dict[str, tuple[int, str, str]] = {
    "open": (14, "access", "opening a file"),
    "unlink": (4, "deletion", "removing a file"),
    "rename": (5, "change", "renaming a file"),
    "link": (1, "creation", "linking a file"),
    "chmod": (7, "change", "changing a file's mode"),
    "chown": (7, "change", "changing a file's owner"),
    "truncate": (3, "change", "truncating a file"),
    "xattr": (6, "change", "changing a file's attributes"),
    "mknod": (1, "creation", "making a special file"),
    "mkdir": (1, "creation", "making a directory"),
    "times": (6, "change", "changing a file's times"),
    "stat": (8, "info", "looking at a file"),
}
_FILE_ROWS: dict[str, Row] = {
    f"syscall {call} {verdict}": _file(*facts, denied=verdict == DENIED)
    for call, facts in _FILE_CALLS.items()
    for verdict in ("requested", DENIED)
}
# Kind, or kind and variant (``variant_of``) → what it is.
ROWS: dict[str, Row] = _FILE_ROWS | {
    "log_open": Row(EVENT_LOG, 6, INFO, "configuration", ("creation",), "log begun"),
    "birth": Row(LIFECYCLE, 3, INFO, "session", ("start",), "cage made"),
    "started": Row(PROCESS, 1, INFO, "process", ("start",), "agent started", outcome="success"),
    "syscall exec requested": Row(PROCESS, 1, INFO, "process", ("start",), "program requested", outcome="unknown"),
    "syscall exec denied": Row(PROCESS, 1, MEDIUM, "process", ("start",), "program denied", DENIED, "failure"),
    "syscall connect requested": Row(NETWORK, 1, INFO, "network", ("connection", "start"), "connection requested", outcome="unknown"),
    "syscall connect denied": Row(NETWORK, 5, MEDIUM, "network", ("connection", "denied"), "connection denied", DENIED, "failure"),
    "syscall listen requested": Row(NETWORK, 7, INFO, "network", ("start",), "address requested", outcome="unknown"),
    "syscall listen denied": Row(NETWORK, 5, MEDIUM, "network", ("denied",), "address denied", DENIED, "failure"),
    "syscall other requested": Row(BASE, 99, INFO, "process", ("info",), "system call requested", outcome="unknown"),
    "syscall other denied": Row(DETECTION, 1, MEDIUM, "intrusion_detection", ("denied",), "system call denied", DENIED, "failure"),
    "system_changed": Row(LIFECYCLE, 8, LOW, "package", ("change",), "programs of the host changed while the cage ran"),
    "file_used executed": Row(PROCESS, 1, INFO, "process", ("start",), "file executed", outcome="success"),
    "file_used written": Row(FILE, 3, INFO, "file", ("change",), "file written", outcome="success"),
    "lost": Row(ERROR, 1, HIGH, "host", ("info",), "records lost", outcome="failure"),
    "end": Row(LIFECYCLE, 4, INFO, "session", ("end",), "cage ended"),
    "unprotected": Row(LIFECYCLE, 7, HIGH, "configuration", ("change",), "protections left out"),
    "program_started": Row(PROCESS, 1, INFO, "process", ("start",), "program started", outcome="success"),
    "program_ended": Row(PROCESS, 2, INFO, "process", ("end",), "program ended"),
    "daemon_start": Row(LIFECYCLE, 3, INFO, "process", ("start",), "akiosd started", outcome="success"),
    "daemon_restarted": Row(LIFECYCLE, 5, LOW, "process", ("change",), "cage went on under another akiosd"),
    "daemon_stop": Row(LIFECYCLE, 4, INFO, "process", ("end",), "akiosd stopped"),
    "settings_read": Row(LIFECYCLE, 8, INFO, "configuration", ("change",), "settings read", outcome="success"),
    "settings_read failed": Row(ERROR, 1, MEDIUM, "configuration", ("info",), "settings not taken", outcome="failure"),
    "key_epoch": Row(ENTITY, 3, LOW, "iam", ("change",), "new key signs the logs"),
    "recovered": Row(ERROR, 1, LOW, "host", ("info",), "log recovered after an unclean end"),
    "cage_birth": Row(EVENT_LOG, 6, INFO, "configuration", ("creation",), "log of a cage begun"),
    "cage_end": Row(EVENT_LOG, 7, INFO, "configuration", ("info",), "log of a cage closed"),
    "cage_settled committed": Row(API, 3, LOW, "file", ("change",), "changes committed", outcome="success"),
    "cage_settled discarded": Row(API, 4, INFO, "file", ("deletion",), "changes discarded", outcome="success"),
    "cage_destroyed": Row(EVENT_LOG, 2, LOW, "configuration", ("deletion",), "cage and log destroyed"),
    "cage_packed": Row(EVENT_LOG, 4, INFO, "configuration", ("change",), "log packed"),
    "log_pruned": Row(EVENT_LOG, 2, LOW, "configuration", ("deletion",), "old records removed"),
    "provider_key set": Row(ENTITY, 3, LOW, "iam", ("change",), "key of a provider set"),
    "provider_key removed": Row(ENTITY, 4, LOW, "iam", ("deletion",), "key of a provider removed"),
    "shell_asked": Row(DETECTION, 1, LOW, "intrusion_detection", ("denied",), "line for a shell refused", DENIED, "failure"),
    "net_denied dns": Row(DNS, 1, MEDIUM, "network", ("denied", "protocol"), "name denied", DENIED, "failure"),
    "net_denied http": Row(HTTP, 99, MEDIUM, "network", ("denied", "protocol"), "request denied", DENIED, "failure"),
    "net_denied connection": Row(NETWORK, 5, MEDIUM, "network", ("connection", "denied"), "connection denied", DENIED, "failure"),
    "net_request http": Row(HTTP, 99, INFO, "network", ("allowed", "protocol"), "request", ALLOWED),
    "net_request connection": Row(NETWORK, 6, INFO, "network", ("allowed", "connection"), "connection", ALLOWED),
    "llm_call": Row(API, 99, INFO, "api", ("access",), "call to a model", ALLOWED),
    "redaction": Row(DATA_SECURITY, 4, LOW, "intrusion_detection", ("info",), "personal data redacted", outcome="success"),
    "spend_warning": Row(DETECTION, 1, MEDIUM, "intrusion_detection", ("denied",), "call to a model refused", DENIED, "failure"),
    "spend_warning final": Row(DETECTION, 1, HIGH, "intrusion_detection", ("denied",), "cage stopped for its calls to models", DENIED, "failure"),
    "gateway_failed": Row(ERROR, 1, MEDIUM, "process", ("info",), "gateway failed", outcome="failure"),
}  # fmt: skip
LEFT_OUT: dict[str, str] = {
    "roots": "hashes of the other logs: what they record is told from them",
    "clock_read": "clocks of the host, read every few minutes: nothing happened",
}
"""Kinds that are told to no monitoring, and why."""
OTHER = Row(BASE, 99, LOW, "", ("info",), "a record of a kind that this version does not know")
_NETWORK_CALLS = {"connect": "connect", "send": "connect", "bind": "listen", "socket": "listen"}


def variant_of(event: Event) -> str:
    """Which row of its kind a record has; "" where there is one."""
    find = _VARIANTS.get(event["kind"])
    return find(event) if find is not None else ""


def row_of(event: Event) -> Row | None:
    """Its row; None for a kind that is left out."""
    if event["kind"] in LEFT_OUT:
        return None
    return ROWS.get(f"{event['kind']} {variant_of(event)}".strip(), OTHER)


def _of_call(event: Event) -> str:
    facts = FACTS.get(event.get("name", ""))
    kind = facts.kind if facts is not None else ""
    verdict = DENIED if event.get("verdict") == DENIED else "requested"
    if kind in _FILE_CALLS:
        # A call on a file that was told without one is no event of a file.
        return f"{kind if path_of(event) else 'other'} {verdict}"
    if kind == "exec":
        return f"exec {verdict}"
    return f"{_NETWORK_CALLS.get(kind, 'other')} {verdict}"


def path_of(event: Event) -> str:
    """The file that a record is about, as an absolute path where the record says enough."""
    path, directory = str(event.get("path", "")), str(event.get("directory", ""))
    if path.startswith("/") or not directory:
        return path
    return f"{directory.rstrip('/')}/{path}" if path else directory


_VARIANTS: dict[str, Callable[[Event], str]] = {
    "syscall": _of_call,
    "file_used": lambda event: str(event.get("use", "")),
    "settings_read": lambda event: "failed" if event.get("error") else "",
    "cage_settled": lambda event: "committed" if event.get("committed") else "discarded",
    "provider_key": lambda event: str(event.get("action", "")),
    "net_denied": lambda event: {"dns": "dns", "http": "http"}.get(
        event.get("protocol", ""), "connection"
    ),
    "net_request": lambda event: "http" if event.get("method") else "connection",
    "spend_warning": lambda event: "final" if event.get("final") else "",
}
