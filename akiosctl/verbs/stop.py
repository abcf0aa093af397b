"""``akiosctl stop``: end cages."""

from __future__ import annotations

import json

import click

from akiosctl.cages import find_cage
from akiosctl.choose_cage import place
from akiosctl.client import Client
from akiosctl.commands import print_line, wants_json
from akiosctl.render import note, print_error
from akiosd.errors import AkiosError
from akiosd.values.units import parse_duration_ns
from akiosd.wire.messages import Ended, Ok, Stop


@click.command("stop")
@click.argument("cages", nargs=-1, required=True, metavar="CAGE…")
@click.option("--kill", is_flag=True, help="At once, without SIGTERM first.")
@click.option("--grace", default="10s", show_default=True, help="How long SIGTERM may take.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, cages: tuple[str, ...], kill: bool, grace: str, as_json: bool
) -> int:
    """Ask the agent of each CAGE to end, then kill everything in it."""
    grace_ns = 0 if kill else parse_duration_ns(grace)
    stopped: list[str] = []
    as_json = wants_json(ctx, as_json)
    with ctx.obj.connect() as client:
        for name in cages:
            try:
                found = find_cage(client, name, writes=True)
                cage = found.cage
                if name != cage:
                    note(f"{cage} in {place(found)}")
                end(client, cage, grace_ns)
                stopped.append(cage)
                if not as_json:
                    print_line(cage)
            except AkiosError as error:
                print_error(error, as_json=as_json)
    if as_json:
        click.echo(json.dumps({"cages": stopped}))
    return 0 if len(stopped) == len(cages) else 125


def end(client: Client, cage: str, grace_ns: int) -> None:
    """End the cage of this id: SIGTERM, and SIGKILL after ``grace_ns``; 0 kills at once."""
    client.send(Stop(cage=cage, grace_ns=grace_ns))
    reply = client.receive().message
    if not isinstance(reply, Ok | Ended):
        raise AkiosError(
            "akiosd sent an answer that does not fit the question",
            cage,
            "install the same version of akiosd and akiosctl",
        )
