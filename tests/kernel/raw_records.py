"""What a pump puts into its ring, read in Python: the product only makes entries of it, natively.

``RawPump`` gives out the records themselves, which tell more than entries do: flags, and every
argument.
"""

from __future__ import annotations

import socket
import struct
import sys
from collections.abc import AsyncIterator
from typing import Any

import msgspec

from akiosd.kernel._shim import ffi, lib
from akiosd.kernel.pump import MAX_BATCH, Pump
from akiosd.kernel.seccomp import name_of
from akiosd.values.records import Syscall

HAS_PATH: int = lib.AKIOS_HAS_PATH
HAS_PATH2: int = lib.AKIOS_HAS_PATH2
HAS_ARGV: int = lib.AKIOS_HAS_ARGV
HAS_SOCKADDR: int = lib.AKIOS_HAS_SOCKADDR
HAS_DIR: int = lib.AKIOS_HAS_DIR
HAS_DIR2: int = lib.AKIOS_HAS_DIR2
FAULT_PATH: int = lib.AKIOS_FAULT_PATH
FAULT_ARGV: int = lib.AKIOS_FAULT_ARGV
FAULT_SOCKADDR: int = lib.AKIOS_FAULT_SOCKADDR
CUT_PATH: int = lib.AKIOS_CUT_PATH
CUT_PATH2: int = lib.AKIOS_CUT_PATH2
CUT_ARGV: int = lib.AKIOS_CUT_ARGV
CUT_SOCKADDR: int = lib.AKIOS_CUT_SOCKADDR
GONE: int = lib.AKIOS_GONE
UNKNOWN: int = lib.AKIOS_UNKNOWN

# struct akios_record
_HEADER = struct.Struct("=IIQIIiIHHHHHHHBx6Q")
_AF_UNIX = socket.AF_UNIX.to_bytes(2, sys.byteorder)
_CUT = CUT_PATH | CUT_PATH2 | CUT_ARGV | CUT_SOCKADDR
_BUFFER_SIZE = 1 << 16

assert _HEADER.size == ffi.sizeof("struct akios_record")
assert (HAS_PATH, HAS_PATH2, HAS_ARGV, HAS_SOCKADDR, _HEADER.size) == (1, 2, 4, 8, 96), (
    "parse_records spells these out"
)


class SyscallEvent(msgspec.Struct, frozen=True, gc=False):
    """One notified system call; the shape of ``struct akios_record`` (native/include/akios.h).

    ``time_ns`` is CLOCK_REALTIME, of the first call where ``count`` identical ones in a row are
    folded; ``pid`` is the thread in this process's pid namespace; ``kind`` is the number the policy
    table gave it; ``err`` is 0 for a call that continued, else the errno it was answered with.
    ``path`` and the others are None where the call has no such argument or it could not be read
    (``flags`` tells which).
    """

    time_ns: int
    pid: int
    nr: int
    kind: int
    err: int
    flags: int
    args: tuple[int, int, int, int, int, int]
    path: bytes | None
    path2: bytes | None
    argv: tuple[bytes, ...] | None
    sockaddr: bytes | None
    directory: bytes | None
    directory2: bytes | None
    count: int


def parse_records(data: memoryview) -> list[SyscallEvent]:
    """Whole records, one after the other, as ``akios_ring_drain`` writes them."""
    events: list[SyscallEvent] = []
    append, unpack = events.append, _HEADER.unpack_from
    at, end = 0, len(data)
    while at < end:
        (
            size,
            flags,
            time_ns,
            pid,
            nr,
            err,
            count,
            kind,
            len1,
            len2,
            len3,
            len4,
            len5,
            len6,
            _,
            *args,
        ) = unpack(data, at)
        first = at + 96
        second = first + len1
        path = bytes(data[first:second]) if flags & 1 else None
        path2 = argv = sockaddr = directory = directory2 = None
        if flags & (14 | HAS_DIR | HAS_DIR2):
            third = second + len2
            fourth = third + len3
            if flags & 2:
                path2 = bytes(data[second:third])
            if flags & 4:
                argv = tuple(bytes(data[third : fourth - 1]).split(b"\0")) if len3 else ()
            if flags & 8:
                sockaddr = bytes(data[fourth : fourth + len4])
            fifth = fourth + len4
            sixth = fifth + len5
            if flags & HAS_DIR:
                directory = bytes(data[fifth:sixth])
            if flags & HAS_DIR2:
                directory2 = bytes(data[sixth : sixth + len6])
        numbers = (args[0], args[1], args[2], args[3], args[4], args[5])
        contents = (path, path2, argv, sockaddr, directory, directory2)
        append(SyscallEvent(time_ns, pid, nr, kind, err, flags, numbers, *contents, count))
        at += size
    return events


def to_record(event: SyscallEvent) -> Syscall:
    """The record of an event; ``pump.encode_entries`` gives the bytes of its entry without making
    it.
    """
    # Arguments tell something only where no content was read: the rest are addresses.
    bare = event.path is None and event.argv is None and event.sockaddr is None
    return Syscall(
        ts=event.time_ns,
        name=name_of(event.nr),
        nr=event.nr,
        pid=event.pid,
        verdict="denied" if event.err else "requested",
        errno=event.err,
        args=event.args if bare else (),
        path=event.path,
        path2=event.path2,
        directory=event.directory,
        directory2=event.directory2,
        argv=event.argv or (),
        address=_trimmed(event.sockaddr),
        count=event.count,
        truncated=bool(event.flags & _CUT),
    )


def _trimmed(address: bytes | None) -> bytes | None:
    """A path in a unix address ends at its first NUL; what the caller's buffer held behind it says
    nothing.
    """
    if address is None or address[:2] != _AF_UNIX or address[2:3] == b"\0":
        return address
    return address[:2] + address[2:].split(b"\0", 1)[0]


class RawPump(Pump):
    """The pump whose reader sees records instead of entries."""

    async def batches(self) -> AsyncIterator[list[SyscallEvent]]:
        """Lists of at most 256 events, in order."""
        while (batch := await self.next_batch()) is not None:
            yield batch

    async def next_batch(self) -> list[SyscallEvent] | None:
        """The next events (at least one), or None after the last.  Nothing is lost when it is
        cancelled.
        """
        return await self._next()  # type: ignore[return-value]

    def _drain(self) -> Any:
        buffer = ffi.new("uint8_t[]", _BUFFER_SIZE)
        lib.akios_ring_free(self._ring)
        size = lib.akios_ring_drain(self._ring, buffer, _BUFFER_SIZE, MAX_BATCH)
        assert size >= 0
        return parse_records(memoryview(ffi.buffer(buffer))[:size])
