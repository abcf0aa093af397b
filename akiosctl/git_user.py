"""The user's git outside and the agent's inside: what is safe of it comes along, what else would
differ is said.

Inside there is no ``~/.gitconfig``: without its ignore rules a secret would be committed there,
without its filters a large file would go into the repository, and nobody would notice.  So a cage
gets a configuration that is made from the user's (:mod:`akiosctl.git_lacks`) as ``/etc/gitconfig``,
where git reads it first and ``git config --global`` still writes to the agent's own; their ignore
rules and attributes; and the repository itself, where it lies elsewhere
(:mod:`akiosctl.git_place`).  This is on the way of every run in a repository, so what the
configuration says is remembered, keyed by the files that say it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from zlib import crc32

from akiosctl.git_place import GitPlace, find_git
from akiosctl.open_regular import read_head
from akiosctl.plain_msgpack import pack
from akiosctl.run_policy import identity, read_cache, user_directory, write_cache
from akiosctl.version_managers import SECRET_NAMES, is_below

CONFIG_INSIDE = "/etc/gitconfig"
_FORMAT = 2
_MAX_RULES = 1 << 20
_MAX_CONFIG = 1 << 16
_MAX_ATTRIBUTES = 1 << 16
_MAX_DIRECTORIES = 300
_UNSEARCHED = frozenset((".git", "node_modules", ".venv", "venv", "__pycache__", "target"))
_USED = re.compile(rb"(?:^|\s)(filter|merge)=([^\s]+)")


class Shown(NamedTuple):
    """A file or directory to be shown at ``path`` inside; ``fd`` (O_PATH) is the receiver's."""

    path: str
    fd: int
    why: str
    kind: str = "toolchain"


class GitUser(NamedTuple):
    """``shown``: what comes along.  ``warnings``: what differs, a line each."""

    shown: tuple[Shown, ...] = ()
    warnings: tuple[str, ...] = ()


def look(
    workspace: str, home: str, env: Mapping[str, str], inside_config_home: str = ""
) -> GitUser:
    """What a run in ``workspace`` needs of its user's git.

    ``inside_config_home``: XDG_CONFIG_HOME inside, where the agent gets one.
    """
    place = find_git(workspace)
    if place is None or not home.startswith("/") or home == "/":
        return GitUser()
    known = _remembered(workspace, place, home, env)
    rules = inside_config_home if inside_config_home.startswith("/") else f"{home}/.config"
    shown = []
    for name in ("ignore", "attributes"):
        fd = _open_rules(known[name], workspace, home) if known[name] else None
        if fd is not None:
            shown.append(Shown(f"{rules}/git/{name}", fd, f"git's {name} file"))
    text = known["config"] + _safe_directories(known["safe"], workspace)
    config = _open_config(text)
    if config is not None:
        shown.append(Shown(CONFIG_INSIDE, config, "git's settings"))
    lacks = [name for name in known["lacks"] if not name.startswith(("filter.", "merge."))]
    drivers = [name for name in known["lacks"] if name not in lacks]
    if drivers:
        used = _used_drivers(workspace, place, known["attributes"])
        lacks += [name for name in drivers if used is None or name.encode() in used]
    if text and config is None:
        lacks.append("all others, for they could not be written to your cache directory")
    warnings = [*_warn(sorted(lacks)), *_bring_repository(place, shown)]
    warnings += _borrowed(place, workspace)
    return GitUser(tuple(shown), tuple(warnings))


def _bring_repository(place: GitPlace, shown: list[Shown]) -> Iterator[str]:
    """The directory of a linked worktree's or a submodule's repository; or why it stays away."""
    if not place.outside:
        return
    problem = place.problem
    if not problem:
        try:
            fd = os.open(place.common, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
        except OSError as error:
            problem = f"cannot be opened: {error.strerror}"
        else:
            shown.append(Shown(place.common, fd, "git's directory of this work tree", "git"))
    if problem:
        yield (
            f"git does not work inside: its directory {place.common}, which .git leads to,"
            f" {problem}; run from the repository itself"
        )


def _borrowed(place: GitPlace, workspace: str) -> Iterator[str]:
    """gitrepository-layout(5): objects that a repository takes from others.  Those do not name it
    in return, so they are not shown.
    """
    named = read_head(f"{place.common}/objects/info/alternates", _MAX_ATTRIBUTES)
    lines = [line for line in named.splitlines() if line and not line.startswith(b"#")]
    lenders = [os.path.join(place.common, "objects", os.fsdecode(line)) for line in lines]
    away = [path for path in lenders if not is_below(os.path.realpath(path), workspace)]
    if away and not place.problem:
        yield (
            "git inside lacks the objects that this repository borrows from"
            f" {ascii(away[0])[1:-1]}; they become its own by"
            " git repack -ad && rm .git/objects/info/alternates"
        )


def _safe_directories(named: list[str], workspace: str) -> str:
    """Those of ``safe.directory`` that are about this workspace; the others are nobody's business
    inside.
    """
    about = [
        name
        for name in named
        if name in ("", "*")
        or is_below(workspace, name.removesuffix("/*"))
        or is_below(name, workspace)
    ]
    quoted = (name.replace("\\", "\\\\").replace('"', '\\"') for name in about)
    return "".join(f'[safe]\n\tdirectory = "{name}"\n' for name in quoted if "\n" not in name)


def _open_config(text: str) -> int | None:
    """A file with the configuration for inside, in the user's own cache; None when there is none.
    The descriptor is O_PATH.
    """
    data = os.fsencode(text)
    if not data or len(data) > _MAX_CONFIG:
        return None
    path = f"{user_directory('XDG_CACHE_HOME', '.cache')}/git/{crc32(data):08x}.config"
    if read_head(path, _MAX_CONFIG + 1) != data:
        write_cache(path, data)
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return None
    if read_head(f"/proc/self/fd/{fd}", _MAX_CONFIG + 1) != data:
        os.close(fd)
        return None
    return fd


def _warn(lacks: list[str]) -> Iterator[str]:
    if lacks:
        yield (
            "git inside does not have these settings of yours, and may write otherwise:"
            f" {', '.join(lacks)}"
        )


def general_files(home: str, env: Mapping[str, str]) -> list[str]:
    """The system's and the user's configuration, in the order in which git reads them.
    git-config(1), FILES.
    """
    files = (
        [] if env.get("GIT_CONFIG_NOSYSTEM") else [env.get("GIT_CONFIG_SYSTEM") or "/etc/gitconfig"]
    )
    if "GIT_CONFIG_GLOBAL" in env:
        return [*files, env["GIT_CONFIG_GLOBAL"]]
    return [*files, f"{_config_home(home, env)}/git/config", f"{home}/.gitconfig"]


def _config_home(home: str, env: Mapping[str, str]) -> str:
    return env.get("XDG_CONFIG_HOME") or f"{home}/.config"


def _remembered(
    workspace: str, place: GitPlace, home: str, env: Mapping[str, str]
) -> dict[str, Any]:
    """``ignore`` and ``attributes`` (paths), ``config`` (a text), ``safe`` (directories), ``lacks``
    (names of settings).
    """
    files = general_files(home, env)
    standard = f"{_config_home(home, env)}/git"
    known: dict[str, Any] = {
        "ignore": f"{standard}/ignore",
        "attributes": f"{standard}/attributes",
        "config": "",
        "safe": [],
        "lacks": [],
    }
    if not any(os.path.lexists(path) for path in files):
        return known
    key = ascii((_FORMAT, home, standard, files, workspace, place.own))
    cache = f"{user_directory('XDG_CACHE_HOME', '.cache')}/git/{crc32(key.encode()):08x}"
    found = read_cache(cache, key)
    if found is None or any(
        ascii(identity(path)) != wanted for path, wanted in found.get("read", {}).items()
    ):
        from akiosctl.git_lacks import summarise
        from akiosctl.git_repository import state_files, survey_repository

        found = summarise(files, home, survey_repository(workspace, place))
        read = [*found["read"], *(state_files(place) if found["by_state"] else ())]
        found["read"] = {path: ascii(identity(path)) for path in read}
        with suppress(UnicodeEncodeError):  # a path of no encoding is read each time
            write_cache(cache, pack([key, found]))
    return {**known, **{name: value for name, value in found.items() if value}}


def _open_rules(path: str, workspace: str, home: str) -> int | None:
    """A file of ignore rules or attributes; None if it is not there, or nothing that may be shown.
    The descriptor is O_PATH.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(fd)
    real = os.readlink(f"/proc/self/fd/{fd}")
    fit = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_RULES
    # What the workspace holds is there anyway, and an agent may have made a link of it.
    inner = any(
        is_below(place, workspace) for place in (real, os.path.realpath(os.path.dirname(path)))
    )
    if not fit or inner or _is_secret(real, home) or not os.access(f"/proc/self/fd/{fd}", os.R_OK):
        os.close(fd)
        return None
    return fd


def _is_secret(path: str, home: str) -> bool:
    return any(
        is_below(path, f"{place}/{name}")
        for place in (home, os.path.realpath(home))
        for name in SECRET_NAMES
    )


def _used_drivers(workspace: str, place: GitPlace, attributes: str) -> set[bytes] | None:
    """``filter.lfs`` and the like, as far as attributes name them; None when there is too much to
    look through.
    """
    used: set[bytes] = set()
    files = [attributes, "/etc/gitattributes", f"{place.common}/info/attributes"]
    try:
        files += _attribute_files(workspace)
    except OverflowError:
        return None
    for path in files:
        for kind, name in _USED.findall(read_head(path, _MAX_ATTRIBUTES)):
            used.add(kind + b"." + name)
    return used


def _attribute_files(workspace: str) -> Iterator[str]:
    todo, seen = [workspace], 0
    while todo:
        place = todo.pop()
        seen += 1
        if seen > _MAX_DIRECTORIES:
            raise OverflowError
        try:
            with os.scandir(place) as entries:
                for entry in entries:
                    if entry.name == ".gitattributes":
                        yield entry.path
                    elif entry.name not in _UNSEARCHED and entry.is_dir(follow_symlinks=False):
                        todo.append(entry.path)
        except OSError:
            continue
