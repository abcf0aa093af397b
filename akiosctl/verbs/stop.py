"""``akiosctl stop``: end cages."""

from __future__ import annotations

import click

from akiosctl.cages import find_cage
from akiosctl.choose_cage import place
from akiosctl.commands import print_line
from akiosctl.render import note, print_error
from akiosd.errors import AkiosError
from akiosd.values.units import parse_duration_ns
from akiosd.wire.messages import Ended, Ok, Stop


@click.command("stop")
@click.argument("cages", nargs=-1, required=True, metavar="CAGE…")
@click.option("--kill", is_flag=True, help="At once, without SIGTERM first.")
@click.option("--grace", default="10s", show_default=True, help="How long SIGTERM may take.")
@click.pass_context
def command(ctx: click.Context, cages: tuple[str, ...], kill: bool, grace: str) -> int:
    """Ask the agent of each CAGE to end, then kill everything in it."""
    grace_ns = 0 if kill else parse_duration_ns(grace)
    failed = False
    with ctx.obj.connect() as client:
        for name in cages:
            try:
                found = find_cage(client, name, writes=True)
                cage = found.cage
                if name != cage:
                    note(f"{cage} in {place(found)}")
                client.send(Stop(cage=cage, grace_ns=grace_ns))
                reply = client.receive().message
                if not isinstance(reply, Ok | Ended):
                    raise AkiosError(
                        "akiosd answered out of turn", cage, "install the same version of both"
                    )
                print_line(cage)
            except AkiosError as error:
                print_error(error, as_json=ctx.obj.as_json)
                failed = True
    return 125 if failed else 0
