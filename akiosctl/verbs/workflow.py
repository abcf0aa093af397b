"""``akiosctl workflow validate|explain|graph|schema|run|status``: workflow files, before they are
run, and their runs.
"""

from __future__ import annotations

import json
import shutil
from typing import Any

import click

from akiosctl import workflow_files
from akiosctl.commands import Globals, print_line, wants_json
from akiosctl.render import note, print_error
from akiosctl.shell_trap import WORKFLOW, record
from akiosctl.verbs.workflow_run import command as run_command
from akiosctl.verbs.workflow_status import command as status_command
from akiosd.errors import AkiosError
from akiosd.workflow.draw import drawing, mermaid
from akiosd.workflow.explain import explain_lines, explain_plan
from akiosd.workflow.inputs import read_given, settle_inputs
from akiosd.workflow.publish import file_schema
from akiosd.workflow.shell_traps import ONE_TEXT

_JSON_OPTION = click.option("--json", "as_json", is_flag=True, help="Print JSON.")
_FILE = click.argument("file")


@click.group()
def group() -> None:
    """Check, explain, draw and run workflow files."""


group.add_command(run_command)
group.add_command(status_command)


@group.command("validate")
@click.argument("files", nargs=-1, required=True, metavar="FILE…")
@click.option(
    "--input",
    "words",
    multiple=True,
    metavar="NAME=VALUE",
    help="Also check that this may be given; again for each input.",
)
@_JSON_OPTION
@click.pass_context
def validate_command(
    ctx: click.Context, files: tuple[str, ...], words: tuple[str, ...], as_json: bool
) -> None:
    """Check workflow files: every mistake, with file, line and column.

    Nothing is run.  Exit status 1 when a file is not acceptable.
    """
    as_json = wants_json(ctx, as_json)
    base = workflow_files.policy_here(ctx.obj)
    report = [_validated(ctx.obj, name, base, words) for name in files]
    if as_json:
        shown = [{**one, "errors": [_as_json(error) for error in one["errors"]]} for one in report]
        click.echo(json.dumps(shown, indent=2))
    else:
        for one in report:
            _print_report(one)
    ctx.exit(0 if all(one["ok"] for one in report) else 1)


def _validated(globals_: Globals, name: str, base: Any, words: tuple[str, ...]) -> dict[str, Any]:
    try:
        read, plan = workflow_files.load(name, base)
        errors, notes = list(read.places.errors), read.notes
        if any(ONE_TEXT in error.what for error in errors):
            record(globals_.path, WORKFLOW)
        if plan is not None and words:
            settle_inputs(read_given(workflow_files.pairs(words), plan.inputs), plan.inputs)
    except AkiosError as error:
        errors, notes, plan = [error], [], None
    steps = len(plan.steps) if plan else 0
    return {"file": name, "ok": not errors, "steps": steps, "errors": errors, "notes": notes}


def _print_report(one: dict[str, Any]) -> None:
    for error in one["errors"]:
        print_error(error)
    for words in one["notes"]:
        note(f"{one['file']}: {words}")
    count = len(one["errors"])
    if one["ok"]:
        print_line(f"{one['file']}: OK, {one['steps']} step{'' if one['steps'] == 1 else 's'}")
    else:
        print_line(f"{one['file']}: {count} mistake{'' if count == 1 else 's'}")


def _as_json(error: AkiosError) -> dict[str, str]:
    return {"what": error.what, "where": error.where, "next": error.next}


@group.command("explain")
@_FILE
@_JSON_OPTION
@click.pass_context
def explain_command(ctx: click.Context, file: str, as_json: bool) -> None:
    """Say in plain words what each step may do, with which policy and how much money."""
    as_json = wants_json(ctx, as_json)
    plan = workflow_files.load_good(file, workflow_files.policy_here(ctx.obj))
    if as_json:
        click.echo(json.dumps(explain_plan(plan), indent=2))
        return
    for line in explain_lines(plan):
        print_line(line)


@group.command("graph")
@_FILE
@click.option("--mermaid", "as_mermaid", is_flag=True, help="Print a mermaid flowchart instead.")
@_JSON_OPTION
@click.pass_context
def graph_command(ctx: click.Context, file: str, as_mermaid: bool, as_json: bool) -> None:
    """Draw the order of the steps: what stands beside each other may run at the same time."""
    plan = workflow_files.load_good(file, None)
    if wants_json(ctx, as_json):
        order = [list(rank) for rank in plan.order]
        needs = {step.name: list(step.needs) for step in plan.steps}
        text = "\n".join(mermaid(plan)) + "\n"
        click.echo(json.dumps({"order": order, "needs": needs, "mermaid": text}, indent=2))
        return
    width = shutil.get_terminal_size().columns
    for line in mermaid(plan) if as_mermaid else drawing(plan, max(width, 40)):
        print_line(line)


@group.command("schema")
@click.option("--json", "as_json", is_flag=True, help="The same: a schema is JSON.")
def schema_command(as_json: bool) -> None:
    """Print the JSON Schema of workflow files, for editors."""
    click.echo(json.dumps(file_schema(), indent=2))
