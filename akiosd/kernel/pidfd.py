"""Processes by descriptor (pidfd_open(2)): no signal can reach a recycled pid."""

from __future__ import annotations

import os
import select
import signal

import trio

from akiosd.kernel import syscalls
from akiosd.kernel.fds import Fd

WALL = 0x40000000
"""__WALL of wait(2): our children have exit signal 0, which a plain wait does not report."""


def get_fd(pidfd: int, number: int) -> Fd:
    """Copy descriptor ``number`` of the process (pidfd_getfd(2)); the copy is the caller's."""
    return Fd(syscalls.pidfd_getfd(pidfd, number))


def read_pid(pidfd: int) -> int:
    """The number of the process, as long as it was not reaped; else −1 (proc_pid_fdinfo(5))."""
    with open(f"/proc/self/fdinfo/{pidfd}") as file:
        found = [line.split()[1] for line in file if line.startswith("Pid:")]
    return int(found[0]) if found else -1


def send_signal(pidfd: int, signo: int) -> None:
    """Signal the process; one that is gone already is no error."""
    try:
        signal.pidfd_send_signal(pidfd, signo)
    except ProcessLookupError:
        pass


def has_exited(pidfd: int) -> bool:
    """Whether the process is dead."""
    poll = select.poll()  # select(2) takes no descriptor above 1023
    poll.register(pidfd, select.POLLIN)
    return bool(poll.poll(0))


def reap(pidfd: int) -> os.waitid_result | None:
    """Collect the exit of our child without waiting; None while it runs or when it was collected
    before.
    """
    try:
        return os.waitid(os.P_PIDFD, pidfd, os.WEXITED | os.WNOHANG | WALL)
    except ChildProcessError:
        return None


async def wait_exit(pidfd: int) -> None:
    """Return once the process is dead, and reap it.  A pidfd is readable from that moment
    (pidfd_open(2)).
    """
    await trio.lowlevel.wait_readable(pidfd)
    reap(pidfd)
