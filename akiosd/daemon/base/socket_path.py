"""Where a socket is to be made: whether its path can be bound, and whether somebody has it.

A socket that a dead daemon left stands in nobody's way.
"""

from __future__ import annotations

import errno
import os
import socket
import stat
from pathlib import Path

from akiosd.errors import AkiosError

CONTROL, EVENTS = "control.sock", "events.sock"
LONGEST_PATH = 107
"""Bytes of ``sun_path`` but for the zero at its end (unix(7))."""
_NEXT = "choose another --runtime-dir"


def find_obstacles(runtime: Path) -> list[AkiosError]:
    """Why akiosd cannot make its sockets in ``runtime``, one error for each that it cannot."""
    found = (find_obstacle(str(runtime / name)) for name in (CONTROL, EVENTS))
    return [obstacle for obstacle in found if obstacle is not None]


def find_obstacle(path: str) -> AkiosError | None:
    """Why no socket can be made at ``path``; None when one can, if need be in the place of a dead
    one.  Does not wait.
    """
    length = len(os.fsencode(path))
    if length > LONGEST_PATH:
        what = f"the path of the socket has {length} bytes, and the kernel takes {LONGEST_PATH}"
        return AkiosError(what, path, "choose a shorter --runtime-dir")
    try:
        status = os.lstat(path)
    except (FileNotFoundError, NotADirectoryError):
        return None  # a directory that is none is refused on its own
    if not stat.S_ISSOCK(status.st_mode):
        return AkiosError("another file is where the socket would be", path, _NEXT)
    if _is_served(path):
        return AkiosError("another akiosd serves this socket", path, f"stop it, or {_NEXT}")
    return None


def _is_served(path: str) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_CLOEXEC) as probe:
        probe.setblocking(False)
        # A full queue is EAGAIN, and somebody's all the same.
        return probe.connect_ex(path) not in (errno.ECONNREFUSED, errno.ENOENT)
