"""The system calls that Python's os module lacks, each written once, with types.

A function keeps the kernel's name, takes and returns plain numbers and bytes, and raises OSError
with the kernel's errno.  A returned descriptor is close-on-exec and the caller's.  Numbers and
layouts: include/uapi/linux of the kernel; the manual page of each call has the rest.

This module imports nothing of AKIOS and needs no compiled part (the C library is reached through
ctypes), because also the client and the ledger's files use it, where the native part may not be
built.  Mounts are the exception: their calls are in ``native/src/mount.c``, which the launcher
shares, and in Python behind :mod:`akiosd.kernel.mounts`.
"""

from __future__ import annotations

import ctypes
import errno
import os
from pathlib import Path

AT_FDCWD = -100

# openat2(2)
RESOLVE_NO_XDEV = 0x01
RESOLVE_NO_MAGICLINKS = 0x02
RESOLVE_NO_SYMLINKS = 0x04
RESOLVE_BENEATH = 0x08
RESOLVE_NO_LINKS = RESOLVE_BENEATH | RESOLVE_NO_SYMLINKS | RESOLVE_NO_MAGICLINKS
"""No component of the path may be a link or lead out of the tree; mounts below it are entered."""
RESOLVE_STRICT = RESOLVE_NO_LINKS | RESOLVE_NO_XDEV
"""Nor may a mount be crossed, a bind mount of the same device included."""

# renameat2(2)
RENAME_NOREPLACE = 1
RENAME_EXCHANGE = 2

# prctl(2)
PR_SET_PDEATHSIG = 1
PR_GET_DUMPABLE = 3
PR_SET_DUMPABLE = 4
PR_SET_NAME = 15
PR_SET_SECCOMP = 22
PR_CAPBSET_READ = 23
PR_CAPBSET_DROP = 24
PR_GET_SECUREBITS = 27
PR_SET_SECUREBITS = 28
PR_SET_NO_NEW_PRIVS = 38
PR_CAP_AMBIENT = 47
PR_CAP_AMBIENT_CLEAR_ALL = 4
SECCOMP_MODE_FILTER = 2

# landlock_create_ruleset(2), landlock_add_rule(2)
LANDLOCK_CREATE_RULESET_VERSION = 1
LANDLOCK_RULE_PATH_BENEATH = 1

AT_EMPTY_PATH = 0x1000
_MNT_DETACH, _UMOUNT_NOFOLLOW = 2, 8

# kcmp(2), which is older than the numbers that all architectures share
_KCMP = {"x86_64": 312}.get(os.uname().machine, 272)
_KCMP_FILE = 0

# Calls that came after the numbers of all architectures were unified have one number everywhere.
_OPENAT2 = 437
_PIDFD_GETFD = 438
_QUOTACTL_FD = 443
_LANDLOCK_CREATE_RULESET = 444
_LANDLOCK_ADD_RULE = 445
_LANDLOCK_RESTRICT_SELF = 446

_CAPABILITY_VERSION_3 = 0x20080522
_MAX_HANDLE_SZ = 128
_MOST_RACES = 128


class _OpenHow(ctypes.Structure):
    _fields_ = [("flags", ctypes.c_uint64), ("mode", ctypes.c_uint64), ("resolve", ctypes.c_uint64)]


class _FileHandle(ctypes.Structure):
    _fields_ = [
        ("size", ctypes.c_uint32),
        ("type", ctypes.c_int32),
        ("_bytes", ctypes.c_uint8 * _MAX_HANDLE_SZ),
    ]


class _CapHeader(ctypes.Structure):
    _fields_ = [("version", ctypes.c_uint32), ("pid", ctypes.c_int)]


class _CapData(ctypes.Structure):
    _fields_ = [
        ("effective", ctypes.c_uint32),
        ("permitted", ctypes.c_uint32),
        ("inheritable", ctypes.c_uint32),
    ]


class _FilterProgram(ctypes.Structure):
    _fields_ = [("length", ctypes.c_ushort), ("filter", ctypes.c_void_p)]


_libc = ctypes.CDLL(None, use_errno=True)
_libc.syscall.restype = ctypes.c_long
_libc.prctl.argtypes = [ctypes.c_int, *[ctypes.c_ulong] * 4]
_libc.renameat2.argtypes = [
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_int,
    ctypes.c_char_p,
    ctypes.c_uint,
]


def _check(result: int, call: str = "", path: bytes | None = None) -> int:
    """The result, or OSError, whose text begins with ``call`` if one is given."""
    if result < 0:
        number = ctypes.get_errno()
        raise OSError(
            number, f"{call}: {os.strerror(number)}" if call else os.strerror(number), path
        )
    return int(result)


def _syscall(number: int, *arguments: object) -> int:
    """Numbers are passed in their full width: as a C int, half of a flag or of an address would be
    lost.
    """
    words = [ctypes.c_long(word) if isinstance(word, int) else word for word in arguments]
    return int(_libc.syscall(ctypes.c_long(number), *words))


# ---- files ---------------------------------------------------------------------------------------


def openat2(
    dir_fd: int, path: bytes, flags: int, mode: int = 0, resolve: int = RESOLVE_STRICT
) -> int:
    """Open ``path`` (``b""``: the directory itself) relative to ``dir_fd``.

    EAGAIN (a rename raced with the walk) is tried again a bounded number of times, as the manual
    page asks.
    """
    if b"\0" in path:
        raise ValueError("embedded null byte")
    how = _OpenHow(flags | os.O_CLOEXEC, mode, resolve)
    for _ in range(_MOST_RACES):
        fd = _syscall(
            _OPENAT2, dir_fd, ctypes.c_char_p(path or b"."), ctypes.byref(how), ctypes.sizeof(how)
        )
        if fd >= 0 or ctypes.get_errno() not in (errno.EAGAIN, errno.EINTR):
            break
    return _check(fd, path=path)


def open_directory(
    root_fd: int, path: bytes, *, readable: bool, resolve: int = RESOLVE_STRICT
) -> int:
    """Open the directory ``path`` (``b""`` is the root itself) below ``root_fd`` by
    :func:`openat2`.

    ``readable`` asks for a descriptor that can be listed; otherwise it is O_PATH, good as an anchor
    for ``*at`` calls.
    """
    flags = (
        os.O_DIRECTORY | os.O_NOFOLLOW | (os.O_RDONLY | os.O_NONBLOCK if readable else os.O_PATH)
    )
    return openat2(root_fd, path, flags, resolve=resolve)


def renameat2(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """rename(2) with RENAME_NOREPLACE or RENAME_EXCHANGE.  EINVAL: the file system has no such
    operation.
    """
    _check(_libc.renameat2(old_dir, old, new_dir, new, flags), path=new)


def syncfs(fd: int) -> None:
    """Wait until everything written to the file system of ``fd`` is on the disk.  A failure must
    not be tried again.
    """
    _check(_libc.syncfs(fd))


def sync_directory(path: str | os.PathLike[str]) -> None:
    """Wait until the names in the directory are on the disk: what a rename, a new name or an unlink
    needs to outlive a power loss (fsync(2)).  A failure must not be tried again.
    """
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.fsync(fd)
    finally:
        os.close(fd)


def name_to_handle_at(fd: int) -> int:
    """The type of the file handle of an open file, a number of its file system's
    (include/linux/exportfs.h).
    """
    handle, mount = _FileHandle(size=_MAX_HANDLE_SZ), ctypes.c_int()
    _check(
        _libc.name_to_handle_at(fd, b"", ctypes.byref(handle), ctypes.byref(mount), AT_EMPTY_PATH)
    )
    return int(handle.type)


def umount_detach(path: Path) -> None:
    """umount2(2) with MNT_DETACH: no name leads there any more; it goes with its last user."""
    raw = os.fsencode(path)
    _check(_libc.umount2(raw, _MNT_DETACH | _UMOUNT_NOFOLLOW), "umount2", raw)


def quotactl_fd(fd: int, command: int, identity: int, data: bytearray) -> None:
    """Quota of the file system of ``fd``; what the kernel answers is written into ``data``."""
    buffer = (ctypes.c_char * len(data)).from_buffer(data)
    _check(_syscall(_QUOTACTL_FD, fd, command, identity, ctypes.byref(buffer)), "quotactl_fd")


# ---- processes -----------------------------------------------------------------------------------


def prctl(option: int, argument: int | bytes = 0, second: int = 0) -> int:
    """Of the calling thread.  Bytes are passed by their address and must not be kept by the kernel.

    ``python-prctl``, by which the daemon hardens itself, is no substitute here: it refuses
    capabilities that are newer than the headers it was compiled with, and these must leave a
    gateway's bounding set, too.
    """
    buffer = ctypes.create_string_buffer(argument) if isinstance(argument, bytes) else None
    word = argument if buffer is None else ctypes.addressof(buffer)
    return _check(_libc.prctl(option, word, second, 0, 0))


def capset(mask: int) -> None:
    """Bit n of ``mask`` is capability n: the effective and permitted set of the calling thread;
    none is inheritable.
    """
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = (_CapData * 2)(_CapData(low, low, 0), _CapData(high, high, 0))
    header = _CapHeader(_CAPABILITY_VERSION_3, 0)
    _check(_libc.capset(ctypes.byref(header), ctypes.byref(data)))


def load_filter(bpf: bytes) -> None:
    """Install a seccomp filter on the calling thread (PR_SET_SECCOMP); needs no_new_privs.

    ``bpf`` is an array of struct sock_filter, 8 bytes each.
    """
    program = ctypes.create_string_buffer(bpf, len(bpf))
    header = _FilterProgram(len(bpf) // 8, ctypes.addressof(program))
    prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, ctypes.addressof(header))


def unshare(flags: int) -> None:
    """Give the calling thread namespaces of its own, which it keeps: never in a thread of a
    pool.
    """
    _check(_libc.unshare(flags), "unshare")


def pidfd_getfd(pidfd: int, number: int) -> int:
    """A copy of descriptor ``number`` of the process."""
    return _check(_syscall(_PIDFD_GETFD, pidfd, number, 0), "pidfd_getfd")


# ---- Landlock ------------------------------------------------------------------------------------


def is_same_open_file(fd: int, other: int) -> bool:
    """Whether both descriptors of this process are one open file, with one position; kcmp(2).
    False also where the kernel does not tell.
    """
    pid = os.getpid()
    try:
        return _syscall(_KCMP, pid, pid, _KCMP_FILE, fd, other) == 0
    except OSError:
        return False


def landlock_create_ruleset(attr: bytes) -> int:
    """``attr`` is a struct landlock_ruleset_attr as long as the kernel's ABI knows it."""
    return _check(_syscall(_LANDLOCK_CREATE_RULESET, attr, len(attr), 0))


def landlock_abi() -> int:
    """The ABI of this kernel; OSError where it has no Landlock, or was started without."""
    result = _syscall(_LANDLOCK_CREATE_RULESET, None, 0, LANDLOCK_CREATE_RULESET_VERSION)
    return _check(result)


def landlock_add_rule(ruleset_fd: int, rule: bytes) -> None:
    """``rule`` is a struct landlock_path_beneath_attr."""
    _check(_syscall(_LANDLOCK_ADD_RULE, ruleset_fd, LANDLOCK_RULE_PATH_BENEATH, rule, 0))


def landlock_restrict_self(ruleset_fd: int) -> None:
    """The calling thread, and what it starts, is bound from now on; needs no_new_privs."""
    _check(_syscall(_LANDLOCK_RESTRICT_SELF, ruleset_fd, 0))


# ---- the C library -------------------------------------------------------------------------------


def malloc_trim() -> None:
    """Give free pages of the heap back to the kernel, also those between others in use.  Blocks for
    milliseconds.
    """
    trim = getattr(_libc, "malloc_trim", None)  # not in every C library
    if trim is not None:
        trim(0)
