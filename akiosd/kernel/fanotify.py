"""Which files were executed and written, told by the kernel (fanotify(7)): one group for each cage, so that an event's
cage is the group it came from.

Notification only: no process ever waits for us.  The kernel opens an event's file for this process when the event is
read, which may wait where the file's own file system does, so :meth:`FileEvents.read` is for a thread.
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
    use: FileUse
    pid: int
    path: bytes
    count: int


class FileEvents:
    """The group's descriptor; marks are put on mounts by the plan's ``watch`` steps.

    ``owner``: the host uid on whose account the kernel keeps it; each has a number of its own (128), so that cages do
    not use up root's.  Raises KernelError.
    """

    def __init__(self, owner: int) -> None:
        number = int(lib.akios_file_use_open(owner))
        if number < 0:
            raise KernelError(
                f"no fanotify group can be made: {os.strerror(-number)}", "files",
                "a container may forbid it; or raise the sysctl fs.fanotify.max_user_groups", -number,
            )  # fmt: skip
        self.group = Fd(number)

    def read(self) -> tuple[list[FileEvent], int]:
        """At most 256 events that wait, and how many were lost: an overflow of the queue counts as one.  OSError."""
        buffer, lost = ffi.new("uint64_t[]", _BUFFER_SIZE // 8), ffi.new("uint32_t *")
        raw = ffi.cast("uint8_t *", buffer)
        size = int(lib.akios_file_use_read(self.group.fileno(), raw, _BUFFER_SIZE, MAX_EVENTS, lost))
        if size < 0:
            raise OSError(-size, f"fanotify: {os.strerror(-size)}")
        return parse_events(bytes(ffi.buffer(raw, size))), int(lost[0])

    def close(self) -> None:
        self.group.close()


def parse_events(data: bytes) -> list[FileEvent]:
    """``struct akios_file_use``, one after the other; of one event with both uses, two."""
    events, at = [], 0
    while at < len(data):
        size, mask, pid, count, length = _HEADER.unpack_from(data, at)
        path = data[at + _HEADER.size : at + _HEADER.size + length]
        events += [FileEvent(use, pid, path, count) for bit, use in _USES.items() if mask & bit]
        at += size
    return events
