"""Another terminal for a cage that runs: a pair of its own devpts, opened from outside (pts(4))."""

from __future__ import annotations

import array
import fcntl
import os
import struct
import termios

from akiosd.errors import CageFailedError
from akiosd.kernel import pidfd
from akiosd.kernel.fds import Fd
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2

# asm-generic/ioctls.h; the termios module has no names for them.
_TIOCSPTLCK, _TIOCGPTPEER = 0x40045431, 0x5441


def open_terminal(init: int, process: int, rows: int, columns: int) -> tuple[Fd, Fd]:
    """(master, what the program gets), both the caller's.  ``init`` is the pid of the cage's init
    on the host, ``process`` its pidfd.

    Raises CageFailedError where the cage has ended, OSError where it has all the terminals that it
    may.
    """
    with Fd(os.open(f"/proc/{init}/root", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as root:
        if pidfd.has_exited(process):
            raise CageFailedError(
                "the cage has ended", "pty", "see how it ended: akiosctl ps --all"
            )
        flags = os.O_RDWR | os.O_NOCTTY
        # Nothing below /dev can be replaced by an agent; no link is followed all the same.
        master = Fd(openat2(root.fileno(), b"dev/pts/ptmx", flags, resolve=RESOLVE_NO_LINKS))
    try:
        number = master.fileno()
        fcntl.ioctl(number, _TIOCSPTLCK, array.array("i", [0]))
        fcntl.ioctl(number, termios.TIOCSWINSZ, struct.pack("4H", rows, columns, 0, 0))
        slave = fcntl.ioctl(number, _TIOCGPTPEER, os.O_RDWR | os.O_NOCTTY | os.O_CLOEXEC)
        return master, Fd(slave)
    except BaseException:
        master.close()
        raise
