"""How a standing cage is, in lines for people and as plain values."""

from __future__ import annotations

import os
from typing import Any

import msgspec

from akiosctl.data_directories import base_of
from akiosctl.render import escape, quote_command
from akiosctl.standing_cages import state_of
from akiosd.cage.unprotected import describe
from akiosd.values.places import DATA, DIRECT
from akiosd.values.posture import LayerState
from akiosd.values.units import format_duration, format_size, format_usd
from akiosd.wire.messages import CageInfo, CageStatusReply, ProgramInfo


def describe_status(cage: CageInfo, reply: CageStatusReply | None) -> list[str]:
    """The lines; ``reply`` is None for a cage that is down."""
    lines = [f"{cage.name} ({cage.cage}) is {state_of(cage)}"]
    if reply is None:
        lines[0] += f": {cage.reason}"
        lines += [f"  data      {_data(cage)}"]
        waits = ", with changes that wait to be committed" if cage.changes else ""
        lines += [f"  its log is there{waits}; akiosctl cage down {cage.name} destroys it"]
        return lines
    lines += [f"  stands still: {escape(cage.reason)}"] if cage.reason else []
    lines += [f"  data      {_data(cage)}", *_usage(reply)]
    lines += [_posture(reply.posture)]
    loud = describe(reply.left_out)
    lines += [f"  {loud}"] if loud else []
    lines += [f"  {_program(one)}" for one in reply.programs]
    return lines


def _data(cage: CageInfo) -> str:
    where = escape(base_of(os.fsdecode(cage.workspace), cage.data))
    place = "in your state" if cage.data == "state" else "in the project"
    return f"{place}: {where}/{DATA['input']} (read-only), {where}/{DATA['output']}"


def _usage(reply: CageStatusReply) -> list[str]:
    usage, limits, budget = reply.usage, reply.limits, reply.budget
    rows = [
        (
            "memory",
            f"at most {format_size(usage.memory_peak)}",
            limits.memory,
            format_size(limits.memory),
        ),
        ("processes", f"at most {usage.pids_peak}", limits.pids, str(limits.pids)),
        ("disk", format_size(usage.disk_used), limits.disk, format_size(limits.disk)),
        ("money", format_usd(usage.usd_micro), budget.usd_micro, format_usd(budget.usd_micro)),
        (
            "up for",
            format_duration(usage.wall_ns),
            limits.wall_clock_ns,
            format_duration(limits.wall_clock_ns),
        ),
    ]
    lines = [
        f"  {what:<9} {used}" + (f" of {bound}" if limit else "")
        for what, used, limit, bound in rows
    ]
    denied = usage.denials + usage.refusals + usage.dead_ends
    return [*lines, f"  denials   {denied}"]


def _posture(posture: tuple[LayerState, ...]) -> str:
    less = [f"{one.layer}: {one.status} ({one.detail})" for one in posture if _is_less(one)]
    held = "; ".join(less) if less else f"all {len(posture)} layers enforced"
    return f"  posture   {held}; outside them: {DIRECT}"


def _is_less(layer: LayerState) -> bool:
    return layer.status != "enforced"


def _program(one: ProgramInfo) -> str:
    how = one.reason if one.state == "ended" else f"{one.state}, pid {one.pid} inside"
    return f"program {one.number}: {quote_command(one.argv)} ({how})"


def status_to_json(cage: CageInfo, reply: CageStatusReply | None) -> dict[str, Any]:
    """Plain values; what only a cage that is up has is null for one that is down."""
    base = os.fsencode(base_of(os.fsdecode(cage.workspace), cage.data))
    where = base.decode("utf-8", "backslashreplace")
    found: dict[str, Any] = {
        "cage": cage.cage,
        "name": cage.name,
        "state": state_of(cage),
        "reason": cage.reason,
        "changes": cage.changes,
        "data": {"in": cage.data, **{kind: f"{where}/{DATA[kind]}" for kind in DATA}},
        "usage": None,
        "limits": None,
        "budget": None,
        "posture": [],
        "left_out": [],
        "programs": [],
    }
    if reply is not None:
        for name in ("usage", "limits", "budget", "posture", "left_out"):
            found[name] = msgspec.to_builtins(getattr(reply, name))
        found["programs"] = [
            {
                **msgspec.to_builtins(msgspec.structs.replace(one, argv=())),
                "argv": [word.decode("utf-8", "backslashreplace") for word in one.argv],
            }
            for one in reply.programs
        ]
    return found
