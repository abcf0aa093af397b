"""``akiosctl output list|show|export``: what workflows brought, as their journals have it.

What lies in data/output may have been changed by any program of the project's cages; a journal lies
in the user's own state, where none of them comes.
"""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import click
import msgspec

from akiosctl.choose_cage import LAST
from akiosctl.commands import print_line, wants_json
from akiosctl.journal_file import Kept, list_kept
from akiosctl.locate import locate_workspace
from akiosctl.lost_steps import with_lost
from akiosctl.render import escape, note, table
from akiosctl.small_files import write_file
from akiosd.errors import AkiosError
from akiosd.values.units import format_usd
from akiosd.workflow.journal import look_back

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_RUN = click.argument("run", required=False, default=LAST)


@click.group()
def group() -> None:
    """Show what runs of workflows brought."""


@group.command("list")
@click.option("--all", "everywhere", is_flag=True, help="Of other directories, too.")
@_JSON
@click.pass_context
def list_command(ctx: click.Context, everywhere: bool, as_json: bool) -> None:
    """List the runs of workflows here, the oldest first."""
    kept = with_lost(ctx.obj, list_kept() if everywhere else _here())
    found = [describe_run(one) for one in kept]
    if wants_json(ctx, as_json):
        click.echo(json.dumps(found, indent=2))
        return
    header = ["RUN", "WORKFLOW", "STATUS", "STEPS", "SPENT", "WORKSPACE"]
    rows = [
        [
            one["run"],
            one["workflow"],
            one["status"],
            str(one["steps"]),
            ("at most " if look_back(run.lines).at_most else "") + format_usd(one["usd_micro"]),
            one["workspace"],
        ]
        for run, one in zip(kept, found, strict=True)
    ]
    if not rows:
        note("no workflow was run here" if not everywhere else "no workflow was run")
        return
    for line in table(header, rows):
        click.echo(line)


@group.command("show")
@_RUN
@click.option("--step", default="", metavar="NAME", help="Only what this step brought.")
@_JSON
@click.pass_context
def show_command(ctx: click.Context, run: str, step: str, as_json: bool) -> None:
    """Print what the steps of a run brought; of the last one here, where none is named."""
    whole = describe_outputs(find_run(run))
    whole["steps"] = [one for one in whole["steps"] if step in ("", one["name"])]
    if step and not whole["steps"]:
        what = f"the run has no step {step!r} that ended"
        raise AkiosError(what, "--step", "leave out --step to see the whole run")
    if wants_json(ctx, as_json):
        click.echo(json.dumps(whole, indent=2))
        return
    print_line(f"{whole['run']}: {whole['workflow']}, {whole['status']}")
    for one in whole["steps"]:
        number = f"[{one['instance']}]" if one["instance"] else ""
        print_line(f"── {one['name']}{number}: {one['status']}")
        for name, value in one["outputs"].items():
            text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
            for line in f"{name}: {text}".splitlines():
                print_line(f"  {line}")
        if one["failure"]:
            print_line(f"  failed: {one['failure']['what']}")
    for name in whole["unknown"]:
        print_line(f"── {name}: unknown whether it was done")


@group.command("export")
@_RUN
@click.option("--out", required=True, metavar="FILE", help="Where it is written.")
@_JSON
@click.pass_context
def export_command(ctx: click.Context, run: str, out: str, as_json: bool) -> None:
    """Write a run whole, as JSON: its inputs, and what each step brought."""
    whole = describe_outputs(find_run(run))
    data = json.dumps(whole, indent=2).encode() + b"\n"
    write_file(Path(out), data)
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"run": whole["run"], "file": out, "bytes": len(data)}))
    else:
        print_line(f"{whole['run']}: {len(data):,} bytes in {out}")


def _here() -> list[Kept]:
    place = locate_workspace(os.getcwd(), None, os.path.expanduser("~"))
    os.close(place.fd)
    return [one for one in list_kept() if one.begun.workspace == place.path]


def find_run(run: str) -> Kept:
    """The run of this name, or the last one here.  Raises :class:`AkiosError`."""
    found = _here() if run == LAST else [one for one in list_kept() if one.run == run]
    if not found:
        what = "no workflow was run here" if run == LAST else f"there is no run {run!r}"
        where = os.getcwd() if run == LAST else "run"
        raise AkiosError(
            what, escape(where), "see those of all directories: akiosctl output list --all"
        )
    return found[-1]


def describe_run(kept: Kept) -> dict[str, Any]:
    """A run in a list, as ``--json`` has it."""
    past = look_back(kept.lines)
    return {
        "run": kept.run,
        "workflow": kept.begun.workflow,
        "status": kept.status,
        "workspace": kept.begun.workspace,
        "started_ns": kept.begun.ts,
        "steps": len({name for name, _ in past.results}),
        "usd_micro": past.spent[0],
    }


def describe_outputs(kept: Kept) -> dict[str, Any]:
    """What the steps of a run brought, and what it was given, as ``--json`` has it."""
    past = look_back(kept.lines)
    names = ("step", "instance", "status", "outputs", "failure", "notes", "cage", "seconds")
    steps = [
        {name.replace("step", "name"): msgspec.to_builtins(getattr(result, name)) for name in names}
        for place, result in past.results.items()
        if place not in past.unknown
    ]
    unknown = sorted({name for name, _ in past.unknown})
    return describe_run(kept) | {"inputs": kept.begun.inputs, "unknown": unknown, "steps": steps}
