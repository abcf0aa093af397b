"""``akiosctl top``: cages as they are at this moment, on a screen or once."""

from __future__ import annotations

import json
import os
import sys
import time

import click

from akiosctl.cages import list_cages
from akiosctl.commands import print_line, wants_json
from akiosctl.extras import install_command
from akiosctl.render import table
from akiosctl.standing_cages import words_of_standstill
from akiosctl.top.cages import Cage, Known, to_json
from akiosctl.top.columns import COLUMNS
from akiosctl.top.feed import measure
from akiosctl.verbs.events import events_path
from akiosd.errors import AkiosError

_BETWEEN_SECONDS = 0.5
"""Between two measurements of processor time."""
_ONCE = "akiosctl top --once prints the same once"


@click.command("top")
@click.option("--once", is_flag=True, help="Print one table, and end.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON, once.")
@click.pass_context
def command(ctx: click.Context, once: bool, as_json: bool) -> None:
    """Watch cages: what they use beside their limits, what they cost, what was redacted and denied.

    Enter looks at one cage: its calls to models, the names it asked for, its money, its log.
    ? shows all keys.

    \b
    Each thing it shows is a plain command, too:
      the list               akiosctl top --once, akiosctl ps
      calls, names, log      akiosctl events --cage CAGE
      money                  akiosctl budget CAGE
      what it wrote          akiosctl logs CAGE
      what was denied        akiosctl why CAGE
      stop, pause, go on     akiosctl stop, akiosctl cage pause, akiosctl cage resume
    """
    as_json = wants_json(ctx, as_json)
    if not once and not as_json:
        _check_terminal()
        _import_library()
        ctx.obj.connect().close()  # what is wrong is said before the screen is taken
        from akiosctl.top.live import run_live

        run_live(ctx.obj.path, events_path(ctx.obj.path))
        return
    cages = _read(ctx)
    if as_json:
        click.echo(json.dumps([to_json(cage) for cage in cages], indent=2))
        return
    now = time.time_ns()
    rows = [[column.cell(cage, now).text for column in COLUMNS] for cage in cages]
    for line in table([column.title for column in COLUMNS], rows):
        click.echo(line)
    for line in filter(None, (words_of_standstill(cage.info) for cage in cages)):
        click.echo(line)
    if not rows:
        print_line("no cage runs; those that ended: akiosctl ps --all")


def _read(ctx: click.Context) -> list[Cage]:
    """Cages that run.  Processor time is that of half a second."""
    with ctx.obj.connect() as client:
        known = Known(begun_ns=sys.maxsize).measured(measure(client))
        time.sleep(_BETWEEN_SECONDS)
        known = known.measured(measure(client)).listed(list_cages(client, everyone=True))
    return known.cages()


def _check_terminal() -> None:
    # The library draws on standard error.
    names = ("standard input", "standard output", "standard error")
    missing = [name for fd, name in enumerate(names) if not os.isatty(fd)]
    if missing:
        raise AkiosError(
            "top needs a terminal, and its input or output is not one", ", ".join(missing), _ONCE
        )
    if os.environ.get("TERM", "dumb") == "dumb":
        raise AkiosError("top needs a terminal that can be drawn on", "TERM", _ONCE)


def _import_library() -> None:
    """Raises :class:`AkiosError` that says what to install where the library is missing."""
    try:
        import textual  # noqa: F401
    except ModuleNotFoundError:
        pip = install_command("top")
        raise AkiosError(
            "the live view needs textual, which is not installed",
            "akiosctl top",
            f"install it: {pip}; without it, {_ONCE}",
        ) from None
