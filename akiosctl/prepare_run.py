"""Finds and opens what a run needs, as its user, and makes the request of it.

A part of the path that must start fast: nothing here imports click, yaml, msgspec or trio at the
top.
"""

from __future__ import annotations

import os
import stat

from akiosctl.client import PlainClient
from akiosctl.git_user import GitUser, Shown, look
from akiosctl.locate import locate_toolchain, locate_workspace
from akiosctl.render import note
from akiosctl.run_options import RunOptions, policy_flags
from akiosctl.run_policy import RunPolicy, choose_environment, resolve_policy
from akiosctl.shown_paths import open_shown
from akiosctl.stdio import is_one_output
from akiosctl.trust_stores import find_trust_stores
from akiosctl.version_managers import is_below
from akiosd.errors import AkiosError

_MAX_FDS = 64  # akiosd.wire.frame.MAX_FDS


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
        foreign=foreign,
        own_command=own_command,
    )
    binds: list[dict[str, object]] = []
    for bind in tools.binds:
        binds.append(make_bind(bind.inside, bind.fd, "toolchain", bind.why, fds))
    for kind, paths in (("read", policy.read), ("write", policy.write)):
        for path in paths:
            fd = open_shown(kind, path, policy.places.get(path, ""), workspace.path, home)
            if fd is not None:
                binds.append(make_bind(path, fd, kind, "policy", fds))
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
            f"the directories and files to show in the cage add up to {len(fds)}; at most"
            f" {_MAX_FDS} are allowed",
            "filesystem of the policy",
            "show fewer: a directory counts once, a file twice",
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
                f"the directory that holds {path} cannot be opened: {error.strerror}",
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


def user_name() -> str:
    """The caller's name on the host, ``uid1000`` where it has none."""
    import pwd

    try:
        return pwd.getpwuid(os.getuid()).pw_name
    except KeyError:
        return f"uid{os.getuid()}"
