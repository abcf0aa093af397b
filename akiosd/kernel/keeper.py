"""The keeper: a small process that holds copies of descriptors under names while akiosd is away,
and ends the cages when it does not come back (``native/src/keeper.c``).

Names are ``<cage>/<part>``, at most 63 bytes.  A part that ends with ``leaf`` is the directory of a
v2 control group, which is all that the keeper ever looks at.
"""

from __future__ import annotations

import contextlib
import errno
import os
import signal
import socket
import struct
from collections.abc import Callable, Container, Iterator, Mapping, Sequence
from pathlib import Path

import trio

from akiosd.errors import KernelError
from akiosd.kernel import pidfd, scm_rights
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.keeper_process import PROGRAM, Spawn, open_ended

MOST_NAME_BYTES = 63

# native/include/keeper.h
_VERSION = 1
_HELLO, _HERE, _KEEP, _DROP, _DROP_PREFIX, _TAKE, _LEAVE = range(1, 8)
_REQUEST = struct.Struct("=II")
_SLOT = struct.Struct("=64sI")
_ANSWER = struct.Struct("=iI64s")
_MOST_SLOTS, _MOST_FDS = 64, 253
_PATIENCE_S = 20
"""How long an answer of a process that does nothing else may take."""
_BUSY_PAUSES_S = (0.0, 0.02, 0.1, 0.3, 1.0, 3.0)
_PAUSE_S = 5


class Keeper:
    """The connection to the one keeper of this daemon.  Made by :meth:`open`.

    What is kept is copied here, too, so that a keeper that was lost while akiosd lives is replaced
    with all that it held (:meth:`watch`, and every request that finds it gone).
    """

    def __init__(self, path: Path, ended: Path, come_back_s: int, spawn: Spawn) -> None:
        self._path = path
        self._ended = ended
        self._come_back_s = come_back_s
        self._spawn = spawn
        self._lock = trio.Lock()
        self._socket: trio.socket.SocketType | None = None
        self._process: Fd | None = None
        self._copies: dict[str, list[Fd]] = {}
        self._left = False
        self.pid = 0
        self.alone_since_ns = 0
        """When the last akiosd that served what is kept had ended, in Unix time; 0 where that is
        not known.
        """

    @classmethod
    async def open(cls, path: Path, ended: Path, come_back_s: int, spawn: Spawn) -> Keeper:
        """Connect to the keeper at ``path``, or start one.

        It ends the cages once akiosd was away for ``come_back_s`` seconds, and appends which to the
        file ``ended`` (:mod:`akiosd.kernel.keeper_process`).  KernelError.
        """
        keeper = cls(path, ended, come_back_s, spawn)
        with _told("the keeper cannot be started", path):
            if not await keeper._connect():
                await keeper._start()
        return keeper

    @classmethod
    async def end(cls, path: Path, ended: Path) -> None:
        """Have the keeper at ``path``, if there is one, end the cages that it knows, and itself:
        nobody is to go on with them.  It may speak another version.  KernelError when it does not.
        """
        with _told("the keeper of an earlier akiosd cannot be ended", path):
            keeper = cls(path, ended, 0, _spawn_none)
            if await keeper._connect(versions=range(1, 1 << 16)):
                await keeper.leave()

    async def keep(self, entries: Mapping[str, Sequence[int | Fd]]) -> None:
        """Keep copies of these descriptors under these names, in place of what is kept there.

        Returns when all of them are kept; with KernelError none is.  They go in one packet: at most
        64 names and 253 descriptors at once.
        """
        numbers = [_number(fd) for fds in entries.values() for fd in fds]
        if len(entries) > _MOST_SLOTS or len(numbers) > _MOST_FDS:
            raise ValueError(f"{len(entries)} names and {len(numbers)} descriptors at once")
        slots = b"".join(_slot(name, len(fds)) for name, fds in entries.items())
        async with self._lock:
            await self._ask(_KEEP, len(entries), slots, numbers)
            for name, fds in entries.items():
                close_all(self._copies.pop(name, ()))
                self._copies[name] = [Fd(os.dup(_number(fd))) for fd in fds]

    async def drop(self, name: str) -> None:
        """Forget what is kept under ``name``; nothing is no error.  KernelError."""
        async with self._lock:
            close_all(self._copies.pop(name, ()))
            await self._ask(_DROP, 1, _slot(name))

    async def drop_all_of(self, cage: str) -> None:
        """Forget everything under the names ``<cage>/…``.  KernelError."""
        prefix = f"{cage}/"
        async with self._lock:
            for name in [name for name in self._copies if name.startswith(prefix)]:
                close_all(self._copies.pop(name))
            await self._ask(_DROP_PREFIX, 1, _slot(prefix))

    async def take_all(self) -> dict[str, list[Fd]]:
        """Everything that is kept, by name.  The descriptors are the caller's, and copies stay
        kept.  KernelError.
        """
        taken: dict[str, list[Fd]] = {}
        async with self._lock:
            while (entry := await self._take(len(taken))) is not None:
                name, fds = entry
                taken[name] = fds
                close_all(self._copies.pop(name, ()))
                self._copies[name] = [fd.dup() for fd in fds]
        return taken

    async def here(self) -> None:
        """Say that what is kept is served again: the time that akiosd was away no longer counts.
        KernelError.
        """
        async with self._lock:
            await self._ask(_HERE)

    async def be_patient(self, come_back_s: int) -> None:
        """From now on akiosd may be away for so many seconds.  KernelError."""
        async with self._lock:
            self._come_back_s = come_back_s
            await self._ask(_HELLO, come_back_s)

    async def watch(self, on_lost: Callable[[KernelError | None], None]) -> None:
        """Replace the keeper whenever it is lost; returns only when cancelled, or after
        :meth:`leave`.

        ``on_lost`` is told that there is another (None), or why there is none; then the next
        request tries again.
        """
        while not self._left:
            pid = self.pid
            if self._process is not None:
                # A request that finds it gone closes the descriptor itself.
                with self._process.dup() as process:
                    await pidfd.wait_exit(process.fileno())
            async with self._lock:
                if self._left:
                    return
                try:
                    await self._ask(_HERE)
                except KernelError as error:
                    on_lost(error)
                else:
                    if self.pid != pid:
                        on_lost(None)
                    continue
            await trio.sleep(_PAUSE_S)

    async def leave(self) -> None:
        """Have it kill the control groups that it still knows, forget everything and end; what is
        left of it is removed.
        """
        async with self._lock:
            self._left = True
            with contextlib.suppress(OSError, EOFError, trio.TooSlowError):
                await self._exchange(_LEAVE)
            await self._end_process()
            self._path.unlink(missing_ok=True)
            self._forget_copies()

    def close(self) -> None:
        """Let go of it without a word: it waits for the next akiosd."""
        self._forget()
        self._forget_copies()

    async def _take(self, index: int) -> tuple[str, list[Fd]] | None:
        try:
            _, _, name, fds = await self._ask(_TAKE, index)
        except KernelError as error:
            if error.errno == errno.ENOENT:
                return None
            raise
        return name, fds

    async def _ask(
        self, kind: int, number: int = 0, slots: bytes = b"", fds: Sequence[int] = ()
    ) -> tuple[int, int, str, list[Fd]]:
        """One request and its answer; a keeper that is gone is replaced, with what it held."""
        with _told("the keeper refused a request", self._path):
            if self._left:
                raise OSError(errno.ENOTCONN, "it was told to leave")
            with trio.CancelScope(shield=True):
                try:
                    answer = await self._exchange(kind, number, slots, fds)
                except (ConnectionResetError, EOFError, trio.TooSlowError):
                    await self._start()
                    answer = await self._exchange(kind, number, slots, fds)
            if answer[0] < 0:
                raise OSError(-answer[0], os.strerror(-answer[0]))
        return answer

    async def _exchange(
        self, kind: int, number: int = 0, slots: bytes = b"", fds: Sequence[int] = ()
    ) -> tuple[int, int, str, list[Fd]]:
        if self._socket is None:
            raise EOFError
        with trio.fail_after(_PATIENCE_S):
            # One that refuses a connection says so, and does not wait for our words.
            with contextlib.suppress(BrokenPipeError):
                await scm_rights.send(self._socket, _REQUEST.pack(kind, number) + slots, fds)
            try:
                chunk = await scm_rights.receive(self._socket, _ANSWER.size, _MOST_FDS)
            except ConnectionResetError:  # told once, before what it said as it closed
                chunk = await scm_rights.receive(self._socket, _ANSWER.size, _MOST_FDS)
        owned = [Fd(number) for number in chunk.fds]
        if len(chunk.data) != _ANSWER.size:
            close_all(owned)
            raise EOFError
        result, value, name = _ANSWER.unpack(chunk.data)
        if chunk.truncated:
            close_all(owned)
            raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))
        return result, value, name.rstrip(b"\0").decode(), owned

    async def _connect(self, versions: Container[int] | None = None) -> bool:
        """Whether a keeper answers at our path.  An akiosd that is just ending holds it for a
        moment longer than its lock.
        """
        result = -errno.EBUSY
        for pause in _BUSY_PAUSES_S:
            await trio.sleep(pause)
            client = trio.socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET)
            try:
                await client.connect(str(self._path))
                self._socket = client
                result, pid, since, _ = await self._exchange(_HELLO, self._come_back_s)
            except (FileNotFoundError, ConnectionRefusedError):
                client.close()
                self._forget()
                return False
            except (ConnectionResetError, EOFError):
                # It turned us away and did not wait for our words, or ended just now: then the next
                # look finds nobody.
                client.close()
                self._forget()
                continue
            if result in (versions or (_VERSION,)):
                self.pid, self._process = pid, Fd(os.pidfd_open(pid))
                self.alone_since_ns = int(since) if since.isdigit() else 0
                return True
            self._forget()
            if result != -errno.EBUSY:
                break
        if result < 0:
            raise OSError(-result, os.strerror(-result))
        raise OSError(errno.EPROTO, f"it speaks version {result} of its protocol, we {_VERSION}")

    async def _start(self) -> None:
        """Start a keeper, and have it keep what is ours."""
        await self._end_process()
        self._path.unlink(missing_ok=True)
        try:
            self._listen_and_spawn()
            if not await self._connect():
                raise OSError(errno.ECONNREFUSED, "it ended at once; its words are in akiosd's log")
        except (OSError, KernelError):
            self._path.unlink(missing_ok=True)  # a keeper takes its own along
            raise
        try:
            for name, fds in self._copies.items():
                numbers = [fd.fileno() for fd in fds]
                result, _, _, _ = await self._exchange(_KEEP, 1, _slot(name, len(fds)), numbers)
                if result < 0:
                    raise OSError(-result, os.strerror(-result))
        except (OSError, EOFError, trio.TooSlowError):
            await (
                self._end_process()
            )  # one that has a part only would be taken for one that has all
            raise

    def _listen_and_spawn(self) -> None:
        with socket.socket(socket.AF_UNIX, socket.SOCK_SEQPACKET) as listener:
            listener.bind(str(self._path))
            self._path.chmod(0o600)
            listener.listen(4)
            with open_ended(self._ended) as ended:
                words = [str(PROGRAM), str(self._come_back_s)]
                self._spawn(words, listener.fileno(), ended.fileno())

    async def _end_process(self) -> None:
        """Kill and reap it: one that is left alone would in time end the cages that it knows."""
        if self._process is not None:
            pidfd.send_signal(self._process.fileno(), signal.SIGKILL)
            with trio.CancelScope(shield=True):
                await pidfd.wait_exit(self._process.fileno())
        self._forget()

    def _forget(self) -> None:
        if self._socket is not None:
            self._socket.close()
        if self._process is not None:
            pidfd.reap(self._process.fileno())
            self._process.close()
        self._socket = self._process = None
        self.pid = 0

    def _forget_copies(self) -> None:
        for fds in self._copies.values():
            close_all(fds)
        self._copies.clear()


def _spawn_none(words: list[str], listener: int, ended: int) -> int:
    raise OSError(errno.ENOTCONN, "the keeper of an earlier akiosd ended by itself")


def _number(fd: int | Fd) -> int:
    return fd if isinstance(fd, int) else fd.fileno()


def _slot(name: str, fds: int = 0) -> bytes:
    data = name.encode()
    if not 0 < len(data) <= MOST_NAME_BYTES or b"\0" in data:
        raise ValueError(f"not a name to keep descriptors under: {name!r}")
    return _SLOT.pack(data, fds)


@contextlib.contextmanager
def _told(what: str, path: Path) -> Iterator[None]:
    """What the kernel or the keeper said as a KernelError."""
    try:
        yield
    except OSError as error:
        raise KernelError(f"{what}: {error.strerror}", str(path), errno=error.errno or 0) from error
    except (EOFError, trio.TooSlowError) as error:
        raise KernelError(f"{what}: it does not answer", str(path), errno=errno.EPIPE) from error
