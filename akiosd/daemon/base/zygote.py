"""akiosd's end of the zygote process: started, asked for gateways, restarted when it died."""

from __future__ import annotations

import array
import os
import signal
import socket
import sys
from collections.abc import Sequence

import msgspec
import trio

from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import niceness, pidfd
from akiosd.kernel.fds import Fd, close_all
from akiosd.wire.gateway import Exited, Fork, Forked, FromZygote, Waiting

_MAX_PACKET = 4096
_IMPORT_SECONDS = 60
_STATUS_SECONDS = 2

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)


class Zygote:
    """One zygote process and the socket to it; requests are answered in order.

    Call :meth:`start` from the main thread: the parent-death signal is tied to the thread that
    forked.
    """

    def __init__(self) -> None:
        self._pid = 0
        self._socket: trio.socket.SocketType | None = None
        self._lock = trio.Lock()
        self._waiting = False
        self._statuses: dict[int, int | None] = {}
        self.restarts = 0

    @property
    def pid(self) -> int:
        return self._pid

    def start(self) -> None:
        """Start the process.  It goes on importing after this call; the first :meth:`fork` waits
        for that.  KernelError.
        """
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC)
        try:
            self._pid = _spawn(theirs)
        except OSError as error:
            ours.close()
            raise KernelError(f"the gateways' zygote cannot be started: {error.strerror}", sys.executable) from error
        finally:
            theirs.close()
        ours.setblocking(False)
        self._socket = trio.socket.from_stdlib_socket(ours)
        self._waiting = False
        self._statuses = {}
        _be_ordinary_when_memory_is_short(self._pid)
        niceness.give_back(self._pid)

    async def close(self) -> None:
        """Close the socket: the zygote exits at end of file, and its gateways with it."""
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pid:
            pid, self._pid = self._pid, 0
            with Fd(os.pidfd_open(pid)) as process:
                with trio.move_on_after(2) as patience:
                    await pidfd.wait_exit(process.fileno())
                if patience.cancelled_caught:
                    pidfd.send_signal(process.fileno(), signal.SIGKILL)
                    await pidfd.wait_exit(process.fileno())

    async def fork(self, cage: str, uid: int, fds: Sequence[int]) -> tuple[int, Fd]:
        """Fork a gateway: (pid, pidfd), the pidfd is the caller's.

        ``fds`` are its link, then files of cgroups; they stay the caller's. CageFailedError when it
        could not be made; a zygote that died is started again.
        """
        async with self._lock:
            with trio.CancelScope(shield=True):
                try:
                    if self._socket is None:
                        self.start()
                    await self._wait_imported()
                    made = await self._fork(Fork(cage=cage, uid=uid), fds)
                except (BrokenPipeError, ConnectionResetError, EOFError):
                    await self._restart()
                    raise CageFailedError("the gateways' zygote ended; it was started again", "gateway") from None
        return made

    async def wait_status(self, pid: int) -> int | None:
        """The wait status (waitpid(2)) of a gateway that is dead; None when its zygote died too, or
        within two seconds says nothing.
        """
        with trio.move_on_after(_STATUS_SECONDS):
            async with self._lock:
                try:
                    while self._statuses.get(pid, 0) is None:
                        await self._receive()
                except (ConnectionResetError, EOFError):
                    await self._restart()
        return self._statuses.pop(pid, None)

    def forget(self, pid: int) -> None:
        """Nobody will ask for the status of this pid."""
        self._statuses.pop(pid, None)

    async def _restart(self) -> None:
        with trio.CancelScope(shield=True):
            await self.close()
            self.restarts += 1
            self.start()

    async def _wait_imported(self) -> None:
        with trio.move_on_after(_IMPORT_SECONDS) as patience:
            while not self._waiting:
                await self._receive()
        if patience.cancelled_caught:
            await self._restart()
            raise CageFailedError(f"the gateways' zygote is not ready after {_IMPORT_SECONDS} s", "gateway")

    async def _fork(self, request: Fork, fds: Sequence[int]) -> tuple[int, Fd]:
        assert self._socket is not None
        ancillary = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())]
        await self._socket.sendmsg([_encode(request)], ancillary)
        while True:
            message, fd = await self._receive()
            if not isinstance(message, Forked):
                continue
            if fd is None:
                raise CageFailedError(f"the gateway cannot be forked: {message.error}", "gateway")
            self._statuses[message.pid] = None
            return message.pid, fd

    async def _receive(self) -> tuple[FromZygote, Fd | None]:
        """One message; of descriptors the first is the caller's, there are no others."""
        if self._socket is None:
            raise EOFError
        data, ancillary, _flags, _address = await self._socket.recvmsg(
            _MAX_PACKET, socket.CMSG_SPACE(4), socket.MSG_CMSG_CLOEXEC
        )
        numbers = array.array("i")
        for level, kind, content in ancillary:
            if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
                numbers.frombytes(content[:4])
        if not data:
            close_all(numbers)
            raise EOFError
        message = _decoder.decode(data)
        if isinstance(message, Waiting):
            self._waiting = True
        elif isinstance(message, Exited) and message.pid in self._statuses:
            self._statuses[message.pid] = message.status
        return message, Fd(numbers[0]) if numbers else None


def _be_ordinary_when_memory_is_short(pid: int) -> None:
    """Give the zygote an OOM score of 0: gateways inherit it, and must not be spared as the service
    is.

    See proc_pid_oom_score_adj(5).
    """
    with open(f"/proc/{pid}/oom_score_adj", "w") as file:
        file.write("0")


def _spawn(control: socket.socket) -> int:
    """Everything else the daemon has open is close-on-exec; dup2 clears the flag on the socket's copy."""
    return os.posix_spawn(
        sys.executable,
        [sys.executable, "-I", "-m", "akiosd.gateway.process.zygote"],
        # LOCALDOMAIN is empty so that the resolver does not try names again below the host's own
        # domain.
        {"PATH": "/usr/bin:/bin", "LOCALDOMAIN": ""},
        file_actions=[
            (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
            (os.POSIX_SPAWN_DUP2, 0, 1),
            (os.POSIX_SPAWN_DUP2, control.fileno(), 3),
        ],
        setsigmask=[],
        setsigdef=[signal.SIGPIPE],
    )
