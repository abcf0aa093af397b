"""What a process gives up for good: identity, capabilities, the right to gain any, and most system
calls.

For a single-threaded process that restricts itself: each function changes the calling thread
(credentials(7)). All raise KernelError with the kernel's errno.
"""

from __future__ import annotations

import functools
import os
from typing import Any

from cffi import FFI

from akiosd.errors import KernelError
from akiosd.kernel.seccomp import resolve

# include/uapi/linux/capability.h
CAP_KILL = 5
CAP_SETGID = 6
CAP_SETUID = 7
CAP_SETPCAP = 8

# include/uapi/linux/prctl.h, securebits.h, seccomp.h
_PR_SET_PDEATHSIG = 1
_PR_SET_DUMPABLE = 4
_PR_GET_DUMPABLE = 3
_PR_SET_NAME = 15
_PR_CAPBSET_READ = 23
_PR_CAPBSET_DROP = 24
_PR_SET_SECUREBITS = 28
_PR_GET_SECUREBITS = 27
_PR_SET_NO_NEW_PRIVS = 38
_PR_CAP_AMBIENT = 47
_PR_CAP_AMBIENT_CLEAR_ALL = 4
_CAPABILITY_VERSION_3 = 0x20080522
_SECCOMP_SET_MODE_FILTER = 1

SECUREBITS_LOCKED = 0xEF
"""Every bit but KEEP_CAPS set, every bit locked (capabilities(7))."""

_ffi = FFI()
_ffi.cdef(
    """
    struct cap_header { uint32_t version; int pid; };
    struct cap_data { uint32_t effective, permitted, inheritable; };
    struct sock_fprog { unsigned short len; void *filter; };
    int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d);
    int capset(struct cap_header *header, const struct cap_data *data);
    long syscall(long number, ...);
    """
)


@functools.cache
def _libc() -> Any:
    return _ffi.dlopen(None)


def prctl(option: int, argument: int = 0, second: int = 0) -> int:
    """prctl(2); KernelError with its errno."""
    result: int = _libc().prctl(option, argument, second, 0, 0)
    if result < 0:
        raise KernelError(f"prctl({option}): {os.strerror(_ffi.errno)}", "prctl", errno=_ffi.errno)
    return result


def drop_bounding_set(keep: frozenset[int] = frozenset()) -> None:
    """Remove every capability outside ``keep`` from the bounding set; needs CAP_SETPCAP."""
    for number in range(64):
        try:
            held = prctl(_PR_CAPBSET_READ, number)
        except KernelError:
            return  # EINVAL: one more than the last this kernel knows
        if held and number not in keep:
            prctl(_PR_CAPBSET_DROP, number)


def lock_securebits() -> None:
    """Take all meaning from uid 0, irrevocably; needs CAP_SETPCAP."""
    prctl(_PR_SET_SECUREBITS, SECUREBITS_LOCKED)
    if prctl(_PR_GET_SECUREBITS) != SECUREBITS_LOCKED:
        raise KernelError("the securebits read back differently", "securebits")


def set_capabilities(keep: frozenset[int] = frozenset()) -> None:
    """Set the effective and permitted sets to ``keep``, and empty the inheritable and ambient sets
    (capset(2)).
    """
    mask = sum(1 << number for number in keep)
    header = _ffi.new("struct cap_header *", {"version": _CAPABILITY_VERSION_3, "pid": 0})
    low, high = mask & 0xFFFFFFFF, mask >> 32
    data = _ffi.new("struct cap_data[2]", [(low, low, 0), (high, high, 0)])
    prctl(_PR_CAP_AMBIENT, _PR_CAP_AMBIENT_CLEAR_ALL)
    if _libc().capset(header, data) < 0:
        raise KernelError(f"capset: {os.strerror(_ffi.errno)}", "capset", errno=_ffi.errno)


def set_no_new_privs() -> None:
    """Set no_new_privs, which cannot be undone (prctl(2))."""
    prctl(_PR_SET_NO_NEW_PRIVS, 1)


def set_undumpable() -> None:
    """Forbid core dumps, ptrace, and reading of /proc/PID/mem by the same uid.

    A change of ids undoes it: call it after that.
    """
    prctl(_PR_SET_DUMPABLE, 0)
    if prctl(_PR_GET_DUMPABLE) != 0:
        raise KernelError("the process is still dumpable", "dumpable")


def set_parent_death_signal(signo: int) -> None:
    """Ask for ``signo`` when the thread that forked this process ends.

    A change of ids clears it: call it after that, then compare getppid with the expected parent.
    """
    prctl(_PR_SET_PDEATHSIG, signo)


def set_name(name: str) -> None:
    """Set the name that ps(1) shows; cut to 15 bytes."""
    buffer = _ffi.new("char[]", name.encode()[:15])
    prctl(_PR_SET_NAME, int(_ffi.cast("uintptr_t", buffer)))


def load_filter(bpf: bytes) -> None:
    """Install a seccomp filter (an array of struct sock_filter, 8 bytes each); needs no_new_privs."""
    program = _ffi.new("char[]", bpf)
    header = _ffi.new("struct sock_fprog *", {"len": len(bpf) // 8, "filter": program})
    number = _ffi.cast("long", _SECCOMP_SET_MODE_FILTER)
    if _libc().syscall(resolve("seccomp"), number, _ffi.cast("long", 0), header) < 0:
        raise KernelError(f"seccomp: {os.strerror(_ffi.errno)}", "seccomp", errno=_ffi.errno)
