"""What the kernel looks at before it comes to what AKIOS refuses or answers: data only.

A call that is not made gets the errno of the first row that speaks, so that programs which ask with
arguments that mean nothing (a closed descriptor, an unknown flag) are told what they are told
outside. No row has a call made that would not be made without it: they change the errno and nothing
else, and may therefore look at what pointers show.  They apply

* where a form of ``values/syscalls.py`` refuses a call by its numbers, or answers it,
* where a call is not made because a string of it could not be read, and so not recorded.

Sources: the manual pages (section 2) and the order of the checks in Linux 6.18 (net/socket.c,
fs/xattr.c, fs/namei.c, fs/open.c, kernel/seccomp.c, mm/memfd.c, mm/mmap.c, block/ioprio.c).
"""

from __future__ import annotations

from typing import Literal

import msgspec

EPERM, EBADF, E2BIG, EFAULT, EINVAL, ENOTSOCK, ESOCKTNOSUPPORT = 1, 9, 7, 14, 22, 88, 94

Sort = Literal["above", "below", "descriptor", "socket", "memory", "optional", "when"]
SORTS: tuple[Sort, ...] = (
    "above",
    "below",
    "descriptor",
    "socket",
    "memory",
    "optional",
    "when",
)
"""In the order of AKIOS_FIRST_* (native/include/akios.h)."""

_LOW32 = 0xFFFFFFFF
_ALL64 = (1 << 64) - 1


class First(msgspec.Struct, frozen=True):
    """``errno`` where ``args[arg] & mask`` is above or below ``value``; where the descriptor is not
    open, or no socket; where one of ``value`` bytes cannot be read (``optional``: NULL is none).

    ``when``: the next row counts only where ``args[arg] & mask == value``.
    """

    sort: Sort
    arg: int
    errno: int
    mask: int = _LOW32
    value: int = 0


def _descriptor(arg: int) -> First:
    return First("descriptor", arg, EBADF)


def _socket(arg: int) -> tuple[First, First]:
    return _descriptor(arg), First("socket", arg, ENOTSOCK)


def _unknown(arg: int, known: int) -> First:
    """Flags of an int beyond those that the kernel knows."""
    return First("above", arg, EINVAL, _LOW32 & ~known)


def _size(arg: int, least: int) -> tuple[First, First]:
    """Of a structure that may grow (copy_struct_from_user): at most a page."""
    return First("below", arg, EINVAL, _ALL64, least), First("above", arg, E2BIG, _ALL64, 4096)


def _length(arg: int) -> tuple[First, First]:
    """An int that must be above 0."""
    return First("below", arg, EINVAL, value=1), First("above", arg, EINVAL, value=(1 << 31) - 1)


def _when(arg: int, mask: int, value: int, *rows: First) -> tuple[First, ...]:
    return tuple(row for one in rows for row in (First("when", arg, 0, mask, value), one))


_AT_SYMLINK_NOFOLLOW, _AT_REMOVEDIR, _AT_EACCESS = 0x100, 0x200, 0x200
_AT_SYMLINK_FOLLOW, _AT_EMPTY_PATH = 0x400, 0x1000
_ONE_FILE = _AT_SYMLINK_NOFOLLOW | _AT_EMPTY_PATH
_STAT_FLAGS = _ONE_FILE | 0x6800
# ALL_INOTIFY_BITS (include/linux/inotify.h).
_WATCHED = 0xF700EFFF
_ADDRESS_MOST = 128
_SOCKET_TYPE, _SOCKET_FLAGS, _LAST_TYPE = 0xF, 0o2004000, 10
_AF_INET, _AF_INET6, _AF_NETLINK = 2, 10, 16
_SOL_SOCKET, _RENAME_EXCHANGE = 1, 2
_SET_MODE_FILTER, _FILTER_FLAGS = 1, 0x3F
_MFD_HUGETLB, _MFD_NOEXEC_SEAL, _MFD_EXEC, _MFD_UNKNOWN = 4, 8, 16, 0x3FFFFE0
_IOPRIO_CLASS = 7 << 13
_S_IFMT, _S_IFSOCK = 0o170000, 0o140000

FIRST: dict[str, tuple[First, ...]] = {
    "socket": (
        _unknown(1, _SOCKET_TYPE | _SOCKET_FLAGS),
        *(
            row
            for family in (_AF_INET, _AF_INET6, _AF_NETLINK)
            for row in _when(0, _LOW32, family, First("above", 1, EINVAL, _SOCKET_TYPE, _LAST_TYPE))
        ),
        # Only datagrams and raw ones (netlink(7)).
        *_when(
            0,
            _LOW32,
            _AF_NETLINK,
            First("below", 1, ESOCKTNOSUPPORT, _SOCKET_TYPE, 2),
            First("above", 1, ESOCKTNOSUPPORT, _SOCKET_TYPE, 3),
        ),
    ),
    "socketpair": (_unknown(1, _SOCKET_TYPE | _SOCKET_FLAGS), First("memory", 3, EFAULT, value=8)),
    "setsockopt": (
        *_socket(0),
        First("above", 4, EINVAL, value=(1 << 31) - 1),
        *_when(1, _LOW32, _SOL_SOCKET, First("below", 4, EINVAL, value=4)),
        *_when(1, _LOW32, _SOL_SOCKET, First("memory", 3, EFAULT, value=4)),
    ),
    "connect": (_descriptor(0), First("above", 2, EINVAL, value=_ADDRESS_MOST)),
    "bind": (*_socket(0), First("above", 2, EINVAL, value=_ADDRESS_MOST)),
    # What is sent must lie below the kernel's half of the addresses (access_ok).
    "sendto": (
        First("above", 1, EFAULT, _ALL64, (1 << 63) - 1),
        *_socket(0),
        First("above", 5, EINVAL, value=_ADDRESS_MOST),
    ),
    **dict.fromkeys(("ioctl", "fcntl", "getdents", "getdents64"), (_descriptor(0),)),
    "prlimit64": (First("optional", 2, EFAULT, value=16),),
    "setrlimit": (First("memory", 1, EFAULT, value=16),),
    "setpriority": (First("above", 0, EINVAL, value=2),),
    "ioprio_set": (
        First("above", 2, EINVAL, _IOPRIO_CLASS, 3 << 13),
        # The class for real time takes a capability, no class has no level (block/ioprio.c).
        *_when(2, _IOPRIO_CLASS, 1 << 13, First("above", 2, EPERM, _IOPRIO_CLASS)),
        *_when(2, _IOPRIO_CLASS, 0, First("above", 2, EINVAL, 7)),
        First("below", 0, EINVAL, value=1),
        First("above", 0, EINVAL, value=3),
    ),
    "memfd_create": (
        *_when(1, _MFD_HUGETLB, 0, _unknown(1, 0x1F)),
        First("above", 1, EINVAL, _MFD_UNKNOWN),
        First("above", 1, EINVAL, _MFD_EXEC | _MFD_NOEXEC_SEAL, _MFD_EXEC),
        First("memory", 0, EFAULT, value=1),
    ),
    "mmap": (First("below", 1, EINVAL, _ALL64, 1),),
    "seccomp": _when(0, _LOW32, _SET_MODE_FILTER, _unknown(1, _FILTER_FLAGS)),
    "fchmodat2": (_unknown(3, _ONE_FILE),),
    "fchownat": (_unknown(4, _ONE_FILE),),
    "linkat": (_unknown(4, _AT_SYMLINK_FOLLOW | _AT_EMPTY_PATH),),
    "unlinkat": (_unknown(2, _AT_REMOVEDIR),),
    "renameat2": (
        _unknown(4, 7),
        *_when(4, _RENAME_EXCHANGE, _RENAME_EXCHANGE, _unknown(4, _LOW32 & ~5)),
    ),
    **dict.fromkeys(
        ("setxattr", "lsetxattr", "fsetxattr"),
        (_unknown(4, 3),),
    ),
    "truncate": (First("above", 1, EINVAL, _ALL64, (1 << 63) - 1),),
    "mknod": (First("above", 1, EINVAL, _S_IFMT, _S_IFSOCK),),
    "mknodat": (First("above", 2, EINVAL, _S_IFMT, _S_IFSOCK),),
    **dict.fromkeys(
        ("setxattrat", "getxattrat"),
        _size(5, 16),
    ),
    "removexattrat": (_unknown(2, _ONE_FILE),),
    "openat2": _size(3, 24),
    "access": (_unknown(1, 7),),
    "faccessat": (_unknown(2, 7),),
    "faccessat2": (_unknown(2, 7), _unknown(3, _ONE_FILE | _AT_EACCESS)),
    "newfstatat": (_unknown(3, _STAT_FLAGS),),
    "statx": (
        _unknown(2, _STAT_FLAGS),
        # Synchronised and not, at once; a reserved bit.
        First("above", 2, EINVAL, 0x6000, 0x4000),
        First("above", 3, EINVAL, 1 << 31),
    ),
    "readlink": _length(2),
    "readlinkat": _length(3),
    "name_to_handle_at": (_unknown(4, _AT_SYMLINK_FOLLOW | _AT_EMPTY_PATH | 0x203),),
    "inotify_add_watch": (
        First("below", 2, EINVAL, _WATCHED, 1),
        # To add to a watch, and only to make one.
        *_when(2, 1 << 29, 1 << 29, First("above", 2, EINVAL, 1 << 28)),
        _descriptor(0),
    ),
}
"""Call → rows, in the order in which the kernel looks."""
