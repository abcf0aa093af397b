"""``akiosctl completion``: what makes bash, zsh and fish complete the words of akiosctl."""

from __future__ import annotations

import json

import click

from akiosctl import commands
from akiosctl.help import shells
from akiosctl.help.words import read_words


@click.command("completion")
@click.argument("shell", type=click.Choice(tuple(shells.SCRIPTS)))
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, shell: str, as_json: bool) -> None:
    """Print the script that makes SHELL complete verbs, options, files and the names of cages.

    The names of cages are asked of akiosd when you press the tab key; everything else is in the
    script, so print it again after an update.  For all your shells from now on, write it to
    ~/.local/share/bash-completion/completions/akiosctl (bash),
    ~/.config/fish/completions/akiosctl.fish (fish), or a file _akiosctl in a directory of $fpath
    (zsh).  The short name akios is completed too; bash and fish look for a file of that name, so
    make akios and akios.fish links to these.
    """
    root = read_words(commands.akiosctl, {name: text for name, (_, text) in commands.VERBS.items()})
    script = shells.SCRIPTS[shell](root)
    if commands.wants_json(ctx, as_json):
        click.echo(json.dumps({"shell": shell, "script": script}))
    else:
        click.echo(script, nl=False)
