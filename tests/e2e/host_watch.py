"""What the host has in use, in numbers: read before and after an attack, it shows what stayed
behind outside.

Each reading costs a few milliseconds.  The host has other work as well, so each number has a slack:
what may be there more when all has settled, and is nobody's leak.
"""

from __future__ import annotations

import functools
import os
import re
import socket
import time
from collections.abc import Callable
from pathlib import Path

from akiosd.daemon.host import cgroup_name

from tests.e2e import resources
from tests.e2e.daemon import Daemon

SLACK: dict[str, int] = {
    "kernel memory, KiB": 256 << 10,
    "open files": 8_000,
    "sockets": 1_500,
    "record locks": 4_000,
    "descriptors of the daemon": 96,
    "threads of the daemon": 24,
    # Children that wait for a run: made again behind one that was used.
    "processes in cages": 48,
    "cgroups of cages": 2 * resources.POOL,
    "mounts of the daemon": 2,
    # The clock is steered by others meanwhile, a little.
    "wall clock over boot clock, ms": 2_000,
    "host name": 0,
}
_SETTLES_S = 20.0


_PAGE_KIB = os.sysconf("SC_PAGE_SIZE") >> 10
# Free pages that each processor keeps at hand (/proc/zoneinfo): MemFree leaves them out, and since
# Linux 6.7 they can be hundreds of MiB after much work.
_AT_HAND = re.compile(r"^\s+count:\s+(\d+)$", re.MULTILINE)


def kernel_memory_kib() -> int:
    """What is neither free nor a program's nor a file's: what the kernel holds for itself and for
    whoever asked.
    """
    fields = dict(line.split(":", 1) for line in Path("/proc/meminfo").read_text().splitlines())
    numbers = {name: int(value.split()[0]) for name, value in fields.items()}
    outside = ("MemFree", "Buffers", "Cached", "SwapCached", "AnonPages", "SReclaimable")
    at_hand = sum(map(int, _AT_HAND.findall(Path("/proc/zoneinfo").read_text()))) * _PAGE_KIB
    return numbers["MemTotal"] - at_hand - sum(numbers[name] for name in outside)


@functools.cache
def _base_groups(name: str) -> tuple[Path, ...]:
    found = []
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        if " - cgroup" in line:
            for directory, below, _ in os.walk(line.split()[4]):
                if name in below:
                    found.append(Path(directory, name))
                    break
    return tuple(found)


def base_groups(daemon: Daemon) -> tuple[Path, ...]:
    """The daemon's own group in every hierarchy: below them are those of its cages."""
    return _base_groups(cgroup_name(str(daemon.state)))


def read(daemon: Daemon) -> dict[str, int]:
    """One number for each name of :data:`SLACK`."""
    assert daemon.process is not None
    pid, groups = daemon.process.pid, base_groups(daemon)
    used = Path("/proc/net/sockstat").read_text().split()[2]
    tasks = [int(text) for group in groups if (text := _text(group / "pids.current"))]
    return {
        "kernel memory, KiB": kernel_memory_kib(),
        "open files": int(Path("/proc/sys/fs/file-nr").read_text().split()[0]),
        "sockets": int(used),
        "record locks": Path("/proc/locks").read_bytes().count(b"\n"),
        "descriptors of the daemon": sum(resources.descriptors(pid).values()),
        "threads of the daemon": resources.threads(pid),
        "processes in cages": max(tasks, default=0),
        "cgroups of cages": max(_below(group) for group in groups),
        "mounts of the daemon": sum(str(daemon.base) in line for line in resources.mounts()),
        "wall clock over boot clock, ms": (
            time.time_ns() - time.clock_gettime_ns(time.CLOCK_BOOTTIME)
        )
        // 1_000_000,
        "host name": hash(socket.gethostname()),
    }


def _below(group: Path) -> int:
    with os.scandir(group) as entries:
        return sum(entry.is_dir() for entry in entries)


def _text(path: Path) -> str:
    try:
        return path.read_text()
    except OSError:
        return ""


def grown(before: dict[str, int], now: dict[str, int]) -> list[str]:
    """What is there more than before, past its slack; a clock or a name that is another, either
    way.
    """
    found = []
    for name, slack in SLACK.items():
        more = now[name] - before[name]
        if name.startswith(("wall clock", "host name")):
            more = abs(more)
        if more > slack:
            found.append(f"{name}: {now[name]}, before {before[name]}, slack {slack}")
    return found


def grown_when_settled(
    before: dict[str, int], take: Callable[[], dict[str, int]], seconds: float = _SETTLES_S
) -> list[str]:
    """As :func:`grown`, given the time that the kernel and the daemon take behind an end."""
    now = [take()]

    def settled() -> bool:
        if grown(before, now[0]):
            now[0] = take()
        return not grown(before, now[0])

    resources.wait_until(settled, seconds)
    return grown(before, now[0])
