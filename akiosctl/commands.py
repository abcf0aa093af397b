"""Every verb but ``run``: a click group that imports the module of a verb when that verb is asked
for.
"""

from __future__ import annotations

import difflib
import importlib
import sys
from functools import cache
from typing import Any

import click

from akiosctl import pager
from akiosctl.client import Client, socket_path
from akiosctl.end_signals import status_of
from akiosctl.help.examples import example_lines
from akiosctl.old_words import look_up
from akiosctl.render import escape
from akiosd import __version__
from akiosd.errors import AkiosError

# verb → (module, what it does); the order is that of the help text.
VERBS: dict[str, tuple[str, str]] = {
    "run": ("", "Run a command in a cage."),
    "cage": ("akiosctl.verbs.cage", "Make cages that stand, and take them down."),
    "exec": ("akiosctl.verbs.exec", "Start a program in a cage that stands."),
    "cp": ("akiosctl.verbs.cp", "Copy files into a cage that stands, and out of it."),
    "ps": ("akiosctl.verbs.ps", "List cages."),
    "top": ("akiosctl.verbs.top", "Watch cages and what they use."),
    "attach": ("akiosctl.verbs.attach", "Connect to a cage left running."),
    "logs": ("akiosctl.verbs.logs", "Print what a cage wrote."),
    "stop": ("akiosctl.verbs.stop", "End cages."),
    "budget": ("akiosctl.verbs.budget", "Show what calls to models cost."),
    "diff": ("akiosctl.verbs.diff", "Show what a cage changed in its workspace."),
    "commit": ("akiosctl.verbs.commit", "Write a cage's changes to its workspace."),
    "discard": ("akiosctl.verbs.discard", "Destroy a cage's changes."),
    "status": ("akiosctl.verbs.status", "Say how AKIOS is here, on one page."),
    "timeline": ("akiosctl.verbs.timeline", "Draw what happened in a cage."),
    "report": ("akiosctl.verbs.report", "Write a page about a cage, to be kept or printed."),
    "events": ("akiosctl.verbs.events", "Print what happened and happens in cages."),
    "why": ("akiosctl.verbs.why", "Tell what a cage was denied, and what would allow it."),
    "ledger": ("akiosctl.verbs.ledger", "Verify and show logs."),
    "policy": ("akiosctl.verbs.policy", "Show and check policies."),
    "init": ("akiosctl.verbs.init", "Make a project to begin with."),
    "workflow": ("akiosctl.verbs.workflow", "Check, explain, draw and run workflow files."),
    "approvals": ("akiosctl.verbs.approvals", "Answer what workflows ask."),
    "output": ("akiosctl.verbs.output", "Show what workflows brought."),
    "templates": ("akiosctl.verbs.templates", "Show the workflows that AKIOS comes with."),
    "keys": ("akiosctl.verbs.keys", "Keep the API keys of LLM providers."),
    "http": ("akiosctl.verbs.http", "Send one request as an agent here could."),
    "protect": ("akiosctl.verbs.protect", "Find and mask personal data in files."),
    "serve": ("akiosctl.verbs.serve", "Serve the REST API."),
    "token": ("akiosctl.verbs.token", "Make and revoke tokens for the REST API."),
    "mcp": ("akiosctl.verbs.mcp", "Give cages to clients of MCP, as tools."),
    "doctor": ("akiosctl.verbs.doctor", "Say what this host can enforce."),
    "completion": ("akiosctl.verbs.completion", "Print what completes words in a shell."),
    "schema": ("akiosctl.verbs.schema", "Describe the JSON of the verbs."),
}


class Globals:
    """The global options; ``json`` may also be given to the verb."""

    def __init__(self, socket: str | None, as_json: bool, pages: bool = True) -> None:
        self.path = socket_path(socket)
        self.as_json = as_json
        self.pages = pages

    def connect(self) -> Client:
        """A connection to the daemon, to be used in ``with``."""
        return Client(self.path)


def _examples(verb: str) -> str:
    # \b keeps click from filling these lines like a paragraph.
    return "\b\n" + "\n".join(example_lines(verb))


@cache
def _complete(command: click.Command, verb: str) -> None:
    """What every verb has: examples in its help, and a pager where its output may be long."""
    command.epilog = _examples(verb)
    if isinstance(command, click.Group):
        for name, below in command.commands.items():
            _complete(below, f"{verb} {name}")
    elif command.callback is not None:
        command.callback = pager.paged(command.callback, verb)


class Verbs(click.Group):
    """The group; its commands are the modules in ``verbs``."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        return list(VERBS)

    def get_command(self, ctx: click.Context, cmd_name: str) -> click.Command | None:
        if cmd_name not in VERBS or not VERBS[cmd_name][0]:
            return None
        module = importlib.import_module(VERBS[cmd_name][0])
        command = getattr(module, "command", None) or getattr(module, "group", None)
        if not isinstance(command, click.Command):
            return None
        _complete(command, cmd_name)
        return command

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in VERBS.items()])

    def _below(self, ctx: click.Context, word: str) -> list[str]:
        """The verbs of two words that end with this one."""
        groups = ((verb, self.get_command(ctx, verb)) for verb in VERBS)
        return [
            f"akiosctl {verb} {word}"
            for verb, group in groups
            if isinstance(group, click.Group) and word in group.commands
        ]

    def resolve_command(
        self, ctx: click.Context, args: list[str]
    ) -> tuple[str | None, click.Command | None, list[str]]:
        old = look_up(args)
        if old is not None:
            raise old
        if args and args[0] not in VERBS:
            near = self._below(ctx, args[0]) or difflib.get_close_matches(args[0], VERBS, 1)
            hint = f"did you mean {' or '.join(near)}?" if near else "see akiosctl --help"
            raise AkiosError(f"there is no command {args[0]!r}", "command line", hint)
        return super().resolve_command(ctx, args)


@click.group(cls=Verbs, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(__version__, prog_name="akiosctl")
@click.option(
    "--socket",
    metavar="PATH",
    help="The control socket of akiosd (AKIOS_SOCKET; /run/akios/control.sock).",
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--no-pager", is_flag=True, help="Print long output at once, not page by page.")
@click.pass_context
def akiosctl(ctx: click.Context, socket: str | None, as_json: bool, no_pager: bool) -> None:
    """Run agents in security cages, and see what they did."""
    ctx.obj = Globals(socket, as_json, pages=not no_pager)


akiosctl.epilog = _examples("")


def run_verb(arguments: list[str], socket: str | None, as_json: bool) -> int:
    """Run a click verb; returns the exit status.  Raises :class:`AkiosError`."""
    words = [
        *(["--socket", socket] if socket else []),
        *(["--json"] if as_json else []),
        *(arguments or ["--help"]),
    ]
    try:
        result: Any = akiosctl.main(args=words, prog_name="akiosctl", standalone_mode=False)
    except click.UsageError as error:
        if isinstance(error, getattr(click.exceptions, "NoArgsIsHelpError", ())):
            click.echo(error.format_message())
            return 0
        command = error.ctx.command_path if error.ctx else "akiosctl"
        # click lists choices on lines of their own.
        what = " ".join(error.format_message().split())
        raise AkiosError(what, command, f"see {command} --help") from None
    except click.Abort as error:
        return status_of(error.__cause__)
    except click.exceptions.Exit as error:
        return error.exit_code
    except SystemExit as error:
        return error.code if isinstance(error.code, int) else 1
    return result if isinstance(result, int) else 0


def wants_json(ctx: click.Context, as_json: bool) -> bool:
    """``--json`` before or after the verb."""
    return as_json or bool(getattr(ctx.obj, "as_json", False))


def print_line(text: str) -> None:
    """One line of output; what is unprintable in it is escaped."""
    sys.stdout.write(escape(text) + "\n")
