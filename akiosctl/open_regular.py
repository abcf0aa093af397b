"""Open what may be anything: a project's link can lead to a device or a FIFO, and those do
something when opened.
"""

from __future__ import annotations

import errno
import os
import stat


class NotRegularError(OSError):
    """It is there, and no file."""


def open_regular(path: str | bytes) -> int:
    """A regular file, for reading; the descriptor is the caller's.  Links are followed.  Raises
    OSError.

    Nothing else is opened, only looked at (O_PATH, open(2)): a watchdog would begin to run, a tape
    would be wound back, a program that waits for a reader would go on.
    """
    anchor = os.open(path, os.O_PATH | os.O_CLOEXEC)
    try:
        return reopen_regular(anchor)
    finally:
        os.close(anchor)


def reopen_regular(anchor: int) -> int:
    """The same from an O_PATH descriptor, which stays the caller's."""
    if not stat.S_ISREG(os.fstat(anchor).st_mode):
        raise NotRegularError(errno.EINVAL, "not a regular file")
    return os.open(f"/proc/self/fd/{anchor}", os.O_RDONLY | os.O_CLOEXEC)


def read_head(path: str, size: int) -> bytes:
    """The first ``size`` bytes of a regular file; empty when there is none that can be read."""
    try:
        fd = open_regular(path)
    except OSError:
        return b""
    try:
        return os.read(fd, size)
    except OSError:
        return b""
    finally:
        os.close(fd)
