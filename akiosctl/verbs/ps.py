"""``akiosctl ps``: cages and how they are."""

from __future__ import annotations

import json
import time

import click

from akiosctl.cages import list_cages
from akiosctl.commands import wants_json
from akiosctl.render import quote_command, table
from akiosd.values.units import format_duration, format_usd
from akiosd.wire.messages import CageInfo


@click.command("ps")
@click.option("--all", "-a", "everything", is_flag=True, help="Ended cages too.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, everything: bool, as_json: bool) -> None:
    """List cages that run, or whose changes wait; everybody's for an administrator."""
    with ctx.obj.connect() as client:
        cages = list_cages(client, everyone=True)
    shown = [cage for cage in cages if everything or cage.ended_ns == 0 or cage.changes]
    if wants_json(ctx, as_json):
        click.echo(json.dumps([to_json(cage) for cage in shown], indent=2))
        return
    now = time.time_ns()
    rows = [
        [
            cage.cage,
            cage.user,
            describe(cage),
            age(cage, now),
            spent(cage),
            quote_command(cage.argv),
        ]
        for cage in shown
    ]
    for line in table(["CAGE", "USER", "STATE", "AGE", "SPENT", "COMMAND"], rows):
        click.echo(line)


def describe(cage: CageInfo) -> str:
    """The state in a few words."""
    if cage.ended_ns == 0:
        state = f"{cage.state} (detached)" if cage.detached else cage.state
        return f"{state}, /usr changed: restart it" if cage.outdated else state
    text = f"exited {cage.exit_code}" if not cage.reason else cage.reason
    return f"{text}, changes" if cage.changes else text


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
        "pid": cage.pid,
        "tty": cage.tty,
        "detached": cage.detached,
        "usd_micro": cage.usd_micro,
        "calls": cage.calls,
        "outdated": cage.outdated,
    }
