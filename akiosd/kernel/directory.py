"""Which directory a descriptor stands for, and what it is called now: asked without asking its file system.

A file system in user space may never answer; statx(2) with AT_STATX_DONT_SYNC is content with what the kernel knows,
and a link in ``/proc/self/fd`` is read from the kernel's own memory.
"""

from __future__ import annotations

import ctypes
import os

from akiosd.values.ids import DirectoryId

_AT_EMPTY_PATH = 0x1000
_AT_STATX_DONT_SYNC = 0x4000
# include/uapi/linux/stat.h
_STATX_INO, _STATX_BTIME = 0x100, 0x800

_libc = ctypes.CDLL(None, use_errno=True)


class _Time(ctypes.Structure):
    _fields_ = [("seconds", ctypes.c_int64), ("nanoseconds", ctypes.c_uint32), ("_pad", ctypes.c_int32)]


class _Statx(ctypes.Structure):
    _fields_ = [
        *((name, ctypes.c_uint32) for name in ("mask", "block_size")),
        ("attributes", ctypes.c_uint64),
        *((name, ctypes.c_uint32) for name in ("links", "uid", "gid")),
        *((name, ctypes.c_uint16) for name in ("mode", "_pad")),
        *((name, ctypes.c_uint64) for name in ("inode", "size", "blocks", "attributes_mask")),
        *((name, _Time) for name in ("accessed", "born", "changed", "modified")),
        *((name, ctypes.c_uint32) for name in ("rdev_major", "rdev_minor", "dev_major", "dev_minor")),
        ("_rest", ctypes.c_uint64 * 14),
    ]


def identify(fd: int) -> DirectoryId:
    """The directory (or whatever it is) that ``fd`` is open on.  Raises OSError; never waits for a file system."""
    found = _Statx()
    flags, mask = _AT_EMPTY_PATH | _AT_STATX_DONT_SYNC, _STATX_INO | _STATX_BTIME
    if _libc.statx(fd, b"", flags, mask, ctypes.byref(found)) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), "statx")
    born = found.born.seconds * 1_000_000_000 + found.born.nanoseconds if found.mask & _STATX_BTIME else 0
    return DirectoryId(os.makedev(found.dev_major, found.dev_minor), found.inode, born)


def read_name(fd: int) -> bytes:
    """Its path as akiosd sees it; a removed directory's ends in " (deleted)", as the kernel says it.  proc(5)."""
    return os.readlink(b"/proc/self/fd/%d" % fd)
