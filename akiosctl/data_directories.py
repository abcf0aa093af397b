"""``data/input`` and ``data/output`` of a project with a standing cage, opened as the user; no link
on the way is followed, and nothing beside them is touched.

They lie in the project, or in the user's own state, as the policy says (``filesystem.data``).  In
the latter case the project has two empty directories of these names: inside, the others are shown
there.
"""

from __future__ import annotations

import errno
import hashlib
import os
from typing import NamedTuple

from akiosctl.run_policy import user_directory
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2
from akiosd.values.places import DATA

_OPEN_TO_OTHERS = (
    "users other than you may enter data, and programs that an agent leaves there could run as you"
)
MOST_COUNTED = 10_000
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


class Data(NamedTuple):
    """``fds``: kind → the directory, the caller's to close; ``base`` is the directory above data,
    as its user names it.
    """

    fds: dict[str, int]
    base: str


def base_of(path: str, place: str) -> str:
    """The directory above data of the project at ``path``; ``place`` as the policy says it."""
    if place != "state":
        return path
    digest = hashlib.sha256(os.fsencode(path)).hexdigest()[:12]
    state = user_directory("XDG_STATE_HOME", ".local/state")
    return os.path.join(state, "data", f"{os.path.basename(path) or 'root'}-{digest}")


def make_data(workspace: int, path: str, place: str) -> Data:
    """Both directories, made where they are not there.

    ``workspace`` is the project's directory, ``path`` its name; ``place`` as the policy says it.
    """
    found, base = _make_both(workspace, path), base_of(path, place)
    if base == path:
        return Data(found, path)
    for fd in found.values():
        os.close(fd)
    try:
        os.makedirs(base, mode=0o700, exist_ok=True)
        above = os.open(base, _DIRECTORY)
    except OSError as error:
        raise AkiosError(
            f"the data cannot be kept in your state directory: {error.strerror}",
            base,
            "make that directory yours, or write filesystem: {data: project} in akios.yaml",
        ) from None
    try:
        return Data(_make_both(above, base), base)
    finally:
        os.close(above)


def _make_both(workspace: int, path: str) -> dict[str, int]:
    found: dict[str, int] = {}
    try:
        for kind, place in DATA.items():
            found[kind] = _make(workspace, place)
    except OSError as error:
        for fd in found.values():
            os.close(fd)
        raise AkiosError(
            f"{path}/{place} cannot be used: {error.strerror}",
            path,
            "it has to be a directory that you own; neither it nor data may be a symbolic link;"
            f" where others may write to data: chmod 700 {path}/data",
        ) from None
    return found


def _make(workspace: int, place: str) -> int:
    parts = place.split("/")
    fd = os.dup(workspace)
    for part in parts:
        try:
            try:
                below = openat2(fd, os.fsencode(part), _DIRECTORY, resolve=RESOLVE_NO_LINKS)
            except FileNotFoundError:
                # What an agent leaves in output is as it made it, setuid programs too: nobody else
                # gets there.
                os.mkdir(part, 0o700 if part == parts[0] else 0o755, dir_fd=fd)
                below = openat2(fd, os.fsencode(part), _DIRECTORY, resolve=RESOLVE_NO_LINKS)
        finally:
            os.close(fd)
        fd = below
        if part == parts[0] and os.fstat(fd).st_mode & 0o077:
            os.close(fd)
            raise OSError(errno.EACCES, _OPEN_TO_OTHERS)
    return fd


def count_left(output: int) -> int:
    """How many files are in the open directory ``output`` and below, as far as its user can see;
    no more than :data:`MOST_COUNTED` are looked at.
    """
    found = 0
    fd = os.open(f"/proc/self/fd/{output}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        for _, _, names, _ in os.fwalk(".", dir_fd=fd):
            found += len(names)
            if found > MOST_COUNTED:
                break
    finally:
        os.close(fd)
    return min(found, MOST_COUNTED)


def open_output(workspace: int) -> int | None:
    """``data/output``, readable, or None where there is none; the caller's to close.  Raises
    OSError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return openat2(workspace, os.fsencode(DATA["output"]), flags, resolve=RESOLVE_NO_LINKS)
    except FileNotFoundError:
        return None
