"""``akiosctl diff``: what a cage changed in its workspace, and what a commit would refuse."""

from __future__ import annotations

import json
import sys

import click

from akiosctl.cages import find_cage
from akiosctl.changes.render import render_list, render_patch, render_stat, to_json
from akiosctl.commands import wants_json
from akiosctl.commit_cage import become_owner, open_view
from akiosctl.render import note, paint

_PATCH_COLOURS = {"+": "green", "-": "red", "@": "dim"}


@click.command("diff")
@click.argument("cage", default="last")
@click.option("--patch", "-p", is_flag=True, help="The changed lines of text files too.")
@click.option("--stat", is_flag=True, help="Only the counts.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, cage: str, patch: bool, stat: bool, as_json: bool) -> None:
    """Show what CAGE changed; nothing is written.  CAGE is the last cage of this directory when it
    is left out.
    """
    with ctx.obj.connect() as client:
        found = find_cage(client, cage, need="changes")
        name = found.cage
        # Their workspace is full of their links, and what a commit would refuse is told by their
        # configuration.
        become_owner(found)
        with open_view(client, name) as view:
            diff = view.compare()
            plan = view.plan(diff)
            notes = {refusal.path: refusal.reason for refusal in (*plan.refusals, *plan.conflicts)}
            if wants_json(ctx, as_json):
                answer = {"cage": name, "workspace": view.place, "changes": to_json(diff, notes)}
                click.echo(json.dumps(answer, indent=2))
                return
            if not stat:
                _write(render_list(diff, notes))
            if patch:
                for change in diff.changes:
                    _write(_painted(line) for line in render_patch(*view.open_for(change)))
            note(f"{name} in {view.place}")
            print(render_stat(diff), file=sys.stdout if stat else sys.stderr)


def _painted(line: str) -> str:
    colour = _PATCH_COLOURS.get(line[:1])
    return paint(line, colour) if colour else line


def _write(lines: object) -> None:
    for line in lines:  # type: ignore[attr-defined]
        # File names may hold what the terminal's encoding cannot show; the renderer has quoted what
        # is dangerous.
        sys.stdout.buffer.write(line.encode("utf-8", "surrogateescape") + b"\n")
    sys.stdout.buffer.flush()
