"""Directories and files of the host that a policy shows: what of them no run would get, said of the
line that asks for it.

Part of the path that must start fast where a policy shows something.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable
from itertools import accumulate
from typing import TYPE_CHECKING

from akiosd.errors import PolicyError
from akiosd.values.places import PLACES_FOR_FILES, is_system_path

if TYPE_CHECKING:
    from akiosd.policy.merge import Layer

_KEYS = {"read": "filesystem.read", "write": "filesystem.write"}
_ETC = "/etc/"
_UNPLACED = "filesystem of the policy"


def places_of(layers: Iterable[Layer]) -> dict[str, str]:
    """Each path that is shown → file and line that ask for it, the last layer's where several
    do.
    """
    from akiosd.policy.refusals import Source

    found: dict[str, str] = {}
    for layer in layers:
        for key in _KEYS.values():
            file, line = layer.policy.where.get(key, (layer.file, 0))
            place = Source(layer.name, file, line).place
            found |= dict.fromkeys(layer.policy.values.get(key, ()), place)
    return found


def open_shown(kind: str, path: str, place: str, workspace: str, home: str) -> int | None:
    """Open what the policy shows at ``path``, as the user; None for what of /etc akiosd puts
    together itself.  Raises :class:`PolicyError` at ``place`` for what no run gets.
    """
    place = place or _UNPLACED
    if kind == "read" and path.startswith(_ETC):
        _check_etc(path.removeprefix(_ETC), place)
        return None
    whole = os.fsencode(path)
    if is_system_path(whole) and whole not in PLACES_FOR_FILES:
        what = f"{path} cannot be shown: it would cover the cage's own system"
        raise PolicyError(what, place, _helps(kind))
    remove = f"remove it from {_KEYS[kind]}"
    if path == workspace:
        raise PolicyError(f"{path} is the workspace, which the cage has anyway", place, remove)
    if path == home:
        what = f"{path} is your home, and the cage has a home of its own"
        raise PolicyError(what, place, f"{remove}, or name only those files of it that are needed")
    return _open(path, place, kind)


def check_shown(
    read: Iterable[str], write: Iterable[str], places: dict[str, str], workspace: str, home: str
) -> None:
    """Raise as :func:`open_shown` does for the first that no run gets."""
    for kind, paths in (("read", read), ("write", write)):
        for path in paths:
            fd = open_shown(kind, path, places.get(path, ""), workspace, home)
            if fd is not None:
                os.close(fd)


def _check_etc(name: str, place: str) -> None:
    """As akiosd will look at it, which puts a cage's /etc together of what everybody may read."""
    from akiosd.values.etc_names import why_not

    reason, path = why_not(name), _ETC + name
    *above, _ = accumulate(name.split("/"), "{}/{}".format)
    try:
        for directory in (_ETC + part for part in above):
            status = os.lstat(directory)
            if not stat.S_ISDIR(status.st_mode) or not status.st_mode & 0o001:
                reason = reason or f"{directory} is not a directory that everybody can enter"
        found = os.lstat(path)
        if not stat.S_ISLNK(found.st_mode) and not found.st_mode & 0o004:
            reason = reason or "not everybody can read it"
    except OSError as error:
        reason = reason or str(error.strerror)
    if reason:
        raise PolicyError(f"{path} is not shown: {reason}", place, _helps("read"))


def _open(path: str, place: str, kind: str) -> int:
    """O_PATH alone would not ask for permission to read."""
    try:
        fd = os.open(path, os.O_PATH | os.O_CLOEXEC)
    except OSError as error:
        what = f"{path} cannot be opened: {error.strerror}"
        raise PolicyError(what, place, _helps(kind)) from None
    if not os.access(f"/proc/self/fd/{fd}", os.R_OK):
        os.close(fd)
        raise PolicyError(f"{path} cannot be read by you", place, _helps(kind))
    return fd


def _helps(kind: str) -> str:
    return f"correct it in {_KEYS[kind]}, or remove it there"
