"""akiosd's end of the zygote process: started, asked for gateways, restarted when it died; and the
zygotes of earlier akiosds, which live as long as one of their gateways does.
"""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import msgspec
import trio

from akiosd.daemon.base.log import get_log
from akiosd.errors import AkiosError, CageFailedError, KernelError
from akiosd.kernel import scm_rights
from akiosd.kernel.cgroup import write
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.keeper import Keeper
from akiosd.kernel.programs import HelperProcess
from akiosd.wire.gateway import Exited, Fork, Forked, FromZygote, Outlive, ToZygote, Waiting

_MAX_PACKET = 4096
_IMPORT_SECONDS = 60
_STATUS_SECONDS = 2

_log = get_log("gateway")


def _encode_to(message: ToZygote) -> bytes:
    return msgspec.msgpack.encode(message)


_decoder: msgspec.msgpack.Decoder[FromZygote] = msgspec.msgpack.Decoder(FromZygote)


def kept_name(pid: int) -> str:
    """Under which name akiosd's end of the socket of a zygote is kept."""
    return f"zygote/{pid}"


class Zygote(HelperProcess):
    """One zygote process and the socket to it; its gateways exit with it.

    Call :meth:`start` from the main thread. With a ``keeper`` it outlives akiosd as soon as it has
    forked a gateway.
    """

    def __init__(self) -> None:
        self.keeper: Keeper | None = None
        self.group: Path | None = None
        """The control group it is to live in, where its own would end with akiosd."""
        self._is_kept = False
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
            if self.group is not None:
                write(self.group / "cgroup.procs", str(self.pid))
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
                    await self._outlive()
                    made = await self._fork(Fork(cage=cage, uid=uid), fds)
                except (BrokenPipeError, ConnectionResetError, EOFError):
                    await self._restart()
                    raise CageFailedError(
                        "the process that makes gateways ended, and was started again", "gateway"
                    ) from None
        return made

    async def _outlive(self) -> None:
        """Have the keeper hold our end of the socket, and tell the zygote; where that fails, it and
        its gateways die with akiosd.
        """
        if self.keeper is None or self._is_kept:
            return
        assert self._socket is not None
        try:
            await self.keeper.keep({kept_name(self.pid): [self._socket.fileno()]})
        except (AkiosError, OSError) as error:
            _log.warning("gateways do not outlive akiosd", why=str(error))
            return
        self._is_kept = True
        await scm_rights.send(self._socket, _encode_to(Outlive()))

    async def close(self) -> None:
        """End it, and its gateways with it."""
        if self._is_kept and self.keeper is not None:
            self._is_kept = False
            try:
                await self.keeper.drop(kept_name(self.pid))
            except (AkiosError, OSError) as error:
                _log.warning("the keeper still holds a zygote", why=str(error))
        await super().close()

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
        await scm_rights.send(self._socket, _encode_to(request), fds)
        while True:
            message, fd = await self._receive()
            if not isinstance(message, Forked):
                continue
            if fd is None:
                raise CageFailedError(
                    f"the process of the gateway cannot be started: {message.error}", "gateway"
                )
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


class OldZygotes:
    """Zygotes that earlier akiosds started: each lives as long as its socket is held."""

    def __init__(self) -> None:
        self.keeper: Keeper | None = None
        self._sockets: dict[int, list[Fd]] = {}
        self._gateways: Counter[int] = Counter()

    def take(self, kept: Mapping[str, list[Fd]]) -> None:
        """Own what the keeper has of them."""
        for name, fds in kept.items():
            kind, _, number = name.partition("/")
            if kind == "zygote" and number.isdigit():
                self._sockets[int(number)] = fds

    def use(self, pid: int) -> None:
        """A gateway that this zygote forked is gone on with."""
        self._gateways[pid] += 1

    async def leave(self, pid: int) -> None:
        """Such a gateway is dead; the zygote ends with the last one."""
        self._gateways[pid] -= 1
        await self.sweep()

    async def sweep(self) -> None:
        """End those of which no gateway is gone on with."""
        for pid in [pid for pid in self._sockets if self._gateways[pid] <= 0]:
            close_all(self._sockets.pop(pid))
            if self.keeper is not None:
                try:
                    await self.keeper.drop(kept_name(pid))
                except (AkiosError, OSError) as error:
                    _log.warning("the keeper still holds a zygote", why=str(error))
