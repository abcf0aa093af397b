"""A child of the launcher that has done what depends on no request, and waits: cgroups, network,
root, /dev, /proc.
"""

from __future__ import annotations

import os
import select
import signal
from collections.abc import Mapping

import trio

from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import pidfd
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.launcher import CAGE_FLAGS, Launcher
from akiosd.values.plan import Plan, encode

_LAST = "waiting for a command"


class Parked:
    """A child that waits for the rest of its plan: pid, pidfd, and our end of its status socket.

    Whoever takes it owns all three. It exits when the socket is closed.
    """

    def __init__(self, pid: int, process: Fd, status: StatusChannel) -> None:
        self.pid = pid
        self.process = process
        self.status = status
        self.mounts: Fd | None = None
        """Its mount namespace, held so that its mounts are taken down later, and delay no end of a
        cage.
        """

    @property
    def alive(self) -> bool:
        """Whether the child still lives."""
        poller = select.poll()
        poller.register(self.process.fileno(), select.POLLIN)
        return not poller.poll(0)

    async def end(self) -> None:
        """Kill and reap it; when this returns, nothing of it is left in its cgroups and mounts."""
        with trio.CancelScope(shield=True):
            self.status.close()
            pidfd.send_signal(self.process.fileno(), signal.SIGKILL)
            await pidfd.wait_exit(self.process.fileno())
            close_all((self.process, self.mounts))


async def park(launcher: Launcher, plan: Plan, fds: Mapping[str, Fd], leaf: CageCgroup) -> Parked:
    """Clone a child into ``leaf`` and wait until it has done ``plan``, whose last step is ``park``.

    ``fds`` stay the caller's. Raises KernelError naming the step that failed, CageFailedError,
    OSError.
    """
    status, theirs = StatusChannel.pair()
    tasks = leaf.open_v1_tasks()
    try:
        with theirs, leaf.open_v2() as group:
            named = {**fds, **{f"tasks:{name}": fd for name, fd in tasks.items()}}
            numbers = [named[name].fileno() for name in plan.fd_names()]
            pid, process = await launcher.clone_cage(
                encode(plan), theirs.fileno(), group.fileno(), numbers, CAGE_FLAGS
            )
    except BaseException:
        status.close()
        raise
    finally:
        close_all(tasks.values())
    child = Parked(pid, process, status)
    try:
        await wait_parked(child, plan)
        child.mounts = Fd(os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC))
    except BaseException:
        await child.end()
        raise
    return child


async def wait_parked(child: Parked, plan: Plan) -> None:
    """Return once the child has done its plan.  KernelError naming the step, CageFailedError."""
    message, fd = await child.status.receive()
    if fd is not None:
        fd.close()
    if message is None:
        raise CageFailedError("the process that makes a cage ended before it was made", "launcher")
    if message.kind != "parked":
        steps = plan.steps
        step = steps[message.step].describe() if message.step < len(steps) else _LAST
        raise KernelError(
            f"a cage cannot be made: {os.strerror(message.err)} at step {message.step}, {step}",
            "launcher",
            errno=message.err,
        )
