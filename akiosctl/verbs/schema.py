"""``akiosctl schema``: the form of the JSON that each verb prints, as JSON Schema."""

from __future__ import annotations

import json

import click

from akiosctl.help.schemas import LINES, SCHEMAS, schema_of
from akiosd.errors import AkiosError


@click.command("schema")
@click.argument("verb", nargs=-1)
@click.option("--json", "as_json", is_flag=True, help="The same: a schema is JSON.")
def command(verb: tuple[str, ...], as_json: bool) -> None:
    """Print the JSON Schema of what VERB prints with --json, or those of all verbs.

    A verb of two words is written as such: akiosctl schema ledger verify.  The word "error" stands
    for what a verb with --json prints on standard error when it fails.
    """
    name = " ".join(verb)
    if not name:
        schemas = {one or "error": described(one) for one in SCHEMAS}
        click.echo(json.dumps(schemas, indent=2))
        return
    if name not in SCHEMAS and name != "error":
        raise AkiosError(
            f"there is no verb {name!r} that prints JSON",
            "akiosctl schema",
            f"these do: {', '.join(filter(None, SCHEMAS))}",
        )
    click.echo(json.dumps(described("" if name == "error" else name), indent=2))


def described(verb: str) -> dict[str, object]:
    """Its schema; a verb that prints one object a line says so."""
    schema = schema_of(verb)
    return {"$comment": "one object a line", **schema} if verb in LINES else schema
