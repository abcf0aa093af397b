"""A log read through the daemon, file by file, by somebody who may not open its files: streamed,
never held.

What comes is what is on disk, untouched; so whoever reads a log this way finds what is found in the
files themselves.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from akiosd.errors import AGAIN, AkiosError, LedgerError
from akiosd.store.fsck import Kept, kept_checkpoints, open_log_files
from akiosd.wire.messages import ListLogFiles, LogFileData, LogFileNames, ReadLogFile

if TYPE_CHECKING:
    from akiosctl.client import Client
    from akiosd.ledger.report import LogReader


class SocketFiles:
    """A ``LogReader``; with ``kept`` over the checkpoints kept beside the log.  ``client`` stays
    the caller's.
    """

    def __init__(self, client: Client, cage: str, kept: bool = False) -> None:
        self._client, self._cage, self._kept = client, cage, kept

    def read(self, path: str, limit: int) -> bytes | None:
        piece = self._piece(path, 0)
        data, size = piece.data, piece.size
        if size < 0:
            return None
        if size > limit:
            raise LedgerError(
                f"the file is {size} bytes long; a file of this kind has {limit} at most",
                where=path,
            )
        while len(data) < size:
            piece = self._piece(path, len(data))
            if piece.size != size:
                raise LedgerError("the file changed while it was read", path, AGAIN)
            if not piece.data:
                raise AkiosError(
                    "akiosd sent only a part of the file", path, "run the command again"
                )
            data += piece.data
        return data

    def _piece(self, path: str, start: int) -> LogFileData:
        request = ReadLogFile(cage=self._cage, path=path, start=start, kept=self._kept)
        piece, _ = self._client.call(request, LogFileData)
        _refuse(piece.bad, piece.where)
        return piece

    def files(self) -> Iterator[str]:
        start = 0
        while True:
            found, _ = self._client.call(
                ListLogFiles(cage=self._cage, start=start, kept=self._kept), LogFileNames
            )
            yield from found.names
            _refuse(found.bad, found.where)
            if not found.more or not found.names:
                return
            start += len(found.names)

    def exist(self) -> bool:
        found, _ = self._client.call(ListLogFiles(cage=self._cage, kept=self._kept), LogFileNames)
        return not found.missing

    def close(self) -> None:
        """The connection is the caller's."""


def _refuse(bad: str, where: str) -> None:
    if bad:
        raise LedgerError(bad, where=where)


class ByDaemon:
    """A ``akiosd.store.fsck.Place``: the log of a cage (``""``: the host's) behind the daemon.

    ``archive``: the fd of a packed log that it gave; it stays the caller's.
    """

    def __init__(self, client: Client, cage: str, archive: int | None = None) -> None:
        self._client, self._cage, self._archive = client, cage, archive

    @contextmanager
    def open(self) -> Iterator[LogReader]:
        if self._archive is not None:
            with open_log_files(self._archive) as packed:
                yield packed
            return
        files = SocketFiles(self._client, self._cage)
        if not files.exist():
            raise FileNotFoundError(self._cage)
        yield files

    def history(self) -> Kept:
        kept = SocketFiles(self._client, self._cage, kept=True)
        return kept_checkpoints(kept if kept.exist() else None)
