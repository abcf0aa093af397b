"""Answers calls of an agent that the pump handed on, by seccomp_unotify(2): reads what their
pointers show, makes a descriptor the agent's, sends the answer.

For a supervisor without privileges: it may read the memory of its own dumpable children.
"""

from __future__ import annotations

import errno
import fcntl
import os
import struct
from collections.abc import Iterator
from typing import NamedTuple

from akiosd.kernel.fds import Fd
from akiosd.kernel.seccomp import name_of

# include/uapi/linux/seccomp.h, asm-generic/ioctl.h
_SEND, _ID_VALID, _ADDFD = 0xC0182101, 0x40082102, 0x40182103
_ADDFD_SETFD, _ADDFD_SEND = 1, 2
_RESPONSE = struct.Struct("=QqiI")
_ADD = struct.Struct("=QIIII")
_CALL = struct.Struct("=QII6Q")
_ID = struct.Struct("=Q")
_BATCH = 64
O_NONBLOCK, O_CLOEXEC = os.O_NONBLOCK, os.O_CLOEXEC


class Call(NamedTuple):
    """One call that waits: ``id`` in the listener, thread id, number, arguments as registers."""

    id: int
    pid: int
    nr: int
    args: tuple[int, ...]

    @property
    def name(self) -> str:
        """The system call's name."""
        return name_of(self.nr)


def read_calls(pipe: Fd) -> Iterator[Call]:
    """What is in the pipe now; each is to be answered once."""
    try:
        data = os.read(pipe.fileno(), _CALL.size * _BATCH)
    except BlockingIOError:
        return
    for id_, pid, nr, *args in _CALL.iter_unpack(data):
        yield Call(id_, pid, nr, tuple(args))


class Listener:
    """A copy of a cage's listener, owned here."""

    def __init__(self, fd: Fd) -> None:
        self._fd = fd

    def is_waiting(self, call: Call) -> bool:
        """Whether the call is still to be answered: what was read before is then its thread's."""
        try:
            fcntl.ioctl(self._fd.fileno(), _ID_VALID, _ID.pack(call.id))
        except OSError as error:
            if error.errno == errno.ENOENT:
                return False
            raise
        return True

    def answer(self, call: Call, value: int = 0, *, error: int = 0) -> None:
        """Let the call return ``value``, or fail.  One whose thread is gone is no error."""
        response = _RESPONSE.pack(call.id, 0 if error else value, -error, 0)
        self._tell(_SEND, response)

    def give(self, call: Call, fd: int, *, cloexec: bool) -> None:
        """Let the call return a copy of ``fd`` as a new descriptor."""
        flags = O_CLOEXEC if cloexec else 0
        try:
            fcntl.ioctl(self._fd.fileno(), _ADDFD, _ADD.pack(call.id, _ADDFD_SEND, fd, 0, flags))
        except OSError as error:
            # EMFILE: its table is full, and the call is still to be answered.
            self.answer(call, error=error.errno or errno.EMFILE)

    def replace(self, call: Call, fd: int, number: int, *, cloexec: bool) -> bool:
        """Make the agent's descriptor ``number`` a copy of ``fd``; False where its thread is gone.
        The call is still to be answered.
        """
        flags = O_CLOEXEC if cloexec else 0
        return self._tell(_ADDFD, _ADD.pack(call.id, _ADDFD_SETFD, fd, number, flags))

    def _tell(self, request: int, argument: bytes) -> bool:
        try:
            fcntl.ioctl(self._fd.fileno(), request, argument)
        except OSError as error:
            if error.errno in (errno.ENOENT, errno.EINPROGRESS):
                return False
            raise
        return True

    def close(self) -> None:
        """Close this copy."""
        self._fd.close()


def read_memory(pid: int, address: int, size: int) -> bytes:
    """``size`` bytes of a process, fewer where its memory ends.  OSError where it may not be read.

    Check :meth:`Listener.is_waiting` afterwards.
    """
    with Fd(os.open(f"/proc/{pid}/mem", os.O_RDONLY | os.O_CLOEXEC)) as memory:
        return os.pread(memory.fileno(), size, address)


def read_text(pid: int, address: int, most: int = 4096) -> bytes:
    """A string that ends with NUL, at ``address``, page by page.  OSError as above, and
    ENAMETOOLONG.
    """
    found = b""
    while len(found) < most:
        step = min(4096 - (address + len(found)) % 4096, most - len(found))
        part = read_memory(pid, address + len(found), step)
        if not part:
            raise OSError(errno.EFAULT, os.strerror(errno.EFAULT))
        found += part
        if b"\0" in part:
            return found.split(b"\0", 1)[0]
    raise OSError(errno.ENAMETOOLONG, os.strerror(errno.ENAMETOOLONG))


def read_socket(pid: int, number: int) -> tuple[int, int]:
    """(inode, flags) of a process's descriptor: the inode is 0 where it is no socket.  OSError
    (ENOENT) where there is none.
    """
    target = os.readlink(f"/proc/{pid}/fd/{number}")
    if not target.startswith("socket:["):
        return 0, 0
    with open(f"/proc/{pid}/fdinfo/{number}") as file:
        flags = next(line for line in file if line.startswith("flags:"))
    return int(target[8:-1]), int(flags.split()[1], 8)
