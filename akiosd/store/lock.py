"""Allows one daemon for each state directory."""

from __future__ import annotations

import fcntl
import os
from pathlib import Path

from akiosd.errors import LedgerError


def find_holder(state_dir: Path) -> str:
    """The pid of the daemon that uses this state directory, "unknown" where it wrote none; "" when
    there is no such daemon.
    """
    try:
        fd = os.open(state_dir / "lock", os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except FileNotFoundError:
        return ""
    try:
        # Shared, and given back at once: a daemon that starts just now takes another look.
        fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
        return ""
    except BlockingIOError:
        return _read_pid(fd)
    finally:
        os.close(fd)


def _read_pid(fd: int) -> str:
    return os.pread(fd, 32, 0).decode("ascii", "replace").strip() or "unknown"


class StateLock:
    """An exclusive flock(2) on ``<state>/lock``, held until ``release`` or the end of the process.

    Raises ``LedgerError`` naming the pid of the daemon that holds it.
    """

    def __init__(self, state_dir: Path) -> None:
        path = state_dir / "lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            holder = _read_pid(self._fd)
            os.close(self._fd)
            raise LedgerError(
                f"another akiosd (pid {holder}) uses this state directory",
                where=str(path),
                next="stop it, or start with another --state-dir",
            ) from None
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"{os.getpid()}\n".encode(), 0)

    def release(self) -> None:
        """Give the lock up."""
        os.close(self._fd)
