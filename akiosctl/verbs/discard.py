"""``akiosctl discard``: destroy a cage's changes."""

from __future__ import annotations

import json

import click

from akiosctl import confirm
from akiosctl.cages import find_cage
from akiosctl.choose_cage import LAST, place
from akiosctl.client import Client
from akiosctl.commands import print_line, wants_json
from akiosctl.commit_cage import count_changes, discard_cage, open_view
from akiosctl.render import note
from akiosd.errors import AkiosError
from akiosd.wire.messages import CageInfo


@click.command("discard")
@click.argument("cages", nargs=-1, metavar="[CAGE…]")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, however much it is.")
@click.option(
    "--wipe", is_flag=True, help="Overwrite it before it is unlinked; this can take minutes."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, cages: tuple[str, ...], yes: bool, wipe: bool, as_json: bool
) -> None:
    """Destroy what each CAGE changed; its log stays.  CAGE is the last cage of this directory when
    it is left out.
    """
    as_json, done, notes = wants_json(ctx, as_json), list[str](), list[str]()
    with ctx.obj.connect() as client:
        for name in cages or (LAST,):
            cage = find_cage(client, name, writes=True, need="changes")
            if not yes:
                _ask(client, cage)
            if not as_json:
                note(f"destroying the changes of {cage.cage} in {place(cage)}")
            said = discard_cage(client, cage.cage, wipe=wipe)
            done.append(cage.cage)
            notes += [said] if said else []
            if not as_json:
                if said:
                    note(said if wipe else f"{said}; --wipe overwrites")
                print_line(cage.cage)
    if as_json:
        click.echo(json.dumps({"cages": done, "notes": notes}))


def _ask(client: Client, cage: CageInfo) -> None:
    if not confirm.can_ask():
        return
    try:
        with open_view(client, cage.cage) as view:
            count = len(view.compare().changes)
    except AkiosError:
        count = None  # its directory is gone, or somewhere else
    how_many = "all changes" if count is None else count_changes(count)
    confirm.ask(f"destroy {how_many} of {cage.cage} in {place(cage)}?", count, "discard")
