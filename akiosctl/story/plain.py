"""The story of a cage as plain values, for ``--json``; text of the agent's is escaped."""

from __future__ import annotations

from typing import Any

from akiosctl.denials import describe_rule
from akiosctl.render import escape
from akiosctl.story.lanes import Group, Tally, in_order
from akiosctl.story.reading import Read
from akiosctl.story.telling import Program, Story


def to_json(read: Read) -> dict[str, Any]:
    """Everything that ``timeline`` knows."""
    story = read.story
    return {
        "log": read.log,
        "origin": read.origin,
        "records": story.records,
        "minimum": read.minimum,
        "first_ns": story.first,
        "last_ns": story.last,
        "birth": _birth(story),
        "end": _end(story),
        "left_out": list(story.left_out),
        "usd_micro": story.usd_micro,
        "counts": {name: lane.count for name, lane in story.lanes.items()},
        "rows": [{"lane": row.lane, **_group(row.group)} for row in in_order(story.lanes.items())],
        "programs": [_program(one) for one in story.programs.values()],
        "programs_before": story.programs_before,
        "programs_failed": story.failed_programs,
        "models": [{"model": escape(name), **vars(one)} for name, one in story.models.items()],
        "sites": [{"host": escape(name), **vars(one)} for name, one in story.sites.items()],
        "redacted": _tally(story.redacted),
        "denied": [
            {
                "rule": escape(group.rule),
                "what": describe_rule(escape(group.rule)),
                "count": sum(group.counts.values()) + group.others,
                "subjects": [
                    {"name": escape(name), "count": count} for name, count in group.counts.items()
                ],
            }
            for group in story.denied.values()
        ],
    }


def _birth(story: Story) -> dict[str, Any] | None:
    birth = story.birth
    if birth is None:
        return None
    return {
        "ts": birth.ts,
        "cage": escape(birth.cage),
        "uid": birth.uid,
        "argv": [escape(word) for word in birth.argv],
        "cwd": escape(birth.cwd),
        "policy_sha256": birth.policy_sha256.hex(),
        "degraded": birth.degraded,
        "posture": [
            {"layer": escape(one.layer), "status": one.status, "detail": escape(one.detail)}
            for one in birth.posture
        ],
    }


def _end(story: Story) -> dict[str, Any] | None:
    end = story.end
    if end is None:
        return None
    return {
        "ts": end.ts,
        "exit_code": end.exit_code,
        "signal": end.signal,
        "reason": escape(end.reason),
        "user_ns": end.rusage.user_ns,
        "system_ns": end.rusage.system_ns,
        "max_rss": end.rusage.max_rss,
    }


def _group(group: Group) -> dict[str, Any]:
    return {
        "first_ns": group.first,
        "last_ns": group.last,
        "count": group.count,
        "usd_micro": group.usd_micro,
        **_tally(group.names),
    }


def _tally(tally: Tally) -> dict[str, Any]:
    names = [{"name": escape(name), "count": count} for name, count in tally.ranked()]
    return {"names": names, "others": tally.others}


def _program(one: Program) -> dict[str, Any]:
    return {
        "number": one.number,
        "argv": [escape(word) for word in one.argv],
        "copies": escape(one.copies),
        "started_ns": one.started,
        "ended_ns": one.ended,
        "exit_code": one.exit_code,
        "reason": escape(one.reason),
    }
