"""A process group of a cage that stands still: found, and killed, from outside.

Its init stands still, too, and cannot; a frozen process dies of SIGKILL all the same
(cgroup-v2.rst, cgroup.freeze).  None forks or leaves its group meanwhile.
"""

from __future__ import annotations

import os

from akiosd.kernel import pidfd
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.fds import Fd, close_all, read_file

_NS_PER_TICK = 10**9 // os.sysconf("SC_CLK_TCK")
_USER, _SYSTEM, _CHILDREN_USER, _CHILDREN_SYSTEM = 11, 12, 13, 14
"""Fields of proc_pid_stat(5) behind the name, in ticks."""


def open_group(leaf: CageCgroup, init: int, group: int) -> list[Fd]:
    """The processes of ``leaf`` whose group its ``init`` (a number of ours) knows as ``group``; the
    descriptors are the caller's.
    """
    depth = len(_numbers(init, b"NSpid"))
    found: list[Fd] = []
    try:
        for pid in leaf.processes():
            member = _open(pid)
            if member is None:
                continue
            found.append(member)
            is_one = _is_member(leaf, pid, depth, group)
            # While it lives its number is nobody else's: so what was read was about this one.
            if pidfd.has_exited(member.fileno()) or not is_one:
                found.pop().close()
    except BaseException:
        close_all(found)
        raise
    return found


def used_by(members: list[Fd], group: int) -> tuple[int, int, int]:
    """(user ns, system ns, largest resident set in bytes) of the leader of ``group``, with what it
    waited for; zeros where that is gone.
    """
    for member in members:
        pid = pidfd.read_pid(member.fileno())
        if _numbers(pid, b"NSpid")[-1:] != [group]:
            continue
        fields = _read(pid, "stat").rpartition(b")")[2].split()
        if len(fields) > _CHILDREN_SYSTEM:
            user = int(fields[_USER]) + int(fields[_CHILDREN_USER])
            system = int(fields[_SYSTEM]) + int(fields[_CHILDREN_SYSTEM])
            peak = sum(_numbers(pid, b"VmHWM")) << 10
            return user * _NS_PER_TICK, system * _NS_PER_TICK, peak
    return 0, 0, 0


def _open(pid: int) -> Fd | None:
    try:
        return Fd(os.pidfd_open(pid))
    except ProcessLookupError:
        return None


def _is_member(leaf: CageCgroup, pid: int, depth: int, group: int) -> bool:
    if not leaf.holds(os.fsdecode(_read(pid, "cgroup"))):
        return False
    groups = _numbers(pid, b"NSpgid")
    # A process further inside has more numbers; the one that init knows stands where init's does.
    return len(groups) >= depth > 0 and groups[depth - 1] == group


def _numbers(pid: int, field: bytes) -> list[int]:
    """The numbers of a line of proc_pid_status(5), none where it is gone."""
    lines = _read(pid, "status").split(b"\n")
    words = next((line.split() for line in lines if line.startswith(field + b":")), [])
    return [int(word) for word in words if word.isdigit()]


def _read(pid: int, name: str) -> bytes:
    """Bytes: its name is the agent's to choose."""
    try:
        return read_file(f"/proc/{pid}/{name}")
    except OSError:
        return b""
