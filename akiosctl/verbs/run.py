"""``akiosctl run``: find, open and send what the run needs, relay its stdio, say how it ended.

This is the path that must start fast: nothing here imports click, yaml, msgspec or trio at the top.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from akiosctl.client import BegunError, DaemonError, PlainClient, socket_path
from akiosctl.git_user import GitUser, Shown, look
from akiosctl.locate import locate_toolchain, locate_workspace
from akiosctl.render import describe_spend, format_day, note
from akiosctl.run_options import RunOptions, help_text, parse_run, policy_flags
from akiosctl.run_policy import RunPolicy, choose_environment, resolve_policy
from akiosctl.stdio import is_one_output, open_missing_stdio
from akiosctl.trust_stores import find_trust_stores
from akiosctl.version_managers import is_below
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds

if TYPE_CHECKING:
    from akiosctl.denials import Told

_MAX_FDS = 64  # akiosd.wire.frame.MAX_FDS
NEVER_HELD = "not held: "  # akiosd.cage.domain_posture.NOT
_SEE = "see akiosctl doctor, and the log of akiosd: journalctl -u akiosd"
_NOT_STARTED = {
    "failed_start": _SEE,
    "internal": _SEE,
    "not_found": "check the name and the path of the command",
    "cannot_execute": "check the mode of that file, and its first line if it is a script",
    "stopped": "run the command again",
}
"""What helps, by the kind of the reason why a cage did not start (``akiosd.cage.reasons``)."""


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
            f"run it: akiosctl workflow run {name}; or see what it does: workflow explain {name}",
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


def json_of_running(cage: str, name: str) -> str:
    """What ``--json`` tells of a cage that runs on; ``name`` is what ``--name`` gave it."""
    import json

    return json.dumps({"cage": cage, "name": name})


def tell_left(cage: str, name: str, as_json: bool) -> None:
    """Say that the cage runs on without us; the last line of ``--json`` is JSON then too."""
    note(f"left running; akiosctl attach {cage} · logs -f · stop")
    if as_json:
        print("\n" + json_of_running(cage, name), file=sys.stderr)


def missing_layers(posture: Sequence[dict[str, Any]]) -> list[str]:
    """A line for each layer that is less than enforced; one for all that akiosd's mode never holds,
    which are many and the same each time.
    """
    lines, never = [], []
    for layer in posture:
        if layer["status"] == "enforced":
            continue
        if layer["detail"].startswith(NEVER_HELD):
            never.append(layer["layer"])
        else:
            lines.append(f"{layer['layer']}: {layer['status']} ({layer['detail']})")
    if never:
        lines.append(f"policy mode, not held: {', '.join(never)} (what that means: -v)")
    return lines


def take_started(client: PlainClient, number: int) -> tuple[dict[str, Any], list[int]]:
    """The reply to Run or Attach.  Raises :class:`DaemonError` when that is an error."""
    message, fds = client.receive()
    if message["m"] == "error":
        raised = BegunError if message.get("begun") else DaemonError
        raise raised(
            message.get("what", ""),
            message.get("where", ""),
            message.get("next", ""),
            message.get("code", 125),
        )
    if message["m"] == "ended":
        # It failed before it started: what the cage could not be given is in the reason, and what
        # helps is there too, where akiosd knows it.
        reason, _, next = str(message.get("reason", "")).partition("; next: ")
        kind = str(message.get("kind", ""))
        raise DaemonError(
            reason,
            f"cage {message.get('cage', '')}",
            next or _NOT_STARTED[kind if kind in _NOT_STARTED else "stopped"],
            message.get("exit_code", 125),
        )
    if message["m"] != "started" or message.get("id", 0) != number:
        close_fds(fds)
        raise AkiosError(
            "akiosd sent an answer that does not fit the question",
            message["m"],
            "install the same version of akiosd and akiosctl",
        )
    return message, fds


def wants_tty(options: RunOptions) -> bool:
    """``--tty``, ``--no-tty``, else whether both ends are terminals."""
    if options.has("tty") or options.has("no_tty"):
        return options.has("tty")
    return not options.has("detach") and os.isatty(0) and os.isatty(1)


def prepare(
    options: RunOptions,
    tty: bool,
    fds: list[int],
    client: PlainClient,
    here: str = "",
    foreign: bool = False,
    own_command: bool = False,
) -> tuple[dict[str, object], RunPolicy, list[str]]:
    """The fields of ``Run``; what is opened for it is put into ``fds``, which stay the caller's.

    ``here`` is the directory where the command starts, the working directory by default.
    ``foreign``: the command and the workspace are the word of somebody else, who is not to see what
    this process may read: nothing of the host is shown because of them.  ``own_command``: only the
    workspace is.
    """
    home = os.path.expanduser("~")
    cwd = here or _working_directory()
    workspace = locate_workspace(cwd, options.value("workspace"), home)
    fds.append(workspace.fd)
    policy = resolve_policy(workspace.path, options.value("policy"), policy_flags(options), client)
    inside = os.path.normpath(os.path.join(workspace.path, workspace.cwd))
    shown = policy.read + policy.write
    tools = locate_toolchain(
        options.command[0],
        os.environ,
        workspace.path,
        home,
        inside,
        shown,
        trusted=own_command or not foreign,
    )
    binds: list[dict[str, object]] = []
    for bind in tools.binds:
        binds.append(make_bind(bind.inside, bind.fd, "toolchain", bind.why, fds))
    for kind, paths in (("read", policy.read), ("write", policy.write)):
        for path in paths:
            # akiosd puts together a cage's /etc, of what everybody may read.
            if kind == "write" or not path.startswith("/etc/"):
                binds.append(make_bind(path, open_bind(path), kind, "policy", fds))
    environment = choose_environment(policy, options.values("env"), options.values("keep_env"))
    config_home = os.fsdecode(environment.get(b"XDG_CONFIG_HOME", b""))
    git = GitUser() if foreign else look(workspace.path, home, os.environ, config_home)
    for shown_by_git in git.shown:
        add_git(shown_by_git, binds, fds)
    environments = [
        tools.env.get("VIRTUAL_ENV", ""),
        os.path.dirname(os.path.dirname(tools.command)),
    ]
    shown = [bind.inside for bind in tools.binds if bind.is_directory] + shown
    stores = find_trust_stores(shown, workspace.path, environments)
    if len(fds) > _MAX_FDS:
        raise AkiosError(
            f"{len(binds)} directories and files would be shown inside, which is too many",
            "filesystem of the policy",
            f"show fewer: up to {_MAX_FDS}, where a directory counts once and a file twice",
        )
    request: dict[str, object] = {
        "policy": policy.packed,
        "argv": [os.fsencode(word) for word in options.command],
        "command": os.fsencode(tools.command),
        "env": (
            {os.fsencode(name): os.fsencode(value) for name, value in tools.env.items()}
            | environment
        ),
        "cwd": os.fsencode(inside),
        "workspace": os.fsencode(workspace.path),
        "home": os.fsencode(home) if home.startswith("/") else b"",
        "user_name": user_name(),
        "binds": binds,
        "stores": [os.fsencode(path) for path in stores],
        "detach": options.has("detach"),
        "allow_degraded": options.has("allow_degraded"),
        "discard": options.has("discard"),
        "name": options.value("name") or "",
        "keep_output": not options.has("no_logs") and not options.has("standalone"),
        "one_output": is_one_output(),
    }
    if tty:
        from akiosctl.terminal import read_size

        rows, columns = read_size(1 if os.isatty(1) else 0)
        request["tty"] = {"rows": rows, "columns": columns}
    warnings = [policy.news] if policy.news else []
    warnings += git.warnings
    if policy.workspace_mode == "rw-direct" and any(one.kind == "git" for one in git.shown):
        warnings.append("git's directory is not in the workspace, and read-only inside (rw-direct)")
    for warning in () if options.has("quiet") else warnings:
        note(warning)
    return (
        request,
        policy,
        [*(f"shown inside: {bind.inside} ({bind.why})" for bind in tools.binds), *tools.notes],
    )


def _working_directory() -> str:
    try:
        return os.getcwd()
    except OSError as error:
        raise AkiosError(
            f"the working directory is gone: {error.strerror}",
            "working directory",
            "go to one that exists",
        ) from None


def make_bind(path: str, fd: int, kind: str, why: str, fds: list[int]) -> dict[str, object]:
    """``fd`` becomes one of ``fds``; where it is a file, so does the directory that holds it."""
    fds.append(fd)
    bind: dict[str, object] = {
        "path": os.fsencode(path),
        "fd": len(fds) - 1,
        "kind": kind,
        "why": why,
    }
    if stat.S_ISREG(os.fstat(fd).st_mode):
        real = os.readlink(f"/proc/self/fd/{fd}")
        try:
            fds.append(os.open(os.path.dirname(real), os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC))
        except OSError as error:
            raise AkiosError(
                f"the directory of {path} cannot be opened: {error.strerror}",
                "filesystem of the policy",
                "check the mode of that directory",
            ) from None
        bind |= {"holder": len(fds) - 1, "name": os.fsencode(os.path.basename(real))}
    return bind


def add_git(shown: Shown, binds: list[dict[str, object]], fds: list[int]) -> None:
    """What the user's git needs inside; unless a tree stands there that has its own."""
    if any(
        isinstance(path := bind["path"], bytes) and is_below(shown.path, os.fsdecode(path))
        for bind in binds
    ):
        os.close(shown.fd)
        return
    binds.append(make_bind(shown.path, shown.fd, shown.kind, shown.why, fds))


def open_bind(path: str) -> int:
    """Open a tree that the policy names, as the user; O_PATH alone would not ask for permission to
    read.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        raise AkiosError(
            f"{path} cannot be opened: {error.strerror}",
            "filesystem of the policy",
            "correct or remove it there",
        ) from None
    if not os.access(f"/proc/self/fd/{fd}", os.R_OK):
        os.close(fd)
        raise AkiosError(
            f"{path} cannot be read by you", "filesystem of the policy", "remove it from the policy"
        )
    return fd


def user_name() -> str:
    """The caller's name on the host, ``uid1000`` where it has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"


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


def finish(
    ended: dict[str, Any],
    cage: str,
    path: str,
    as_json: bool,
    *,
    settle: str,
    hint: str,
    denied: Sequence[Told] = (),
) -> int:
    """Say how it ended, settle its changes; returns the exit status.  Without ``hint`` it says
    nothing.
    """
    code = int(ended.get("exit_code", 0))
    kind, reason = str(ended.get("kind", "exited")), str(ended.get("reason", ""))
    changes = bool(ended.get("changes", False))
    failed = False
    if changes and settle != "keep":
        from akiosctl.commit_cage import dispose_of_changes

        failed = not dispose_of_changes(path, cage, settle, quiet=as_json or not hint)
        changes = failed
    if as_json:
        print_report(ended, cage, changes, denied)
    elif hint:
        lines = [reason] if kind != "exited" and reason else []
        usage = ended.get("usage", {})
        if usage.get("calls"):
            lines.append(describe_spend(usage.get("usd_micro", 0), usage["calls"]))
        if lines:
            note("; ".join(lines))
        if denied:
            from akiosctl.denials import short_lines

            for line in short_lines(denied, cage):
                note(line)
        if changes and kind == "changes_lost":
            note(
                "so its changes cannot be committed: make room on that file system (see df -h),"
                f" throw them away (akiosctl discard {cage}), and run it again"
            )
        elif changes:
            expires = int(ended.get("expires_ns", 0))
            until = f"; kept until {format_day(expires)}" if expires and settle == "keep" else ""
            note(f"files changed; {hint}{until}")
    return 125 if failed and code == 0 else code


def print_report(
    ended: dict[str, Any], cage: str, changes: bool, denied: Sequence[Told] = ()
) -> None:
    """The report of ``--json``: one line on stderr, so that stdout stays the agent's."""
    import json

    report = {
        "cage": cage,
        "exit_code": ended.get("exit_code", 0),
        "kind": ended.get("kind", "exited"),
        "reason": ended.get("reason", ""),
        "changes": changes,
        "usage": ended.get("usage", {}),
        "denied": [],
    }
    if denied:
        from akiosctl.denials import report as report_denied

        report["denied"] = report_denied(denied)
    # The agent may have ended its own output in the middle of a line, and that line could look like
    # a report.
    print("\n" + json.dumps(report), file=sys.stderr)
