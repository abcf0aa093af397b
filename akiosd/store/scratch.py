"""Temporary files that are written beside the file that they replace, safe from whoever may have
put something there first.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akiosd.errors import LedgerError

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


def open_scratch(path: str | Path, folder: int | None = None) -> int:
    """Open a regular file of ours that has no other name, for reading and writing, made if it is
    missing; the caller's.

    It is not truncated: what a stop left of it is written over, not given back to the file system
    as it is. Raises ``LedgerError`` for anything else there (a link, a pipe, a file of another
    owner or with another name), because that would be written to instead.
    """
    try:
        # O_NONBLOCK: a FIFO must not hang us.
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
        fd = os.open(path, flags, 0o644, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENXIO, errno.EISDIR):
            raise _in_the_way(path) from None
        raise
    status = os.fstat(fd)
    if not stat.S_ISREG(status.st_mode) or status.st_nlink != 1 or status.st_uid != os.geteuid():
        os.close(fd)
        raise _in_the_way(path)
    return fd


def _in_the_way(path: str | Path) -> LedgerError:
    return LedgerError(
        "akiosd did not make the file that lies where it wants to write",
        str(path),
        "look at it with ls -l, move it away, and start akiosd again",
    )


@contextmanager
def open_folder(root: Path, path: str) -> Iterator[int]:
    """The directory ``path`` below ``root``, made where it is missing; no link on the way is
    followed.  Use it in ``with``.
    """
    fd = os.open(root, _FOLDER)
    try:
        for part in path.split("/"):
            below = _enter(fd, part, path)
            os.close(fd)
            fd = below
        yield fd
    finally:
        os.close(fd)


def _enter(folder: int, part: str, path: str) -> int:
    try:
        return os.open(part, _FOLDER, dir_fd=folder)
    except FileNotFoundError:
        os.mkdir(part, 0o755, dir_fd=folder)
        os.fsync(folder)
        return os.open(part, _FOLDER, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR):
            raise LedgerError("not a directory", where=path) from None
        raise
