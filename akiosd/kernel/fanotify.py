"""Which files were executed and written, reported by the kernel (fanotify(7)).

Each cage has a group of its own, so an event's cage is known from its group. Notification only: no
process ever waits for AKIOS. When an event is read, the kernel opens its file for this process,
which can block where the file's file system does; so :meth:`FileEvents.read` must run in a thread.
"""

from __future__ import annotations

import os
import struct

import msgspec

from akiosd.errors import KernelError
from akiosd.kernel._shim import ffi, lib
from akiosd.kernel.fds import Fd
from akiosd.values.records import FileUse

MAX_EVENTS = 256
_BUFFER_SIZE = 256 << 10
_HEADER = struct.Struct("=IIIIH6x")
_USES: dict[int, FileUse] = {lib.AKIOS_FILE_EXECUTED: "executed", lib.AKIOS_FILE_WRITTEN: "written"}

assert _HEADER.size == ffi.sizeof("struct akios_file_use")


class FileEvent(msgspec.Struct, frozen=True):
    """One use of a file; ``count`` equal ones in a row are one event."""

    use: FileUse
    pid: int
    path: bytes
    count: int


class FileEvents:
    """One fanotify group.  The plan's ``watch`` steps put its marks on mounts.

    ``owner`` is the host uid that the kernel charges for the group; each may have 128, so cages do
    not use up root's. ``group`` is owned by this object. Raises KernelError.
    """

    def __init__(self, owner: int, group: Fd | None = None) -> None:
        """``group``: one that was made before, owned from now on."""
        if group is not None:
            self.group = group
            return
        number = int(lib.akios_file_use_open(owner))
        if number < 0:
            raise KernelError(
                f"no fanotify group can be made: {os.strerror(-number)}",
                "files",
                "raise the sysctl fs.fanotify.max_user_groups; in a container, the container may"
                " forbid it",
                -number,
            )
        self.group = Fd(number)

    def read(self) -> tuple[list[FileEvent], int]:
        """At most 256 waiting events, and how many were lost (an overflow of the queue counts as
        one).  Raises OSError.
        """
        buffer, lost = ffi.new("uint64_t[]", _BUFFER_SIZE // 8), ffi.new("uint32_t *")
        raw = ffi.cast("uint8_t *", buffer)
        size = int(
            lib.akios_file_use_read(self.group.fileno(), raw, _BUFFER_SIZE, MAX_EVENTS, lost)
        )
        if size < 0:
            raise OSError(-size, f"fanotify: {os.strerror(-size)}")
        return parse_events(bytes(ffi.buffer(raw, size))), int(lost[0])

    def close(self) -> None:
        """Close the group; events not yet read are lost."""
        self.group.close()


def parse_events(data: bytes) -> list[FileEvent]:
    """Decode ``struct akios_file_use`` one after the other; an event with both uses becomes two."""
    events, at = [], 0
    while at < len(data):
        size, mask, pid, count, length = _HEADER.unpack_from(data, at)
        path = data[at + _HEADER.size : at + _HEADER.size + length]
        events += [FileEvent(use, pid, path, count) for bit, use in _USES.items() if mask & bit]
        at += size
    return events
