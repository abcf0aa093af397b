"""``data/input`` and ``data/output`` of a project with a standing cage, opened as the user; no link
on the way is followed, and nothing beside them is touched.
"""

from __future__ import annotations

import errno
import os

from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2
from akiosd.values.places import DATA

_OPEN_TO_OTHERS = (
    "others than you may enter data, and programs that an agent leaves there could run as you"
)
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW


def make_data(workspace: int, path: str) -> dict[str, int]:
    """Kind → the directory, which is made where it is not there; the caller's to close.

    ``workspace`` is the project's directory, ``path`` its name for errors.
    """
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


def open_output(workspace: int) -> int | None:
    """``data/output``, readable, or None where there is none; the caller's to close.  Raises
    OSError.
    """
    flags = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW
    try:
        return openat2(workspace, os.fsencode(DATA["output"]), flags, resolve=RESOLVE_NO_LINKS)
    except FileNotFoundError:
        return None
