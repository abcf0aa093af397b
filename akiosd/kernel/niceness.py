"""The niceness of the daemon's own thread, which is better than that of cages, so that a start
takes its usual time on a busy processor.

Niceness belongs to a thread and is inherited (sched(7), setpriority(2)). Processes and pump threads
that work for cages are set back to what the daemon had before.
"""

from __future__ import annotations

import contextlib
import os

STEP = 10
_taken = 0


def take() -> None:
    """Lower the niceness of the calling thread, and of threads it starts later, by ``STEP``.
    Nothing changes without the right to.
    """
    global _taken
    before = os.getpriority(os.PRIO_PROCESS, 0)
    with contextlib.suppress(OSError):
        os.setpriority(os.PRIO_PROCESS, 0, max(-20, before - STEP))
        _taken = before - os.getpriority(os.PRIO_PROCESS, 0)


def give_back(pid: int) -> None:
    """Set ``pid``, a single-threaded process that was just started, back to the niceness before
    :func:`take`.

    Raises OSError when it is gone.
    """
    if _taken:
        os.setpriority(os.PRIO_PROCESS, pid, os.getpriority(os.PRIO_PROCESS, pid) + _taken)


def ordinary() -> int:
    """The niceness for whatever works for a cage."""
    return os.getpriority(os.PRIO_PROCESS, 0) + _taken
