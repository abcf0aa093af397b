"""Facts about this host that plans are made from, read once at start."""

from __future__ import annotations

import os
import platform
from pathlib import Path

import msgspec

from akiosd.kernel._shim import lib as _lib
from akiosd.policy.compile.landlock import FLOOR_ABI

KERNEL_FLOOR = (5, 19)
_MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32")

# File systems that show the host's own state: never bound into a cage, whoever opened them.
REFUSED_FILE_SYSTEMS = frozenset(
    "proc sysfs cgroup cgroup2 devtmpfs devpts debugfs tracefs securityfs bpf configfs fusectl mqueue binfmt_misc "
    "pstore efivarfs nsfs selinuxfs rpc_pipefs autofs".split()
)


class HostFacts(msgspec.Struct, frozen=True):
    kernel: str
    landlock_abi: int
    """0 where there is none."""
    system_links: tuple[tuple[bytes, bytes], ...]
    system_dirs: tuple[bytes, ...]


def kernel_version() -> tuple[int, int]:
    major, minor = platform.release().split(".")[:2]
    return int(major), int("".join(c for c in minor if c.isdigit()) or 0)


def landlock_abi() -> int:
    return max(0, int(_lib.akios_landlock_abi()))


def read_host() -> HostFacts:
    links, dirs = [], [b"usr"]
    for name in _MERGED:
        path = b"/" + name
        if os.path.islink(path):
            links.append((name, os.readlink(path)))
        elif os.path.isdir(path):
            dirs.append(name)
    return HostFacts(platform.release(), landlock_abi(), tuple(links), tuple(dirs))


def describe_landlock(abi: int) -> str:
    return f"ABI {abi}" if abi >= FLOOR_ABI else f"ABI {abi}, needed is {FLOOR_ABI}"


def file_system_of(fd: int) -> str:
    """The type of the file system a descriptor is on, by its mount (proc(5), fdinfo and mountinfo)."""
    mount_id = ""
    for line in Path(f"/proc/self/fdinfo/{fd}").read_text().splitlines():
        if line.startswith("mnt_id:"):
            mount_id = line.split()[1]
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if line.startswith(mount_id + " "):
            return line.partition(" - ")[2].split(" ", 1)[0]
    return ""


NAMESPACES = ("mnt", "pid", "ipc", "uts", "net", "user", "cgroup")


def read_namespaces(pid: int | str) -> dict[str, str]:
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES}


def read_process(pid: int) -> tuple[str, str, str]:
    """(status, mountinfo, uid_map) of a process, as the kernel prints them."""
    base = Path(f"/proc/{pid}")
    return (
        (base / "status").read_text(errors="replace"),
        (base / "mountinfo").read_text(errors="surrogateescape"),
        (base / "uid_map").read_text(),
    )
