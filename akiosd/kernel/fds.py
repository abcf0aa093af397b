"""File descriptors as values with an owner: closed exactly once, also when a task is cancelled."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterable
from types import TracebackType

_READ = 1 << 16


class Fd:
    """Owns one descriptor.  :meth:`close` may be called again; :meth:`take` gives the descriptor to
    the caller.
    """

    __slots__ = ("_number",)

    def __init__(self, number: int) -> None:
        self._number = number

    def __enter__(self) -> Fd:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        tb: TracebackType | None,
    ) -> None:
        self.close()

    def __repr__(self) -> str:
        return f"Fd({self._number})"

    def fileno(self) -> int:
        """The number; ValueError when it is closed."""
        if self._number < 0:
            raise ValueError("the descriptor is closed")
        return self._number

    @property
    def closed(self) -> bool:
        """Whether it was closed or taken."""
        return self._number < 0

    def take(self) -> int:
        """The number, which the caller owns from now on."""
        number, self._number = self.fileno(), -1
        return number

    def dup(self) -> Fd:
        """A copy, which the caller owns."""
        return Fd(os.dup(self.fileno()))

    def close(self) -> None:
        """Close it; does nothing the second time."""
        if self._number >= 0:
            number, self._number = self._number, -1
            os.close(number)


def close_all(fds: Iterable[int | Fd | None]) -> None:
    """Close every descriptor; numbers are closed once each, None is skipped."""
    for fd in fds:
        if isinstance(fd, Fd):
            fd.close()
        elif fd is not None and fd >= 0:
            os.close(fd)


def read_file(path: str | os.PathLike[str]) -> bytes:
    """The whole content of a kernel file, whose size is not known beforehand.  Raises OSError."""
    with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC)) as file:
        return read_all(file.fileno())


def read_all(fd: int, most: int = sys.maxsize) -> bytes:
    """What can be read from ``fd`` until end of file, or at least ``most`` bytes of more.  Raises
    OSError.
    """
    parts = [os.read(fd, _READ)]
    size = len(parts[0])
    # procfs and cgroupfs give a page or less at once, and then nothing.
    while parts[-1] and size < most:
        parts.append(os.read(fd, _READ))
        size += len(parts[-1])
    return b"".join(parts)


def name_pipe(end: Fd) -> Fd:
    """What names the pipe of ``end`` and is no end of it, so that nobody who uses the pipe notices;
    the caller's.
    """
    return Fd(os.open(f"/proc/self/fd/{end.fileno()}", os.O_PATH | os.O_CLOEXEC))


def open_named(name: Fd) -> Fd:
    """Another reading end of that pipe, the caller's.  What is in it is there as long as somebody
    has an end; afterwards it is empty.
    """
    flags = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC
    return Fd(os.open(f"/proc/self/fd/{name.fileno()}", flags))


def open_pipe() -> tuple[Fd, Fd]:
    """(read end, write end), close-on-exec; both are the caller's."""
    read_end, write_end = os.pipe2(os.O_CLOEXEC)
    return Fd(read_end), Fd(write_end)
