"""Facts about this host that plans are made from, read once at start."""

from __future__ import annotations

import contextlib
import os
import platform

import msgspec

from akiosd.errors import KernelError
from akiosd.kernel import syscalls
from akiosd.kernel.fds import read_file
from akiosd.policy.compile.landlock import FLOOR_ABI
from akiosd.policy.compile.limits import HostPools
from akiosd.values.posture import CoreTaker

KERNEL_FLOOR = (5, 19)
_MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32")

# File systems that show the host's own state: never bound into a cage, whoever opened them.  Names
# of filesystems(5).
REFUSED_FILE_SYSTEMS = frozenset(
    ("autofs", "binfmt_misc", "bpf", "cgroup", "cgroup2", "configfs", "debugfs", "devpts",
     "devtmpfs", "efivarfs", "fusectl", "hugetlbfs", "mqueue", "nsfs", "pidfs", "pipefs", "proc",
     "pstore", "resctrl", "rpc_pipefs", "securityfs", "selinuxfs", "smackfs", "sockfs", "sysfs",
     "tracefs", "xenfs")
)  # fmt: skip


class HostFacts(msgspec.Struct, frozen=True):
    """What was found: ``system_links`` and ``system_dirs`` are names in the root directory."""

    kernel: str
    landlock_abi: int
    """0 where the kernel has no Landlock."""
    system_links: tuple[tuple[bytes, bytes], ...]
    system_dirs: tuple[bytes, ...]
    pools: HostPools = HostPools()


def kernel_version() -> tuple[int, int]:
    """(major, minor) of the running kernel."""
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def refuse_old_kernel() -> None:
    """Raises KernelError on a kernel that lacks what every cage needs."""
    if kernel_version() < KERNEL_FLOOR:
        floor = ".".join(map(str, KERNEL_FLOOR))
        raise KernelError(
            f"Linux {platform.release()} is older than {floor}", "start", "run a newer kernel"
        )


def landlock_abi() -> int:
    """The kernel's Landlock ABI; 0 for none."""
    try:
        return syscalls.landlock_abi()
    except OSError:
        return 0


def read_host() -> HostFacts:
    """Read all facts."""
    links, dirs = [], [b"usr"]
    for name in _MERGED:
        path = b"/" + name
        if os.path.islink(path):
            links.append((name, os.readlink(path)))
        elif os.path.isdir(path):
            dirs.append(name)
    return HostFacts(platform.release(), landlock_abi(), tuple(links), tuple(dirs), read_pools())


_POOLS = {
    "file_max": "fs/file-max",
    "pid_max": "kernel/pid_max",
    "bpf_jit_limit": "net/core/bpf_jit_limit",
}


def read_pools() -> HostPools:
    """The pools as the kernel shows them; a number that it does not show (a kernel without JIT)
    keeps its default.
    """
    found: dict[str, int] = {}
    for field, name in _POOLS.items():
        with contextlib.suppress(OSError):
            found[field] = min(int(read_file(f"/proc/sys/{name}")), 1 << 62)
    return HostPools(**found)


def read_core_taker() -> CoreTaker:
    """What the host gives core dumps to: ``core_pattern`` (core(5)) names a file, a program
    (``|…``), or a socket (``@…``, Linux 6.16).

    "program" where it cannot be read: then nothing is promised.
    """
    try:
        first = read_file("/proc/sys/kernel/core_pattern")[:1]
    except OSError:
        return "program"
    return "socket" if first == b"@" else "program" if first == b"|" else "file"


def describe_landlock(abi: int) -> str:
    """The ABI for ``doctor``."""
    return f"ABI {abi}" if abi >= FLOOR_ABI else f"ABI {abi}, and AKIOS needs {FLOOR_ABI}"


NAMESPACES = ("mnt", "pid", "ipc", "uts", "net", "user", "cgroup", "time")


def read_namespaces(pid: int | str) -> dict[str, str]:
    """Namespace → its identity, for a process; kernels without time namespaces lack that one."""
    present = os.listdir(f"/proc/{pid}/ns")
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES if name in present}


def read_process(pid: int) -> tuple[str, str, str, str]:
    """(status, mountinfo, uid_map, limits) of a process, as the kernel prints them."""
    return (
        read_file(f"/proc/{pid}/status").decode(errors="replace"),
        read_file(f"/proc/{pid}/mountinfo").decode(errors="surrogateescape"),
        read_file(f"/proc/{pid}/uid_map").decode(),
        read_file(f"/proc/{pid}/limits").decode(errors="replace"),
    )


def waits_for_disk() -> bool:
    """Whether a thread of this process is in uninterruptible sleep, which is nearly always a wait
    for a disk (proc_pid_stat(5), state D).
    """
    for task in os.listdir("/proc/self/task"):
        try:
            with open(f"/proc/self/task/{task}/stat", "rb") as file:
                # The name before it may hold anything, also blanks and brackets.
                state = file.read().rpartition(b")")[2].split()[0]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if state == b"D":
            return True
    return False
