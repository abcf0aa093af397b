"""``akiosctl doctor --fix-hints``: for each thing that is missing, the commands that mend it on
this distribution.

Pure, but for :func:`read_system`.  Nothing here runs a command: they are for who reads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import msgspec

from akiosctl.host_check import GROUP, KERNEL_FLOOR, Finding, group_exists

CONTROLLERS = ("cgroups", "memory", "pids", "cpu")
_FAMILIES = ("ubuntu", "debian", "fedora", "arch", "suse")
_INSTALL = {
    "debian": "sudo apt install",
    "ubuntu": "sudo apt install",
    "fedora": "sudo dnf install",
    "arch": "sudo pacman -S",
    "suse": "sudo zypper install",
}
_KERNELS = {
    "debian": "linux-image-$(dpkg --print-architecture)",
    "ubuntu": "linux-generic-hwe-$(. /etc/os-release; echo $VERSION_ID)",
    "fedora": "kernel",
    "arch": "linux",
    "suse": "kernel-default",
}
_OVERLAY = {**_KERNELS, "ubuntu": "linux-modules-extra-$(uname -r)", "fedora": "kernel-modules"}


class System(msgspec.Struct, frozen=True):
    """What the commands depend on.

    ``family`` is one of those that are known, or empty; ``modules`` are the security modules that
    run; ``start`` is the command that starts akiosd here.
    """

    family: str
    modules: str
    has_group: bool
    start: str
    state_dir: str = "/var/lib/akios"


class Hint(msgspec.Struct, frozen=True):
    """Commands for a shell, in their order, and what is to be known besides; one may be empty."""

    layer: str
    commands: tuple[str, ...]
    note: str = ""


def find_hints(findings: Iterable[Finding], system: System) -> list[Hint]:
    """One hint for each finding that is not as it should be, in their order."""
    return [
        _hint(finding, system)
        for finding in findings
        if finding.status not in ("enforced", "present") or _is_makeshift(finding)
    ]


def _is_makeshift(finding: Finding) -> bool:
    return finding.layer == "disk" and finding.detail.startswith("tmpfs")


def _hint(finding: Finding, system: System) -> Hint:
    make = _BY_LAYER.get(finding.layer)
    if make is not None:
        return make(finding, system)
    return Hint(finding.layer, (), f"no command is known that mends this: {finding.detail}")


def _kernel(finding: Finding, system: System) -> Hint:
    floor = ".".join(map(str, KERNEL_FLOOR))
    note = f"AKIOS needs Linux {floor} or newer, with its usual options"
    return Hint(finding.layer, (*_installing(system, _KERNELS), "sudo reboot"), note)


def _namespaces(finding: Finding, system: System) -> Hint:
    if "max_user_namespaces" not in finding.detail:
        return _kernel(finding, system)
    write = "echo 'user.max_user_namespaces = 15000' | sudo tee /etc/sysctl.d/60-akios.conf"
    note = "where another file below /etc/sysctl.d sets it to 0, remove that line"
    return Hint(finding.layer, (write, "sudo sysctl --system"), note)


def _controllers(finding: Finding, system: System) -> Hint:
    if "memory" not in finding.layer + finding.detail:
        return _kernel(finding, system)
    return _boot_parameter(finding.layer, "cgroup_enable=memory", system)


def _overlay(finding: Finding, system: System) -> Hint:
    commands = (*_installing(system, _OVERLAY), "sudo modprobe overlay")
    return Hint(finding.layer, commands, "a newly installed kernel is used after a reboot")


def _landlock(finding: Finding, system: System) -> Hint:
    modules = [name for name in system.modules.split(",") if name]
    if not modules or "landlock" in modules:
        return _kernel(finding, system)
    return _boot_parameter("landlock", "lsm=" + ",".join(["landlock", *modules]), system)


def _access(finding: Finding, system: System) -> Hint:
    make = () if system.has_group else (f"sudo groupadd --system {GROUP}",)
    join = f'sudo usermod -aG {GROUP} "$USER"'
    return Hint(finding.layer, (*make, join), f"then log in again, or: newgrp {GROUP}")


def _programs(finding: Finding, system: System) -> Hint:
    package = dict.fromkeys(_FAMILIES, "e2fsprogs")
    return Hint(finding.layer, _installing(system, package), "mkfs.ext4 is part of e2fsprogs")


def _disk(finding: Finding, system: System) -> Hint:
    commands = ("sudo modprobe loop", "sudo systemctl restart akiosd")
    return Hint(finding.layer, commands, "changes that wait in memory are lost: settle them first")


def _ledger(finding: Finding, system: System) -> Hint:
    if "inodes" in finding.detail:
        note = "then remove what is not needed, or prune old logs"
        return Hint(finding.layer, (f"df -i {system.state_dir}", *_PRUNE), note)
    note = "or give akiosd more room; destroyed logs do not come back: export them first"
    return Hint(finding.layer, (f"df -h {system.state_dir}", *_PRUNE), note)


def _room(finding: Finding, system: System) -> Hint:
    note = "make room there, or lower quotas.keep_free_bytes in akiosd.yaml and reload akiosd"
    return Hint(finding.layer, (f"df -h {system.state_dir}",), note)


def _start(finding: Finding, system: System) -> Hint:
    return Hint(finding.layer, (system.start,))


_PRUNE = (
    "sudo akiosctl ledger prune --older-than 1d --dry-run",
    "sudo akiosctl ledger prune --older-than 1d",
)
_BY_LAYER: dict[str, Callable[[Finding, System], Hint]] = {
    **dict.fromkeys(("kernel", "seccomp", "files"), _kernel),
    **dict.fromkeys(CONTROLLERS, _controllers),
    "namespaces": _namespaces,
    "overlay": _overlay,
    "landlock": _landlock,
    "access": _access,
    "programs": _programs,
    "disk": _disk,
    "ledger": _ledger,
    "room": _room,
    "akiosd": _start,
}


def _installing(system: System, packages: dict[str, str]) -> tuple[str, ...]:
    if system.family not in packages:
        return ()
    return (f"{_INSTALL[system.family]} {packages[system.family]}",)


def _boot_parameter(layer: str, parameter: str, system: System) -> Hint:
    """Debian's grub-mkconfig(8) reads /etc/default/grub.d; grubby(8) is Fedora's."""
    if system.family in ("debian", "ubuntu"):
        line = f'GRUB_CMDLINE_LINUX="$GRUB_CMDLINE_LINUX {parameter}"'
        name = f"/etc/default/grub.d/akios-{layer}.cfg"
        write = f"echo '{line}' | sudo tee {name}"
        return Hint(layer, (write, "sudo update-grub", "sudo reboot"))
    if system.family == "fedora":
        command = f"sudo grubby --update-kernel=ALL --args='{parameter}'"
        return Hint(layer, (command, "sudo reboot"))
    return Hint(layer, (), f"add {parameter} to the kernel's command line, then reboot")


def find_family(os_release: str) -> str:
    """The family that os-release(5) names, its own name before what it is like; "" for another."""
    fields = dict(line.split("=", 1) for line in os_release.splitlines() if "=" in line)
    names = " ".join(fields.get(key, "").strip("\"'") for key in ("ID", "ID_LIKE")).split()
    names = ["fedora" if name == "rhel" else name for name in names]
    return next((name for name in names if name in _FAMILIES), "")


def read_system(start: str, state_dir: str) -> System:
    """Read what there is to read; ``start`` and ``state_dir`` as :class:`System` has them."""
    return System(
        find_family(_read("/etc/os-release")),
        _read("/sys/kernel/security/lsm").strip(),
        group_exists(),
        start,
        state_dir or System.__struct_defaults__[0],
    )


def _read(path: str) -> str:
    try:
        return Path(path).read_text(errors="replace")
    except OSError:
        return ""
