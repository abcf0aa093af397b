"""What AKIOS documents to refuse or to answer by itself: where an answer may differ from the
kernel's.

Written from the manual pages and SECURITY.md, not from the product's tables: a row that is missing
here or there is found by the test.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from tests.e2e.answers.shapes import ARGV, UNREADABLE, ZEROS, Shape

Holds = Callable[[tuple[Any, ...]], bool]

_NAMESPACES = 0x7E020000
_TERMINAL = {0x5412, 0x541C, 0x541D, 0x5423}
_AF_UNIX, _AF_INET, _AF_NETLINK, _AF_INET6 = 1, 2, 16, 10
_SETTABLE = {
    1: {2, 5, 6, 9, 10, 12, 13, 15, 16, 18, 20, 21, 76}, 0: {1, 2, 8, 10, 12, 13, 24, 33, 34, 49},
    6: {1, 2, 3, 4, 5, 6, 7, 8, 9, 12, 13, 18, 23, 25, 30}, 17: {103, 104}, 270: {10, 11, 12},
    41: {16, 18, 19, 23, 26, 29, 49, 51, 66, 67},
}  # fmt: skip
_ANSWERED = {1: {7, 8}, 0: {11}, 41: {25}}
_READABLE_ARGV = {ARGV, ZEROS, 0}


def _low(value: int) -> int:
    return value & 0xFFFFFFFF


def _raw(args: tuple[int, ...]) -> bool:
    return _low(args[0]) not in {_AF_UNIX, _AF_NETLINK} and args[1] & 15 == 3


def _foreign_family(args: tuple[int, ...]) -> bool:
    return _low(args[0]) not in {_AF_UNIX, _AF_INET, _AF_NETLINK, _AF_INET6}


def _other_protocol(args: tuple[int, ...]) -> bool:
    family, kind, protocol = _low(args[0]), args[1] & 15, _low(args[2])
    if family == _AF_NETLINK:
        return protocol != 0
    plain = {(1, 0), (2, 0), (1, 6), (2, 17), (1, 262)}
    return family in {_AF_INET, _AF_INET6} and (kind, protocol) not in plain


def _unlisted_option(args: tuple[int, ...]) -> bool:
    level, option = _low(args[1]), _low(args[2])
    return option not in _SETTABLE.get(level, set()) | _ANSWERED.get(level, set())


def _answered_option(args: tuple[int, ...]) -> bool:
    return _low(args[2]) in _ANSWERED.get(_low(args[1]), set())


def _device(mode: int) -> bool:
    return mode & 0o170000 in {0o020000, 0o060000}


# Call → (when, what AKIOS answers: an errno's name, or 0), in its order.
DOCUMENTED: dict[str, tuple[tuple[Holds, str], ...]] = {
    "clone": (
        (lambda a: a[0] & _NAMESPACES != 0, "EPERM"),
        (lambda a: a[0] & 0x10400 in {0x400, 0x10000}, "EINVAL"),
    ),
    "close_range": ((lambda a: a[2] & 2 != 0, "EINVAL"),),
    "ioctl": ((lambda a: _low(a[1]) in _TERMINAL, "EPERM"),),
    "ioprio_set": ((lambda a: _low(a[0]) == 3 or _low(a[1]) == 1, "EPERM"),),
    "setpriority": ((lambda a: _low(a[0]) == 2 or _low(a[1]) == 1, "EPERM"),),
    "memfd_create": ((lambda a: a[1] & 4 != 0, "ENOMEM"),),
    "mmap": ((lambda a: a[3] & 0x40020 == 0x40020, "ENOMEM"),),
    "mknod": ((lambda a: _device(a[1]), "EPERM"),),
    "mknodat": ((lambda a: _device(a[2]), "EPERM"),),
    "personality": ((lambda a: _low(a[0]) not in {0, 0xFFFFFFFF}, "EPERM"),),
    "prctl": ((lambda a: _low(a[0]) in {35, 62}, "EPERM"),),
    "prlimit64": (
        (lambda a: _low(a[0]) == 1, "EPERM"),
        (lambda a: a[2] != 0 and _low(a[1]) == 4, "0"),
    ),
    "setrlimit": ((lambda a: _low(a[0]) == 4, "0"),),
    "seccomp": ((lambda a: _low(a[0]) == 1 and a[1] & 8 != 0, "EPERM"),),
    "setsockopt": ((_unlisted_option, "ENOPROTOOPT"), (_answered_option, "0")),
    "socket": (
        (_raw, "EPERM"), (_foreign_family, "EAFNOSUPPORT"), (_other_protocol, "EPROTONOSUPPORT"),
    ),
    "socketpair": ((lambda a: _low(a[0]) != _AF_UNIX, "EAFNOSUPPORT"),),
    **dict.fromkeys(
        ("sched_setaffinity", "sched_setattr", "sched_setparam", "sched_setscheduler"),
        ((lambda a: _low(a[0]) == 1, "EPERM"),),
    ),
    # What could not be recorded is not done, and so it is not looked whether it could be done: where
    # the kernel has looked the first path up, or the words, before it comes to a string that cannot
    # be read.
    **dict.fromkeys(("rename", "link"), ((lambda a: a[1] in UNREADABLE, "EFAULT"),)),
    **dict.fromkeys(("renameat", "renameat2", "linkat"), ((lambda a: a[3] in UNREADABLE, "EFAULT"),)),
    "symlink": ((lambda a: a[1] in UNREADABLE, "EFAULT"),),
    "symlinkat": ((lambda a: a[2] in UNREADABLE, "EFAULT"),),
    "openat2": ((lambda a: a[1] in UNREADABLE, "EFAULT"),),
    **dict.fromkeys(
        ("setxattr", "lsetxattr", "removexattr", "lremovexattr", "getxattr", "lgetxattr",
         "utimes"),
        ((lambda a: a[0] in UNREADABLE, "EFAULT"),),
    ),
    **dict.fromkeys(
        ("futimesat", "utimensat", "inotify_add_watch"),
        ((lambda a: a[1] in UNREADABLE, "EFAULT"),),
    ),
    **dict.fromkeys(
        ("setxattrat", "removexattrat", "getxattrat"),
        ((lambda a: a[1] in UNREADABLE or a[3] in UNREADABLE, "EFAULT"),),
    ),
    # A program is not executed of which the log could not tell how; its file is not looked for.
    "execve": ((lambda a: a[1] not in _READABLE_ARGV, "EFAULT"),),
    "execveat": ((lambda a: a[2] not in _READABLE_ARGV, "EFAULT"),),
}  # fmt: skip

# What a process in a cage is told of itself, by design: its securebits are locked (read, and
# keepcaps set), its bounding set is empty.
STATES: dict[str, Holds] = {"prctl": lambda a: _low(a[0]) in {8, 23, 27}}


def documented(name: str, shape: Shape) -> str | None:
    """The answer that AKIOS gives by itself to this call; None where the kernel gives its own."""
    args = tuple(0 if isinstance(value, str) else value for value in shape)
    for holds, answer in DOCUMENTED.get(name, ()):
        if holds(args):
            return answer
    return None
