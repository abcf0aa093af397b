"""``akiosctl diff``: what a cage changed in its workspace, and what a commit would refuse."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable

import click

from akiosctl.cages import find_cage, list_cages
from akiosctl.changes import Diff
from akiosctl.changes.render import render_list, render_patch, render_stat, to_json
from akiosctl.commands import wants_json
from akiosctl.commit_cage import CageView, become_owner, open_view
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

    One that runs is paused while it is compared.
    """
    shown: list[bytes] = []
    with ctx.obj.connect() as client:
        found = find_cage(client, cage, need="view")
        name, running = found.cage, not found.ended_ns
        # Their workspace is full of their links, and what a commit would refuse is told by their
        # configuration.
        become_owner(found)
        with open_view(client, name, running=running) as view:
            diff = view.compare()
            notes = tell_refused(view, diff)
            if wants_json(ctx, as_json):
                answer = {"cage": name, "workspace": view.place, "changes": to_json(diff, notes)}
                shown.append(json.dumps(answer, indent=2).encode())
            elif not stat:
                shown += _encoded(render_list(diff, notes))
            if patch and not wants_json(ctx, as_json):
                for change in diff.changes:
                    lines = render_patch(*view.open_for(change))
                    shown += _encoded(_painted(line) for line in lines)
                    if not running:
                        _write(shown)
            if running:
                list_cages(client)  # akiosd says first if the pause was over before the reading
            where = view.place
    # A running cage goes on before anything is printed: a pager may wait for a person.
    _write(shown)
    if not wants_json(ctx, as_json):
        note(f"{name}{', which runs,' if running else ''} in {where}")
        print(render_stat(diff), file=sys.stdout if stat else sys.stderr)


def tell_refused(view: CageView, diff: Diff) -> dict[bytes, str]:
    """Path → why a commit would leave it out."""
    plan = view.plan(diff)
    return {refusal.path: refusal.reason for refusal in (*plan.refusals, *plan.conflicts)}


def _painted(line: str) -> str:
    colour = _PATCH_COLOURS.get(line[:1])
    return paint(line, colour) if colour else line


def _encoded(lines: Iterable[str]) -> list[bytes]:
    """File names may hold what the terminal's encoding cannot show; the renderer has quoted what
    is dangerous.
    """
    return [line.encode("utf-8", "surrogateescape") for line in lines]


def _write(shown: list[bytes]) -> None:
    """Print what is there, and empty the list."""
    sys.stdout.flush()
    for line in shown:
        sys.stdout.buffer.write(line + b"\n")
    sys.stdout.buffer.flush()
    shown.clear()
