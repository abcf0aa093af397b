"""Says how a run, or a program of a standing cage, ended, and settles its changes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from akiosctl.render import describe_spend, format_day, note

if TYPE_CHECKING:
    from akiosctl.denials import Told


_ITS_OWN = ("exited", "signal")
"""Ends of which the exit status says everything: the agent's own, or by a signal to it."""


def tell_left(cage: str, name: str, as_json: bool) -> None:
    """Say that the cage runs on without us; the last line of ``--json`` is JSON then too."""
    note(f"left running; akiosctl attach {cage} · logs -f · stop")
    if as_json:
        print("\n" + json_of_running(cage, name), file=sys.stderr)


def json_of_running(cage: str, name: str) -> str:
    """What ``--json`` tells of a cage that runs on; ``name`` is what ``--name`` gave it."""
    import json

    return json.dumps({"cage": cage, "name": name})


def finish(
    ended: dict[str, Any],
    cage: str,
    path: str,
    as_json: bool,
    *,
    settle: str,
    hint: str,
    denied: Sequence[Told] = (),
) -> int:
    """Say how it ended, settle its changes; returns the exit status.  Without ``hint`` it says
    nothing but why a cage did not end by itself.
    """
    code = int(ended.get("exit_code", 0))
    kind, reason = str(ended.get("kind", "exited")), str(ended.get("reason", ""))
    changes = bool(ended.get("changes", False))
    failed = False
    if changes and settle != "keep":
        from akiosctl.commit_cage import dispose_of_changes

        failed = not dispose_of_changes(path, cage, settle, quiet=as_json or not hint)
        changes = failed
    if as_json:
        print_report(ended, cage, changes, denied)
    elif hint:
        lines = [reason] if kind != "exited" and reason else []
        usage = ended.get("usage", {})
        if usage.get("calls"):
            lines.append(describe_spend(usage.get("usd_micro", 0), usage["calls"]))
        if lines:
            note("; ".join(lines))
        if denied:
            from akiosctl.denials import short_lines

            for line in short_lines(denied, cage):
                note(line)
        if changes and kind == "changes_lost":
            note(
                "so its changes cannot be committed: make room on that file system (see df -h),"
                f" throw them away (akiosctl discard {cage}), and run it again"
            )
        elif changes:
            expires = int(ended.get("expires_ns", 0))
            until = f"; kept until {format_day(expires)}" if expires and settle == "keep" else ""
            note(f"files changed; {hint}{until}")
    elif kind not in _ITS_OWN and reason:
        note(reason)
    return 125 if failed and code == 0 else code


def print_report(
    ended: dict[str, Any], cage: str, changes: bool, denied: Sequence[Told] = ()
) -> None:
    """The report of ``--json``: one line on stderr, so that stdout stays the agent's."""
    import json

    report = {
        "cage": cage,
        "exit_code": ended.get("exit_code", 0),
        "kind": ended.get("kind", "exited"),
        "reason": ended.get("reason", ""),
        "changes": changes,
        "usage": ended.get("usage", {}),
        "denied": [],
    }
    if denied:
        from akiosctl.denials import report as report_denied

        report["denied"] = report_denied(denied)
    # The agent may have ended its own output in the middle of a line, and that line could look like
    # a report.
    print("\n" + json.dumps(report), file=sys.stderr)
