"""The launcher process: started, asked to clone cages and user namespaces, restarted.  The daemon
is the parent of what it clones.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

import trio

from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd
from akiosd.kernel.programs import HelperProcess
from akiosd.values import plan as plan_format

PROGRAM = Path(__file__).with_name("akios-launcher")

# clone(2) flags; include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

CAGE_FLAGS = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
if os.path.exists("/proc/self/ns/time"):
    # Its file in /proc can be opened, locked and watched, and is one for all who share the
    # namespace.
    CAGE_FLAGS |= CLONE_NEWTIME


@contextmanager
def plan_request(
    plan: bytes, fds: Sequence[int], argument: int = 0, kind: int = plan_format.REQUEST_RUN
) -> Iterator[tuple[bytes, list[int]]]:
    """The request to execute a plan, for the launcher, for a child that waits for the rest of its
    plan, and for the init of a standing cage, and the descriptors that go with it: the plan's
    memory, which is closed behind the ``with``, and ``fds``.  ``argument`` is what ``kind`` takes:
    clone flags, or the number of a program.
    """
    with Fd(os.memfd_create("akios-plan", os.MFD_CLOEXEC)) as memory:
        os.write(memory.fileno(), plan)
        numbers = [memory.fileno(), *fds]
        yield (
            plan_format.REQUEST.pack(plan_format.MAGIC, kind, len(numbers), len(plan), argument),
            numbers,
        )


class Launcher(HelperProcess):
    """One ``akios-launcher`` process and the socket to it.  Start it from the main thread."""

    def __init__(self, program: Path = PROGRAM) -> None:
        super().__init__([str(program)], {})
        self._lock = trio.Lock()

    async def start(self) -> None:
        """Start it and wait until its staging root stands.  KernelError with the errno of what
        failed.
        """
        try:
            self.spawn()
        except OSError as error:
            raise KernelError(
                f"the launcher cannot be started: {error.strerror}",
                self.words[0],
                "install AKIOS again: the package, or in a checkout packaging/quickstart"
                " --setup-only",
                error.errno or 0,
            ) from error
        _pid, fd = await self._answer("start")
        if fd is not None:
            fd.close()

    async def clone_userns(self, owner: int = 0) -> tuple[int, Fd]:
        """Clone a paused process in a new user namespace owned by the host uid ``owner``: (pid, its
        pidfd).

        The caller owns the pidfd, and kills and reaps the process.
        """
        request = plan_format.REQUEST.pack(
            plan_format.MAGIC, plan_format.REQUEST_USERNS, 0, 0, owner
        )
        return await self._request(request, [], "user namespace")

    async def clone_cage(
        self, plan: bytes, status_fd: int, cgroup_fd: int, fds: Sequence[int], flags: int
    ) -> tuple[int, Fd]:
        """Clone a child that executes ``plan``: (pid, pidfd).  It is the caller's child, and the
        pidfd the caller's.

        ``cgroup_fd`` is the directory of the v2 leaf. ``fds`` are in the order of
        ``Plan.fd_names``; descriptors are copied, and the caller keeps its own. KernelError with
        the errno of the clone, CageFailedError when the launcher ended.
        """
        with plan_request(plan, [status_fd, cgroup_fd, *fds], flags | CLONE_INTO_CGROUP) as (
            request,
            all_fds,
        ):
            return await self._request(request, all_fds, "clone")

    async def _request(self, request: bytes, fds: Sequence[int], where: str) -> tuple[int, Fd]:
        async with self._lock:
            if self._socket is None:
                await self._restart()
            assert self._socket is not None
            with trio.CancelScope(shield=True):
                try:
                    await self._send(request, fds)
                    pid, fd = await self._answer(where)
                except (BrokenPipeError, ConnectionResetError, EOFError):
                    await self._restart()
                    raise CageFailedError(
                        "the launcher ended while it made a cage",
                        where,
                        "run the command again; it was restarted",
                    ) from None
        if fd is None:
            raise CageFailedError("the launcher answered without a process", where)
        return pid, fd

    async def _send(self, request: bytes, fds: Sequence[int]) -> None:
        """To the launcher that runs, or to a new one if that had died: it has not begun anything
        then.
        """
        assert self._socket is not None
        try:
            await scm_rights.send(self._socket, request, fds)
        except (BrokenPipeError, ConnectionResetError):
            await self._restart()
            assert self._socket is not None
            await scm_rights.send(self._socket, request, fds)

    async def _restart(self) -> None:
        await self.close()
        await self.start()

    async def _answer(self, where: str) -> tuple[int, Fd | None]:
        assert self._socket is not None
        data, numbers, _ = await scm_rights.receive(self._socket, plan_format.REPLY.size, 1)
        fd = Fd(numbers[0]) if numbers else None
        if len(data) != plan_format.REPLY.size:
            raise EOFError
        pid, err = plan_format.REPLY.unpack(data)
        if err:
            raise KernelError(
                f"the kernel refused this step: {os.strerror(err)}", f"launcher, {where}", errno=err
            )
        return pid, fd
