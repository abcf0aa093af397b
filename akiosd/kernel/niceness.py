"""The daemon's own thread comes before what runs in cages: on a full processor too, a start takes its usual time.

Niceness belongs to a thread and is inherited (sched(7), setpriority(2)): what the daemon starts for cages, and the
pumps that work for them, go back to where the daemon was.
"""

from __future__ import annotations

import contextlib
import os

STEP = 10
_taken = 0


def take() -> None:
    """For the calling thread and those it starts.  Without the right to, everything stays as it is."""
    global _taken
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(-20, before - STEP))
        _taken = before - os.getpriority(os.PRIO_PROCESS, 0)


def give_back(pid: int) -> None:
    """A process of one thread, just started by us, is as nice as we were.  OSError when it is gone."""
    if _taken:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + _taken)


def ordinary() -> int:
    """The niceness of what works for a cage."""
    return os.getpriority(os.PRIO_PROCESS, 0) + _taken
