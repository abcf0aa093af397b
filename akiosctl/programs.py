"""``run --cage`` and ``exec``: a program in a standing cage, as the caller sees it.

Nothing is opened for it: what a cage shows was decided when it was made.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from typing import Any

from akiosctl.begin_program import begin_program
from akiosctl.client import PlainClient
from akiosctl.render import escape, note
from akiosctl.run_options import RunOptions, wants_tty
from akiosctl.stdio import is_one_output
from akiosctl.version_managers import is_below
from akiosd.errors import AkiosError

FOR_PROGRAMS = (
    *("cage", "env", "keep_env", "tty", "no_tty", "socket", "json", "verbose", "quiet", "help"),
)
"""The options of ``run`` that a program has; what most others say was decided with the cage."""
_NOT_DECIDED = ("detach_keys", "no_logs", "standalone")
_LONGEST = 80


class NulError(AkiosError):
    """A text holds a NUL byte, where the system ends it."""


def run_program(options: RunOptions, name: str, path: str, as_json: bool) -> int:
    """Start the command of ``options`` in the standing cage ``name``; the exit status is its
    own.
    """
    from akiosctl.relay import Relay
    from akiosctl.say_end import finish

    _refuse_others(options, name)
    asked = begin_program(path, lambda client: _prepare(options, client, name, wants_tty(options)))
    client, number, started, received = asked
    try:
        relay = Relay(client, number, started)
        try:
            ended = relay.run(received)
        finally:
            relay.close()
    finally:
        client.close()
    assert ended is not None  # a program cannot be left running
    if ended.get("kind") == "not_found" and not options.has("quiet"):
        note(f"it is not in what {name} shows; that was decided when it was made")
    hint = "" if options.has("quiet") else "-"
    return finish(ended, str(started["cage"]), path, as_json, settle="keep", hint=hint)


def find_standing(client: PlainClient, name: str) -> dict[str, Any]:
    """The caller's standing cage of this name or id that is up.  Raises AkiosError."""
    found = [cage for cage in _list(client) if cage.get("standing")]
    named = [cage for cage in found if name in (cage.get("name"), cage.get("cage"))]
    up = [cage for cage in named if not cage.get("ended_ns")]
    if up:
        return up[0]
    if named:
        raise AkiosError(
            f"{name} is down",
            "cage",
            f"destroy what is left of it: akiosctl cage down {name}; then akiosctl cage up",
        )
    known = ", ".join(sorted(str(cage.get("name")) for cage in found if not cage.get("ended_ns")))
    raise AkiosError(
        f"you have no standing cage {name!r}",
        "cage",
        f"you have {known}" if known else "make one: akiosctl cage up NAME",
    )


def _list(client: PlainClient) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = []
    more = True
    while more:
        number = client.request("list", {"after": found[-1]["cage"]} if found else {})
        reply, _ = client.receive()
        if reply["m"] != "cages" or reply.get("id", 0) != number:
            what = str(reply.get("what", "akiosd sent no list of cages"))
            raise AkiosError(what, str(reply.get("where", "")), str(reply.get("next", "")))
        cages = reply.get("cages", [])
        found += cages
        more = bool(reply.get("more")) and bool(cages)
    return found


def _refuse_others(options: RunOptions, name: str) -> None:
    others = options.others(FOR_PROGRAMS)
    if not others:
        return
    option = "--" + others[0].replace("_", "-")
    next = "it was decided when the cage was made: akiosctl cage up"
    if others[0] == "detach":
        next = (
            "let a shell in the cage start it in the background: akiosctl run --cage"
            f" {name} -- sh -c 'COMMAND >/tmp/log 2>&1 &'"
        )
    elif others[0] == "name":
        next = (
            f"leave it out: its cage is called {name}, and its programs have numbers: akiosctl cage"
            f" status {name}"
        )
    elif others[0] == "commit":
        next = (
            f"leave it out; changes wait: end the cage with akiosctl stop {name}, then akiosctl"
            f" commit {name}"
        )
    elif others[0] == "discard":
        next = (
            "leave it out; to throw the changes away, end the cage with: akiosctl cage down"
            f" {name} --discard"
        )
    elif others[0] in _NOT_DECIDED:
        next = "leave it out: it is not for a program in a standing cage"
    raise AkiosError(f"{option} cannot be given with --cage", "akiosctl run", next)


def _prepare(options: RunOptions, client: PlainClient, name: str, tty: bool) -> dict[str, object]:
    cage = find_standing(client, name)
    workspace = os.fsdecode(cage["workspace"])
    here = os.path.realpath(os.getcwd())
    cwd = here if is_below(here, workspace) else workspace
    environment = _environment(options.values("env"), options.values("keep_env"), tty)
    request = program_request(cage["cage"], workspace, options.command, cwd, environment)
    request["one_output"] = is_one_output()
    if tty:
        from akiosctl.terminal import read_size

        rows, columns = read_size(1 if os.isatty(1) else 0)
        request["tty"] = {"rows": rows, "columns": columns}
    return request


def program_request(
    cage: str,
    workspace: str,
    command: Sequence[str],
    cwd: str,
    env: dict[bytes, bytes],
    foreign: bool = False,
) -> dict[str, object]:
    """The fields of ``Program`` for a program without a terminal; ``cwd`` is a path inside, where
    it is relative below ``workspace``.  ``foreign`` as for :func:`akiosctl.prepare_run.prepare`.
    Raises AkiosError.
    """
    refuse_nul(cwd, "path")
    for word in command:
        refuse_nul(word, "argument")
    for name, value in env.items():
        refuse_nul(name, "name of a variable")
        refuse_nul(value, f"value of {escape(name)}")
    cwd = os.path.normpath(os.path.join(workspace, cwd))
    return {
        "cage": cage,
        "argv": [os.fsencode(word) for word in command],
        "command": os.fsencode(find_command(command[0], cwd, workspace, foreign)),
        "env": env,
        "cwd": os.fsencode(cwd),
        "one_output": False,
    }


def refuse_nul(text: str | bytes, called: str) -> None:
    """Raises ``NulError`` where there is one; ``called`` says what the text is."""
    if b"\0" in os.fsencode(text):
        what = f"the {called} holds a NUL byte, which is not allowed: {escape(text[:_LONGEST])}"
        raise NulError(what, called, "leave the NUL byte out")


def find_command(word: str, cwd: str, workspace: str, foreign: bool = False) -> str:
    """The path inside of a command.  One with a slash is taken as it is, for it may be there inside
    only.
    """
    if "/" in word:
        return os.path.normpath(os.path.join(cwd, word))
    from akiosctl.locate import locate_toolchain

    home = os.path.expanduser("~")
    tools = locate_toolchain(word, os.environ, workspace, home, cwd, foreign=foreign)
    tools.close()
    return tools.command


def _environment(given: Sequence[str], kept: Sequence[str], tty: bool) -> dict[bytes, bytes]:
    """What the program has besides what the cage was made with."""
    from akiosctl.run_policy import add_variables

    chosen: dict[bytes, bytes] = {}
    if tty and b"TERM" in os.environb:
        chosen[b"TERM"] = os.environb[b"TERM"]
    add_variables(chosen, given, kept)
    return chosen
