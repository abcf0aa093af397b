"""Compares what the kernel says about a cage that is about to start with what was asked for.  Pure:
texts in, states out.

Nothing is reported as enforced that was not read back here, or proved by one refused action.
"""

from __future__ import annotations

import re
from typing import NamedTuple

import msgspec

from akiosd.values.ids import Lines
from akiosd.values.posture import CoreTaker, LayerState, Status

_SYSTEM = ("/usr", "/etc", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32")
_RW_DIRECT = (
    "rw-direct: changes reach the files at once, no name is protected, sockets and locks there are"
    " the host's"
)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What akiosd itself has read from ``/proc/<init>`` and the cgroup files; nothing of it is told
    by the cage.
    """

    status: str
    mountinfo: str
    uid_map: str
    namespaces: dict[str, str]
    own_namespaces: dict[str, str]
    landlock_proved: bool
    landlock: str
    """Description of the ruleset; "" when the kernel's ABI is below the floor."""
    cgroup: dict[str, str]
    cgroup_missing: dict[str, str]
    disk: str
    pump_running: bool
    limits: str
    core_taker: CoreTaker
    """What the host gives core dumps to; no resource limit keeps one from a socket."""
    files_missing: str = ""
    """Why the kernel does not report which files are executed and written; "" when it does."""


class Wanted(msgspec.Struct, frozen=True, kw_only=True):
    """What the plan asked for, as far as the comparison needs it."""

    host_id: int
    host_gid: int
    uid_lines: Lines
    workspace: str
    workspace_mode: str
    tty: bool
    direct: tuple[str, ...] = ()
    """Directories of the user's that are written at once, and so are outside disk and workspace."""
    as_caller: bool = False
    files: bool = False
    """Whether executed and written files are to be recorded from the kernel's own reports."""


def check(evidence: Evidence, wanted: Wanted) -> tuple[LayerState, ...]:
    """Evidence → one state for each layer, in the order in which a posture prints them."""
    fields = dict(line.split(":\t", 1) for line in evidence.status.splitlines() if ":\t" in line)
    mounts = _mounts(evidence.mountinfo)
    return (
        _identity(fields, evidence, wanted),
        _view(mounts),
        _workspace(mounts, wanted),
        _namespaces(evidence),
        _network(evidence),
        *(_cgroup(name, evidence) for name in ("memory", "pids", "cpu")),
        _disk(evidence, wanted),
        _capabilities(fields),
        _landlock(evidence),
        _seccomp(fields, evidence),
        _cores(evidence),
        LayerState(
            "stdio",
            "enforced",
            "a terminal of its own" if wanted.tty else "own pipes, no caller descriptor",
        ),
        _files(evidence, wanted),
    )


def _say(
    layer: str, good: bool, detail: str, problem: str, bad: Status = "unavailable"
) -> LayerState:
    return LayerState(layer, "enforced", detail) if good else LayerState(layer, bad, problem)


def _identity(fields: dict[str, str], evidence: Evidence, wanted: Wanted) -> LayerState:
    for name, what, number in (("Uid", "uids", wanted.host_id), ("Gid", "gids", wanted.host_gid)):
        numbers = fields.get(name, "").split()
        if set(numbers) != {str(number)} or number == 0:
            problem = f"{what} read back as {' '.join(numbers)}, wanted {number}"
            return LayerState("identity", "unavailable", problem)
    if fields.get("Groups", "?").split():
        return LayerState(
            "identity", "unavailable", f"groups read back as {fields.get('Groups', 'nothing')}"
        )
    lines = tuple(tuple(line.split()) for line in evidence.uid_map.splitlines())
    if lines != tuple(tuple(map(str, line)) for line in wanted.uid_lines):
        return LayerState("identity", "unavailable", "the uid map reads back differently")
    if wanted.as_caller:
        return LayerState(
            "identity",
            "degraded",
            f"runs under the caller's uid {wanted.host_id}: a file system has no id-mapped mounts",
        )
    return LayerState("identity", "enforced", f"own uid {wanted.host_id}, no group, binds idmapped")


# proc_pid_mountinfo(5): id, parent, device, root, point, options, optional fields, "-", type,
# source, super options
_MOUNT = re.compile(
    r"^\d+ \d+ \S+ \S* (\S+) (\S+)(?: [^ \n-]\S*)* - (\S+) \S* (\S+)$", re.MULTILINE
)


class _Mount(NamedTuple):
    point: str
    options: list[str]
    kind: str
    super_options: list[str]


def _mounts(mountinfo: str) -> list[_Mount]:
    found = _MOUNT.findall(mountinfo)
    if len(found) != mountinfo.count("\n"):
        return []  # a line of another shape: then nothing is known of the view
    return [
        _Mount(_unescape(point), options.split(","), kind, super_options.split(","))
        for point, options, kind, super_options in found
    ]


def _unescape(text: str) -> str:
    if "\\" not in text:
        return text
    for code, character in (("\\040", " "), ("\\011", "\t"), ("\\012", "\n"), ("\\134", "\\")):
        text = text.replace(code, character)
    return text


def _view(mounts: list[_Mount]) -> LayerState:
    by_point = {mount.point: mount for mount in mounts}
    root = by_point.get("/")
    if root is None or root.kind != "tmpfs" or "ro" not in root.options:
        return LayerState("view", "unavailable", "the root is not the cage's own read-only root")
    loose = [
        m.point
        for m in mounts
        if "nosuid" not in m.options or ("nodev" not in m.options and not _may_hold_devices(m))
    ]
    if loose:
        return LayerState("view", "unavailable", f"not nosuid,nodev: {', '.join(loose[:3])}")
    writable = [
        m.point
        for m in mounts
        if m.point in ("/usr", "/etc", "/proc/sys") and "ro" not in m.options
    ]
    if writable or "/proc/sys" not in by_point:
        return LayerState("view", "unavailable", f"writable: {', '.join(writable) or '/proc/sys'}")
    shared = [name for name in _SYSTEM if name in by_point and by_point[name].kind != "overlay"]
    if shared:
        return LayerState(
            "view", "unavailable", f"not sealed, a bind of the host's: {', '.join(shared)}"
        )
    proc = by_point.get("/proc")
    if "/sys" in by_point or proc is None or "hidepid=ptraceable" not in proc.super_options:
        return LayerState(
            "view", "unavailable", "/sys is mounted, or /proc is missing or shows other processes"
        )
    return LayerState(
        "view", "enforced", f"{len(mounts)} mounts, all nosuid and nodev, system sealed, no /sys"
    )


def _may_hold_devices(mount: _Mount) -> bool:
    return mount.point == "/dev" or mount.point.startswith(("/dev/", "/proc/"))


def _workspace(mounts: list[_Mount], wanted: Wanted) -> LayerState:
    mount = next((m for m in reversed(mounts) if m.point == wanted.workspace), None)
    if mount is None:
        return LayerState("workspace", "unavailable", "it is not mounted")
    mode = wanted.workspace_mode
    if mode in ("cow", "rw"):
        options = set(mount.super_options)
        # The kernel prints options that differ from its build's defaults.
        if (
            mount.kind != "overlay"
            or "userxattr" in options
            or "metacopy=on" in options
            or "index=on" in options
        ):
            return LayerState(
                "workspace", "unavailable", f"options read back as {','.join(sorted(options))}"
            )
        outside = f"; {', '.join(wanted.direct)} is written at once" if wanted.direct else ""
        detail = f"{mode}: overlay, changes wait for a commit{outside}"
        return LayerState("workspace", "enforced", detail)
    if mode == "ro":
        sealed = mount.kind == "overlay" and "ro" in mount.options
        return _say(
            "workspace",
            sealed,
            "ro: read-only overlay",
            "it is writable, or a bind of the host's files",
        )
    return LayerState(
        "workspace",
        "degraded",
        _RW_DIRECT,
    )


def _disk(evidence: Evidence, wanted: Wanted) -> LayerState:
    outside = (
        f"; {', '.join(wanted.direct)} is outside it, without a limit" if wanted.direct else ""
    )
    return _say("disk", bool(evidence.disk), evidence.disk + outside, "no budget is set")


def _namespaces(evidence: Evidence) -> LayerState:
    shared = [
        name
        for name, own in evidence.own_namespaces.items()
        if evidence.namespaces.get(name) in (own, None)
    ]
    names = " ".join(sorted(evidence.own_namespaces))
    return _say(
        "namespaces", not shared, f"own {names}", f"shared with the host: {', '.join(shared)}"
    )


def _network(evidence: Evidence) -> LayerState:
    own = evidence.namespaces.get("net") not in (None, evidence.own_namespaces.get("net"))
    return _say("network", own, "loopback only, no route out", "the host's network is reachable")


def _cgroup(controller: str, evidence: Evidence) -> LayerState:
    if controller in evidence.cgroup:
        return LayerState(controller, "enforced", evidence.cgroup[controller])
    if controller in evidence.cgroup_missing:
        return LayerState(controller, "unavailable", evidence.cgroup_missing[controller])
    return LayerState(controller, "enforced", "no limit asked for")


def _capabilities(fields: dict[str, str]) -> LayerState:
    sets = {
        name: fields.get(name, "?") for name in ("CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb")
    }
    loud = [f"{name} {value}" for name, value in sets.items() if value.strip("0")]
    if loud or fields.get("NoNewPrivs") != "1":
        return LayerState(
            "capabilities", "unavailable", ", ".join(loud) or "no_new_privs is not set"
        )
    return LayerState("capabilities", "enforced", "none, bounding set empty, no_new_privs")


def _landlock(evidence: Evidence) -> LayerState:
    if not evidence.landlock:
        return LayerState("landlock", "unavailable", "this kernel's Landlock ABI is below 2")
    return _say(
        "landlock",
        evidence.landlock_proved,
        evidence.landlock,
        "a file it should refuse could be read",
    )


def _files(evidence: Evidence, wanted: Wanted) -> LayerState:
    if not wanted.files:
        return LayerState("files", "enforced", "nothing is traced, as asked for")
    missing = evidence.files_missing
    return _say(
        "files",
        not missing,
        "the kernel tells what is executed and written",
        f"names are hints: {missing}",
    )


def _seccomp(fields: dict[str, str], evidence: Evidence) -> LayerState:
    loaded = fields.get("Seccomp") == "2" and fields.get("Seccomp_filters", "0") != "0"
    return _say(
        "seccomp",
        loaded and evidence.pump_running,
        f"{fields.get('Seccomp_filters', '?')} filter, default deny, listener served",
        "no filter, or nobody listens",
    )


def _cores(evidence: Evidence) -> LayerState:
    """proc_pid_limits(5): name, soft, hard, unit.  1 keeps the host's handler, a program of root,
    from running; 0 does not, but is as good where cores are files.
    """
    found = re.search(r"^Max core file size +(\S+) +(\S+) ", evidence.limits, re.MULTILINE)
    said = " ".join(found.groups()) if found is not None else "nothing"
    if said == "0 0" and evidence.core_taker == "file":
        return LayerState("cores", "enforced", "limit 0: no core file, and the host has no handler")
    if said != "1 1":
        why = f"the core limit reads back as {said}, wanted 1"
        if said == "0 0":
            why += (
                ": akiosd was started with a limit of 0, as sudo does, and this container may not"
                " raise it (CAP_SYS_RESOURCE); core_pattern without | needs no limit"
            )
        return LayerState("cores", "unavailable", why)
    kept = "limit 1: no core file, no core handler"
    problem = "the host sends cores to a socket: core_pattern"
    return _say("cores", evidence.core_taker != "socket", kept, problem, "degraded")
