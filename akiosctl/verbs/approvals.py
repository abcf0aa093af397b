"""``akiosctl approvals``: questions of workflows, on which they wait for a person."""

from __future__ import annotations

import json
import time
from typing import Any

import click

from akiosctl.approvals import give_answer, list_waiting, no_question
from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, note, table
from akiosd.values.units import format_duration

_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_COMMENT = click.option("--comment", default="", metavar="TEXT", help="Why; the workflow sees it.")


@click.group(invoke_without_command=True)
@_JSON
@click.pass_context
def group(ctx: click.Context, as_json: bool) -> None:
    """List the questions of workflows that wait for your yes or no, and answer them."""
    if ctx.invoked_subcommand is None:
        _list(wants_json(ctx, as_json))


@group.command("list")
@_JSON
@click.pass_context
def list_command(ctx: click.Context, as_json: bool) -> None:
    """List the questions that wait, the oldest first."""
    _list(wants_json(ctx, as_json))


def _list(as_json: bool) -> None:
    found = [describe_question(one) for one in list_waiting()]
    if as_json:
        click.echo(json.dumps(found, indent=2))
        return
    rows = [
        [
            one["id"],
            one["workflow"],
            format_duration(max(0, one["until_ns"] - time.time_ns()) // 10**9 * 10**9),
            " ".join(one["message"].split())[:80],
        ]
        for one in found
    ]
    if not rows:
        note("no question waits")
        return
    for line in table(["QUESTION", "WORKFLOW", "LEFT", "MESSAGE"], rows):
        click.echo(line)


def describe_question(one: dict[str, Any]) -> dict[str, Any]:
    """A question as ``--json`` has it."""
    names = ("id", "run", "workflow", "step", "message")
    times = ("asked_ns", "until_ns")
    return {name: str(one.get(name, "")) for name in names} | {
        name: int(one.get(name, 0)) for name in times
    }


@group.command("show")
@click.argument("question")
@_JSON
@click.pass_context
def show_command(ctx: click.Context, question: str, as_json: bool) -> int:
    """Print a question whole."""
    found = [one for one in map(describe_question, list_waiting()) if one["id"] == question]
    if not found:
        raise no_question(question)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(found, indent=2))
        return 0
    for line in found[0]["message"].splitlines():
        print_line(line)
    return 0


@group.command("yes")
@click.argument("question")
@_COMMENT
@_JSON
@click.pass_context
def yes_command(ctx: click.Context, question: str, comment: str, as_json: bool) -> None:
    """Agree: the workflow goes on."""
    _answer(question, True, comment, wants_json(ctx, as_json))


@group.command("no")
@click.argument("question")
@_COMMENT
@_JSON
@click.pass_context
def no_command(ctx: click.Context, question: str, comment: str, as_json: bool) -> None:
    """Refuse: the step has failed."""
    _answer(question, False, comment, wants_json(ctx, as_json))


def _answer(question: str, yes: bool, comment: str, as_json: bool) -> None:
    said = give_answer(question, yes, comment)
    state, by = str(said.get("state", "")), str(said.get("by", ""))
    if as_json:
        click.echo(json.dumps({"id": question, "state": state, "by": by}))
    else:
        print_line(f"{escape(question)}: {state} by {by}")
