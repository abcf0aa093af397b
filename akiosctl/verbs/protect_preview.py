"""``akiosctl protect preview``: what a model would be sent of a text, without a daemon and without
sending it.
"""

from __future__ import annotations

import json
import sys

import click

from akiosctl.commands import wants_json
from akiosd.errors import AkiosError


@click.command("preview")
@click.argument("file", default="-")
@click.option(
    "--model", default="", metavar="PROVIDER/MODEL", help="Say what it would cost as its input."
)
@click.option(
    "--disable", multiple=True, metavar="NAME", help="A pattern or category to leave out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, file: str, model: str, disable: tuple[str, ...], as_json: bool
) -> int:
    """Print FILE (- is standard input) as a model would get it; nothing is sent."""
    # The prices take 0.15 s to load: no other verb is to wait for them.
    from akiosctl.preview import as_json as report_of
    from akiosctl.preview import marked, preview, printable, summary

    shown = preview(_read(file), model, disable)
    if wants_json(ctx, as_json):
        report = {"file": file, "text": printable(shown.text), **report_of(shown)}
        click.echo(json.dumps(report))
        return 0
    click.echo(marked(shown).removesuffix("\n"))
    sys.stdout.flush()
    for line in (*summary(shown), "nothing was sent"):
        click.echo(line, err=True)
    return 0


def _read(path: str) -> str:
    try:
        with click.open_file(path, "rb") as stream:
            data: bytes = stream.read()
    except OSError as error:
        is_directory = isinstance(error, IsADirectoryError)
        hint = "give its files one by one" if is_directory else "check the path and its mode"
        raise AkiosError(f"{path} cannot be read: {error.strerror}", path, hint) from None
    return data.decode("utf-8", "surrogateescape")
