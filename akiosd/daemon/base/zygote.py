"""akiosd's end of the zygote process: started, asked for gateways, restarted when it died."""

from __future__ import annotations

import sys
from collections.abc import Sequence

import msgspec
import trio

from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import scm_rights
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.programs import HelperProcess
from akiosd.wire.gateway import Exited, Fork, Forked, FromZygote, Waiting

_MAX_PACKET = 4096
_IMPORT_SECONDS = 60
_STATUS_SECONDS = 2

_encode = msgspec.msgpack.Encoder().encode
_decoder: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)


class Zygote(HelperProcess):
    """One zygote process and the socket to it; its gateways exit with it.

    Call :meth:`start` from the main thread.
    """

    def __init__(self) -> None:
        # A name is looked up as it is: else one that does not exist is tried again below the host's
        # own domain.
        super().__init__(
            [sys.executable, "-I", "-m", "akiosd.gateway.process.zygote"],
            {"PATH": "/usr/bin:/bin", "LOCALDOMAIN": ""},
        )
        self._waiting = False
        self._statuses: dict[int, int | None] = {}
        self._lock = trio.Lock()

    def start(self) -> None:
        """Start the process.  It goes on importing after this call; the first :meth:`fork` waits
        for that.  KernelError.
        """
        try:
            self.spawn()
        except OSError as error:
            raise KernelError(
                f"the process that makes gateways cannot be started: {error.strerror}",
                self.words[0],
            ) from error
        self._waiting = False
        self._statuses = {}

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
                    raise CageFailedError(
                        "the process that makes gateways ended; it was started again", "gateway"
                    ) from None
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

    async def _restart(self) -> None:
        with trio.CancelScope(shield=True):
            await self.close()
            self.start()

    async def _wait_imported(self) -> None:
        with trio.move_on_after(_IMPORT_SECONDS) as patience:
            while not self._waiting:
                await self._receive()
        if patience.cancelled_caught:
            await self._restart()
            raise CageFailedError(
                f"the process that makes gateways is not ready after {_IMPORT_SECONDS} s", "gateway"
            )

    async def _fork(self, request: Fork, fds: Sequence[int]) -> tuple[int, Fd]:
        assert self._socket is not None
        await scm_rights.send(self._socket, _encode(request), fds)
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
        data, numbers, _ = await scm_rights.receive(self._socket, _MAX_PACKET, 1)
        if not data:
            close_all(numbers)
            raise EOFError
        message = _decoder.decode(data)
        if isinstance(message, Waiting):
            self._waiting = True
        elif isinstance(message, Exited) and message.pid in self._statuses:
            self._statuses[message.pid] = message.status
        return message, Fd(numbers[0]) if numbers else None
