"""``akiosctl discard``: destroy a cage's changes."""

from __future__ import annotations

import click

from akiosctl.cages import find_cage
from akiosctl.commands import print_line
from akiosctl.settle import discard_cage


@click.command("discard")
@click.argument("cages", nargs=-1, required=True, metavar="CAGE…")
@click.pass_context
def command(ctx: click.Context, cages: tuple[str, ...]) -> None:
    """Destroy what each CAGE changed.  Its log stays."""
    with ctx.obj.connect() as client:
        for name in cages:
            cage = find_cage(client, name).cage
            discard_cage(client, cage)
            print_line(cage)
