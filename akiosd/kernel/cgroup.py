"""Control groups: v2, and the hybrid layout in which controllers still sit on v1 hierarchies
(cgroups(7)).

In both, the v2 leaf kills and freezes; limits are set where the controller is.  Everything written
is read back, and a directory counts as a cgroup only if the kernel's mount table says so: a tmpfs
accepts any file.  Only groups below our own base are ever made or removed.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Iterable
from pathlib import Path

import msgspec
import trio

from akiosd.errors import KernelError
from akiosd.kernel.fds import Fd, read_file
from akiosd.policy.compile.limits import CgroupValue

CONTROLLERS = ("memory", "pids", "cpu")
# How often, and after what pause, the counter of kills is looked at once the leaf has run out of
# memory.
_OOM_LOOKS = 100
_OOM_PAUSE_S = 0.001
_LOOSENED = (
    ("memory", "memory.memsw.limit_in_bytes"),
    ("memory", "memory.limit_in_bytes"),
    ("memory", "memory.kmem.tcp.limit_in_bytes"),
    ("cpu", "cpu.cfs_quota_us"),
)


class MemoryEvents(msgspec.Struct, frozen=True):
    """Counters of a cage's leaves: sizes in bytes, others are counts."""

    peak: int = 0
    limit: int = 0
    oom_kills: int = 0
    pids_peak: int = 0
    pids_limit: int = 0
    pids_denied: int = 0


def read(path: str | Path) -> str:
    """The text of a kernel file without its newline; ``""`` when it is not there."""
    try:
        return read_file(path).decode().strip()
    except OSError as error:
        if error.errno in (errno.ENOENT, errno.ENODEV):
            return ""
        raise


def read_field(path: str | Path, field: str) -> int:
    """The number behind ``field`` in the file ``path``; 0 when it is not there."""
    return field_of(read(path), field)


def field_of(text: str, field: str) -> int:
    """The number behind a name, in a file of lines ``name number``; 0 when it is not there."""
    for line in text.splitlines():
        name, _, value = line.partition(" ")
        if name == field:
            return int(value)
    return 0


def unwritten_of_all() -> int:
    """Bytes that this host has written and no disk has yet (proc_meminfo(5))."""
    text = read("/proc/meminfo").replace(" kB", "").replace(":", "")
    return (field_of(text, "Dirty") + field_of(text, "Writeback")) << 10


def write(path: str | Path, value: str) -> None:
    """One write(2); KernelError names the file and what the kernel said."""
    try:
        fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)
    except OSError as error:
        raise KernelError(
            f"cannot write {value!r}: {os.strerror(error.errno or 0)}",
            str(path),
            errno=error.errno or 0,
        ) from error


class Layout(msgspec.Struct, frozen=True):
    """Where the hierarchies are: the v2 mount, and v1 mounts by controller."""

    v2: str
    v1: dict[str, str]


def find_layout(mountinfo: str) -> Layout:
    """``/proc/self/mountinfo`` → layout (proc(5)); KernelError without a v2 hierarchy."""
    v2, v1 = "", dict[str, str]()
    for line in mountinfo.splitlines():
        left, _, right = line.partition(" - ")
        fields, tail = left.split(), right.split()
        if len(fields) < 5 or len(tail) < 3:
            continue
        if tail[0] == "cgroup2" and not v2:
            v2 = fields[4]
        elif tail[0] == "cgroup":
            for name in tail[2].split(","):
                if name in CONTROLLERS:
                    v1.setdefault(name, fields[4])
    if not v2:
        raise KernelError(
            "no cgroup v2 hierarchy is mounted",
            "/proc/self/mountinfo",
            "mount it, as systemd does: mount -t cgroup2 cgroup2 /sys/fs/cgroup",
        )
    return Layout(v2, v1)


class CgroupHost:
    """The daemon's base group in every hierarchy that is used.  ``name`` is unique to its state
    directory.

    It lies where the process ``keeper`` may make groups, which outlives akiosd; without one, where
    akiosd itself may.
    """

    def __init__(self, layout: Layout, name: str, keeper: int = 0) -> None:
        self.layout = layout
        base = _delegated_base(layout, keeper or os.getpid(), "keeper" if keeper else "supervisor")
        self.v2 = base / name
        own = base / "keeper"
        self.outliving = own if keeper and own.is_dir() else None
        """The group of processes that live on when akiosd ends; None where they need none."""
        self.v1 = {controller: Path(mount) / name for controller, mount in layout.v1.items()}
        self.controllers: frozenset[str] = frozenset()

    def set_up(self, pids_max: str) -> None:
        """Make the base groups, enable their controllers, and set ``pids_max`` for all cages
        together.

        KernelError where a group cannot be made or bounded.
        """
        self.v2.mkdir(exist_ok=True)
        for path in self.v1.values():
            path.mkdir(exist_ok=True)
        wanted = [
            c
            for c in CONTROLLERS
            if c not in self.v1 and c in read(self.v2.parent / "cgroup.controllers").split()
        ]
        for group in (self.v2.parent, self.v2):
            missing = [c for c in wanted if c not in read(group / "cgroup.subtree_control").split()]
            if missing:
                write(group / "cgroup.subtree_control", " ".join(f"+{c}" for c in missing))
        enabled = read(self.v2 / "cgroup.subtree_control").split()
        self.controllers = frozenset(enabled) | frozenset(self.v1)
        bound = self.v1.get("pids", self.v2) / "pids.max"
        if bound.exists():
            write(bound, pids_max)

    def leaves(self) -> list[str]:
        """Names of the groups below the base: what a daemon before us may have left."""
        bases = [base for base in (self.v2, *self.v1.values()) if base.is_dir()]
        return sorted({entry.name for base in bases for entry in base.iterdir() if entry.is_dir()})

    def leaf(self, name: str) -> CageCgroup:
        """The leaves of the cage ``name``; nothing is made yet."""
        return CageCgroup(self, name)

    def open_helpers(self) -> Fd:
        """The directory of the group of short-lived helper processes; the descriptor is the
        caller's.
        """
        return Fd(os.open(self.helpers(), os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def helpers(self) -> Path:
        """The group of helper processes, a leaf, because a v2 group that hands controllers down
        cannot hold a process.
        """
        path = self.v2 / "helpers"
        path.mkdir(exist_ok=True)
        return path

    async def tear_down(self) -> None:
        """Remove the base groups; KernelError when one is still in use."""
        for path in (self.v2 / "helpers", self.v2, *self.v1.values()):
            await _remove(path)


def _delegated_base(layout: Layout, pid: int, child: str) -> Path:
    """The v2 group below which we may make groups: that of the process ``pid`` when systemd
    delegated it, else the root.

    A unit with ``Delegate=yes`` carries the xattr ``trusted.delegate``
    (systemd.resource-control(5)).  The process is moved into a child of it, because a v2 group with
    processes cannot hand controllers to its children.  For the same reason a delegated group in
    which somebody else runs (a private daemon in a user's shell) is not used.
    """
    root = Path(layout.v2)
    own = next(
        (
            line[3:]
            for line in read(Path(f"/proc/{pid}/cgroup")).splitlines()
            if line.startswith("0::")
        ),
        "/",
    )
    here = root / own.lstrip("/")
    for group in (here, here.parent):
        if group != root and _is_delegated(group):
            if group == here:
                if read(group / "cgroup.procs").split() != [str(pid)]:
                    # Others live here too: a group with processes cannot hand controllers down.
                    continue
                (group / child).mkdir(exist_ok=True)
                write(group / child / "cgroup.procs", str(pid))
            return group
    return root


def _is_delegated(group: Path) -> bool:
    try:
        return os.getxattr(group, "trusted.delegate") == b"1"
    except OSError:
        return False


async def _remove(path: Path) -> None:
    """rmdir; the kernel says EBUSY for a moment after the last process died."""
    for pause in (0.0, 0.001, 0.004, 0.02, 0.1, 0.5, 1.0, 2.0):
        await trio.sleep(pause)
        try:
            path.rmdir()
            return
        except FileNotFoundError:
            return
        except OSError as error:
            if error.errno != errno.EBUSY:
                raise KernelError(
                    f"cannot remove a cgroup: {error.strerror}", str(path), errno=error.errno or 0
                ) from error
    raise KernelError(
        "processes are left in a control group",
        str(path),
        "end them: their pids are in cgroup.procs there; one that stays waits for a disk or a"
        " network, see dmesg",
        errno.EBUSY,
    )


class CageCgroup:
    """The leaves of one cage: v2 always, v1 for controllers that are bound there."""

    def __init__(self, host: CgroupHost, name: str) -> None:
        self._host = host
        self.v2 = host.v2 / name
        self.v1 = {controller: base / name for controller, base in host.v1.items()}
        self._oom: Fd | None = None
        self._limited = False

    def make(self) -> None:
        """Make the leaves, without limits.  Raises OSError."""
        for path in (self.v2, *self.v1.values()):
            path.mkdir()

    def limit(self, v2: Iterable[CgroupValue], v1: Iterable[CgroupValue]) -> dict[str, str]:
        """Set the limits, read each back.  Returns controller → what the kernel now says.  May be
        called again.

        KernelError when a controller is missing or a value did not take.
        """
        found: dict[str, str] = {}
        if self._limited:
            self._loosen()
        self._limited = True
        values = [(self.v2, value) for value in v2 if value.controller not in self.v1]
        values += [
            (self.v1[value.controller], value) for value in v1 if value.controller in self.v1
        ]
        for path, value in values:
            said = self._apply(path, value)
            found[value.controller] = (
                f"{found[value.controller]}, {said}" if value.controller in found else said
            )
        return found

    def _loosen(self) -> None:
        """Remove v1 limits before new ones are set: those no longer asked for, and because memory
        must stay below memory+swap.
        """
        for controller, file in _LOOSENED:
            if controller in self.v1:
                with contextlib.suppress(KernelError):
                    write(f"{self.v1[controller]}/{file}", "-1")

    def _apply(self, path: Path, value: CgroupValue) -> str:
        if value.controller not in self._host.controllers:
            raise KernelError(
                f"this host has no cgroup controller {value.controller!r}",
                str(path),
                errno=errno.ENODEV,
            )
        target = f"{path}/{value.file}"
        try:
            write(target, value.value)
        except KernelError as error:
            if value.optional and error.errno in (errno.ENOENT, errno.EACCES):
                return f"{value.file} absent on this kernel"
            raise
        got = read(target)
        if not value.is_read_back(got):
            raise KernelError(
                f"{value.file} reads {got!r} after {value.value!r} was written",
                str(path),
                errno=errno.EINVAL,
            )
        return f"{value.file}={got}"

    def open_v2(self) -> Fd:
        """The v2 leaf's directory, for CLONE_INTO_CGROUP; the descriptor is the caller's."""
        return Fd(os.open(self.v2, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))

    def open_v1_tasks(self) -> dict[str, Fd]:
        """The ``tasks`` file of each v1 leaf, for a child that moves itself, which is cheap; the
        descriptors are the caller's.
        """
        return {
            controller: Fd(os.open(path / "tasks", os.O_WRONLY | os.O_CLOEXEC))
            for controller, path in self.v1.items()
        }

    def open_oom_event(self) -> Fd | None:
        """v1 only: an eventfd that is signalled when the memory leaf runs out of memory; None where
        v2's oom.group does the work.

        Owned by this object until :meth:`close`; later calls return the same one.
        """
        if self._oom is not None:
            return self._oom
        path = self.v1.get("memory")
        if path is None:
            return None
        event = Fd(os.eventfd(0, os.EFD_CLOEXEC | os.EFD_NONBLOCK))
        with Fd(os.open(path / "memory.oom_control", os.O_RDONLY | os.O_CLOEXEC)) as control:
            write(path / "cgroup.event_control", f"{event.fileno()} {control.fileno()}")
        self._oom = event
        return event

    def open_entrances(self) -> list[Fd]:
        """Files by which a process moves itself in, writing 0 to each; the descriptors are the
        caller's.
        """
        procs = Fd(os.open(self.v2 / "cgroup.procs", os.O_WRONLY | os.O_CLOEXEC))
        return [procs, *self.open_v1_tasks().values()]

    def holds(self, groups: str) -> bool:
        """Whether a process with this ``/proc/PID/cgroup`` is in every leaf."""
        ours = sum(line.endswith("/" + self.v2.name) for line in groups.splitlines())
        return ours >= 1 + len(self.v1)

    def processes(self) -> list[int]:
        """The numbers of those in the leaf, as this process sees them."""
        return [int(word) for word in read(self.v2 / "cgroup.procs").split()]

    async def wait_oom_kill(self) -> bool:
        """v1 only: True once the kernel has killed a process of the leaf for memory, False once the
        leaf is gone.

        The event comes when memory runs out; the counter is raised up to some milliseconds later,
        when a process was killed. It also comes when nothing is killed in the end, because a dying
        process gave its memory back, and is then awaited again (cgroup-v1/memory.rst, 10).
        """
        event = self.open_oom_event()
        control = f"{self.v1['memory']}/memory.oom_control" if "memory" in self.v1 else ""
        while event is not None:
            await trio.lowlevel.wait_readable(event.fileno())
            os.eventfd_read(event.fileno())
            for _ in range(_OOM_LOOKS):
                text = read(control)
                if field_of(text, "oom_kill"):
                    return True
                if not text:
                    return False
                await trio.sleep(_OOM_PAUSE_S)
        return False

    def kill(self) -> None:
        """SIGKILL for everything in the leaf, atomic against fork (cgroup.kill, Linux 5.14)."""
        try:
            write(f"{self.v2}/cgroup.kill", "1")
        except KernelError as error:
            if error.errno != errno.ENOENT:
                raise

    def freeze(self, frozen: bool) -> None:
        """Freeze or thaw the leaf (cgroup.freeze).  Raises KernelError."""
        write(self.v2 / "cgroup.freeze", "1" if frozen else "0")

    def is_frozen(self) -> bool:
        """Whether everything in the leaf has stopped (cgroup.events)."""
        return read_field(f"{self.v2}/cgroup.events", "frozen") == 1

    def events(self) -> MemoryEvents:
        """The counters of memory and processes, from v2 or v1."""
        memory = self.v1.get("memory")
        pids = self.v1.get("pids", self.v2)
        if memory is not None:
            peak, limit = (
                read(f"{memory}/memory.max_usage_in_bytes"),
                read(f"{memory}/memory.limit_in_bytes"),
            )
            kills = read_field(f"{memory}/memory.oom_control", "oom_kill")
        else:
            peak, limit = read(f"{self.v2}/memory.peak"), read(f"{self.v2}/memory.max")
            kills = read_field(f"{self.v2}/memory.events", "oom_kill")
        return MemoryEvents(
            peak=_number(peak),
            limit=_number(limit),
            oom_kills=kills,
            pids_peak=_number(read(f"{pids}/pids.peak")),
            pids_limit=_number(read(f"{pids}/pids.max")),
            pids_denied=read_field(f"{pids}/pids.events", "max"),
        )

    def in_use(self) -> tuple[int, int]:
        """(bytes, processes) at this moment.  The cache of files that nothing asked for lately is
        left out: the kernel gives it back before anything else (cgroup-v2.rst, memory.stat).
        """
        memory, pids = self.v1.get("memory"), self.v1.get("pids", self.v2)
        if memory is not None:
            used, cache = "memory.usage_in_bytes", "total_inactive_file"
        else:
            memory, used, cache = self.v2, "memory.current", "inactive_file"
        size = _number(read(f"{memory}/{used}")) - read_field(f"{memory}/memory.stat", cache)
        return max(0, size), _number(read(f"{pids}/pids.current"))

    def unwritten(self) -> int:
        """Bytes of files that its processes have written and no disk has yet (cgroup-v2.rst,
        memory.stat); 0 once it is gone.
        """
        memory = self.v1.get("memory")
        if memory is not None:
            text, kind = read(f"{memory}/memory.stat"), "total_"
        else:
            text, kind = read(f"{self.v2}/memory.stat"), "file_"
        return field_of(text, f"{kind}dirty") + field_of(text, f"{kind}writeback")

    def cpu_ns(self) -> tuple[int, int]:
        """CPU time of the whole leaf in ns: (user, system).  Every v2 group counts it, also without
        the controller.
        """
        text = read(f"{self.v2}/cpu.stat")
        return field_of(text, "user_usec") * 1000, field_of(text, "system_usec") * 1000

    def close(self) -> None:
        """Close the eventfd."""
        if self._oom is not None:
            self._oom.close()
            self._oom = None

    async def destroy(self) -> None:
        """Kill what is left and remove the leaves; safe to call again."""
        self.close()
        self.kill()
        for path in (self.v2, *self.v1.values()):
            await _remove(path)


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0
