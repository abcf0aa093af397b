"""Files of a step, reached beneath the directories that its ``paths`` name and nowhere else.

The cage holds what a step can reach at all; this holds a step to the part of the workspace that its
workflow speaks of.  The kernel walks each path (openat2(2), RESOLVE_BENEATH): a symbolic link, also
one that is exchanged meanwhile, leads to no place outside, and ``data/input_evil`` is not in
``data/input``, because whole names are compared.

What ``paths`` names is no link itself, and reached by none: an earlier step may have put one in its
place, and then it would be another directory or file that this step may use.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import (
    RESOLVE_BENEATH,
    RESOLVE_NO_LINKS,
    RESOLVE_NO_MAGICLINKS,
    openat2,
)

_BELOW = RESOLVE_BENEATH | RESOLVE_NO_MAGICLINKS
"""Below an allowed directory links are followed, as long as they stay there."""
_TEMPORARY = ".akios-step-{}"
_WORDS = {
    errno.EXDEV: "leads out of the directories that this step may use",
    errno.ELOOP: "leads through links that are not followed",
    errno.ENOENT: "is not there",
    errno.ENOTDIR: "goes through a file that is no directory",
    errno.ENXIO: "is a socket or a pipe, not a file",
}


class Place:
    """A path that a step named: the directory it lies beneath, and the way from there.

    Use as a context manager; the descriptor of the directory is its own.
    """

    def __init__(self, path: str, allowed: Sequence[str]) -> None:
        """Raises :class:`AkiosError` when ``path`` lies beneath none of ``allowed``."""
        self.path = path
        self._root, self._rest, is_named = _find_root(path, allowed)
        self._resolve = RESOLVE_NO_LINKS if is_named else _BELOW
        self._fd = -1

    def __enter__(self) -> Place:
        start = os.open("/" if self._root.startswith("/") else ".", os.O_PATH | os.O_DIRECTORY)
        try:
            with self._explained(self._root):
                name = os.fsencode(self._root.lstrip("/"))
                flags = os.O_PATH | os.O_DIRECTORY
                self._fd = openat2(start, name, flags, resolve=RESOLVE_NO_LINKS)
        finally:
            os.close(start)
        return self

    def __exit__(self, *_: object) -> None:
        os.close(self._fd)

    def open(self, flags: int) -> int:
        """Open what is there; the descriptor is the caller's.  Raises :class:`AkiosError`."""
        with self._explained(self.path):
            return self._openat2(self._rest, flags | os.O_NONBLOCK | os.O_NOCTTY)

    def open_regular(self, flags: int, mode: int = 0) -> int:
        """As :meth:`open`; what is no regular file is refused, and a FIFO is not waited for."""
        with self._explained(self.path):
            fd = self._openat2(self._rest, flags | os.O_NONBLOCK | os.O_NOCTTY, mode)
        if not stat.S_ISREG(os.fstat(fd).st_mode):
            os.close(fd)
            raise AkiosError("this is not a regular file", self.path, "name a file")
        return fd

    def status(self) -> os.stat_result | None:
        """Of what is there, or None.  Raises :class:`AkiosError` when it may not be looked at."""
        try:
            fd = self._openat2(self._rest, os.O_PATH)
        except FileNotFoundError:
            return None
        except OSError as error:
            raise _explain(error, self.path) from None
        try:
            return os.fstat(fd)
        finally:
            os.close(fd)

    def make_parents(self) -> None:
        """Create the directories above it that are missing."""
        with self._explained(self.path):
            made = ""
            for name in self._rest.split("/")[:-1]:
                with self._directory(made) as fd:
                    try:
                        os.mkdir(name, 0o777, dir_fd=fd)
                    except FileExistsError:
                        pass
                made = f"{made}/{name}" if made else name

    def replace(self, data: bytes) -> None:
        """Write a whole file in the place of what is there: a reader sees the old or the new."""
        before = self.status()
        if before is not None and not stat.S_ISREG(before.st_mode):
            raise AkiosError("this is not a regular file", self.path, "name a file")
        parent, _, name = self._rest.rpartition("/")
        new = _TEMPORARY.format(os.getpid())
        with self._explained(self.path), self._directory(parent) as directory:
            flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
            mode = 0o666 if before is None else stat.S_IMODE(before.st_mode) & 0o777
            fd = os.open(new, flags, mode, dir_fd=directory)
            try:
                with open(fd, "wb") as file:
                    file.write(data)
                os.rename(new, name, src_dir_fd=directory, dst_dir_fd=directory)
            except OSError:
                os.unlink(new, dir_fd=directory)
                raise

    def _openat2(self, rest: str, flags: int, mode: int = 0) -> int:
        return openat2(self._fd, os.fsencode(rest), flags, mode, resolve=self._resolve)

    @contextmanager
    def _directory(self, rest: str) -> Iterator[int]:
        fd = self._openat2(rest, os.O_PATH | os.O_DIRECTORY)
        try:
            yield fd
        finally:
            os.close(fd)

    @contextmanager
    def _explained(self, path: str) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise _explain(error, path) from None


def _explain(error: OSError, path: str) -> AkiosError:
    words = _WORDS.get(error.errno or 0, f"cannot be used: {os.strerror(error.errno or 0)}")
    return AkiosError(f"{path} {words}", "filesystem", "check the path, and the step's paths")


def _find_root(path: str, allowed: Sequence[str]) -> tuple[str, str, bool]:
    """(directory of ``allowed``, way from there to ``path``, whether ``allowed`` names ``path``
    itself).

    Where it does, the directory is the one that holds it.
    """
    wanted = _names(path)
    for entry in allowed:
        root = _names(entry)
        if wanted == root and root[-1:] not in ([], ["/"]):
            # Its directory is named, so that the last name may be a file as well.
            return _join(root[:-1]), root[-1], True
        if wanted[: len(root)] == root:
            return _join(root), "/".join(wanted[len(root) :]) or ".", False
    raise AkiosError(
        f"{path} is not below the step's paths: {', '.join(allowed)}",
        "filesystem",
        "name a path below one of them, or add its directory to the step's paths",
    )


def _names(path: str) -> list[str]:
    """The names of a path from the workspace, or from "/" for one outside.  Raises
    :class:`AkiosError` for what is no such path.
    """
    if not path or "\0" in path:
        raise AkiosError("the path is empty or holds a NUL byte", "filesystem", "name a file")
    here = os.getcwd()
    if path == here or path.startswith(here.rstrip("/") + "/"):
        path = path[len(here) :].lstrip("/")
    names = [name for name in path.split("/") if name not in ("", ".")]
    if ".." in names:
        raise AkiosError(
            f"{path} leads upwards (..)",
            "filesystem",
            "write the path from the workspace, without ..",
        )
    return (["/"] if path.startswith("/") else []) + names


def _join(names: list[str]) -> str:
    return "/" + "/".join(names[1:]) if names[:1] == ["/"] else "/".join(names) or "."
