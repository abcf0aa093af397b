"""``akiosctl run``: find, open and send what the run needs, relay its stdio, say how it ended.

This is the path that must start fast: nothing here imports click, yaml, msgspec or trio at the top.
"""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from akiosctl.client import PlainClient, socket_path
from akiosctl.prepare_run import prepare
from akiosctl.render import note
from akiosctl.run_options import RunOptions, help_text, parse_run, wants_tty
from akiosctl.run_policy import RunPolicy
from akiosctl.say_end import finish, json_of_running, tell_left
from akiosctl.started import missing_layers, take_started
from akiosctl.stdio import open_missing_stdio
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

if TYPE_CHECKING:
    from akiosctl.denials import Told


def run(arguments: list[str], socket: str | None, as_json: bool) -> int:
    """The verb; returns the exit status.  Raises :class:`AkiosError`, with ``exit_code`` or
    ``code`` if not 125.
    """
    try:
        options = parse_run(arguments)
    except AkiosError as error:
        place = getattr(error, "place", "")
        if place:
            from akiosctl.shell_trap import record

            record(socket_path(getattr(error, "socket", None) or socket), place)
        raise
    if options.has("help"):
        print(help_text())
        return 0
    if not options.command:
        raise AkiosError(
            "no command was given",
            "akiosctl run",
            "write it after --: akiosctl run -- python agent.py",
        )
    if options.command[0].endswith((".yml", ".yaml")):
        refuse_workflow(options.command[0])
    open_missing_stdio()
    path = options.value("socket") or socket
    cage = options.value("cage")
    if cage is not None:
        from akiosctl.programs import run_program

        return run_program(options, cage, socket_path(path), as_json or options.has("json"))
    if options.has("standalone"):
        from akiosctl.standalone import run_standalone

        return run_standalone(options, as_json or options.has("json"), run_with)
    return run_with(options, socket_path(path), as_json or options.has("json"))


def refuse_workflow(name: str) -> None:
    """AKIOS 1.4 ran workflows with this verb; a program may be called so, and then it is one."""
    if os.path.isfile(name) and not os.access(name, os.X_OK):
        raise AkiosError(
            "this is a workflow, and run starts programs",
            name,
            f"run it: akiosctl workflow run {name}; or see what it does: akiosctl workflow"
            f" explain {name}",
        )


def run_with(options: RunOptions, path: str, as_json: bool, *, keeps: bool = True) -> int:
    """Run by the daemon at ``path``; without ``keeps`` that daemon forgets changes once the run is
    over.
    """
    client = PlainClient(path)
    fds: list[int] = []
    try:
        tty = wants_tty(options)
        request, policy, notes = prepare(options, tty, fds, client)
        workspace = os.fsdecode(request["workspace"])  # type: ignore[arg-type]
        number = client.request("run", request, fds)
        close_fds(fds)
        # While the cage is made: what is needed once it is there.
        from akiosctl.agent_advice import start_lines
        from akiosctl.relay import Relay
        from akiosctl.terminal import DEFAULT_DETACH_KEYS, parse_detach_keys

        if not options.has("quiet"):
            for line in start_lines(request, [*policy.read, *policy.write]):
                note(line)
        started, received = take_started(client, number)
        cage = str(started.get("cage", ""))
        posture = started.get("posture", ())
        layers = [f"{s['layer']}: {s['status']} ({s['detail']})" for s in posture]
        if options.has("verbose"):
            for line in (f"cage {cage}", *notes, *started.get("notes", ()), *layers):
                note(str(line))
        elif not options.has("quiet"):
            for line in started.get("notes", ()):
                note(str(line))
            # Whoever allowed it should see each time what is missing.
            for line in missing_layers(posture):
                note(line)
        if options.has("detach"):
            close_fds(received)
            name = options.value("name") or ""
            print(json_of_running(cage, name) if as_json else cage)
            return 0
        keys = parse_detach_keys(options.value("detach_keys") or DEFAULT_DETACH_KEYS)
        relay = Relay(client, number, started, detach_keys=keys)
        try:
            ended = relay.run(received)
        finally:
            relay.close()
    finally:
        close_fds(fds)
        client.close()
    if ended is None:
        tell_left(cage, options.value("name") or "", as_json)
        return 0
    settle = disposition(options, policy)
    hint = (
        f"akiosctl diff {cage} · commit · discard"
        if keeps
        else "they are gone; --commit keeps them"
    )
    hint = "" if options.has("quiet") else hint
    if ended.get("kind") == "not_found" and hint:
        explain_not_found(os.fsdecode(request["command"]))  # type: ignore[arg-type]
    told = hint or as_json
    denied = find_denied(ended, path, cage, workspace, options, policy.sites) if told else []
    return finish(ended, cage, path, as_json, settle=settle, hint=hint, denied=denied)


def disposition(options: RunOptions, policy: RunPolicy) -> str:
    """What to do with changes at the end: ``commit``, ``discard``, or ``keep``."""
    if options.has("commit") or (policy.workspace_mode == "rw" and not options.has("discard")):
        return "commit"
    return "discard" if options.has("discard") else "keep"


def explain_not_found(command: str) -> None:
    """A file that is there and "was not found" lacks the program that it names."""
    from akiosctl.missing_interpreter import explain_missing

    words = explain_missing(command)
    if words:
        note(words)


def find_denied(
    ended: dict[str, Any],
    path: str,
    cage: str,
    workspace: str,
    options: RunOptions,
    sites: bool,
) -> list[Told]:
    """What the run was denied, and which models it reached as sites, told by its log; nothing is
    read where there was neither.
    """
    usage = ended.get("usage", {})
    counts = ("denials", "refusals", "dead_ends")
    if not sites and not any(usage.get(count) for count in counts):
        return []
    from akiosctl.read_denials import of_run

    try:
        return of_run(path, cage, workspace, options)
    except AkiosError as error:
        note(f"what was denied cannot be told: {error.what}")
        return []
