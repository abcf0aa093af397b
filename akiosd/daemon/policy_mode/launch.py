"""The launcher without namespaces, and the inits that it clones to wait for their plans."""

from __future__ import annotations

from collections.abc import Sequence

from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.daemon.cages.parked import Parked, wait_parked
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import PROGRAM, Launcher, plan_request
from akiosd.policy.compile.policy_mode import compile_waiting
from akiosd.values.plan import encode


class DomainLauncher(Launcher):
    """``akios-launcher --no-namespaces``: what it clones is this process's child."""

    def __init__(self) -> None:
        super().__init__()
        self.words = [str(PROGRAM), "--no-namespaces"]

    async def clone_domain(self, plan: bytes, status_fd: int, fds: Sequence[int]) -> tuple[int, Fd]:
        """(pid, pidfd) of a child that executes ``plan``; the pidfd is the caller's.  KernelError,
        CageFailedError.
        """
        with plan_request(plan, [status_fd, status_fd, *fds]) as (request, numbers):
            return await self._request(request, numbers, "clone")


async def park(launcher: DomainLauncher) -> Parked:
    """An init that waits for the rest of its plan.  KernelError, CageFailedError, OSError."""
    status, theirs = StatusChannel.pair()
    plan = compile_waiting()
    try:
        with theirs:
            pid, process = await launcher.clone_domain(encode(plan), theirs.fileno(), [])
    except BaseException:
        status.close()
        raise
    child = Parked(pid, process, status)
    try:
        await wait_parked(child, plan)
    except BaseException:
        await child.end()
        raise
    return child
