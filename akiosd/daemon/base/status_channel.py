"""The socket between akiosd and a cage's init: small fixed messages, and once the master of the
terminal.
"""

from __future__ import annotations

import contextlib
import errno
import socket
from collections.abc import Iterator, Sequence

import trio

from akiosd.errors import CageFailedError
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import plan_request
from akiosd.values.plan import REQUEST_PROGRAM, StatusMessage, decode_status, encode_status

_GONE = (errno.EPIPE, errno.ECONNRESET, errno.ENOTCONN, errno.ESHUTDOWN, errno.EBADF)


@contextlib.contextmanager
def _an_init_that_is_gone() -> Iterator[None]:
    """Is no error: its end of file tells, or its cage has ended and closed the channel already.
    Raises CageFailedError where it is there and cannot be told.
    """
    try:
        yield
    except trio.ClosedResourceError:
        pass
    except OSError as error:
        if error.errno not in _GONE:
            raise CageFailedError(
                f"the first process of the cage (its pid 1) cannot be reached: {error.strerror}",
                "status socket",
                "try again; if it fails again, end the cage: akiosctl stop CAGE",
            ) from error


class StatusChannel:
    """akiosd's end.  Messages keep their borders (SOCK_SEQPACKET); end of file means that init is
    gone.
    """

    def __init__(self, sock: socket.socket) -> None:
        self._plain, self._socket = sock, trio.socket.from_stdlib_socket(sock)
        self._sending = trio.Lock()

    @classmethod
    def pair(cls) -> tuple[StatusChannel, Fd]:
        """(our end, the cage's end).  The caller sends the latter on and closes it."""
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        )
        return cls(ours), Fd(theirs.detach())

    @classmethod
    def of(cls, fd: Fd) -> StatusChannel:
        """Our end as another akiosd kept it; ``fd`` is taken."""
        return cls(socket.socket(fileno=fd.take()))

    def fileno(self) -> int:
        """The number of our end."""
        return self._socket.fileno()

    async def peek(self) -> bytes:
        """The next message, which stays where it is; empty at end of file."""
        try:
            return await self._socket.recv(64, socket.MSG_PEEK)
        except ConnectionResetError:
            return b""

    async def receive(self) -> tuple[StatusMessage | None, Fd | None]:
        """The next message, and a descriptor if one came with it (the caller owns it); (None, None)
        at end of file.
        """
        try:
            data, numbers, _ = await scm_rights.receive(self._socket, 64, 1)
        except ConnectionResetError:
            return None, None
        return (decode_status(data) if data else None), Fd(numbers[0]) if numbers else None

    async def send(self, kind: str, value: int = 0, number: int = 0) -> None:
        """Send a command to init, about the program ``number`` where it is about one.  An init that
        is gone is no error; CageFailedError for one that is there and cannot be told.
        """
        with _an_init_that_is_gone():
            async with self._sending:
                await self._socket.send(encode_status(kind, value, number))

    async def send_program(self, number: int, plan: bytes, stdio: Sequence[int]) -> None:
        """Have the init of a standing cage start a program; ``stdio`` are its three descriptors,
        which stay the caller's.  Errors as for :meth:`send`.
        """
        with plan_request(plan, stdio, number, REQUEST_PROGRAM) as (request, numbers):
            with _an_init_that_is_gone():
                async with self._sending:
                    await scm_rights.send(self._socket, request, numbers)

    def tell(self, kind: str) -> bool:
        """Send a command at once; False where it cannot be: init is gone, or does not read."""
        try:
            self._plain.send(encode_status(kind), socket.MSG_DONTWAIT)
        except OSError:
            return False
        return True

    async def send_plan(self, plan: bytes, fds: Sequence[int]) -> None:
        """Send the rest of its plan to a parked child; ``fds`` stay the caller's.

        Raises CageFailedError when the child is gone.
        """
        with plan_request(plan, fds) as (request, numbers):
            try:
                await scm_rights.send(self._socket, request, numbers)
            except (BrokenPipeError, ConnectionResetError):
                raise CageFailedError(
                    "the process that was to become the cage ended",
                    "start",
                    "run the command again",
                ) from None

    def close(self) -> None:
        """Close this end of the socket."""
        self._socket.close()
