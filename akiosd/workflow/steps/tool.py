"""Steps that run a program: a list of words, of a program that the step's ``allow`` names.

``allow`` keeps a workflow to what its author meant; it is no fence.  A program that starts others,
such as ``env`` or ``xargs``, starts them in the same cage: what the cage does not let a step do, no
program of it can.
"""

from __future__ import annotations

import os
from typing import Any

from akiosd.errors import AkiosError
from akiosd.workflow.steps import child
from akiosd.workflow.steps.kind import Action, Actions, Form, Time, Work, seconds

_MOST_SAID = 500


class Config(Form):
    """``allow``: programs (``jq``), or the words that a command must begin with
    (``[git, log]``); ``allowed_commands`` is what AKIOS 1.4 called them.
    Without an entry no program runs.

    ``timeout`` in seconds, or as in ``5m``; ``max_output`` in bytes, of each of stdout and stderr.
    """

    allow: list[str | list[str]] = []
    allowed_commands: list[str | list[str]] = []
    timeout: Time = 60
    max_output: int = 1 << 20
    truncate: bool = False
    any_status: bool = False


class Run(Form):
    """``argv``, which AKIOS 1.4 called ``command``; ``stdin`` is text."""

    argv: list[str] | str = []
    command: list[str] | str = []
    stdin: str = ""
    env: dict[str, str] = {}
    cwd: str = "."


def run(work: Work, config: Config, wanted: Run) -> None:
    """Run the program to its end; its status, its output, and what was cut."""
    argv = _argv(wanted)
    allowed = [*config.allow, *config.allowed_commands]
    if not any(_begins(argv, entry) for entry in allowed):
        names = ", ".join(entry if isinstance(entry, str) else " ".join(entry) for entry in allowed)
        raise AkiosError(
            f"this step may not run {argv[0]}; allowed: {names or 'nothing'}",
            "tool: config.allow",
            f"write config: {{allow: [{argv[0]}]}}, if the workflow is to run it",
        )
    data = wanted.stdin.encode()
    if not os.path.isdir(wanted.cwd):
        raise AkiosError("this is not a directory", wanted.cwd, "name one of the workspace")
    process = child.start(argv, wanted.env, wanted.cwd)
    ended = child.communicate(process, data, seconds(config.timeout), config.max_output)
    work.sent += len(data)
    work.received += len(ended.stdout) + len(ended.stderr)
    work.outputs |= {
        "exit_code": ended.status,
        "stdout": ended.stdout.decode("utf-8", "replace"),
        "stderr": ended.stderr.decode("utf-8", "replace"),
    }
    _judge(work, config, argv[0], ended)


def _judge(work: Work, config: Config, name: str, ended: child.Ended) -> None:
    if ended.stopped:
        work.outputs["stopped"] = ended.stopped
        if config.truncate and "printed" in ended.stopped:
            work.notes.append(f"{name} was ended, and its output is cut: {ended.stopped}")
            return
        raise AkiosError(
            f"{name} was ended: {ended.stopped}",
            "tool",
            "set timeout or max_output in the step's config; truncate: true keeps cut output",
        )
    if ended.status and not config.any_status:
        words = ended.stderr[-_MOST_SAID:].decode("utf-8", "replace").strip()
        raise AkiosError(
            f"{name} ended with status {ended.status}: {words}".rstrip(": "),
            "tool",
            "see outputs.stderr; any_status: true in the step's config lets it pass",
        )


def _argv(wanted: Run) -> list[str]:
    given: list[str] | str = wanted.argv or wanted.command
    if isinstance(given, str):
        raise AkiosError(
            "a command is a list of words, and this is text: it would need a shell, and what is"
            " put into a line for a shell can become a command of its own",
            "tool: parameters.argv",
            "write argv: [program, word, …]" if not given else _as_list(given),
        )
    if not given:
        raise AkiosError("there is no command", "tool: parameters.argv", "write argv: [program, …]")
    return given


def _as_list(text: str) -> str:
    return f"write argv: [{', '.join(text.split()[:8])}]"


def _begins(argv: list[str], entry: Any) -> bool:
    """Whether a command is one of an entry: the program's name, as written, or its first words."""
    words = [entry] if isinstance(entry, str) else entry
    return bool(words) and argv[: len(words)] == words


ACTIONS: Actions = {"run": Action(Config, Run, run)}
