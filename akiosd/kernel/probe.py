"""Facts about this host that plans are made from, read once at start."""

from __future__ import annotations

import os
import platform

import msgspec

from akiosd.kernel._shim import lib as _lib
from akiosd.kernel.fds import read_file
from akiosd.policy.compile.landlock import FLOOR_ABI

KERNEL_FLOOR = (5, 19)
_MERGED = (b"bin", b"sbin", b"lib", b"lib32", b"lib64", b"libx32")

# File systems that show the host's own state: never bound into a cage, whoever opened them.
# Numbers of statfs(2) and include/uapi/linux/magic.h.
REFUSED_FILE_SYSTEMS = {
    0x9FA0: "proc",
    0x62656572: "sysfs",
    0x27E0EB: "cgroup",
    0x63677270: "cgroup2",
    0x1CD1: "devpts",
    0x64626720: "debugfs",
    0x74726163: "tracefs",
    0x73636673: "securityfs",
    0xCAFE4A11: "bpf",
    0x62656570: "configfs",
    0x65735543: "fusectl",
    0x19800202: "mqueue",
    0x42494E4D: "binfmt_misc",
    0x6165676C: "pstore",
    0xDE5E81E4: "efivarfs",
    0x6E736673: "nsfs",
    0xF97CFF8C: "selinuxfs",
    0x67596969: "rpc_pipefs",
    0x0187: "autofs",
    0x50494446: "pidfs",
    0x50495045: "pipefs",
    0x534F434B: "sockfs",
    0x43415D53: "smackfs",
    0x07655821: "resctrl",
    0x958458F6: "hugetlbfs",
    0xABBA1974: "xenfs",
}


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


def refused_file_system(fd: int) -> str:
    """The name of the file system a descriptor is on when it is one that shows the host, else ``""``."""
    magic = int(_lib.akios_fs_magic(fd))
    if magic < 0:
        return "unknown"
    # statfs(2) cannot tell devtmpfs, of which there is one, from any tmpfs.
    if os.fstat(fd).st_dev == os.stat("/dev").st_dev and os.path.ismount("/dev"):
        return "/dev"
    return REFUSED_FILE_SYSTEMS.get(magic, "")


NAMESPACES = ("mnt", "pid", "ipc", "uts", "net", "user", "cgroup", "time")


def read_namespaces(pid: int | str) -> dict[str, str]:
    """Name → its identity; kernels built without time namespaces lack that one."""
    present = os.listdir(f"/proc/{pid}/ns")
    return {name: os.readlink(f"/proc/{pid}/ns/{name}") for name in NAMESPACES if name in present}


def read_process(pid: int) -> tuple[str, str, str]:
    """(status, mountinfo, uid_map) of a process, as the kernel prints them."""
    return (
        read_file(f"/proc/{pid}/status").decode(errors="replace"),
        read_file(f"/proc/{pid}/mountinfo").decode(errors="surrogateescape"),
        read_file(f"/proc/{pid}/uid_map").decode(),
    )
