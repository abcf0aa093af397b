"""``akiosctl exec``: a program in a standing cage, with a terminal where there is one."""

from __future__ import annotations

import click

from akiosctl.commands import wants_json
from akiosctl.programs import run_program
from akiosctl.run_options import RunOptions
from akiosctl.stdio import open_missing_stdio
from akiosd.errors import AkiosError


@click.command("exec", context_settings={"allow_interspersed_args": False})
@click.argument("name")
@click.argument("words", nargs=-1, required=True, type=click.UNPROCESSED, metavar="COMMAND…")
@click.option("--tty", "-t", is_flag=True, help="Give it a terminal.")
@click.option("--no-tty", "-T", is_flag=True, help="Give it pipes.")
@click.option("--env", multiple=True, metavar="NAME=VALUE", help="Set a variable inside.")
@click.option("--keep-env", multiple=True, metavar="NAME", help="Pass a variable of yours.")
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but errors.")
@click.option("--json", "as_json", is_flag=True, help="The report as one JSON line on stderr.")
@click.pass_context
def command(
    ctx: click.Context,
    name: str,
    words: tuple[str, ...],
    tty: bool,
    no_tty: bool,
    env: tuple[str, ...],
    keep_env: tuple[str, ...],
    quiet: bool,
    as_json: bool,
) -> int:
    """Start COMMAND in the standing cage NAME; the exit status is its own.

    It has a terminal when standard input and output are one; write -- before COMMAND where that has
    options.
    """
    open_missing_stdio()
    given: dict[str, list[str]] = {"env": list(env), "keep_env": list(keep_env)}
    flags = {"tty": tty, "no_tty": no_tty, "quiet": quiet}
    given |= {name: [] for name, is_given in flags.items() if is_given}
    if tty and no_tty:
        raise AkiosError(
            "--tty and --no-tty contradict each other", "command line", "give one of them"
        )
    command_line = words[1:] if words[0] == "--" else words
    if not command_line:
        raise AkiosError(
            "no command was given", "akiosctl exec", f"write it: akiosctl exec {name} -- COMMAND"
        )
    options = RunOptions(list(command_line), given)
    return run_program(options, name, ctx.obj.path, wants_json(ctx, as_json))
