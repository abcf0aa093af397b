"""How the keeper is started, and the file in which it says what it ended."""

from __future__ import annotations

import contextlib
import fcntl
import os
import signal
import stat
from collections.abc import Callable
from pathlib import Path

from akiosd.kernel.fds import Fd

PROGRAM = Path(__file__).with_name("akios-keeper")

Spawn = Callable[[list[str], int, int], int]
"""(words of the keeper's command, its listening socket, the file of what it ended) → its pid.
Raises OSError."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def spawn_directly(words: list[str], listener: int, ended: int) -> int:
    """Start ``words``, which end with a keeper's, as a child of ours, in our control group."""
    with Fd(_dup_high(listener)) as socket_copy, Fd(_dup_high(ended)) as file_copy:
        return os.posix_spawn(
            words[0],
            words,
            {"PATH": "/usr/bin:/bin", "LC_ALL": "C"},
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                (os.POSIX_SPAWN_DUP2, 0, 1),
                *([] if _outlives_us(2) else [(os.POSIX_SPAWN_DUP2, 0, 2)]),
                (os.POSIX_SPAWN_DUP2, socket_copy.fileno(), 3),
                (os.POSIX_SPAWN_DUP2, file_copy.fileno(), 4),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )


def open_ended(path: Path) -> Fd:
    """The file for a keeper to append to; the descriptor is the caller's.  Raises OSError."""
    return Fd(os.open(path, _APPEND, 0o600))


def read_ended(path: Path) -> dict[str, int]:
    """What a keeper ended: name of the control group (``<cage>/leaf``) → when, in s since the
    epoch.  Raises OSError.
    """
    ended: dict[str, int] = {}
    with contextlib.suppress(FileNotFoundError):
        for line in path.read_text().splitlines():
            when, _, name = line.partition(" ")
            if when.isdigit() and name:
                ended[name] = int(when)
    return ended


def forget_ended(path: Path) -> None:
    """Empty the file, into which a keeper may still write.  Raises OSError."""
    with contextlib.suppress(FileNotFoundError):
        os.truncate(path, 0)


def _dup_high(fd: int) -> int:
    """A copy beyond the numbers that a keeper expects."""
    return fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)


def _outlives_us(fd: int) -> bool:
    """Whether words may be written there when we are gone.  The reader of a pipe waits for its
    end, which a keeper would put off.
    """
    try:
        return not stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
