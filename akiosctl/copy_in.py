"""Packs files of the user's for a cage: every one is opened below the one before it, so that a link
that somebody puts there meanwhile is never followed.
"""

from __future__ import annotations

import os
import stat
import tarfile
from typing import BinaryIO

from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2

_READ = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Packing:
    """``skipped`` are files that were not packed, and why."""

    def __init__(self, stream: BinaryIO) -> None:
        # close() closes it, behind the last file.
        self._tar = tarfile.open(  # noqa: SIM115
            fileobj=stream, mode="w|", format=tarfile.GNU_FORMAT
        )
        self.files = 0
        self.bytes = 0
        self.skipped: list[tuple[str, str]] = []

    def add(self, directory: int, name: str, inside: str) -> None:
        """Pack ``name`` of the open ``directory``, called ``inside`` there, with all that is below.
        Raises OSError for that one itself.
        """
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        info = tarfile.TarInfo(inside)
        info.mode, info.mtime = stat.S_IMODE(status.st_mode) & 0o777, int(status.st_mtime)
        if stat.S_ISLNK(status.st_mode):
            info.type, info.linkname = tarfile.SYMTYPE, os.readlink(name, dir_fd=directory)
            self._tar.addfile(info)
        elif stat.S_ISDIR(status.st_mode):
            self._add_directory(directory, name, info)
        elif stat.S_ISREG(status.st_mode):
            self._add_file(directory, name, info)
        else:
            self.skipped.append((inside, "it is neither a file nor a directory"))

    def close(self) -> None:
        """The last blocks."""
        self._tar.close()

    def _add_directory(self, directory: int, name: str, info: tarfile.TarInfo) -> None:
        fd = _open(directory, name, _READ | os.O_DIRECTORY)
        try:
            info.type = tarfile.DIRTYPE
            self._tar.addfile(info)
            for below in sorted(os.listdir(fd)):
                try:
                    self.add(fd, below, f"{info.name}/{below}")
                except BrokenPipeError:
                    raise
                except OSError as error:
                    self.skipped.append((f"{info.name}/{below}", os.strerror(error.errno or 0)))
        finally:
            os.close(fd)

    def _add_file(self, directory: int, name: str, info: tarfile.TarInfo) -> None:
        with os.fdopen(_open(directory, name, _READ), "rb") as file:
            status = os.fstat(file.fileno())
            if not stat.S_ISREG(status.st_mode):
                self.skipped.append((info.name, "it was replaced meanwhile"))
                return
            info.size = status.st_size
            try:
                self._tar.addfile(info, file)
            except OSError as error:
                if error.errno is not None:
                    raise
                raise AkiosError(  # tarfile's own word for fewer bytes than there were
                    f"{info.name} became shorter while it was copied", "cp", "copy it again"
                ) from None
        self.files += 1
        self.bytes += info.size


def _open(directory: int, name: str, flags: int) -> int:
    return openat2(directory, os.fsencode(name), flags, resolve=RESOLVE_NO_LINKS)
