"""Where a ledger verb reads a log from: a directory or archive, or the daemon.

From the daemon, root and admins get the log's directory and read its files.  Anybody else may not read them: the
entries come over the socket (``socket_log``), and the tree is made of them again and held against the signed
checkpoint.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

import click

from akiosctl.cages import find_log
from akiosctl.client import Client, DaemonError, close_fds
from akiosctl.hashing import HASHER
from akiosctl.pins import load_pin
from akiosctl.small_files import read_key_text
from akiosctl.socket_log import SocketLog
from akiosd.errors import AkiosError
from akiosd.ledger.note import Checkpoint, Vkey, open_checkpoint, parse_note
from akiosd.ledger.report import Anchor, LogReader, Report
from akiosd.ledger.verify import verify_log
from akiosd.store.fsck import find_vkey, fsck, open_log_files
from akiosd.wire.messages import LedgerInfo, LedgerReply, LogEntries, ReadLog


@dataclass
class LogSource:
    """One log.  ``vkey`` is whose word is taken; ``beside`` when it came with the log itself.

    ``cage`` is ``""`` for the host's.  ``host`` is the host log, where it can be read, with its key: an anchor.
    """

    cage: str
    vkey: Vkey
    beside: bool
    path: Path | int | None = None
    remote: SocketLog | None = None
    host: Path | int | None = None
    host_key: Vkey | None = None

    @contextmanager
    def reader(self) -> Iterator[LogReader]:
        if self.remote is not None:
            yield self.remote
            return
        assert self.path is not None
        with open_log_files(self.path) as files:
            yield files

    def verify(self, pin: bytes | None = None) -> Report:
        """The report, anchored to ``pin`` or to the checkpoint that ``akiosctl ledger pin`` kept."""
        pin = pin if pin is not None else load_pin(self.vkey.name)
        if self.remote is not None:
            pinned = Checkpoint.parse(parse_note(pin).text) if pin is not None else None
            anchors = (Anchor("pin", pinned.size, pinned.root),) if pinned else ()
            report = verify_log(self.remote, self.vkey, anchors, HASHER, stored=False)
            if pin is not None:
                open_checkpoint(pin, self.vkey, *(Vkey(self.vkey.name, key) for key in report.keys))
            return report
        assert self.path is not None
        key = None if self.beside and isinstance(self.path, Path) else self.vkey
        return fsck(self.path, key, pin, self.host, cage=self.cage, host_key=self.host_key, hasher=HASHER)


@contextmanager
def files_in_words() -> Iterator[None]:
    """What the file system has against reading or writing a log, as an :class:`AkiosError`."""
    try:
        yield
    except OSError as error:
        if error.filename is None or error.strerror is None:
            raise
        raise AkiosError(f"the file cannot be used: {error.strerror}", str(error.filename)) from None


def read_key(vkey: str | None) -> Vkey | None:
    """``--vkey``: a key, or a file that holds one."""
    if vkey is None:
        return None
    return Vkey.parse(read_key_text(vkey))


@contextmanager
def open_source(
    ctx: click.Context, cage: str, directory: Path | None, vkey: str | None, host: Path | None = None
) -> Iterator[LogSource]:
    """The log of CAGE by the daemon, or the one at ``directory`` (``--dir``), for which no daemon is asked."""
    key = read_key(vkey)
    if directory is not None:
        with files_in_words():
            try:
                os.lstat(directory)
            except FileNotFoundError:
                what = "there is no such log"
                raise AkiosError(what, str(directory), "give a log's directory, or an archive of one") from None
            yield LogSource(cage, key or find_vkey(directory), key is None, directory, host=host)
        return
    with ctx.obj.connect() as client:
        fds: list[int] = []
        try:
            yield _from_daemon(client, find_log(client, cage) if cage else "", key, fds)
        finally:
            close_fds(fds)


def _from_daemon(client: Client, cage: str, key: Vkey | None, fds: list[int]) -> LogSource:
    reply, more = client.call(LedgerInfo(cage=cage), LedgerReply)
    fds += more
    source = LogSource(cage, key or Vkey.parse(reply.vkey), key is None)
    source.path = _reopen(more[0], fds) if more else Path(reply.path)
    if source.path is None:
        source.remote = _read_through(client, cage, reply.checkpoint)
    elif cage:
        try:
            host, more = client.call(LedgerInfo(), LedgerReply)
        except DaemonError:
            return source
        fds += more
        source.host_key = Vkey.parse(host.vkey)
        source.host = _reopen(more[0], fds) if more else None
    return source


def verify_destroyed(client: Client, cage: str) -> Report:
    """What the host log says of a cage that has no log any more; raises :class:`DaemonError` if one may not ask it."""
    host, fds = client.call(LedgerInfo(), LedgerReply)
    try:
        readable = _reopen(fds[0], fds) if fds else None
        if readable is None:
            raise AkiosError("the host's log cannot be read", host.path, "ask an administrator")
        nothing = Path(host.path).parent / "none"
        return fsck(nothing, None, None, readable, cage=cage, host_key=Vkey.parse(host.vkey), hasher=HASHER)
    finally:
        close_fds(fds)


def _reopen(fd: int, fds: list[int]) -> int | None:
    """The daemon's descriptor is O_PATH: it is opened for reading with the caller's own rights, if these suffice."""
    try:
        readable = os.open(f"/proc/self/fd/{fd}", os.O_RDONLY | os.O_CLOEXEC)
        fds.append(readable)
        if stat.S_ISDIR(os.fstat(readable).st_mode):
            os.close(os.open("checkpoint", os.O_RDONLY | os.O_CLOEXEC, dir_fd=readable))
    except PermissionError:
        return None
    except FileNotFoundError:
        pass
    return fds[-1]


def _read_through(client: Client, cage: str, checkpoint: bytes) -> SocketLog:
    if not checkpoint:
        raise AkiosError("akiosd gave no checkpoint of this log", "ledger", "ask an administrator to verify it")

    def fetch(start: int, stop: int) -> tuple[int, tuple[bytes, ...]]:
        reply, _ = client.call(ReadLog(cage=cage, start=start, stop=stop), LogEntries)
        return reply.start, reply.entries

    return SocketLog(checkpoint, fetch, HASHER)
