"""Find and open, as the user, what a run needs: the workspace, the toolchain, the policy files.

akiosd resolves no path that a client names; it gets the fds opened here.  This is on the hot path
of ``run``, so nothing here imports yaml or click.
"""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from akiosctl.toolchain import (
    Bind,
    CommandNotExecutableError,
    CommandNotFoundError,
    Toolchain,
    locate_toolchain,
)
from akiosctl.version_managers import is_below
from akiosd.errors import AkiosError

__all__ = [
    "Bind",
    "CommandNotExecutableError",
    "CommandNotFoundError",
    "Toolchain",
    "Workspace",
    "locate_toolchain",
    "locate_workspace",
]

PROJECT_POLICY = "akios.yaml"
_PROJECT_MARKS = (".git", PROJECT_POLICY)

# Themselves and everything below; then themselves alone.
_SYSTEM_TREES = re.compile(
    r"/(bin|boot|dev|etc|lib|lib32|lib64|libx32|proc|run|sbin|sys|usr)(/|\Z)"
)
_SOURCES = re.compile(r"/usr/(local/)?src/.")
_SHARED = (
    *("/", "/home", "/media", "/mnt", "/opt", "/root", "/srv", "/tmp"),
    *("/var", "/var/cache", "/var/lib", "/var/log", "/var/opt", "/var/spool", "/var/tmp"),
)
# Below the home directory: whole trees of secrets, then directories that hold more than one thing.
_SECRET_TREES = (".ssh", ".gnupg", ".aws", ".kube", ".docker", ".password-store", ".mozilla")
_HOME_SHARED = (".config", ".local", ".local/share", ".local/bin", ".cache")


class Workspace(NamedTuple):
    """``path`` is absolute and real, ``fd`` (O_PATH, a directory) the receiver's, ``cwd`` relative
    to ``path``.
    """

    path: str
    fd: int
    cwd: str


def locate_workspace(cwd: str, flag: str | None, home: str) -> Workspace:
    """Open the workspace: what ``--workspace`` names, else the project ``cwd`` is in, else ``cwd``.

    A project is the nearest directory from ``cwd`` upwards that holds ``.git`` or ``akios.yaml``;
    directory and mark must both belong to the user or to root's own project, so that nobody else's
    ``/tmp/.git`` widens the view. When ``cwd`` lies outside the named workspace, ``cwd`` inside is
    its root. Raises AkiosError: not there, not readable, or a place that must not be a workspace.
    """
    if flag is not None:
        named = os.path.join(cwd, flag)
    else:
        named = _project_of(cwd, home) or cwd
    try:
        fd = os.open(named, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    except OSError as error:
        raise AkiosError(
            f"the workspace {named!r} cannot be opened: {error.strerror}",
            where="workspace",
            next="run from your project's directory, or name it with --workspace",
        ) from None
    try:
        path = os.readlink(f"/proc/self/fd/{fd}")
        _check_workspace(path, os.path.realpath(home))
        _check_readable(fd, path)
    except BaseException:
        os.close(fd)
        raise
    real_cwd = os.path.realpath(cwd)
    return Workspace(path, fd, os.path.relpath(real_cwd, path) if is_below(real_cwd, path) else ".")


def _project_of(cwd: str, home: str) -> str | None:
    place, stop = os.path.realpath(cwd), os.path.realpath(home)
    while place != "/" and not is_below(stop, place) and place not in _SHARED:
        for mark in _PROJECT_MARKS:
            try:
                owners = {os.lstat(f"{place}/{mark}").st_uid, os.stat(place).st_uid}
            except OSError:
                continue
            if owners <= {os.geteuid()} or owners == {os.stat(cwd).st_uid}:
                return place
        place = os.path.dirname(place)
    return None


def _check_workspace(path: str, home: str) -> None:
    if path.endswith(" (deleted)") and not os.path.isdir(path):
        raise AkiosError(
            "the workspace has been deleted",
            where="workspace",
            next="change to a directory that exists",
        )
    reason = ""
    if is_below(home, path):
        reason = "it is your home directory or holds it"
    elif path in _SHARED:
        reason = "it holds more than one project"
    elif _SYSTEM_TREES.match(path) and not _SOURCES.match(path):
        reason = "it belongs to the system"
    elif any(is_below(path, f"{home}/{name}") for name in _SECRET_TREES):
        reason = "it holds secrets"
    elif path in {f"{home}/{name}" for name in _HOME_SHARED}:
        reason = "it holds settings of many programs"
    if reason:
        raise AkiosError(
            f"{path} cannot be a workspace: {reason}",
            where="workspace",
            next="run from a project's directory, or name one with --workspace",
        )


def _check_readable(fd: int, path: str) -> None:
    if not os.access(f"/proc/self/fd/{fd}", os.R_OK | os.X_OK):
        raise AkiosError(
            f"{path} cannot be read with your permissions",
            where="workspace",
            next="check the directory's mode",
        )
