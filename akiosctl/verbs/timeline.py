"""``akiosctl timeline``: what happened in a cage, drawn from its log."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import click

from akiosctl.choose_cage import LAST
from akiosctl.commands import wants_json
from akiosctl.story.drawing import draw
from akiosctl.story.plain import to_json
from akiosctl.story.reading import read_story
from akiosctl.verbs.ledger_read import DIRECTORY, JSON, VKEY


@click.command("timeline")
@click.argument("cage", default="", metavar="[CAGE]")
@DIRECTORY
@VKEY
@JSON
@click.pass_context
def command(
    ctx: click.Context, cage: str, directory: Path | None, vkey: str | None, as_json: bool
) -> None:
    """Draw what happened in CAGE, by default the last one of this directory: its life, programs,
    calls to models with what they cost, what was redacted and denied.

    It is read from the cage's log, which is not verified here (akiosctl ledger verify).  A log of
    any length is told in some hundred rows: what was near in time is one row.
    """
    read = read_story(ctx, cage or ("" if directory else LAST), directory, vkey)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(to_json(read), indent=2))
        return
    width = shutil.get_terminal_size().columns
    for line in draw(read, max(width, 60)):
        click.echo(line)
