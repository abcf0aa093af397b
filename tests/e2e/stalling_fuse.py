"""A FUSE file system that answers until it is told to stall: a program of its own, and how a test
runs it.

It is mounted in the mount namespace of another process, so that the mount goes away with that
process.  The protocol is that of include/uapi/linux/fuse.h; an empty directory is served, and
nothing else.
"""

from __future__ import annotations

import ctypes
import errno
import os
import struct
import subprocess
import sys
from pathlib import Path

IN = struct.Struct("<IIQQIIII")
OUT = struct.Struct("<IiQ")
LOOKUP, FORGET, GETATTR, STATFS, GETXATTR, INIT, OPENDIR, READDIR = 1, 2, 3, 17, 22, 26, 27, 28
RELEASEDIR, INTERRUPT, ACCESS, DESTROY, BATCH_FORGET = 29, 36, 34, 38, 42
SILENT = (FORGET, BATCH_FORGET, INTERRUPT)
CLONE_NEWNS = 0x20000


def attributes(uid: int) -> bytes:
    numbers = struct.pack(
        "<QQQQQQIIIIIIIIII", 1, 0, 0, 0, 0, 0, 0, 0, 0, 0o40755, 2, uid, uid, 0, 4096, 0
    )
    return struct.pack("<QII", 0, 0, 0) + numbers


def answer(opcode: int, uid: int) -> bytes | int:
    """The body of a reply, or an errno."""
    if opcode == INIT:
        return struct.pack("<IIIIHHIIHHI7I", 7, 31, 0, 0, 16, 12, 1 << 16, 1, 16, 0, 0, *[0] * 7)
    if opcode == GETATTR:
        return attributes(uid)
    if opcode == STATFS:
        return struct.pack("<QQQQQIII6I", 0, 0, 0, 0, 0, 4096, 255, 4096, *[0] * 6).ljust(80, b"\0")
    if opcode == OPENDIR:
        return struct.pack("<QII", 0, 0, 0)
    if opcode in (READDIR, RELEASEDIR):
        return b""
    return {LOOKUP: errno.ENOENT, GETXATTR: errno.ENODATA}.get(opcode, errno.ENOSYS)


def serve(device: int, uid: int, stall: str) -> None:
    while True:
        request = os.read(device, 1 << 17)
        _length, opcode, unique, *_rest = IN.unpack_from(request)
        if os.path.exists(stall) and opcode not in SILENT:
            print(f"stalled {opcode}", flush=True)
            continue
        if opcode in SILENT:
            continue
        said = answer(opcode, uid)
        body, err = (b"", said) if isinstance(said, int) else (said, 0)
        os.write(device, OUT.pack(OUT.size + len(body), -err, unique) + body)
        if opcode == INIT:
            print("mounted", flush=True)


def main() -> None:
    pid, target, uid, stall = int(sys.argv[1]), sys.argv[2], int(sys.argv[3]), sys.argv[4]
    libc = ctypes.CDLL(None, use_errno=True)
    device = os.open("/dev/fuse", os.O_RDWR | os.O_CLOEXEC)
    namespace = os.open(f"/proc/{pid}/ns/mnt", os.O_RDONLY | os.O_CLOEXEC)
    if libc.setns(namespace, CLONE_NEWNS) < 0:
        raise OSError(ctypes.get_errno(), "setns")
    options = (
        f"fd={device},rootmode=40000,user_id=0,group_id=0,allow_other,default_permissions".encode()
    )
    if libc.mount(b"stalling", target.encode(), b"fuse.stalling", 6, options) < 0:
        raise OSError(ctypes.get_errno(), "mount")
    serve(device, uid, stall)


class StallingFuse:
    """``directory`` is served in the mount namespace of ``pid`` until :meth:`close`; it must be
    there.
    """

    def __init__(self, pid: int, directory: Path, uid: int) -> None:
        self.directory = directory
        self.path = f"/proc/{pid}/root{directory}"
        self._stall = directory.with_name(directory.name + ".stall")
        self.process = subprocess.Popen(
            [sys.executable, "-I", __file__, str(pid), str(directory), str(uid), str(self._stall)],
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self.process.stdout is not None
        assert self.process.stdout.readline() == "mounted\n"

    def stall(self) -> None:
        """Nothing is answered any more."""
        self._stall.touch()

    def wait_stalled(self) -> str:
        """Returns once a question stays unanswered; which one, by its opcode."""
        assert self.process.stdout is not None
        return self.process.stdout.readline()

    def close(self) -> None:
        """The kernel answers every question that is open, with an error."""
        self.process.kill()
        self.process.wait()


if __name__ == "__main__":
    main()
