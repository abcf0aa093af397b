"""``akiosctl commit``: write a cage's changes to its workspace, with the caller's own rights."""

from __future__ import annotations

import json

import click

from akiosctl import confirm
from akiosctl.cages import find_cage
from akiosctl.changes import CommitReport, Plan
from akiosctl.changes.render import quote_path
from akiosctl.commands import print_line, wants_json
from akiosctl.commit_cage import CageView, become_owner, commit_cage, count_changes
from akiosctl.render import escape
from akiosd.errors import AkiosError


@click.command("commit")
@click.argument("cage", default="last")
@click.option(
    "--skip-refused",
    is_flag=True,
    help="Commit without what is refused or in conflict; that is lost.",
)
@click.option("--force", is_flag=True, help="Overwrite what you changed since the cage started.")
@click.option("--yes", "-y", is_flag=True, help="Do not ask, however much it is.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, cage: str, skip_refused: bool, force: bool, yes: bool, as_json: bool
) -> int:
    """Write what CAGE changed to its workspace: all or nothing, unless --skip-refused.

    CAGE is the last cage of this directory when it is left out.
    """

    def agrees(view: CageView, plan: Plan) -> None:
        count = len(plan.operations)
        if not yes:
            confirm.ask(f"write {count_changes(count)} of {name} to {view.place}?", count, "commit")

    with ctx.obj.connect() as client:
        found = find_cage(client, cage, writes=True, need="changes")
        name = found.cage
        become_owner(found)
        plan, report, place = commit_cage(
            client, name, skip_refused=skip_refused, force=force, agrees=agrees
        )
    failure = report.failure
    if wants_json(ctx, as_json):
        click.echo(json.dumps(to_json(name, place, plan, report), indent=2))
        return 125 if failure else 0
    skipped = [(quote_path(refusal.path), refusal.reason) for refusal in plan.skipped]
    for path, reason in skipped:
        click.echo(f"left out: {path} ({reason})", err=True)
    for text in report.notes:
        click.echo(escape(text), err=True)
    if report.done or failure is None:
        print_line(f"{count_changes(len(report.done))} of {name} written to {place}")
    if failure is not None:
        kept = ""
        if report.kept:
            kept = (
                f"; keep {quote_path(report.kept)}: it holds your files that could not be put back,"
                " as they were before this commit"
            )
        how_much = "not all" if report.done else "nothing"
        raise AkiosError(
            f"{how_much} was committed: it stopped at {quote_path(failure.operation.path)},"
            f" {failure.reason}",
            "commit",
            f"mend {quote_path(failure.operation.path)}, then go on: akiosctl commit {name}{kept}",
        )
    return 0


def to_json(cage: str, place: str, plan: Plan, report: CommitReport) -> dict[str, object]:
    """What was committed, and what not, as plain values."""
    failure = report.failure
    return {
        "cage": cage,
        "workspace": place,
        "committed": len(report.done),
        "skipped": [
            {"path": quote_path(refusal.path), "reason": refusal.reason} for refusal in plan.skipped
        ],
        "kept": quote_path(report.kept) if report.kept else "",
        "failure": failure.reason if failure else "",
        "notes": list(report.notes),
    }
