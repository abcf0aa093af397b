"""The system calls of this package that the os module lacks: openat2(2), renameat2(2), syncfs(2), name_to_handle_at(2).

They are called through ctypes so that the client needs no compiled part.  Every function takes and returns
plain fds (the caller owns what is returned) and raises OSError with the kernel's errno.
"""

from __future__ import annotations

import ctypes
import errno
import os

RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08

# What every open below a workspace or a view uses: no component may be a link, leave the tree or cross a mount.
RESOLVE_STRICT = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS | RESOLVE_NO_XDEV

RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

# openat2 came after the system call numbers of all architectures were unified, so 437 holds everywhere.
_SYS_OPENAT2 = 437

_AT_EMPTY_PATH = 0x1000
_MAX_HANDLE_SZ = 128
# include/linux/exportfs.h: a file handle of an inode number of 32 bits and its generation.
_FILEID_INO32_GEN = 1

_libc = ctypes.CDLL(None, use_errno=True)


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


_libc.syscall.restype = ctypes.c_long
_libc.renameat2.argtypes = [ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint]
_libc.syncfs.argtypes = [ctypes.c_int]


def openat2(dir_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = RESOLVE_STRICT) -> int:
    """Open ``path`` relative to ``dir_fd``; the new fd is close-on-exec.  openat2(2).

    EAGAIN (a rename raced with the walk) is tried again a bounded number of times, as the manual page asks.
    """
    if b"\0" in path:
        raise ValueError("embedded null byte")
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(128):
        fd = _libc.syscall(
            ctypes.c_long(_SYS_OPENAT2),
            ctypes.c_int(dir_fd),
            ctypes.c_char_p(path or b"."),
            ctypes.byref(how),
            ctypes.c_size_t(ctypes.sizeof(how)),
        )
        number = ctypes.get_errno()
        if fd >= 0:
            return int(fd)
        if number not in (errno.EAGAIN, errno.EINTR):
            break
    raise OSError(number, os.strerror(number), path)


def open_directory(root_fd: int, path: bytes, *, readable: bool) -> int:
    """Open the directory ``path`` (``b""`` is the root itself) strictly below ``root_fd``.

    ``readable`` asks for a fd that can be listed; otherwise it is O_PATH, good as an anchor for ``*at`` calls.
    """
    flags = os.O_DIRECTORY | os.O_NOFOLLOW | (os.O_RDONLY | os.O_NONBLOCK if readable else os.O_PATH)
    return openat2(root_fd, path, flags)


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """rename(2) with RENAME_NOREPLACE or RENAME_EXCHANGE.  EINVAL: the file system has no such operation."""
    if _libc.renameat2(old_dir, old, new_dir, new, flags) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number), new)


def syncfs(fd: int) -> None:
    """Wait until everything written to the file system of ``fd`` is on the disk.  syncfs(2)."""
    if _libc.syncfs(fd) != 0:
        number = ctypes.get_errno()
        raise OSError(number, os.strerror(number))


class _FileHandle(ctypes.Structure):
    _fields_ = [("size", ctypes.c_uint32), ("type", ctypes.c_int32), ("_bytes", ctypes.c_uint8 * _MAX_HANDLE_SZ)]


def has_short_inodes(fd: int) -> bool:
    """Whether inode numbers of the file system of ``fd`` have 32 bits, as overlayfs tells it.  name_to_handle_at(2).

    overlayfs then puts its own marks right above them.  False where there are no file handles at all.
    """
    handle, mount = _FileHandle(size=_MAX_HANDLE_SZ), ctypes.c_int()
    if _libc.name_to_handle_at(fd, b"", ctypes.byref(handle), ctypes.byref(mount), _AT_EMPTY_PATH) != 0:
        return False
    return int(handle.type) == _FILEID_INO32_GEN
