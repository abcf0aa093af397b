"""``akiosctl commit``: write a cage's changes to its workspace, with the caller's own rights."""

from __future__ import annotations

import json

import click

from akiosctl.cages import find_cage
from akiosctl.changes.render import quote_path
from akiosctl.commands import wants_json
from akiosctl.settle import commit_cage
from akiosd.errors import AkiosError


@click.command("commit")
@click.argument("cage", default="last")
@click.option("--skip-refused", is_flag=True, help="Commit without what is refused or in conflict; that is lost.")
@click.option("--force", is_flag=True, help="Overwrite what you changed since the cage started.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, cage: str, skip_refused: bool, force: bool, as_json: bool) -> int:
    """Write what CAGE changed to its workspace.  All or nothing, unless --skip-refused."""
    with ctx.obj.connect() as client:
        name = find_cage(client, cage).cage
        plan, report = commit_cage(client, name, skip_refused=skip_refused, force=force)
    skipped = [(quote_path(refusal.path), refusal.reason) for refusal in plan.skipped]
    failure = report.failure
    if wants_json(ctx, as_json):
        answer = {
            "cage": name,
            "committed": len(report.done),
            "skipped": [{"path": path, "reason": reason} for path, reason in skipped],
            "kept": quote_path(report.kept) if report.kept else "",
            "failure": failure.reason if failure else "",
            "notes": list(report.notes),
        }
        click.echo(json.dumps(answer, indent=2))
        return 125 if failure else 0
    for path, reason in skipped:
        click.echo(f"left out: {path} ({reason})", err=True)
    for text in report.notes:
        click.echo(text, err=True)
    click.echo(f"{len(report.done)} changes written")
    if failure is not None:
        kept = f"the old files are in {quote_path(report.kept)}; " if report.kept else ""
        raise AkiosError(
            f"stopped at {quote_path(failure.operation.path)}: {failure.reason}",
            "commit",
            f"{kept}correct it and run akiosctl commit {name} again",
        )
    return 0
