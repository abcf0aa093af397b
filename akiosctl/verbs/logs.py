"""``akiosctl logs``: what a cage wrote while nobody was attached."""

from __future__ import annotations

import base64
import json
import os
import sys

import click

from akiosctl.cages import find_log
from akiosctl.commands import wants_json
from akiosctl.render import is_screen
from akiosctl.terminal_filter import Tamer
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Output, OutputReply


@click.command("logs")
@click.argument("cage", default="last")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, cage: str, as_json: bool) -> int:
    """Print the output of a detached CAGE, the last of this directory when left out (its first 16
    MiB are kept).

    As it was written; on a terminal without what would drive the terminal, colours excepted.
    """
    with ctx.obj.connect() as client:
        name = find_log(client, cage)
        _, fds = client.call(Output(cage=name), OutputReply)
    try:
        if wants_json(ctx, as_json):
            _print_json(name, fds[0])
            return 0
        sys.stdout.flush()
        tamer = Tamer() if is_screen(1) else None
        while data := os.read(fds[0], 1 << 20):
            sys.stdout.buffer.write(tamer.feed(data) if tamer is not None else data)
        if tamer is not None:
            sys.stdout.buffer.write(tamer.finish())
        sys.stdout.flush()
    finally:
        close_fds(fds)
    return 0


def _print_json(cage: str, fd: int) -> None:
    data = b""
    while piece := os.read(fd, 1 << 20):
        data += piece
    output = data.decode("utf-8", "backslashreplace")
    exact = base64.b64encode(data).decode("ascii")
    click.echo(json.dumps({"cage": cage, "output": output, "output_base64": exact}))
