"""``akiosctl ps``: cages and how they are."""

from __future__ import annotations

import json
import time

import click

from akiosctl.cages import list_cages
from akiosctl.commands import wants_json
from akiosctl.render import quote_command, table
from akiosctl.standing_cages import state_of, words_of_standstill
from akiosd.values.units import format_duration, format_usd
from akiosd.wire.messages import CageInfo

_WIDEST = 60
"""Characters of a reason in the table."""


@click.command("ps")
@click.option("--all", "-a", "everything", is_flag=True, help="Ended cages too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List cages that run, or whose changes wait; everybody's for an administrator.

    With --all also those that ended within the last 30 days, unless the administrator set
    something else.
    """
    with ctx.obj.connect() as client:
        cages = list_cages(client, everyone=True)
    shown = [cage for cage in cages if everything or cage.ended_ns == 0 or cage.changes]
    if wants_json(ctx, as_json):
        click.echo(json.dumps([to_json(cage) for cage in shown], indent=2))
        return
    for line in table(*columns(shown, time.time_ns())):
        click.echo(line)
    for line in filter(None, map(words_of_standstill, shown)):
        click.echo(line)


def columns(cages: list[CageInfo], now_ns: int) -> tuple[list[str], list[list[str]]]:
    """The header and the rows; a column that no cage fills is left out."""
    header = ["CAGE", "NAME", "USER", "STATE", "AGE", "ENDED", "CHANGES", "SPENT", "COMMAND"]
    rows = [
        [
            cage.cage,
            cage.name,
            cage.user,
            describe(cage),
            age(cage, now_ns),
            f"{format_duration(max(0, now_ns - cage.ended_ns))} ago" if cage.ended_ns else "",
            describe_changes(cage, now_ns),
            spent(cage),
            quote_command(cage.argv),
        ]
        for cage in cages
    ]
    for number in reversed(range(len(header))):
        if header[number] in ("NAME", "ENDED", "CHANGES") and not any(row[number] for row in rows):
            for cells in (header, *rows):
                del cells[number]
    return header, rows


def describe_changes(cage: CageInfo, now_ns: int) -> str:
    """What waits, or what became of it."""
    if not cage.changes:
        return cage.settled
    if not cage.ended_ns or not cage.expires_ns:
        return "waiting"
    left = cage.expires_ns - now_ns
    return f"waiting, go in {format_duration(left)}" if left > 0 else "waiting, about to go"


def describe(cage: CageInfo) -> str:
    """The state in a few words."""
    if cage.ended_ns == 0:
        state = f"{cage.state} (detached)" if cage.detached else cage.state
        if cage.standing:
            state = f"{state_of(cage)} (stands, programs: {cage.programs})"
        return f"{state}, /usr changed: restart it" if cage.outdated else state
    told = cut_reason(cage.reason or "exited")
    code = f"exited {cage.exit_code}"
    return told if told.startswith(code) else f"{told} (exit status {cage.exit_code})"


def cut_reason(reason: str) -> str:
    """A table has no room for all of a long reason: ``ps --json`` has."""
    return reason if len(reason) <= _WIDEST else f"{reason[: _WIDEST - 1]}…"


def age(cage: CageInfo, now_ns: int) -> str:
    """How long the cage has existed, for people."""
    return format_duration(max(0, now_ns - cage.started_ns))


def spent(cage: CageInfo) -> str:
    """What its model calls cost, for people; ``-`` where there were none."""
    return format_usd(cage.usd_micro) if cage.calls else "-"


def to_json(cage: CageInfo) -> dict[str, object]:
    """Plain values; bytes as text with surrogates escaped, as Python and JSON do."""
    return {
        "cage": cage.cage,
        "name": cage.name,
        "uid": cage.uid,
        "user": cage.user,
        "state": cage.state,
        "argv": [word.decode("utf-8", "backslashreplace") for word in cage.argv],
        "workspace": cage.workspace.decode("utf-8", "backslashreplace"),
        "started_ns": cage.started_ns,
        "ended_ns": cage.ended_ns,
        "exit_code": cage.exit_code,
        "reason": cage.reason,
        "changes": cage.changes,
        "settled": cage.settled,
        "expires_ns": cage.expires_ns,
        "output": cage.output,
        "pid": cage.pid,
        "tty": cage.tty,
        "detached": cage.detached,
        "usd_micro": cage.usd_micro,
        "calls": cage.calls,
        "outdated": cage.outdated,
        "standing": cage.standing,
        "programs": cage.programs,
    }
