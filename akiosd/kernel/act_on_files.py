"""Makes calls on files for an agent without privileges: on what its path leads to now, and only if
that lies where the agent may write.

The file is pinned by a descriptor before it is looked at, so nothing that the agent does meanwhile
leads the call elsewhere.  What lies outside cannot be brought inside: Landlock lets no agent link
or rename across the border of what it may write.
"""

from __future__ import annotations

import errno
import os
import stat
import struct
import time
from collections.abc import Callable, Iterable

from akiosd.kernel import syscalls
from akiosd.kernel.answer_calls import Call, read_memory, read_text
from akiosd.kernel.fds import Fd

AT_FDCWD = 0xFFFFFF9C
_AT_SYMLINK_NOFOLLOW, _AT_EMPTY_PATH = 0x100, 0x1000
_UTIME_NOW, _UTIME_OMIT = 0x3FFFFFFF, 0x3FFFFFFE
_NS = 10**9
_LOW = 0xFFFFFFFF

Times = tuple[int | None, int | None]
"""Access and modification in ns; None is now, -1 leaves it as it is."""


def pin(pid: int, directory: int, path: bytes, *, follow: bool = True) -> Fd:
    """What ``path`` names for a process, as an O_PATH descriptor, the caller's; an empty path is
    the descriptor ``directory`` itself.  OSError as the call itself would have it.
    """
    here = f"/proc/{pid}/cwd" if directory == AT_FDCWD else f"/proc/{pid}/fd/{directory}"
    if not path:
        return Fd(os.open(here, os.O_PATH | os.O_CLOEXEC))
    base = here if not path.startswith(b"/") else f"/proc/{pid}/root"
    flags = os.O_PATH | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW)
    with Fd(os.open(base, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as start:
        # Not by /proc/self/fd: "self" would be akiosd.
        resolve = syscalls.RESOLVE_NO_MAGICLINKS
        return Fd(syscalls.openat2(start.fileno(), path, flags, resolve=resolve))


def lies_in(file: Fd, roots: Iterable[bytes]) -> bool:
    """Whether the file's name is below one of these real directories, or is one of them."""
    name = os.readlink(f"/proc/self/fd/{file.fileno()}".encode())
    if name.endswith(b" (deleted)"):
        return False
    return any(name == root or name.startswith(root + b"/") for root in roots)


def act(call: Call, roots: Iterable[bytes], still_waits: Callable[[Call], bool]) -> None:
    """Make the call.  OSError with what it fails with: EPERM outside of ``roots``."""
    target, change = _MADE[call.name](call)
    if not still_waits(call):
        raise OSError(errno.EINTR, os.strerror(errno.EINTR))
    with target:
        if not lies_in(target, roots):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        change(f"/proc/self/fd/{target.fileno()}", target)


Change = Callable[[str, Fd], None]
Made = tuple[Fd, Change]


def _mode(number: int) -> Change:
    def change(path: str, target: Fd) -> None:
        if stat.S_ISLNK(os.stat(target.fileno()).st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        if number & (stat.S_ISUID | stat.S_ISGID):
            raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))
        os.chmod(path, number & 0o1777)

    return change


def _times(times: Times) -> Change:
    def change(path: str, target: Fd) -> None:
        found, now = os.stat(target.fileno()), time.time_ns()
        if stat.S_ISLNK(found.st_mode):
            raise OSError(errno.EOPNOTSUPP, os.strerror(errno.EOPNOTSUPP))
        old = (found.st_atime_ns, found.st_mtime_ns)
        first, second = (
            now if new is None else before if new < 0 else new
            for new, before in zip(times, old, strict=True)
        )
        os.utime(path, ns=(first, second))

    return change


def _path(call: Call, number: int) -> bytes:
    return read_text(call.pid, call.args[number]) if call.args[number] else b""


def _chmod(call: Call) -> Made:
    return pin(call.pid, AT_FDCWD, _named(call, 0)), _mode(call.args[1] & _LOW)


def _fchmod(call: Call) -> Made:
    return pin(call.pid, call.args[0] & _LOW, b""), _mode(call.args[1] & _LOW)


def _fchmodat(call: Call) -> Made:
    flags = call.args[3] & _LOW if call.name == "fchmodat2" else 0
    path = _path(call, 1) if flags & _AT_EMPTY_PATH else _named(call, 1)
    follow = not flags & _AT_SYMLINK_NOFOLLOW
    target = pin(call.pid, call.args[0] & _LOW, path, follow=follow)
    return target, _mode(call.args[2] & _LOW)


def _named(call: Call, number: int) -> bytes:
    path = _path(call, number)
    if not path:
        raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT))
    return path


def _utime(call: Call) -> Made:
    times: Times = (None, None)
    if call.args[1]:
        first, second = struct.unpack("=qq", _exactly(call, 1, 16))
        times = first * _NS, second * _NS
    return pin(call.pid, AT_FDCWD, _named(call, 0)), _times(times)


def _utimes(call: Call) -> Made:
    return pin(call.pid, AT_FDCWD, _named(call, 0)), _times(_timevals(call, 1))


def _futimesat(call: Call) -> Made:
    target = pin(call.pid, call.args[0] & _LOW, _path(call, 1))
    return target, _times(_timevals(call, 2))


def _timevals(call: Call, number: int) -> Times:
    if not call.args[number]:
        return None, None
    numbers = struct.unpack("=4q", _exactly(call, number, 32))
    return numbers[0] * _NS + numbers[1] * 1000, numbers[2] * _NS + numbers[3] * 1000


def _utimensat(call: Call) -> Made:
    times: Times = (None, None)
    if call.args[2]:
        numbers = struct.unpack("=4q", _exactly(call, 2, 32))
        times = _one(*numbers[:2]), _one(*numbers[2:])
    follow = not call.args[3] & _AT_SYMLINK_NOFOLLOW
    return pin(call.pid, call.args[0] & _LOW, _path(call, 1), follow=follow), _times(times)


def _one(seconds: int, ns: int) -> int | None:
    if ns == _UTIME_NOW:
        return None
    return -1 if ns == _UTIME_OMIT else seconds * _NS + ns


def _exactly(call: Call, number: int, size: int) -> bytes:
    found = read_memory(call.pid, call.args[number], size)
    if len(found) < size:
        raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
    return found


_MADE: dict[str, Callable[[Call], Made]] = {
    "chmod": _chmod,
    "fchmod": _fchmod,
    "fchmodat": _fchmodat,
    "fchmodat2": _fchmodat,
    "utime": _utime,
    "utimes": _utimes,
    "futimesat": _futimesat,
    "utimensat": _utimensat,
}
