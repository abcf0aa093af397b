"""Processes of a cage whose init was killed: they come to akiosd, which ends them.

No agent can end an init.  The kernel can, when memory is short, and so can others of akiosd's
uid; then nothing is left that could end the domain from inside.
"""

from __future__ import annotations

import contextlib
import os
import signal
from pathlib import Path

import trio

from akiosd.daemon.base.log import get_log

_log = get_log("policy mode")
_ROUNDS, _PAUSE_S = 200, 0.01


async def end_orphans(known: set[int]) -> None:
    """Kill and reap every process that has akiosd as its parent, is under a cage's filter, and is
    not among ``known`` inits, until there is none: with each that dies its own children come.
    """
    for _ in range(_ROUNDS):
        found = [pid for pid in _children() if pid not in known and _is_caged(pid)]
        if not found:
            return
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
            with contextlib.suppress(ChildProcessError):
                os.waitpid(pid, os.WNOHANG)
        await trio.sleep(_PAUSE_S)
    _log.error("processes of an ended cage do not die", pids=found)


def _children() -> list[int]:
    found = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            found += [int(pid) for pid in (task / "children").read_text().split()]
    return found


def _is_caged(pid: int) -> bool:
    """Whether a process has more filters than akiosd itself, which may have those of a
    container.
    """
    return _filters(pid) > _filters(os.getpid())


def _filters(pid: int) -> int:
    try:
        lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    except (FileNotFoundError, ProcessLookupError):
        return 0
    return next((int(line.split()[1]) for line in lines if line.startswith("Seccomp_filters")), 0)
