"""Compiles limits to rlimits and cgroup files.  Pure; :mod:`akiosd.kernel.cgroup` writes them and
reads them back.

Sources: getrlimit(2), the kernel's cgroup-v2.rst and cgroup-v1/{memory,pids}.rst.
"""

from __future__ import annotations

from typing import Literal

import msgspec

from akiosd.values.policy import Limits
from akiosd.values.units import KIB, MIB, NS_PER_S

RLIM_INFINITY = (1 << 64) - 1
CPU_PERIOD_US = 100_000
MAX_OPEN_FILES = 1 << 20
_LEAST_FILES = 1024
_LEAST_LOCKED, _MOST_LOCKED = 64 * KIB, 64 * MIB
_STACK = 8 * MIB
_MSGQUEUE = 819_200
_SIGPENDING = 65_536

# Numbers of the generic architecture (x86-64, aarch64, riscv64).
RLIMIT_NUMBERS = {
    "cpu": 0,
    "fsize": 1,
    "data": 2,
    "stack": 3,
    "core": 4,
    "rss": 5,
    "nproc": 6,
    "nofile": 7,
    "memlock": 8,
    "as": 9,
    "locks": 10,
    "sigpending": 11,
    "msgqueue": 12,
    "nice": 13,
    "rtprio": 14,
    "rttime": 15,
}

Controller = Literal["memory", "pids", "cpu"]


class Rlimit(msgspec.Struct, frozen=True):
    """One resource limit, by its name in ``RLIMIT_NUMBERS``."""

    name: str
    soft: int
    hard: int

    @property
    def resource(self) -> int:
        """Its number for setrlimit(2)."""
        return RLIMIT_NUMBERS[self.name]


class HostPools(msgspec.Struct, frozen=True):
    """Numbers that all processes of this host share, as the kernel reports them
    (proc_sys_kernel(5), proc_sys_fs(5)).
    """

    file_max: int = 1 << 62
    pid_max: int = 1 << 22
    bpf_jit_limit: int = 1 << 28


class Bounds(msgspec.Struct, frozen=True):
    """How many kernel objects of each kind a cage may hold that no control group charges; 0 is no
    bound.
    """

    sockets: int = 0
    netlink_sockets: int = 0
    filters: int = 0
    locks: int = 0
    ofd_locks: int = 0
    directories: int = 0
    """KiB that the kernel keeps for those being read."""


class CgroupValue(msgspec.Struct, frozen=True):
    """One file of a leaf and what to write.  ``optional``: a kernel without the file (swap
    accounting off) still enforces the rest.
    """

    controller: Controller
    file: str
    value: str
    optional: bool = False

    def is_read_back(self, text: str) -> bool:
        """Whether ``text``, read from the file, is this limit.  The kernel rounds bytes down to
        whole pages (at most 64 KiB).
        """
        got, want = text.strip(), self.value
        if self.controller == "memory" and got.isdigit() and want.isdigit():
            return int(want) - 65_536 < int(got) <= int(want)
        return got.split() == want.split()


def compile_rlimits(limits: Limits, pools: HostPools) -> tuple[Rlimit, ...]:
    """A value for every rlimit, so that none is inherited from akiosd.  They hold for one process,
    not for the cage.
    """
    files = _open_files(limits, pools)
    seconds = -(-limits.cpu_time_ns // NS_PER_S)
    return (
        _both("cpu", seconds + 1 if seconds else RLIM_INFINITY),
        _both("fsize", limits.file_size or RLIM_INFINITY),
        _both("data", RLIM_INFINITY),
        Rlimit("stack", _STACK, RLIM_INFINITY),
        # The one value that keeps a core handler from being started, too: a limit of 0 is not
        # looked at then (core(5), coredump_pipe in fs/coredump.c).  No core file is as small.
        _both("core", 1),
        _both("rss", RLIM_INFINITY),
        # Where the pids controller is missing this one holds: the cage's uid is its own.  One more
        # than the controller's, which else would never be the one to refuse, and so to count, a
        # fork.
        _both("nproc", limits.pids + 1 if limits.pids else RLIM_INFINITY),
        _both("nofile", files),
        _both("memlock", _locked_memory(limits)),
        _both("as", RLIM_INFINITY),
        _both("locks", RLIM_INFINITY),
        _both("sigpending", _SIGPENDING),
        _both("msgqueue", _MSGQUEUE),
        _both("nice", 0),
        _both("rtprio", 0),
        _both("rttime", 0),
    )


def _open_files(limits: Limits, pools: HostPools) -> int:
    """Descriptors for one process: all of a cage together may open a quarter of what the host can,
    each at least 1,024.
    """
    wanted = min(limits.open_files or MAX_OPEN_FILES, MAX_OPEN_FILES)
    share = pools.file_max // 4 // limits.pids if limits.pids else wanted
    return min(wanted, max(share, _LEAST_FILES))


def _locked_memory(limits: Limits) -> int:
    """All processes of a cage together lock no more than its memory limit.

    Pages of a file are charged to whoever read it first, the host or another cage: locked, they are
    lost to them.
    """
    share = limits.memory // limits.pids if limits.memory and limits.pids else _MOST_LOCKED
    return min(max(share, _LEAST_LOCKED), _MOST_LOCKED)


# A classic program of 4,096 instructions, the longest, is about 57 KiB of machine code on x86-64
# (measured).
_FILTER_BYTES = 64 * KIB
_SOCKET_MEMORY = MIB


def compile_bounds(limits: Limits, pools: HostPools) -> Bounds:
    """Bounds on what the memory limit does not count, so that it stays small beside that limit and
    beside the host's pools.

    A socket holds up to 208 KiB of unread packets that nobody is charged for, a netlink socket
    twice that. A record lock takes 192 bytes. Directories that are read are weighed by what they
    hold (``native/src/shim_directories.c``); the kernel has at most twice as much. Filters may take
    an eighth of the host's pool for machine code.
    """
    sockets = min(max(limits.memory // _SOCKET_MEMORY, 256), 2048) if limits.memory else 2048
    return Bounds(
        sockets=sockets,
        netlink_sockets=max(sockets // 4, 64),
        filters=min(max(pools.bpf_jit_limit // 8 // _FILTER_BYTES, 64), 1024),
        locks=16_384,
        ofd_locks=65_536,
        directories=(
            min(max(limits.memory // 32, 32 * MIB), 128 * MIB) if limits.memory else 128 * MIB
        )
        // KIB,
    )


def compile_base_pids(pools: HostPools) -> str:
    """``pids.max`` of the group that holds all cages: half of the host's process numbers stay for
    others.
    """
    return str(max(pools.pid_max // 2, 1024))


def _both(name: str, value: int) -> Rlimit:
    return Rlimit(name, value, value)


def compile_cgroup_v2(limits: Limits) -> tuple[CgroupValue, ...]:
    """Values in the order of writing.  Swap is 0, and the whole cage is killed together, in any
    case.
    """
    quota = str(limits.cpu_percent * CPU_PERIOD_US // 100) if limits.cpu_percent else "max"
    return (
        CgroupValue("memory", "memory.max", _or_max(limits.memory)),
        CgroupValue("memory", "memory.swap.max", "0", optional=True),
        CgroupValue("memory", "memory.oom.group", "1"),
        CgroupValue("pids", "pids.max", _or_max(limits.pids)),
        CgroupValue("cpu", "cpu.max", f"{quota} {CPU_PERIOD_US}"),
    )


def compile_cgroup_v1(limits: Limits) -> tuple[CgroupValue, ...]:
    """In the order of writing: memory+swap may never be below memory."""
    values = [CgroupValue("pids", "pids.max", _or_max(limits.pids))]
    if limits.memory:
        values += [
            CgroupValue("memory", "memory.limit_in_bytes", str(limits.memory)),
            CgroupValue("memory", "memory.memsw.limit_in_bytes", str(limits.memory), optional=True),
            # v1 counts what lies in socket buffers apart, and only once it has a limit.
            CgroupValue(
                "memory", "memory.kmem.tcp.limit_in_bytes", str(limits.memory // 4), optional=True
            ),
        ]
    if limits.cpu_percent:
        values += [
            CgroupValue("cpu", "cpu.cfs_period_us", str(CPU_PERIOD_US)),
            CgroupValue("cpu", "cpu.cfs_quota_us", str(limits.cpu_percent * CPU_PERIOD_US // 100)),
        ]
    return tuple(values)


def _or_max(value: int) -> str:
    return str(value) if value else "max"
