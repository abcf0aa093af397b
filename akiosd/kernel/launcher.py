"""The launcher process: started, asked to clone cages and user namespaces, restarted.  The daemon
is the parent of what it clones.
"""

from __future__ import annotations

import array
import os
import signal
import socket
from collections.abc import Sequence
from pathlib import Path

import trio

from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import niceness, pidfd
from akiosd.kernel.fds import Fd
from akiosd.values import plan as plan_format

PROGRAM = Path(__file__).with_name("akios-launcher")

# clone(2) flags; include/uapi/linux/sched.h
CLONE_NEWTIME = 0x00000080
CLONE_NEWNS = 0x00020000
CLONE_NEWCGROUP = 0x02000000
CLONE_NEWUTS = 0x04000000
CLONE_NEWIPC = 0x08000000
CLONE_NEWUSER = 0x10000000
CLONE_NEWPID = 0x20000000
CLONE_NEWNET = 0x40000000
CLONE_INTO_CGROUP = 0x200000000

CAGE_FLAGS = CLONE_NEWNS | CLONE_NEWPID | CLONE_NEWIPC | CLONE_NEWUTS
if os.path.exists("/proc/self/ns/time"):
    # Its file in /proc can be opened, locked and watched, and is one for all who share the namespace.
    CAGE_FLAGS |= CLONE_NEWTIME


class Launcher:
    """One ``akios-launcher`` process and the socket to it; requests are answered in order.

    Must be started from the main thread: the parent-death signal of everything it clones is tied to
    the thread that forked it (prctl(2), PR_SET_PDEATHSIG).
    """

    def __init__(self, program: Path = PROGRAM) -> None:
        self._program = program
        self._pid = 0
        self._socket: trio.socket.SocketType | None = None
        self._lock = trio.Lock()
        self.restarts = 0

    @property
    def pid(self) -> int:
        return self._pid

    async def start(self) -> None:
        """Start it and wait until its staging root stands.  KernelError with the errno of what
        failed.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._pid = _spawn(self._program, theirs)
        except OSError as error:
            ours.close()
            raise KernelError(
                f"the launcher cannot be started: {error.strerror}",
                str(self._program),
                "install AKIOS again so that its native part is built",
                error.errno or 0,
            ) from error
        finally:
            theirs.close()
        self._socket = trio.socket.from_stdlib_socket(ours)
        _pid, fd = await self._answer("start")
        if fd is not None:
            fd.close()
        _be_ordinary_when_memory_is_short(self._pid)
        niceness.give_back(self._pid)

    async def close(self) -> None:
        """Close the socket; the launcher exits at end of file.  Cages that it cloned stay."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pid:
            pid, self._pid = self._pid, 0
            with Fd(os.pidfd_open(pid)) as process:
                await pidfd.wait_exit(process.fileno())

    async def clone_userns(self, owner: int = 0) -> tuple[int, Fd]:
        """Clone a paused process in a new user namespace owned by the host uid ``owner``: (pid, its
        pidfd).

        The caller owns the pidfd, and kills and reaps the process.
        """
        request = plan_format.REQUEST.pack(plan_format.MAGIC, plan_format.REQUEST_USERNS, 0, 0, owner)
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
        with Fd(os.memfd_create("akios-plan", os.MFD_CLOEXEC)) as memory:
            os.write(memory.fileno(), plan)
            all_fds = [memory.fileno(), status_fd, cgroup_fd, *fds]
            request = plan_format.REQUEST.pack(
                plan_format.MAGIC, plan_format.REQUEST_RUN, len(all_fds), len(plan), flags | CLONE_INTO_CGROUP
            )
            return await self._request(request, all_fds, "clone")

    async def _request(self, request: bytes, fds: Sequence[int], where: str) -> tuple[int, Fd]:
        async with self._lock:
            if self._socket is None:
                await self._restart()
            assert self._socket is not None
            ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []
            with trio.CancelScope(shield=True):
                try:
                    await self._send(request, ancillary)
                    pid, fd = await self._answer(where)
                except (BrokenPipeError, ConnectionResetError, EOFError):
                    await self._restart()
                    raise CageFailedError(
                        "the launcher ended while it made a cage", where, "run the command again; it was restarted"
                    ) from None
        if fd is None:
            raise CageFailedError("the launcher answered without a process", where)
        return pid, fd

    async def _send(self, request: bytes, ancillary: list[tuple[int, int, bytes]]) -> None:
        """To the launcher that runs, or to a new one if that had died: it has not begun anything then."""
        assert self._socket is not None
        try:
            await self._socket.sendmsg([request], ancillary)
        except (BrokenPipeError, ConnectionResetError):
            await self._restart()
            assert self._socket is not None
            await self._socket.sendmsg([request], ancillary)

    async def _restart(self) -> None:
        await self.close()
        self.restarts += 1
        await self.start()

    async def _answer(self, where: str) -> tuple[int, Fd | None]:
        assert self._socket is not None
        data, ancillary, _flags, _address = await self._socket.recvmsg(
            plan_format.REPLY.size, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
        )
        fd: Fd | None = None
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                fd = Fd(array.array("i", content[:4])[0])
        if len(data) != plan_format.REPLY.size:
            raise EOFError
        pid, err = plan_format.REPLY.unpack(data)
        if err:
            raise KernelError(f"the kernel refused it: {os.strerror(err)}", f"launcher, {where}", errno=err)
        return pid, fd


def _be_ordinary_when_memory_is_short(pid: int) -> None:
    """Give the launcher an OOM score of 0: cages inherit it, and must not be spared as the service
    is.

    See proc_pid_oom_score_adj(5). Because root wrote it, it is also the lowest score an agent can
    set for itself.
    """
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("0")


def _spawn(program: Path, control: socket.socket) -> int:
    """Everything else the daemon has open is close-on-exec; dup2 clears the flag on the socket's copy."""
    return os.posix_spawn(
        program,
        [str(program)],
        {},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, control.fileno(), 3),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE],
    )
