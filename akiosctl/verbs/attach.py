"""``akiosctl attach``: take over a cage that was left running."""

from __future__ import annotations

import click

from akiosctl.cages import find_cage
from akiosctl.choose_cage import place
from akiosctl.client import PlainClient
from akiosctl.commands import wants_json
from akiosctl.relay import Relay
from akiosctl.render import note
from akiosctl.say_end import finish, tell_left
from akiosctl.started import take_started
from akiosctl.stdio import open_missing_stdio
from akiosctl.terminal import DEFAULT_DETACH_KEYS, parse_detach_keys


@click.command("attach")
@click.argument("cage", default="last")
@click.option(
    "--detach-keys",
    default=DEFAULT_DETACH_KEYS,
    show_default=True,
    help="Keys that leave it running.",
)
@click.option(
    "--signals", is_flag=True, help="Ctrl-C and signals go to the agent; only the keys leave it."
)
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON line on stderr.")
@click.pass_context
def command(ctx: click.Context, cage: str, detach_keys: str, signals: bool, as_json: bool) -> int:
    """Connect to the terminal, or the output, of CAGE; the exit status is the agent's.

    Whatever ends this command leaves the cage running: Ctrl-C, the keys, the end of the terminal.
    To end the cage: akiosctl stop.  CAGE is the last cage of this directory when it is left out.
    """
    open_missing_stdio()
    keys = parse_detach_keys(detach_keys)
    with ctx.obj.connect() as client:
        found = find_cage(client, cage, writes=True, need="running")
    name = found.cage
    leaves = detach_keys if signals else "Ctrl-C"
    note(f"{name} in {place(found)}; {leaves} leaves it running, akiosctl stop {name} ends it")
    plain = PlainClient(ctx.obj.path)
    try:
        number = plain.request("attach", {"cage": name})
        started, fds = take_started(plain, number)
        relay = Relay(plain, number, started, detach_keys=keys, watches=not signals)
        try:
            ended = relay.run(fds)
        finally:
            relay.close()
    finally:
        plain.close()
    if ended is None:
        tell_left(name, found.name, wants_json(ctx, as_json))
        return 128 + relay.left_by if relay.left_by else 0
    hint = f"akiosctl diff {name} · commit · discard"
    return finish(ended, name, ctx.obj.path, wants_json(ctx, as_json), settle="keep", hint=hint)
