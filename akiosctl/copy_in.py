"""Packs files of the user's for a cage: every one is opened below the directory that was named, and
no component of the way may be a link, so that one which somebody puts there meanwhile is never
followed.
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import Any, BinaryIO

from akiosctl.skipped import Skipped
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK
_ANCHOR = os.O_PATH | os.O_DIRECTORY
_LONGEST = 4000
"""Bytes of a path, here and inside: a little less than PATH_MAX."""
_MOST_FILES = 1 << 20


class _Whole:
    """A file that has as many bytes as it had when it was opened, whoever cuts it meanwhile: zeros
    stand for those that are gone, or that the disk does not give.
    """

    def __init__(self, file: BinaryIO) -> None:
        self._file, self.was_cut = file, False

    def read(self, size: int) -> bytes:
        try:
            data = b"" if self.was_cut else self._file.read(size)
        except OSError:
            data = b""  # the header of its length is sent: the others follow behind so many bytes
        self.was_cut |= len(data) < size
        return data.ljust(size, b"\0")


class Packing:
    """``skipped`` are files that were not packed, or not as they were, and why; ``most`` bounds the
    bytes of all.
    """

    def __init__(self, stream: BinaryIO, most: int) -> None:
        # close() closes it, behind the last file.
        self._tar = tarfile.open(  # noqa: SIM115
            fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT
        )
        self._most, self._seen = most, 0
        self.files = 0
        self.bytes = 0
        self.skipped = Skipped()

    def add(self, directory: int, name: str, inside: str) -> None:
        """Pack ``name`` of the open ``directory``, called ``inside`` there, with all that is below,
        however deep: two descriptors are open at a time.  Raises OSError for that one itself.
        """
        waiting = [(name, inside)]
        while waiting:
            path, called = waiting.pop()
            self._seen += 1
            if self._seen > _MOST_FILES:
                raise AkiosError(
                    f"there are more than {_MOST_FILES} files",
                    "cp",
                    "copy its directories one by one",
                )
            try:
                below = self._add_one(directory, path, called)
            except BrokenPipeError:
                raise
            except OSError as error:
                if path == name:
                    raise
                self.skipped.add(called, os.strerror(error.errno or 0))
                continue
            for one in sorted(below, reverse=True):
                if max(len(os.fsencode(f"{place}/{one}")) for place in (path, called)) > _LONGEST:
                    self.skipped.add(f"{called}/{one}", "its path is too long: it lies too deep")
                else:
                    waiting.append((f"{path}/{one}", f"{called}/{one}"))

    def close(self, mark: str = "") -> None:
        """The last blocks, behind an empty file of the name ``mark``, where there is one."""
        if mark:
            self._tar.addfile(tarfile.TarInfo(mark))
        self._tar.close()

    def give_up(self) -> None:
        """Nobody reads any more: tarfile would write what it still holds when it is let go."""
        held: Any = self._tar.fileobj
        held.closed = True

    def _add_one(self, root: int, path: str, inside: str) -> list[str]:
        """Pack one; returns the names in it when it is a directory."""
        parent, _, name = path.rpartition("/")
        directory = _open(root, parent, _ANCHOR) if parent else os.dup(root)
        try:
            status = os.stat(name, dir_fd=directory, follow_symlinks=False)
            info = tarfile.TarInfo(inside)
            info.mode, info.mtime = stat.S_IMODE(status.st_mode) & 0o777, int(status.st_mtime)
            if stat.S_ISLNK(status.st_mode):
                info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
                self._tar.addfile(info)
            elif stat.S_ISDIR(status.st_mode):
                return self._add_directory(directory, name, info)
            elif stat.S_ISREG(status.st_mode):
                self._add_file(directory, name, info)
            else:
                self.skipped.add(inside, "it is neither a file nor a directory")
        finally:
            os.close(directory)
        return []

    def _add_directory(self, directory: int, name: str, info: tarfile.TarInfo) -> list[str]:
        fd = _open(directory, name, _READ | os.O_DIRECTORY)
        try:
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
            return os.listdir(fd)
        finally:
            os.close(fd)

    def _add_file(self, directory: int, name: str, info: tarfile.TarInfo) -> None:
        with os.fdopen(_open(directory, name, _READ), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self.skipped.add(info.name, "it was replaced meanwhile")
                return
            info.size = status.st_size
            if self.bytes + info.size > self._most:
                raise AkiosError(
                    "it is larger than --most allows",
                    info.name,
                    "allow more with --most, or copy fewer files at once",
                )
            whole = _Whole(file)
            self._tar.addfile(info, whole)  # type: ignore[arg-type]
            if whole.was_cut:
                self.skipped.add(
                    info.name, "not all of it could be read: it changed while it was copied"
                )
        self.files += 1
        self.bytes += info.size


def _open(directory: int, name: str, flags: int) -> int:
    return openat2(directory, os.fsencode(name), flags, resolve=RESOLVE_NO_LINKS)
