"""What can be told about this host without akiosd: read from the kernel's files, as any user.

Whether a layer is enforced only akiosd can say, which tries it; here it is ``present`` or
``missing``.  ``judge`` decides over facts, ``read_facts`` reads them.
"""

from __future__ import annotations

import grp
import os
import platform
import shutil
from pathlib import Path

import msgspec

from akiosctl.start_advice import daemon_program, started_before
from akiosd.kernel import syscalls
from akiosd.policy.compile.landlock import FLOOR_ABI
from akiosd.values.places import DEFAULT_SOCKET

KERNEL_FLOOR = (5, 19)
GROUP = "akios"
NAMESPACES = ("mnt", "pid", "ipc", "uts", "net", "user", "cgroup")
CONTROLLERS = ("memory", "pids", "cpu")
_SYSTEM_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
_UNITS = (
    *("/etc/systemd/system", "/run/systemd/system", "/usr/lib/systemd/system"),
    *("/lib/systemd/system", "/usr/local/lib/systemd/system"),
)


class Facts(msgspec.Struct, frozen=True):
    """``user_namespaces``: how many there may be; None where the kernel does not say."""

    kernel: str
    namespaces: frozenset[str]
    user_namespaces: int | None
    controllers: frozenset[str]
    overlay: bool
    landlock_abi: int
    seccomp: frozenset[str]
    unit: str
    systemd: bool
    member: bool
    mkfs: bool
    program: str
    """As one would type it."""
    become: str = "sudo "
    """What stands before a command for root."""
    again: str = ""
    """As the last akiosd was started here by hand."""


class Finding(msgspec.Struct, frozen=True):
    """As ``LayerState``, of what nobody tried."""

    layer: str
    status: str
    detail: str


def judge(facts: Facts) -> list[Finding]:
    """One finding for each thing that a cage needs, in the order of ``doctor``."""
    lacking = [name for name in NAMESPACES if name not in facts.namespaces]
    few = facts.user_namespaces == 0
    spaces = f"not in this kernel: {', '.join(lacking)}" if lacking else " ".join(NAMESPACES)
    if few and not lacking:
        spaces = "user namespaces are switched off: sysctl user.max_user_namespaces is 0"
    without = [name for name in CONTROLLERS if name not in facts.controllers]
    groups = f"no controller: {', '.join(without)}" if without else " ".join(CONTROLLERS)
    old = _version(facts.kernel) < KERNEL_FLOOR
    kernel = f"Linux {facts.kernel}"
    needs = f"ABI {facts.landlock_abi}, needed is {FLOOR_ABI}"
    return [
        _find("kernel", not old, f"{kernel}, needed is 5.19" if old else kernel),
        _find("namespaces", not lacking and not few, spaces),
        _find("cgroups", not without, groups),
        _find(
            "overlay",
            facts.overlay,
            "overlay file system" if facts.overlay else "no module overlay",
        ),
        _find(
            "landlock",
            facts.landlock_abi >= FLOOR_ABI,
            f"ABI {facts.landlock_abi}" if facts.landlock_abi >= FLOOR_ABI else needs,
        ),
        _find(
            "seccomp",
            "user_notif" in facts.seccomp,
            "user notification"
            if "user_notif" in facts.seccomp
            else "this kernel has no user notification",
        ),
        _find(
            "programs",
            facts.mkfs,
            "mkfs.ext4" if facts.mkfs else "mkfs.ext4 is not installed: cages have no disks",
        ),
        _find(
            "access",
            facts.member,
            f"you are root or in the group {GROUP}"
            if facts.member
            else f"you are not in the group {GROUP}: sudo usermod -aG {GROUP} $USER, then log in"
            " again",
        ),
    ]


def what_starts(facts: Facts) -> str:
    """The command that starts akiosd here, which can be pasted as it stands."""
    if facts.unit and facts.systemd:
        return f"{facts.become}systemctl enable --now akiosd"
    return f"{facts.become}{facts.again or f'{facts.program} --detach'}"


def how_to_start(facts: Facts) -> str:
    """The same as advice, with what else there is."""
    single = f"for a single run: {facts.become}akiosctl run --standalone -- COMMAND"
    return f"start it: {what_starts(facts)}; or {single}"


def _find(layer: str, good: bool, detail: str) -> Finding:
    return Finding(layer, "present" if good else "missing", detail)


def _version(release: str) -> tuple[int, int]:
    major, _, rest = release.partition(".")
    minor = "".join(c for c in rest.partition(".")[0] if c.isdigit())
    return int(major) if major.isdigit() else 0, int(minor or 0)


def read_facts() -> Facts:
    """Read all facts; a file that is not there says that what it is about is not there."""
    release = platform.release()
    try:
        abi = syscalls.landlock_abi()
    except OSError:
        abi = 0
    limit = _words("/proc/sys/user/max_user_namespaces")
    return Facts(
        kernel=release,
        namespaces=frozenset(
            name for name in NAMESPACES if os.path.exists(f"/proc/self/ns/{name}")
        ),
        user_namespaces=int(limit[0]) if limit and limit[0].isdigit() else None,
        controllers=_controllers(),
        overlay=_has_overlay(release),
        landlock_abi=abi,
        seccomp=frozenset(_words("/proc/sys/kernel/seccomp/actions_avail")),
        unit=next((path for path in _UNITS if os.path.exists(f"{path}/akiosd.service")), ""),
        systemd=os.path.isdir("/run/systemd/system"),
        member=_is_member(),
        mkfs=shutil.which("mkfs.ext4", path=_SYSTEM_PATH) is not None,
        program=daemon_program(),
        # In a container root has no sudo, as a rule.
        become="" if os.geteuid() == 0 and shutil.which("sudo") is None else "sudo ",
        again=started_before(os.path.dirname(DEFAULT_SOCKET)),
    )


def _controllers() -> frozenset[str]:
    """Of version 2 what the root offers, of version 1 what is mounted (cgroups(7))."""
    return frozenset(
        (
            *_words("/sys/fs/cgroup/cgroup.controllers"),
            *(name for name in CONTROLLERS if os.path.isdir(f"/sys/fs/cgroup/{name}")),
        )
    )


def _has_overlay(release: str) -> bool:
    if "overlay" in _words("/proc/filesystems"):
        return True
    # It is loaded when it is first mounted.
    modules = Path("/lib/modules", release)
    lists = (modules / "modules.dep", modules / "modules.builtin")
    return any("/overlay.ko" in word for path in lists for word in _words(str(path)))


def group_exists() -> bool:
    """Whether this host has the group whose members may run cages."""
    return _find_group() is not None


def _find_group() -> int | None:
    try:
        return grp.getgrnam(GROUP).gr_gid
    except KeyError:
        return None


def _is_member() -> bool:
    return os.geteuid() == 0 or _find_group() in (os.getegid(), *os.getgroups())


def _words(path: str) -> list[str]:
    try:
        return Path(path).read_text(errors="replace").split()
    except OSError:
        return []
