"""How the keeper is started, and the file in which it says what it ended."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from pathlib import Path

from akiosd.kernel.fds import Fd
from akiosd.kernel.programs import spawn_helper

PROGRAM = Path(__file__).with_name("akios-keeper")

Spawn = Callable[[list[str], int, int], int]
"""(words of the keeper's command, its listening socket, the file of what it ended) → its pid.
Raises OSError."""

_APPEND = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


def spawn_directly(words: list[str], listener: int, ended: int) -> int:
    """Start ``words``, which end with a keeper's, as a child of ours, in our control group."""
    environment = {"PATH": "/usr/bin:/bin", "LC_ALL": "C"}
    return spawn_helper(words, environment, listener, ended, quiet=not _outlives_us(2))


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


def _outlives_us(fd: int) -> bool:
    """Whether words may be written there when we are gone.  The reader of a pipe waits for its
    end, which a keeper would put off.
    """
    try:
        return not stat.S_ISFIFO(os.fstat(fd).st_mode)
    except OSError:
        return False
