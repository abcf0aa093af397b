"""Reads the files of a log on disk without trusting the directory that they lie in.

Symbolic links, FIFOs, devices, giant files and foreign names are findings, never followed or waited
for.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path

from akiosd.errors import AGAIN, LedgerError

_DEEPEST = 16  # directories one in another; the path of the last tile of 2**63 entries has 9
_OUTSIDE = frozenset(("", ".", ".."))
"""Parts of a path that lead to the same directory, to the one above it, or to the root."""


class LogFiles:
    """A ``LogReader`` over a directory (a path, or an open descriptor, which is duplicated).

    Owns what it opens: ``close`` it, or use it in ``with``.
    """

    def __init__(self, path: Path | int) -> None:
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC | os.O_NOFOLLOW
        self._fd = os.dup(path) if isinstance(path, int) else os.open(path, flags)
        self._folder = ("", self._fd)  # the directory last read from stays open

    def __enter__(self) -> LogFiles:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._leave()
        os.close(self._fd)

    def _leave(self) -> None:
        if self._folder[1] != self._fd:
            os.close(self._folder[1])
        self._folder = ("", self._fd)

    def _enter(self, folder: str) -> int:
        if self._folder[0] == folder:
            return self._folder[1]
        self._leave()
        fd = self._fd
        for part in folder.split("/"):
            try:
                below = _open_at(part, os.O_RDONLY | os.O_DIRECTORY, fd, folder)
            finally:
                if fd != self._fd:
                    os.close(fd)
            fd = below
        self._folder = (folder, fd)
        return fd

    def read(self, path: str, limit: int) -> bytes | None:
        if not _OUTSIDE.isdisjoint(path.split("/")):
            raise LedgerError("a file of this name does not belong in a log", where=path)
        folder, _, name = path.rpartition("/")
        try:
            fd = _open_at(
                name, os.O_RDONLY | os.O_NONBLOCK, self._enter(folder) if folder else self._fd, path
            )
        except FileNotFoundError:
            return None
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise LedgerError("this is not a regular file", where=path)
            if status.st_size > limit:
                raise LedgerError(
                    f"the file is {status.st_size} bytes long; a file of this kind has {limit} at"
                    " most",
                    where=path,
                )
            return _read_exactly(fd, status.st_size, path)
        finally:
            os.close(fd)

    def files(self) -> Iterator[str]:
        yield from self._files("")

    def _files(self, folder: str) -> Iterator[str]:
        if folder.count("/") > _DEEPEST:
            raise LedgerError("a directory this deep does not belong in a log", where=folder)
        try:
            fd = _open_at(folder or ".", os.O_RDONLY | os.O_DIRECTORY, self._fd, folder)
        except FileNotFoundError:
            # Outgrown partial tiles, dropped meanwhile; the pass names what is missing.
            return
        try:
            with os.scandir(fd) as found:
                entries = sorted(found, key=lambda entry: entry.name)
            for entry in entries:
                path = f"{folder}/{entry.name}" if folder else entry.name
                if entry.is_dir(follow_symlinks=False):
                    yield from self._files(path)
                elif entry.is_file(follow_symlinks=False):
                    yield path
                else:
                    raise LedgerError("this is neither a file nor a directory", where=path)
        finally:
            os.close(fd)


def _open_at(name: str, flags: int, folder: int, path: str) -> int:
    try:
        return os.open(name, flags | os.O_CLOEXEC | os.O_NOFOLLOW, dir_fd=folder)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENXIO, errno.ENAMETOOLONG):
            raise LedgerError("this does not belong in a log", where=path) from None
        raise


def _read_exactly(fd: int, size: int, path: str) -> bytes:
    # One byte more than it says: a file that grows while it is read is a finding too.
    data, want = bytearray(), size + 1
    while len(data) < want and (chunk := os.read(fd, want - len(data))):
        data += chunk
    if len(data) != size:
        raise LedgerError("the file changed while it was read", path, AGAIN)
    return bytes(data)
