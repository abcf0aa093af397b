"""``akiosctl protect show-prompt``: what the models of a workflow would be asked, and nothing is
sent.
"""

from __future__ import annotations

import json
import os
import sys

import click

from akiosctl.commands import print_line, wants_json


@click.command("show-prompt")
@click.argument("workflow")
@click.option("--step", default="", metavar="NAME", help="Only this step's.")
@click.option(
    "--input", "words", multiple=True, metavar="NAME=VALUE", help="A value; again for each input."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(
    ctx: click.Context, workflow: str, step: str, words: tuple[str, ...], as_json: bool
) -> int:
    """Print the prompts of a workflow file as models would get them; nothing is sent.

    Inputs are filled in; what a step before would bring stays as its reference.
    """
    from akiosctl import workflow_files
    from akiosctl.preview import as_json as report_of
    from akiosctl.preview import marked, printable, summary
    from akiosctl.show_prompts import show_prompts
    from akiosd.workflow.inputs import known_inputs, read_given

    plan = workflow_files.load_good(workflow, None)
    inputs = known_inputs(read_given(workflow_files.pairs(words), plan.inputs), plan.inputs)
    prompts = show_prompts(plan, inputs, os.environ, step)
    if wants_json(ctx, as_json):
        report = [
            {
                "step": one.step,
                "model": one.model,
                "messages": [
                    {"role": role, "text": printable(part.text)} for role, part in one.messages
                ],
                "later": one.later,
                "max_tokens": one.max_tokens,
                **report_of(one.whole),
            }
            for one in prompts
        ]
        click.echo(json.dumps({"workflow": workflow, "prompts": report}))
        return 0
    for one in prompts:
        print_line(f"── {one.step}: {one.model}")
        for role, part in one.messages:
            print_line(f"{role}:")
            click.echo(marked(part).removesuffix("\n"))
        sys.stdout.flush()
        for line in summary(one.whole):
            click.echo(f"  {line}", err=True)
        if one.later:
            click.echo(f"  filled in when it runs: {', '.join(one.later)}", err=True)
    click.echo("nothing was sent" if prompts else "no step asks a model", err=True)
    return 0
