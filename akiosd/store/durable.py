"""A directory whose files are written durably: the few operations the store is built from.

Nothing here retries.  A failed fsync leaves the kernel free to forget the data (fsync(2),
"Errors"): the caller stops and recovers by the start-up path.  Paths are relative to the directory,
which belongs to root; a symlink in the last place is refused.  Everything blocks; the daemon calls
it from worker threads.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Protocol

from akiosd.errors import LedgerDiskError, LedgerError
from akiosd.kernel import syscalls
from akiosd.store.archive_format import PackedLog

# Above this many files one syncfs(2) is cheaper than an fsync for each.
_MANY = 64
_ARCHIVES = 8  # kept open


# (the directory's fd, (path below it, content) of each file, mode): they are created or
# overwritten, in their order.
FileWriter = Callable[[int, Sequence[tuple[str, bytes]], int], None]


class RegionFile(Protocol):
    """A file of fixed size that is overwritten in place."""

    def write_at(self, offset: int, data: bytes) -> None: ...
    def data_sync(self) -> None: ...
    def close(self) -> None: ...


class Disk(Protocol):
    """What the store asks of a disk.  ``Directory`` is the real one; tests put a strict model in
    its place.

    Paths are relative to the state directory.
    """

    def read(self, path: str, limit: int) -> bytes | None:
        """The whole file; None when it does not exist.  ``LedgerError`` when it is larger than
        ``limit`` bytes.
        """

    def size(self, path: str) -> int | None:
        """The file's length in bytes; None when it does not exist."""

    def names(self, path: str) -> list[str]:
        """Names in a directory, sorted; empty when it does not exist."""

    def make_dirs(self, path: str, mode: int) -> list[str]:
        """Make a directory and its parents; returns the directories whose listing changed, to be
        synced by the caller.
        """

    def is_dir(self, path: str) -> bool:
        """Whether there is a directory."""

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        """Create a file or overwrite it in place; durable only after :meth:`sync`."""

    def write_many(self, files: Sequence[tuple[str, bytes]], mode: int = 0o644) -> None:
        """Write each (path, content) in order; those after one that fails are not written."""

    def sync(self, files: Iterable[str], dirs: Iterable[str]) -> None:
        """Make the content of ``files`` and the listings of ``dirs`` durable.  ``LedgerError`` when
        it fails, and that is final.
        """

    def sync_everything(self) -> None:
        """Make everything durable, whoever wrote it: what a killed daemon did not sync can still be
        read.
        """

    def archive(self, path: str) -> PackedLog | None:
        """The archive at ``path``, which stays the disk's; None when there is none.  Raises
        ``LedgerError``.
        """

    def replace(self, source: str, target: str) -> None:
        """rename(2); ``target`` may exist."""

    def move(self, source: str, target: str) -> None:
        """Rename a file or directory to a name that does not exist."""

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; ``FileExistsError`` when that exists."""

    def remove(self, path: str) -> None:
        """Unlink a file."""

    def remove_dir(self, path: str) -> None:
        """Remove an empty directory."""

    def open_region(self, path: str) -> RegionFile:
        """Open an existing file for overwriting in place; the caller closes it."""


def write_files(folder: int, files: Sequence[tuple[str, bytes]], mode: int) -> None:
    """The ``FileWriter`` in plain Python; the native one is ``akiosd.kernel.write_files``."""
    for path, data in files:
        # No O_TRUNC: the blocks of a file that is written again would go back with what they hold.
        flags = os.O_WRONLY | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC
        fd = os.open(path, flags, mode, dir_fd=folder)
        try:
            _write_all(fd, data)
            if os.fstat(fd).st_size > len(data):
                os.ftruncate(fd, len(data))
        except OSError as error:
            raise OSError(error.errno, error.strerror, path) from None
        finally:
            os.close(fd)


class Directory:
    """The real disk below ``root``; see ``Disk``.  Owns a descriptor: ``close`` it."""

    def __init__(self, root: Path, write_files: FileWriter = write_files) -> None:
        self.root = root
        self._write_files = write_files
        self._archives: dict[
            str, tuple[tuple[int, int], PackedLog]
        ] = {}  # by path: which file it was, and what is in it
        self._fd = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)

    def close(self) -> None:
        self._archives.clear()
        os.close(self._fd)

    def _open(self, path: str, flags: int, mode: int = 0) -> int:
        return os.open(path, flags | os.O_NOFOLLOW | os.O_CLOEXEC, mode, dir_fd=self._fd)

    def read(self, path: str, limit: int) -> bytes | None:
        try:
            # O_NONBLOCK: a FIFO in a file's place must not hang the reader.
            fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK)
        except FileNotFoundError:
            return None
        except OSError as error:
            if error.errno == errno.ELOOP:
                raise LedgerError("a symbolic link is where a file should be", where=path) from None
            raise
        try:
            status = os.fstat(fd)
            if not stat.S_ISREG(status.st_mode):
                raise LedgerError("not a regular file", where=path)
            data = _read_all(fd, min(status.st_size, limit) + 1)
        finally:
            os.close(fd)
        if len(data) > limit:
            raise LedgerError(f"the file is larger than {limit} bytes", where=path)
        return data

    def size(self, path: str) -> int | None:
        try:
            return os.stat(path, dir_fd=self._fd, follow_symlinks=False).st_size
        except FileNotFoundError:
            return None

    def is_dir(self, path: str) -> bool:
        try:
            return stat.S_ISDIR(os.stat(path, dir_fd=self._fd, follow_symlinks=False).st_mode)
        except FileNotFoundError:
            return False

    def names(self, path: str) -> list[str]:
        try:
            fd = self._open(path, os.O_RDONLY | os.O_DIRECTORY)
        except FileNotFoundError:
            return []
        try:
            return sorted(os.listdir(fd))
        finally:
            os.close(fd)

    def make_dirs(self, path: str, mode: int) -> list[str]:
        changed: list[str] = []
        parts = path.split("/")
        for depth in range(1, len(parts) + 1):
            here = "/".join(parts[:depth])
            try:
                os.mkdir(here, mode, dir_fd=self._fd)
            except FileExistsError:
                continue
            changed.append("/".join(parts[: depth - 1]) or ".")
        return changed

    def write(self, path: str, data: bytes, mode: int = 0o644) -> None:
        self._write_files(self._fd, [(path, data)], mode)

    def write_many(self, files: Sequence[tuple[str, bytes]], mode: int = 0o644) -> None:
        self._write_files(self._fd, files, mode)

    def archive(self, path: str) -> PackedLog | None:
        try:
            status = os.stat(path, dir_fd=self._fd, follow_symlinks=False)
        except FileNotFoundError:
            self._archives.pop(path, None)
            return None
        node = (status.st_ino, status.st_mtime_ns)
        known = self._archives.get(path)
        if known is None or known[0] != node:
            fd = self._open(path, os.O_RDONLY | os.O_NONBLOCK)
            try:
                known = self._archives[path] = node, PackedLog(fd)
            finally:
                os.close(fd)
            for other in list(self._archives)[:-_ARCHIVES]:
                self._archives.pop(other, None)
        return known[1]

    def sync(self, files: Iterable[str], dirs: Iterable[str]) -> None:
        paths = [*dict.fromkeys(files), *dict.fromkeys(dirs)]
        try:
            self._sync(paths)
        except OSError as error:
            raise LedgerDiskError(
                f"the file cannot be written to the disk: {error.strerror}",
                where=str(error.filename or self.root),
            ) from error

    def sync_everything(self) -> None:
        try:
            self._syncfs()
        except OSError as error:
            raise LedgerDiskError(
                f"the file system cannot be written to its disk: {error.strerror}",
                where=str(self.root),
            ) from error

    def _syncfs(self) -> None:
        syscalls.syncfs(self._fd)

    def _sync(self, paths: list[str]) -> None:
        if len(paths) > _MANY:
            self._syncfs()
            return
        for path in paths:
            fd = self._open(path, os.O_RDONLY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)

    def replace(self, source: str, target: str) -> None:
        os.replace(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def move(self, source: str, target: str) -> None:
        os.rename(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd)

    def link(self, source: str, target: str) -> None:
        os.link(source, target, src_dir_fd=self._fd, dst_dir_fd=self._fd, follow_symlinks=False)

    def remove(self, path: str) -> None:
        os.unlink(path, dir_fd=self._fd)

    def remove_dir(self, path: str) -> None:
        os.rmdir(path, dir_fd=self._fd)

    def open_region(self, path: str) -> RegionFile:
        return _Region(self._open(path, os.O_WRONLY))


class _Region:
    def __init__(self, fd: int) -> None:
        self._fd = fd

    def write_at(self, offset: int, data: bytes) -> None:
        view = memoryview(data)
        while view:
            done = os.pwrite(self._fd, view, offset)
            view, offset = view[done:], offset + done

    def data_sync(self) -> None:
        os.fdatasync(self._fd)

    def close(self) -> None:
        os.close(self._fd)


def write_durably(disk: Disk, path: str, data: bytes, mode: int = 0o644) -> None:
    """Replace the file at ``path`` by ``data`` in one step: whole or not at all, and durable on
    return.
    """
    temporary = path + ".tmp"
    disk.write(temporary, data, mode)
    disk.sync([temporary], [])
    disk.replace(temporary, path)
    disk.sync([], [parent(path)])


def parent(path: str) -> str:
    """The directory part of ``path``, "." for none."""
    return path.rpartition("/")[0] or "."


def _write_all(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def _read_all(fd: int, limit: int) -> bytes:
    chunks = []
    while limit > 0 and (chunk := os.read(fd, min(limit, 1 << 20))):
        chunks.append(chunk)
        limit -= len(chunk)
    return b"".join(chunks)
