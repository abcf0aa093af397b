"""``akiosctl cage``: standing cages, from up to down."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any

import click

from akiosctl.cage_down import Asked, take_down
from akiosctl.cage_status import describe_status, status_to_json
from akiosctl.cage_up import cage_up
from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, note, table
from akiosctl.run_options import FLAG, MANY, OPTIONS
from akiosctl.standing_cages import find_standing, list_standing, state_of
from akiosctl.verbs.ps import age, cut_reason, spent
from akiosd.errors import AkiosError
from akiosd.store.wipe import How
from akiosd.wire.messages import CageInfo, CageStatus, CageStatusReply, Ok, Pause

_OF_A_CAGE = (
    *("--policy", "--workspace", "--mode", "--memory", "--pids", "--cpu", "--disk", "--budget"),
    *("--timeout", "--trace", "--env", "--keep-env", "--allow-degraded"),
)
"""The options of ``run`` that are decided when a cage is made."""


@click.group("cage")
def group() -> None:
    """Make cages that stand, in which programs run as often as you like, and take them down."""


def _run_options(command: Callable[..., Any]) -> Callable[..., Any]:
    for option in reversed(_OF_A_CAGE):
        name, takes, placeholder, text = OPTIONS[option]
        words = f"{text[0].upper()}{text[1:]}."
        settings: dict[str, Any] = {"help": words}
        if takes == FLAG:
            settings["is_flag"] = True
        else:
            settings |= {"metavar": placeholder, "multiple": takes == MANY}
        command = click.option(option, name, **settings)(command)
    return command


@group.command("up")
@click.argument("name", required=False)
@_run_options
@click.option("--no-pii", is_flag=True, help="For comparison: redact no personal data.")
@click.option("--no-audit", is_flag=True, help="For comparison: record no system calls.")
@click.option("--no-budget", is_flag=True, help="For comparison: models may cost any amount.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def up(ctx: click.Context, /, name: str | None, quiet: bool, as_json: bool, **options: Any) -> None:
    """Make a cage that stands until it is taken down; it is called NAME, or as its directory.

    Its programs share one filter, one budget and one log: akiosctl run --cage NAME, akiosctl exec
    NAME.  In the project it has data/input, read-only inside, and data/output, which its programs
    write directly.
    """
    given = {
        key: list(value) if isinstance(value, tuple) else [] if value is True else [value]
        for key, value in options.items()
        if value
    }
    try:
        cage, name = cage_up(given, name, ctx.obj.path, quiet)
    except AkiosError as error:
        error.where = "NAME" if error.where == "--name" else error.where
        raise
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"cage": cage, "name": name}))
        return
    print_line(name)
    if not quiet:
        note(f"{cage} is up; akiosctl run --cage {name} -- COMMAND · akiosctl cage down {name}")


@group.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def list_(ctx: click.Context, as_json: bool) -> None:
    """List your standing cages: those that are up, and those that are down with their data."""
    with ctx.obj.connect() as client:
        cages = list_standing(client)
    if wants_json(ctx, as_json):
        click.echo(json.dumps([_to_json(cage) for cage in cages], indent=2))
        return
    header = ["NAME", "CAGE", "STATE", "PROGRAMS", "AGE", "SPENT", "WORKSPACE"]
    rows = [
        [
            cage.name,
            cage.cage,
            f"down: {cut_reason(cage.reason)}" if cage.ended_ns else state_of(cage),
            str(cage.programs),
            age(cage, time.time_ns()),
            spent(cage),
            escape(cage.workspace),
        ]
        for cage in cages
    ]
    for line in table(header, rows):
        click.echo(line)


def _to_json(cage: CageInfo) -> dict[str, object]:
    return {
        "cage": cage.cage,
        "name": cage.name,
        "state": state_of(cage),
        "programs": cage.programs,
        "workspace": cage.workspace.decode("utf-8", "backslashreplace"),
        "started_ns": cage.started_ns,
        "ended_ns": cage.ended_ns,
        "reason": cage.reason,
        "changes": cage.changes,
        "usd_micro": cage.usd_micro,
        "calls": cage.calls,
    }


@group.command("status")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def status(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Show what a standing cage enforces, what it uses beside its limits, its programs, and where
    its data is.
    """
    reply: CageStatusReply | None = None
    with ctx.obj.connect() as client:
        cage = find_standing(list_standing(client), name)
        if not cage.ended_ns:
            reply, _ = client.call(CageStatus(cage=cage.cage), CageStatusReply)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(status_to_json(cage, reply), indent=2))
        return
    for line in describe_status(cage, reply):
        print_line(line)


def _pause(ctx: click.Context, name: str | None, paused: bool, as_json: bool) -> None:
    with ctx.obj.connect() as client:
        cage = find_standing(list_standing(client), name)
        if cage.ended_ns:
            raise AkiosError(f"{cage.name} is down", "cage", "see it: akiosctl cage status")
        client.call(Pause(cage=cage.cage, paused=paused), Ok)
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"cages": [cage.cage]}))
    else:
        print_line(cage.name)


@group.command("pause")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def pause(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Have everything in a standing cage stand still; nothing of it is lost."""
    _pause(ctx, name, True, as_json)


@group.command("resume")
@click.argument("name", required=False)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def resume(ctx: click.Context, name: str | None, as_json: bool) -> None:
    """Let a paused cage go on."""
    _pause(ctx, name, False, as_json)


@group.command("down")
@click.argument("names", nargs=-1, metavar="[NAME…]")
@click.option(
    "--passes",
    default=1,
    show_default=True,
    help="How often random bytes are written before the zeros, 1 to 35.",
)
@click.option("--fast", is_flag=True, help="Only unlink, overwrite nothing.")
@click.option(
    "--keep-output", "--keep-data", "keep", is_flag=True, help="Leave data/output as it is."
)
@click.option("--discard", is_flag=True, help="Destroy uncommitted changes of the project, too.")
@click.option("--dry-run", is_flag=True, help="Only say what would be destroyed.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def down(
    ctx: click.Context,
    names: tuple[str, ...],
    passes: int,
    fast: bool,
    keep: bool,
    discard: bool,
    dry_run: bool,
    as_json: bool,
) -> int:
    """Kill everything in standing cages, and destroy their data: the log, data/output, and what
    they have on akiosd's disk.

    data/input and everything else of the project stay.  What was destroyed, and what could not be
    overwritten, stands in the log of the host.
    """
    if not 1 <= passes <= 35:
        raise AkiosError("files cannot be overwritten that often", "--passes", "write 1 to 35")
    how = How(passes, fast)
    asked = Asked(how, keep, discard, dry_run, wants_json(ctx, as_json))
    return take_down(ctx.obj.path, names, asked)
