"""How a private akiosd is started by hand: by whom, and left running behind a terminal."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping
from pathlib import Path

from akiosd.kernel.fds import Fd, read_all


def find_starter(environment: Mapping[str, str]) -> int | None:
    """The uid of who started this process through sudo (``SUDO_UID``, sudo(8)); None without sudo.

    Only root can set it for a process of root's, so it names nobody who has not that right.
    """
    uid = environment.get("SUDO_UID", "")
    return int(uid) if uid.isascii() and uid.isdigit() and int(uid) > 0 else None


def detach(log: Path) -> int:
    """Fork, and return in the child, which has no terminal and writes its messages to ``log``.

    Returns the descriptor to write a line to when akiosd is ready.  The parent waits for that line
    and exits: 0 then, 1 when the child ended before, after it has shown what that wrote.  To be
    called while there is one thread.
    """
    log_fd = os.open(
        log, os.O_RDWR | os.O_CREAT | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600
    )
    start = os.lseek(log_fd, 0, os.SEEK_END)
    ready, child_ready = os.pipe2(os.O_CLOEXEC)
    pid = os.fork()
    if pid == 0:
        os.close(ready)
        os.setsid()
        null = os.open("/dev/null", os.O_RDWR | os.O_CLOEXEC)
        for number, fd in enumerate((null, log_fd, log_fd)):
            os.dup2(fd, number)
        return child_ready
    os.close(child_ready)
    with Fd(ready) as ready_end, Fd(log_fd) as messages:
        if os.read(ready_end.fileno(), 1):
            # Who is root already may have no sudo.
            stop = f"{'sudo ' if os.environ.get('SUDO_UID') else ''}kill {pid}"
            print(f"akiosd is ready: process {pid}, messages in {log}; {stop} stops it")
            raise SystemExit(0)
        os.lseek(messages.fileno(), start, os.SEEK_SET)
        sys.stderr.write(read_all(messages.fileno()).decode(errors="replace"))
        raise SystemExit(1)
