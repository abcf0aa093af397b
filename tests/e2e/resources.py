"""What a daemon and its cages hold in the kernel and on the disk, counted from outside."""

from __future__ import annotations

import os
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tests.e2e.daemon import Daemon

CAGED = range(1_900_000_000, 1_901_000_000)
POOL = 8
"""How many cages are made in advance: the default of ``pools.userns``."""
_INSTANCE = str.maketrans("", "", "0123456789")


def processes() -> dict[int, tuple[int, int]]:
    """pid → (parent, real uid) of every process that is not dead."""
    found = {}
    for name in filter(str.isdigit, os.listdir("/proc")):
        try:
            lines = Path("/proc", name, "status").read_text().splitlines()
        except OSError:
            continue
        fields = dict(line.split(":\t", 1) for line in lines if ":\t" in line)
        if fields["State"][0] in "ZX":
            continue
        found[int(name)] = int(fields["PPid"]), int(fields["Uid"].split()[0])
    return found


def descendants(pid: int) -> set[int]:
    parents = {child: parent for child, (parent, _) in processes().items()}
    found = {pid}
    while more := {child for child, parent in parents.items() if parent in found} - found:
        found |= more
    return found - {pid}


def caged_processes() -> set[int]:
    """Every process with the uid of a cage, of this daemon or another."""
    return {pid for pid, (_, uid) in processes().items() if uid in CAGED}


def descriptors(pid: int) -> Counter[str]:
    """How many descriptors of each kind: ``socket:[]``, ``net:[]``, ``anon_inode:[pidfd]``,
    ``file``.
    """
    found: Counter[str] = Counter()
    for fd in os.listdir(f"/proc/{pid}/fd"):
        try:
            target = os.readlink(f"/proc/{pid}/fd/{fd}")
        except FileNotFoundError:
            continue
        found["file" if target.startswith("/") else target.translate(_INSTANCE)] += 1
    return found


def threads(pid: int) -> int:
    return len(os.listdir(f"/proc/{pid}/task"))


def mounts() -> set[str]:
    """The mount table of the host, without what counts or changes by itself."""
    return {line.split(" - ")[0] for line in Path("/proc/self/mountinfo").read_text().splitlines()}


def namespaces() -> set[str]:
    """Every namespace some process is in."""
    found = set()
    for name in filter(str.isdigit, os.listdir("/proc")):
        for kind in ("mnt", "pid", "ipc", "uts", "net", "user", "cgroup"):
            try:
                found.add(os.readlink(f"/proc/{name}/ns/{kind}"))
            except OSError:
                continue
    return found


def loop_devices() -> set[str]:
    """Loop devices in use with their backing files."""
    found = set()
    for path in Path("/sys/block").glob("loop*/loop/backing_file"):
        try:
            found.add(f"{path.parts[3]} {path.read_text().strip()}")
        except OSError:
            continue
    return found


def backing(daemon: Daemon) -> set[str]:
    return {line for line in loop_devices() if str(daemon.base) in line}


def cgroups(daemon: Daemon) -> set[str]:
    """The groups below the daemon's base group, in every hierarchy."""
    from akiosd.daemon.host import cgroup_name

    name = cgroup_name(str(daemon.state))
    found = set()
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup" in line:
            for directory, below, _ in os.walk(line.split()[4]):
                if os.path.basename(directory) == name:
                    found |= {
                        os.path.join(directory, entry) for entry in below if entry != "helpers"
                    }
    return found


def prepared(daemon: Daemon) -> int:
    """How many cages are made ahead of their runs."""
    used = {"audit", "audit.tar", "running.msgpack", "kept.msgpack", "ended.msgpack"}
    return sum(not used & files for files in cage_directories(daemon).values())


def rest(daemon: Daemon) -> Counter[str]:
    """What the daemon holds when its pool is full and nothing is made or given back any more."""
    assert daemon.process is not None
    pid = daemon.process.pid
    seen = [descriptors(pid)]

    def still() -> bool:
        now = descriptors(pid)
        if now != seen[0] or prepared(daemon) != POOL:
            seen.clear()
        seen.append(now)
        return len(seen) > 10

    assert wait_until(still), f"it does not come to rest: {seen}"
    return seen[0]


def used_cgroups(daemon: Daemon) -> set[str]:
    """Those of cages that ran: the others wait for the next run."""
    ran = {name for name, files in cage_directories(daemon).items() if "audit" in files}
    return {path for path in cgroups(daemon) if os.path.basename(path) in ran}


def cage_directories(daemon: Daemon) -> dict[str, frozenset[str]]:
    """Cage → what is in its directory."""
    directories = [path for path in (daemon.state / "cages").iterdir() if path.is_dir()]
    return {path.name: frozenset(entry.name for entry in path.iterdir()) for path in directories}


def wait_until(holds: Callable[[], bool], seconds: float = 30.0) -> bool:
    """For what the kernel or a daemon does behind a run, and tells nobody."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            return False
        time.sleep(0.05)
    return True


def caged_processes_of(daemon: Daemon) -> set[int]:
    assert daemon.process is not None
    return descendants(daemon.process.pid) & caged_processes()
