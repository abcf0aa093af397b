"""What lies below a directory, however deep: looked at without recursion, with two descriptors at a
time, and by paths that stay short.

An agent may make directories in each other tens of thousands of times, where no path leads any
more (PATH_MAX, path_resolution(7)) and no program that keeps one open for each level arrives.  What
is about to be wiped is lifted from there: renamed, within its tree, to the top.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

from akiosd.kernel.syscalls import RENAME_NOREPLACE, openat2, renameat2

Kind = Literal["file", "dir", "other", "mount", "unseen"]
_READ = os.O_RDONLY | os.O_DIRECTORY
_DEEP, _LONG = 64, 2048
"""Directories in each other, and bytes of their path: half of what a path may have, so that any
name fits behind it.
"""
_LIFTED = ".akios-lifted-{}"
_TRIES = 1000


@dataclass(frozen=True)
class Found:
    """One thing below the directory: its path, its kind, (device, inode), how many names that
    inode has, and the bytes that a file takes.  ``unseen`` is a directory that could not be looked
    into, for the reason ``why``.
    """

    path: str
    kind: Kind
    node: tuple[int, int] = (0, 0)
    names: int = 1
    size: int = 0
    why: str = ""


def survey(root: int, *, repairs: bool = True) -> list[Found]:
    """Everything below the open directory ``root``, the directory itself first; nothing is
    followed.  ``repairs``: directories that their owner may not use are made usable, and what lies
    too deep is lifted; else both are told as unseen.

    Raises OSError for ``root`` itself.
    """
    return list(_Survey(root, repairs).run())


class _Survey:
    def __init__(self, root: int, repairs: bool) -> None:
        self._root, self._repairs = root, repairs
        self._lifted = 0

    def run(self) -> Iterator[Found]:
        waiting = [""]
        while waiting:
            path = waiting.pop()
            try:
                below = list(self._look(path))
            except FileNotFoundError:
                if not path:
                    raise
                continue  # somebody else removed it while we looked
            except OSError as error:
                if not path:
                    raise
                yield Found(path, "unseen", why=error.strerror or str(error))
                continue
            directories = [found.path for found in below[1:] if found.kind == "dir"]
            yield from (found for found in below if found.kind != "dir" or found.path == path)
            waiting += reversed(directories)

    def _look(self, path: str) -> Iterator[Found]:
        """One directory, and what is directly in it."""
        fd = self._open(path)
        try:
            status = os.fstat(fd)
            yield Found(path, "dir", (status.st_dev, status.st_ino))
            for name in sorted(os.listdir(fd)):
                try:
                    yield self._look_at(fd, name, f"{path}/{name}" if path else name)
                except FileNotFoundError:
                    continue
        finally:
            os.close(fd)

    def _look_at(self, directory: int, name: str, path: str) -> Found:
        if _is_mount(directory, name):
            return Found(path, "mount")
        status = os.stat(name, dir_fd=directory, follow_symlinks=False)
        node = (status.st_dev, status.st_ino)
        if stat.S_ISDIR(status.st_mode):
            if path.count("/") + 1 >= _DEEP or len(os.fsencode(path)) >= _LONG:
                return self._lift(directory, name, path)
            return Found(path, "dir", node)
        kind: Kind = "file" if stat.S_ISREG(status.st_mode) else "other"
        return Found(path, kind, node, status.st_nlink, status.st_blocks * 512)

    def _open(self, path: str) -> int:
        try:
            fd = open_below(self._root, path or ".", _READ)
        except PermissionError:
            if not self._repairs:
                raise
            allow(self._root, path or ".", 0o700)
            return open_below(self._root, path or ".", _READ)
        mode = stat.S_IMODE(os.fstat(fd).st_mode)
        if self._repairs and path and mode & 0o700 != 0o700:
            try:
                os.fchmod(fd, 0o700)  # else nothing in it could be unlinked
            except OSError:
                pass  # another's, perhaps: what cannot be removed is told then
        return fd

    def _lift(self, directory: int, name: str, path: str) -> Found:
        if not self._repairs:
            return Found(path, "unseen", why="it lies too deep to be looked at without moving it")
        try:
            for _ in range(_TRIES):
                self._lifted += 1
                top = _LIFTED.format(self._lifted)
                try:
                    old, new = os.fsencode(name), os.fsencode(top)
                    renameat2(directory, old, self._root, new, RENAME_NOREPLACE)
                except FileExistsError:
                    continue
                return Found(top, "dir")
        except OSError as error:
            why = f"it lies too deep, and cannot be moved up: {error.strerror}"
            return Found(path, "unseen", why=why)
        return Found(path, "unseen", why=f"{_TRIES} names of the kind {_LIFTED} are taken")


def _is_mount(directory: int, name: str) -> bool:
    try:
        os.close(open_below(directory, name, os.O_PATH | os.O_NOFOLLOW))
    except OSError as error:
        if error.errno == errno.EXDEV:
            return True
        if (
            error.errno != errno.ELOOP
        ):  # RESOLVE_NO_SYMLINKS refuses a link even to O_PATH | O_NOFOLLOW
            raise
    return False


def open_below(root: int, path: str, flags: int) -> int:
    """Open ``path`` below ``root``: no component may be a link, leave the tree or cross a mount."""
    return openat2(root, os.fsencode(path), flags)


def allow(root: int, path: str, mode: int) -> None:
    """Give the owner its rights back; through a descriptor, so that no link is followed."""
    fd = open_below(root, path, os.O_PATH | os.O_NOFOLLOW)
    try:
        os.chmod(f"/proc/self/fd/{fd}", mode)
    finally:
        os.close(fd)
