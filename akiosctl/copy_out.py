"""Writes what came out of a cage beneath one directory of the user's: no link is followed, none is
made that leads out, and no file outside is opened.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterator
from contextlib import contextmanager

from akiosctl.changes.names import protecting_pattern
from akiosctl.skipped import Skipped
from akiosctl.tar_reader import Member, TarReader
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, openat2
from akiosd.values.protected import PROTECTED_NAMES, why_protected

_CHUNK = 1 << 20
_MOST_MEMBERS = 1 << 20
_MOST_KNOWN = 1 << 14
_DIRECTORY = os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW
_WRITE = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK


class Extraction:
    """``parent`` is the directory, ``name`` what the first member is called there; ``most`` bounds
    the bytes of all files.  ``skipped`` are members that were not written, and why.

    Names that programs of the user's obey (akiosd/values/protected.py) are not written unless
    ``protected`` says so, or the directory is such a place itself, which somebody named then.
    """

    def __init__(self, parent: int, name: str, most: int, *, protected: bool = False) -> None:
        self._parent, self._name, self._left = parent, name, most
        self._where = os.fsencode(os.readlink(f"/proc/self/fd/{parent}")).strip(b"/")
        self._known: dict[bytes, str | None] = {}
        self._protected = protected or self._find_pattern("") is not None
        self.files = 0
        self.bytes = 0
        self.found = False
        """Whether anything came."""
        self.skipped = Skipped()

    def run(self, reader: TarReader) -> None:
        """Write every member.  Raises AkiosError, OSError."""
        root: str | None = None
        for number, member in enumerate(reader):
            if number >= _MOST_MEMBERS:
                raise AkiosError(
                    f"there are more than {_MOST_MEMBERS} files",
                    "cp",
                    "copy its directories one by one",
                )
            self.found = True
            parts = member.path.rstrip("/").split("/")
            root = parts[0] if root is None else root
            if parts[0] != root or any(part in ("", ".", "..") for part in parts):
                raise AkiosError(
                    f"the cage sent {member.path!r}, which lies outside of what you asked for; it"
                    " was not written",
                    "cp",
                    "do not trust this copy; name the files one by one",
                )
            try:
                self._write([self._name, *parts[1:]], member, reader)
            except OSError as error:
                if error.errno != errno.ENAMETOOLONG:
                    raise
                self.skipped.add("/".join([self._name, *parts[1:]]), "its path is too long")

    def _write(self, parts: list[str], member: Member, reader: TarReader) -> None:
        path = "/".join(parts)
        if member.kind == "other":
            self.skipped.add(path, "it is neither a file nor a directory")
            return
        pattern = None if self._protected else self._find_pattern(path)
        if pattern is not None:
            why = f"protected name ({pattern}): {why_protected(pattern)}; --protected writes it"
            self.skipped.add(path, why)
            return
        with _Opened(self._parent, parts[:-1]) as directory:
            if member.kind == "directory":
                self._make_directory(directory, parts[-1], member.mode)
            elif member.kind == "link":
                self._make_link(directory, parts, member.target)
            else:
                self._write_file(directory, parts[-1], member, reader)

    def _find_pattern(self, path: str) -> str | None:
        full = self._where + b"/" + os.fsencode(path) if path else self._where
        if len(self._known) > _MOST_KNOWN:
            self._known.clear()
        return protecting_pattern(full, PROTECTED_NAMES, self._known)

    def _make_directory(self, directory: int, name: str, mode: int) -> None:
        try:
            os.mkdir(name, mode | 0o700, dir_fd=directory)
        except FileExistsError:
            os.close(_open(directory, name, _DIRECTORY))  # ELOOP, ENOTDIR where it is none

    def _make_link(self, directory: int, parts: list[str], target: str) -> None:
        path = "/".join(parts)
        if not leads_inside(parts, target):
            self.skipped.add(path, f"it is a link that leads out, to {target}")
            return
        try:
            os.symlink(target, parts[-1], dir_fd=directory)
            self.files += 1
        except FileExistsError:
            self.skipped.add(path, "something of that name is there, and it is a link")

    def _write_file(self, directory: int, name: str, member: Member, reader: TarReader) -> None:
        if member.size > self._left:
            raise AkiosError(
                "it is larger than --most allows",
                member.path,
                "allow more with --most, or copy fewer files at once",
            )
        self._left -= member.size
        with whole_file(directory, name, member.mode) as fd:
            while data := reader.read(_CHUNK):
                view = memoryview(data)
                while view:
                    view = view[os.write(fd, view) :]
                self.bytes += len(data)
        self.files += 1


class _Opened:
    """The directory at ``parts`` below ``root``, whose parts are there and are no links."""

    def __init__(self, root: int, parts: list[str]) -> None:
        self._fd = _open(root, "/".join(parts), _DIRECTORY) if parts else os.dup(root)

    def __enter__(self) -> int:
        return self._fd

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)


def _open(directory: int, path: str, flags: int, mode: int = 0) -> int:
    return openat2(directory, os.fsencode(path), flags, mode, resolve=RESOLVE_NO_LINKS)


@contextmanager
def whole_file(directory: int, name: str, mode: int) -> Iterator[int]:
    """A file to write, that is ``name`` when the ``with`` ends well; until then, and where it does
    not, what was there is as it was.  One that cannot be replaced as it is, is written to directly.
    """
    there = _open_there(directory, name)
    try:
        new = f".akios-{secrets.token_hex(8)}"
        try:
            fd = _open(directory, new, _WRITE | os.O_CREAT | os.O_EXCL, mode | 0o600)
        except PermissionError:
            if there < 0:
                raise
            fd, new = os.dup(there), ""  # a directory that may not be written, of a file that may
        try:
            if new and there >= 0 and not _is_made_alike(fd, there):
                os.unlink(new, dir_fd=directory)
                os.close(fd)
                fd, new = os.dup(there), ""
            if not new:
                os.ftruncate(fd, 0)
            yield fd
            if new:
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
                new = ""
        finally:
            os.close(fd)
            if new:
                os.unlink(new, dir_fd=directory)
    finally:
        if there >= 0:
            os.close(there)


def _open_there(directory: int, name: str) -> int:
    """The file of that name, -1 where there is none.  Raises OSError for what is no file, or is not
    to be written.
    """
    try:
        fd = _open(directory, name, _WRITE)
    except FileNotFoundError:
        return -1
    if not stat.S_ISREG(os.fstat(fd).st_mode):
        os.close(fd)
        raise OSError(errno.EEXIST, "something other than a file is there", name)
    return fd


def _is_made_alike(fd: int, there: int) -> bool:
    """Whether ``fd`` can stand in for ``there``: owner and mode are made the same, but for the bits
    that would give a cage's words the rights of its owner.
    """
    status = os.fstat(there)
    try:
        if status.st_nlink != 1 or os.listxattr(there):
            return False
        os.fchown(fd, status.st_uid, status.st_gid)
        os.fchmod(fd, status.st_mode & 0o777)
    except OSError:
        return False
    return True


def leads_inside(parts: list[str], target: str) -> bool:
    """Whether a link at ``parts`` leads to somewhere below ``parts[0]``, whatever lies between.

    A ``..`` behind a name may go up from wherever a link of that name leads, so it stands only at
    the beginning, where all that it goes up are directories.
    """
    if not target or target.startswith("/"):
        return False
    names = [part for part in target.split("/") if part not in ("", ".")]
    ups = next((n for n, part in enumerate(names) if part != ".."), len(names))
    return ".." not in names[ups:] and len(parts) - 1 - ups >= 1
