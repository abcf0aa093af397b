"""``akiosctl workflow run``: every step in a cage of its own, journalled, so that a run that was
killed goes on where it was.
"""

from __future__ import annotations

import json

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.render import note
from akiosctl.workflow_again import say_how
from akiosctl.workflow_start import MOST, Asked, run_workflow
from akiosd.values.units import format_usd


@click.command("run")
@click.argument("file", metavar="FILE|TEMPLATE")
@click.option("--cage", metavar="NAME", default="", help="For the project of a standing cage.")
@click.option(
    "--input", "words", multiple=True, metavar="NAME=VALUE", help="A value; again for each input."
)
@click.option("--resume", is_flag=True, help="Go on with the last run of it here.")
@click.option(
    "--from",
    "from_step",
    default="",
    metavar="STEP",
    help="Go on, and do this step and those that need it again.",
)
@click.option("--repeat", is_flag=True, help="Go on, and do again what may have been done already.")
@click.option(
    "--at-once",
    "most",
    type=click.IntRange(1, 32),
    default=MOST,
    show_default=True,
    metavar="N",
    help="How many steps may run at the same time.",
)
@click.option("--quiet", "-q", is_flag=True, help="Say nothing but what goes wrong.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context,
    file: str,
    cage: str,
    words: tuple[str, ...],
    resume: bool,
    from_step: str,
    repeat: bool,
    most: int,
    quiet: bool,
    as_json: bool,
) -> int:
    """Run a workflow file, or one of the templates: each step in a cage of its own, by its policy.

    What steps may do was decided by the file before the run.  The results go to data/output/RUN.
    A run that was killed or failed goes on with --resume: what is done is not done again.  A step
    of which no end is known is named, and done again only with --repeat, too: it may be done twice
    then.  Exit status 1 when a step failed.
    """
    asked = Asked(file, words, cage, resume, from_step, repeat, most, quiet)
    report = run_workflow(ctx.obj, asked)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(report, indent=2))
    else:
        print_line(f"{report['run']}: {report['status']}; results in {report['output']}")
        if report["calls"] and not quiet:
            calls = f"{report['calls']} call{'' if report['calls'] == 1 else 's'} to models"
            note(f"{calls}, {report['tokens']:,} tokens, {format_usd(report['usd_micro'])}")
        if report["status"] != "success":
            for step in report["steps"]:
                if step["failure"]:
                    note(f"  next: {step['failure']['next']}")
            for line in say_how(file, report["undecided"]):
                note(line)
    return 0 if report["status"] == "success" else 1
