"""Hands out logs as they are on disk: descriptors, files, names, entries.  It verifies nothing:
that is for the client.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from contextlib import ExitStack
from itertools import islice
from pathlib import Path

import trio

from akiosd.daemon.base.peers import Peer
from akiosd.daemon.host import Host
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import CageFailedError, DeniedError, LedgerError
from akiosd.kernel.fds import Fd
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES
from akiosd.ledger.note import MAX_NOTE_BYTES
from akiosd.store.fsck import open_log_files
from akiosd.store.log_dir import archive, directory
from akiosd.store.log_files import LogFiles
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.wire import messages as wire

_MAX_ANSWER = 512 << 10
_MAX_NAMES = 4096
_PUBLISH_S = 10
"""For how long a reader waits until the newest records are published; a disk without room could
make that for ever, and what was published before can be verified all the same.
"""


class LogServer:
    """Handlers of the requests.  ``owner_of``: the uid whose cage a log is, None for
    unknown ones.
    """

    def __init__(self, host: Host, owner_of: Callable[[LogId], int | None]) -> None:
        self._host, self._owner_of = host, owner_of

    def _log_for(self, peer: Peer, cage: str) -> LogId:
        log = LogId(cage) if cage else HOST_LOG
        if not _reads_host(peer) and self._owner_of(log) != peer.uid:
            hint = (
                "use sudo, or ask its user: a log is for its user, root and administrators"
                if cage
                else "use sudo: it is for root and administrators"
            )
            raise DeniedError(
                f"you may not read the log of {cage or 'the host'}, or there is none",
                "ledger",
                hint,
            )
        return log

    def _path(self, log: LogId) -> Path:
        """Where the log is or should be: in its archive if there is one."""
        packed = self._host.state_dir / archive(log)
        return (
            packed
            if log != HOST_LOG and os.path.lexists(packed)
            else self._host.state_dir / directory(log)
        )

    async def info(
        self, peer: Peer, request: wire.LedgerInfo, fds: list[int], client: ClientConnection
    ) -> None:
        """Publish a log, and send where it is, with a descriptor and the keys."""
        ledger = self._host.ledger
        log = self._log_for(peer, request.cage)
        if not ledger.full:
            with trio.move_on_after(_PUBLISH_S):
                await ledger.publish(log)
        path = self._path(log)
        size, root = ledger.head(log)
        reply = wire.LedgerReply(
            log=log,
            size=size,
            root=root,
            origin=ledger.origin(log),
            path=str(path),
            vkey=str(ledger.vkey(log)),
            checkpoint=await trio.to_thread.run_sync(_read_checkpoint, path),
            keys=ledger.key_list(),
            host=_reads_host(peer),
        )
        with ExitStack() as stack:
            found = _open(path)
            if found is not None:
                stack.enter_context(found)
            await client.reply(reply, [found.fileno()] if found is not None else [])

    async def entries(
        self, peer: Peer, request: wire.ReadLog, fds: list[int], client: ClientConnection
    ) -> None:
        """Send entries of a log."""
        log = self._log_for(peer, request.cage)
        start = max(request.start, self._host.ledger.first_index(log))
        found = await self._host.ledger.read(
            log, start, min(request.stop, start + 4096), _MAX_ANSWER
        )
        entries: list[bytes] = []
        size = 0
        for _index, entry in found:
            size += len(entry) + 5
            if size > _MAX_ANSWER and entries:
                break
            entries.append(entry)
        await client.reply(
            wire.LogEntries(log=log, start=found[0][0] if found else start, entries=tuple(entries))
        )

    async def file(
        self, peer: Peer, request: wire.ReadLogFile, fds: list[int], client: ClientConnection
    ) -> None:
        """Send a piece of one file of a log."""
        folder = self._folder(self._log_for(peer, request.cage), request.kept)
        await client.reply(
            await trio.to_thread.run_sync(read_file, folder, request.path, request.start)
        )

    async def files(
        self, peer: Peer, request: wire.ListLogFiles, fds: list[int], client: ClientConnection
    ) -> None:
        """List files of a log."""
        folder = self._folder(self._log_for(peer, request.cage), request.kept)
        await client.reply(await trio.to_thread.run_sync(list_files, folder, request.start))

    def _folder(self, log: LogId, kept: bool) -> Path:
        path = self._host.state_dir / directory(log)
        return path.with_name(path.name + ".history") if kept else path

    async def names(
        self, peer: Peer, request: wire.ListLogs, fds: list[int], client: ClientConnection
    ) -> None:
        """List the cages that have a log."""
        if not _reads_host(peer):
            raise DeniedError(
                "you may not list the logs of all users",
                "ledger",
                "use sudo: it is for root and administrators",
            )
        found = await trio.to_thread.run_sync(list_logs, self._host.cages_dir)
        rest = [name for name in found if name > request.after]
        await client.reply(
            wire.LogNames(names=tuple(rest[:_MAX_NAMES]), more=len(rest) > _MAX_NAMES)
        )


def _reads_host(peer: Peer) -> bool:
    return peer.reads_all or peer.role in ("root", "admin")


def _open(path: Path) -> Fd | None:
    """What is there, or nothing: an archive for reading, anything else by name only; the
    caller's.
    """
    try:
        is_archive = path.suffix == ".tar" and stat.S_ISREG(os.lstat(path).st_mode)
        flags = os.O_RDONLY | os.O_NONBLOCK if is_archive else os.O_PATH
        return Fd(os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC))
    except (FileNotFoundError, NotADirectoryError):
        return None
    except OSError as error:
        raise CageFailedError(f"the log cannot be opened: {error.strerror}", str(path)) from error


def _read_checkpoint(path: Path) -> bytes:
    try:
        with open_log_files(path) as files:
            return files.read("checkpoint", MAX_NOTE_BYTES) or b""
    except (OSError, LedgerError):
        return b""


def read_file(folder: Path, path: str, start: int) -> wire.LogFileData:
    """A piece of one file of a log.  Blocking.  What is wrong with the file is part of
    the answer.
    """
    try:
        with LogFiles(folder) as files:
            data = files.read(path, MAX_BUNDLE_BYTES)
    except FileNotFoundError:
        return wire.LogFileData()
    except NotADirectoryError:
        return wire.LogFileData(bad="not a directory", where=folder.name)
    except LedgerError as error:
        return wire.LogFileData(bad=error.what, where=error.where)
    if data is None:
        return wire.LogFileData()
    return wire.LogFileData(data=data[start : start + _MAX_ANSWER], size=len(data))


def list_files(folder: Path, start: int) -> wire.LogFileNames:
    """Names of a log's files, from number ``start`` on.  Blocking."""
    names: list[str] = []
    try:
        with LogFiles(folder) as files:
            for name in islice(files.files(), start, start + _MAX_NAMES + 1):
                names.append(name)
    except FileNotFoundError:
        return wire.LogFileNames(missing=True)
    except NotADirectoryError:
        return wire.LogFileNames(bad="not a directory", where=folder.name)
    except LedgerError as error:
        return wire.LogFileNames(names=tuple(names), bad=error.what, where=error.where)
    return wire.LogFileNames(names=tuple(names[:_MAX_NAMES]), more=len(names) > _MAX_NAMES)


def list_logs(cages_dir: Path) -> list[str]:
    """The cages that have something of a log on disk, in order.  Blocking."""
    found = []
    try:
        entries = list(os.scandir(cages_dir))
    except OSError:
        return []  # that they are gone is what the host's log then tells
    for entry in entries:
        there = (os.path.lexists(f"{entry.path}/{name}") for name in ("audit", "audit.tar"))
        if is_cage_id(entry.name) and any(there):
            found.append(entry.name)
    return sorted(found)
