"""The user's git outside and the agent's inside: the ignore rules come along, what else would
differ is said.

Inside there is no ``~/.gitconfig``: a file that the user ignores everywhere would be committed
there, a large file that a filter keeps out of the repository would go into it, and nobody would
notice.  This is on the way of every run in a repository, so what the configuration says is
remembered, keyed by the files that say it.
"""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator, Mapping
from contextlib import suppress
from typing import Any, NamedTuple
from zlib import crc32

from akiosctl.open_regular import read_head
from akiosctl.plain_msgpack import pack
from akiosctl.run_policy import identity, read_cache, user_directory, write_cache
from akiosctl.version_managers import SECRET_NAMES, is_below

_FORMAT = 1
_MAX_IGNORE = 1 << 20
_MAX_ATTRIBUTES = 1 << 16
_MAX_DIRECTORIES = 300
_UNSEARCHED = frozenset((".git", "node_modules", ".venv", "venv", "__pycache__", "target"))
_USED = re.compile(rb"(?:^|\s)(filter|merge)=([^\s]+)")


class GitUser(NamedTuple):
    """``ignore``: (path inside, descriptor of the file, the receiver's), or None.  ``warning``:
    what differs, or "".
    """

    ignore: tuple[str, int] | None = None
    warning: str = ""


def look(
    workspace: str, home: str, env: Mapping[str, str], inside_config_home: str = ""
) -> GitUser:
    """What a run in ``workspace`` needs of its user's git.  Nothing of the workspace's own
    configuration is read.

    ``inside_config_home``: XDG_CONFIG_HOME inside, where the agent gets one.
    """
    if not os.path.lexists(f"{workspace}/.git") or not home.startswith("/") or home == "/":
        return GitUser()
    known = _remembered(home, env)
    ignore = _open_ignore(known["ignore"], workspace, home) if known["ignore"] else None
    place = inside_config_home if inside_config_home.startswith("/") else f"{home}/.config"
    lacks = [name for name in known["lacks"] if not name.startswith(("filter.", "merge."))]
    drivers = [name for name in known["lacks"] if name not in lacks]
    if drivers:
        used = _used_drivers(workspace, known["attributes"])
        lacks += [name for name in drivers if used is None or name.encode() in used]
    return GitUser(
        (f"{place}/git/ignore", ignore) if ignore is not None else None, _warn(sorted(lacks))
    )


def _warn(lacks: list[str]) -> str:
    if not lacks:
        return ""
    return (
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


def _remembered(home: str, env: Mapping[str, str]) -> dict[str, Any]:
    """``ignore`` and ``attributes`` (paths), ``lacks`` (names of settings)."""
    files = general_files(home, env)
    standard = f"{_config_home(home, env)}/git"
    known: dict[str, Any] = {
        "ignore": f"{standard}/ignore",
        "attributes": f"{standard}/attributes",
        "lacks": [],
    }
    if not any(os.path.lexists(path) for path in files):
        return known
    key = ascii((_FORMAT, home, standard, files))
    cache = f"{user_directory('XDG_CACHE_HOME', '.cache')}/git/{crc32(key.encode()):08x}"
    found = read_cache(cache, key)
    if found is None or any(
        ascii(identity(path)) != wanted for path, wanted in found.get("read", {}).items()
    ):
        from akiosctl.git_lacks import summarise

        found = summarise(files, home)
        found["read"] = {path: ascii(identity(path)) for path in found["read"]}
        with suppress(UnicodeEncodeError):  # a path of no encoding is read each time
            write_cache(cache, pack([key, found]))
    return {**known, **{name: value for name, value in found.items() if value}}


def _open_ignore(path: str, workspace: str, home: str) -> int | None:
    """The file of ignore rules; None if it is not there, or nothing that may be shown.  The
    descriptor is O_PATH.
    """
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError:
        return None
    status = os.fstat(fd)
    real = os.readlink(f"/proc/self/fd/{fd}")
    fit = stat.S_ISREG(status.st_mode) and status.st_size <= _MAX_IGNORE
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


def _used_drivers(workspace: str, attributes: str) -> set[bytes] | None:
    """``filter.lfs`` and the like, as far as attributes name them; None when there is too much to
    look through.
    """
    used: set[bytes] = set()
    files = [attributes, "/etc/gitattributes", f"{workspace}/.git/info/attributes"]
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
