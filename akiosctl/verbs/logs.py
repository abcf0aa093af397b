"""``akiosctl logs``: what a cage wrote while nobody was attached."""

from __future__ import annotations

import os
import sys

import click

from akiosctl.cages import find_log
from akiosctl.terminal_filter import Tamer
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Output, OutputReply


@click.command("logs")
@click.argument("cage", default="last")
@click.pass_context
def command(ctx: click.Context, cage: str) -> int:
    """Print the output of a detached CAGE, the last of this directory when left out (its first 16
    MiB are kept).

    As it was written; on a terminal without what would drive the terminal, colours excepted.
    """
    with ctx.obj.connect() as client:
        _, fds = client.call(Output(cage=find_log(client, cage)), OutputReply)
    try:
        sys.stdout.flush()
        tamer = Tamer() if sys.stdout.isatty() else None
        while data := os.read(fds[0], 1 << 20):
            sys.stdout.buffer.write(tamer.feed(data) if tamer is not None else data)
        if tamer is not None:
            sys.stdout.buffer.write(tamer.finish())
        sys.stdout.flush()
    finally:
        close_fds(fds)
    return 0
