"""``data/input`` and ``data/output`` of a project with a standing cage, opened as the user; no link
on the way is followed, and nothing beside them is touched.
"""

from __future__ import annotations

import os

from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2
from akiosd.values.places import DATA

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
            f"{path}/{place} cannot be used: {os.strerror(error.errno or 0)}",
            path,
            "it has to be a directory of yours, and neither it nor data a link",
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
                os.mkdir(part, 0o755, dir_fd=fd)
                below = openat2(fd, os.fsencode(part), _DIRECTORY, resolve=RESOLVE_NO_LINKS)
        finally:
            os.close(fd)
        fd = below
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
