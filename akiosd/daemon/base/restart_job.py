"""Whether akiosd is asked to end because another is to take its place.

systemd sends the same SIGTERM for a stop and for a restart; its queue of jobs tells them apart
(systemctl(1), list-jobs).  SIGUSR2 always means that another follows.
"""

from __future__ import annotations

import os

import trio

from akiosd.kernel.fds import read_file
from akiosd.kernel.programs import run_program

_PATIENCE_S = 5.0


def unit_of(cgroup: str) -> str:
    """The service whose control group this is, by the text of ``/proc/self/cgroup``; "" for
    none.
    """
    for line in cgroup.splitlines():
        number, _, path = line.split(":", 2) if line.count(":") >= 2 else ("", "", "")
        if number in ("0", "1"):
            names = [part for part in path.split("/") if part.endswith(".service")]
            if names:
                return names[-1]
    return ""


def is_restart(jobs: str, unit: str) -> bool:
    """Whether the queue of jobs, as ``systemctl list-jobs`` prints it, holds a restart of
    ``unit``.
    """
    rows = [line.split() for line in jobs.splitlines()]
    return any(len(row) >= 3 and row[1] == unit and row[2] == "restart" for row in rows)


async def wants_restart() -> bool:
    """Ask systemd, if it manages this process.  What cannot be found out is a stop: it leaves
    nothing behind.
    """
    if not os.environ.get("NOTIFY_SOCKET"):
        return False
    unit = unit_of(read_file("/proc/self/cgroup").decode(errors="replace"))
    with trio.move_on_after(_PATIENCE_S):
        try:
            done = await trio.to_thread.run_sync(
                run_program,
                *("systemctl", "list-jobs", "--no-legend", "--no-pager", "--plain"),
                abandon_on_cancel=True,
            )
        except OSError:
            return False
        return bool(unit) and is_restart(done.stdout, unit)
    return False
