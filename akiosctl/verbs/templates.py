"""``akiosctl templates list|show``: the workflows that come with AKIOS."""

from __future__ import annotations

import difflib
import json
from pathlib import Path

import click

from akiosctl.commands import wants_json
from akiosctl.render import table
from akiosctl.workflow_files import describe_template, templates
from akiosd.errors import AkiosError

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


@click.group()
def group() -> None:
    """Show the workflows that AKIOS comes with."""


@group.command("list")
@_JSON_OPTION
@click.pass_context
def list_command(ctx: click.Context, as_json: bool) -> None:
    """Print each template with what it does."""
    found = [describe_template(path) for path in templates().values()]
    if wants_json(ctx, as_json):
        click.echo(json.dumps(found, indent=2))
        return
    for line in table(("TEMPLATE", "WHAT IT DOES"), [(t["name"], t["description"]) for t in found]):
        click.echo(line)


@group.command("show")
@click.argument("name")
@_JSON_OPTION
@click.pass_context
def show_command(ctx: click.Context, name: str, as_json: bool) -> None:
    """Print a template, to be kept and changed: akiosctl templates show NAME > my.yml"""
    text = find_template(name).read_text()
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"name": name, "text": text}, indent=2))
        return
    click.echo(text, nl=False)


def find_template(name: str) -> Path:
    """Its file.  Raises :class:`AkiosError`."""
    known = templates()
    if name in known:
        return known[name]
    near = difflib.get_close_matches(name, known, 1, 0.4)
    hint = f"did you mean {near[0]}?" if near else f"the templates are {', '.join(known)}"
    raise AkiosError(f"there is no template {name!r}", "akiosctl templates", hint)
