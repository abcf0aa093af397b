"""What the tests of the package ask of the machine they run on: commands by users, groups of the
kernel, and whatever the package may have left behind.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

HANDED_IN = Path(__file__).parents[2] / ".vm-files"
_BUILT = sorted(HANDED_IN.glob("akios_*.deb"))
DEBS = {
    **{path.stem: path for path in HANDED_IN.glob("*.deb") if path not in _BUILT},
    **{"newer" if path.stem == "akios_newer" else "akios": path for path in _BUILT},
}
"""The packages to test: akios and the extras as built, and what `variants` makes of akios."""
GROUPS = ("akios", "akios-admin", "akios-monitor")
CGROUPS = Path("/sys/fs/cgroup")
USERS = ("dev", "mon", "other")
"""In group akios, in akios-monitor, in neither."""
PASSING = (
    "/var/log/",
    "/var/tmp/systemd-private-",
    "/var/cache/",
    "/var/lib/apt/",
    "/var/lib/dpkg/",
    "/var/lib/systemd/",
)
"""What apt, dpkg and systemd keep for themselves of whatever was installed."""
ENABLED = "/var/lib/systemd/deb-systemd-helper"
"""Which units packages enabled, by debhelper's word: a package takes its own out again."""


def sh(
    *command: str, user: str = "root", ok: bool = True, env: dict[str, str] | None = None
) -> subprocess.CompletedProcess[str]:
    """A command as ``user``, from a login of their own, without the variables of this test."""
    words = command if user == "root" else ("runuser", "-u", user, "--", *command)
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=f"/home/{user}/work" if user != "root" else "/",
        env={
            "PATH": "/usr/sbin:/usr/bin:/sbin:/bin",
            "LC_ALL": "C.UTF-8",
            "DEBIAN_FRONTEND": "noninteractive",
            "NEEDRESTART_SUSPEND": "1",
            **(env or {}),
        },
    )
    assert not ok or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def run(*words: str, user: str = "dev", ok: bool = True) -> subprocess.CompletedProcess[str]:
    """``akiosctl run``, by default by a user of group akios."""
    return sh("akiosctl", "run", *words, user=user, ok=ok)


def install(deb: Path, *, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """As an administrator does it who has the file."""
    return sh("apt-get", "install", "-y", "--no-install-recommends", str(deb), ok=ok)


def make_users() -> None:
    """The users, without the package's groups: those it makes itself."""
    for name in USERS:
        sh("useradd", "--create-home", name, ok=False)
        sh("install", "-d", "-o", name, f"/home/{name}/work")


def join_groups() -> None:
    """What akiosd(8) tells the administrator to do."""
    sh("usermod", "-aG", "akios", "dev")
    sh("usermod", "-aG", "akios-monitor", "mon")


def cage(name: str) -> dict[str, Any]:
    """What ``akiosctl ps`` says of the running cage ``name`` of dev."""
    listed = json.loads(sh("akiosctl", "ps", "--json", user="dev").stdout)
    [found] = [one for one in listed if one["name"] == name]
    return dict(found)


def limit_of(pid: int, name: str) -> tuple[Path, str]:
    """The nearest group of unified cgroup v2 above a process that limits ``name``, and to what."""
    [place] = Path(f"/proc/{pid}/cgroup").read_text(encoding="ascii").splitlines()
    group = CGROUPS / place.removeprefix("0::/")
    while not (group / name).exists() or (group / name).read_text().split()[0] == "max":
        assert group != CGROUPS, f"nothing limits {name} of {pid}"
        group = group.parent
    return group, (group / name).read_text().strip()


def leftovers() -> dict[str, set[str]]:
    """Everything on this machine that a package may leave behind, by what it is."""
    places = ("/etc", "/usr", "/var", "/opt", "/run/akios")
    found = sh("find", *places, "-xdev", ok=False).stdout.splitlines()
    units = sh("systemctl", "list-units", "--all", "--plain", "--no-legend").stdout.splitlines()
    groups = sh("find", str(CGROUPS), "-type", "d", "-name", "*akios*").stdout.splitlines()
    accounts = [*Path("/etc/passwd").read_text().splitlines()]
    accounts += Path("/etc/group").read_text().splitlines()
    return {
        "files": {
            name for name in found if name.startswith(ENABLED) or not name.startswith(PASSING)
        },
        "units": {line.split()[0] for line in units if "akios" in line and "akios-vm" not in line},
        "groups of the kernel": {name for name in groups if "akios-vm" not in name},
        "accounts": {line.split(":")[0] for line in accounts},
        "mounts": set(sh("findmnt", "-rno", "TARGET").stdout.splitlines()),
        "loop devices": set(sh("losetup", "-nO", "BACK-FILE", ok=False).stdout.splitlines()),
        "profiles": profiles(),
        "processes": programs(),
    }


def profiles() -> set[str]:
    """AppArmor's profiles in the kernel, as far as they are of the package."""
    loaded = Path("/sys/kernel/security/apparmor/profiles")
    names = loaded.read_text(encoding="utf-8").splitlines() if loaded.exists() else []
    return {name for name in names if "akios" in name}


def programs() -> set[str]:
    """Command lines that still run out of /usr/lib/akios."""
    found = set()
    for directory in Path("/proc").glob("[0-9]*"):
        try:
            line = (directory / "cmdline").read_bytes().replace(b"\0", b" ").decode()
        except (FileNotFoundError, ProcessLookupError):
            continue
        if line.startswith("/usr/lib/akios/"):
            found.add(line)
    return found
