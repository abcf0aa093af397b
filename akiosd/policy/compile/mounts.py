"""Compiles a cage to the plan that makes it: first the view, then the confinement, in the one order
that works.

akiosd makes id maps and detached trees beforehand, because a child in another mount namespace
cannot use akiosd's mounts. The user namespace is entered last, and only then are the bounding set
and the securebits changed, because entering it resets both. Descriptors are named; the daemon sends
them under these names.
"""

from __future__ import annotations

import functools

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.compile.identity import Identity
from akiosd.policy.compile.landlock import LandlockSpec
from akiosd.policy.compile.limits import Rlimit
from akiosd.values import steps as steps_of
from akiosd.values.plan import FD_FIRST_FREE, Plan, Step
from akiosd.values.policy import WorkspaceMode
from akiosd.values.trust import DIRECTORY as TRUST
from akiosd.values.trust import store_kind

# include/uapi/linux/mount.h
RDONLY, NOSUID, NODEV, NOEXEC = 1, 2, 4, 8
SYSTEM_ATTRS = RDONLY | NOSUID | NODEV
DATA_ATTRS = NOSUID | NODEV

# include/uapi/linux/fanotify.h
FAN_CLOSE_WRITE, FAN_OPEN_EXEC = 0x8, 0x1000
# include/uapi/linux/sched.h
_NEWCGROUP, _NEWUSER, _NEWNET = 0x02000000, 0x10000000, 0x40000000
# include/uapi/linux/securebits.h: noroot, no setuid fixup, no ambient raise, and the lock of all
# four
_SECUREBITS = 0xEF

_S_IFCHR, _S_IFREG = 0o020000, 0o100000
_DEVICES = (
    (b"null", 1, 3),
    (b"zero", 1, 5),
    (b"full", 1, 7),
    (b"random", 1, 8),
    (b"urandom", 1, 9),
    (b"tty", 5, 0),
)
_DEV_LINKS = (
    (b"ptmx", b"pts/ptmx"),
    (b"fd", b"/proc/self/fd"),
    (b"stdin", b"/proc/self/fd/0"),
    (b"stdout", b"/proc/self/fd/1"),
    (b"stderr", b"/proc/self/fd/2"),
)
# All cages share the host's number of pseudo-terminals (kernel.pty.max).
_TERMINALS = 64
_PROC_READ_ONLY = (b"sys", b"irq", b"bus", b"fs", b"sysvipc", b"tty")
_PROC_MASKED_FILES = (
    b"kcore", b"cmdline", b"locks", b"keys", b"key-users", b"kmsg", b"kallsyms", b"sysrq-trigger",
    b"timer_list", b"sched_debug", b"latency_stats", b"vmallocinfo", b"pagetypeinfo", b"slabinfo",
    b"modules", b"config.gz", b"iomem", b"ioports",
)  # fmt: skip
_PROC_MASKED_DIRS = (b"acpi", b"scsi", b"asound", b"driver", b"pressure", b"dynamic_debug")

_SEALED = "/lower:/slot/sealed"
_SEALED_STAGE = b"/seal"
OVERLAY_OPTIONS = {"redirect_dir": "on", "metacopy": "off", "index": "off", "xino": "auto"}


class BindSpec(msgspec.Struct, frozen=True):
    """A tree shown at ``path`` from descriptor ``fd``.

    ``mode``: "sealed" is a read-only overlay, "cow" an overlay whose changes are thrown away,
    "direct" the tree itself, for the output of a standing cage.
    A file is always sealed: ``fd`` is then the directory that holds it, and ``name`` its name
    there.
    ``waits``: the changes of a "cow" wait for a commit, as the workspace's do.
    """

    path: bytes
    fd: str
    mode: str = "sealed"
    name: bytes = b""
    waits: bool = False


class BaseSpec(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of a cage before anybody asks for one: enough for a child that waits in the
    pool.
    """

    name: str
    agent: int
    """The agent's uid on the host."""
    display: int
    system_links: tuple[tuple[bytes, bytes], ...]
    system_dirs: tuple[bytes, ...]
    v1_controllers: tuple[str, ...] = ()


class CageSpec(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that decides the plan of one cage; bytes are absolute paths inside."""

    name: str
    identity: Identity
    workspace: bytes
    workspace_mode: WorkspaceMode
    home: bytes
    command: bytes
    argv: tuple[bytes, ...]
    env: tuple[bytes, ...]
    cwd: bytes
    system_links: tuple[tuple[bytes, bytes], ...]
    """Links of the root directory that merge it with /usr: (name, target)."""
    system_dirs: tuple[bytes, ...]
    """Directories of the root shown as they are (usr; bin, lib… where the host is not merged)."""
    binds: tuple[BindSpec, ...] = ()
    hide: tuple[bytes, ...] = ()
    layer: bool = False
    """Whether a layer of trust stores lies over the workspace's own files and below what the agent
    writes.
    """
    stores: tuple[bytes, ...] = ()
    """Paths of trust stores in the trees; each that exists is covered by the cage's own."""
    tty: tuple[int, int] | None = None
    v1_controllers: tuple[str, ...] = ()
    shm: int = 64 << 20
    rlimits: tuple[Rlimit, ...] = ()
    landlock: LandlockSpec | None = None
    filter: bytes = b""
    filter_flags: int = 0
    watched: bool = False
    """Whether the kernel reports which files are executed and written, to the fanotify group that
    comes as ``files``.
    """

    @property
    def base(self) -> BaseSpec:
        """The part of it that depends on no request."""
        return BaseSpec(
            name=self.name,
            agent=self.identity.host_id,
            display=self.identity.display,
            system_links=self.system_links,
            system_dirs=self.system_dirs,
            v1_controllers=self.v1_controllers,
        )


def compile_plan(spec: CageSpec) -> Plan:
    """The whole plan of one cage.  PolicyError when two of its paths cannot stand together."""
    rest = compile_rest(spec)
    return msgspec.structs.replace(rest, steps=(*_base(spec.base), *rest.steps))


def compile_base(spec: BaseSpec) -> Plan:
    """The steps that depend on no request; after them the child waits (``park``) for the rest."""
    steps = (*_base(spec), steps_of.park("wait for the rest of the plan"))
    return Plan(steps=steps, command=b"", argv=(), env=(), cwd=b"/")


def compile_rest(spec: CageSpec) -> Plan:
    """The steps that follow those of :func:`compile_base`.  PolicyError as from
    :func:`compile_plan`.
    """
    return Plan(
        steps=(
            *_request(spec),
            *_trees(spec),
            *_stores(spec),
            *_hidden(spec),
            *_watched(spec),
            *_entry(spec),
            *_confinement(spec),
        ),
        command=spec.command,
        argv=spec.argv,
        env=spec.env,
        cwd=spec.cwd,
        tty=spec.tty is not None,
        nested_scope=spec.landlock.nested_scope if spec.landlock is not None else 0,
    )


def _base(spec: BaseSpec) -> list[Step]:
    return [*_places(spec), *_root(spec), *_devices(spec), *_proc()]


def _request(spec: CageSpec) -> list[Step]:
    """Steps that fill in what depends on the caller's name and policy: ``/etc``, trust,
    ``/dev/shm``.
    """
    return [
        *_sealed("a chosen /etc, read-only", b"/etc", "etc"),
        _trust(),
        _tmpfs("/dev/shm", b"/dev/shm", "1777", spec.shm, DATA_ATTRS, spec.identity.display),
    ]


def _places(spec: BaseSpec) -> list[Step]:
    steps = [
        steps_of.cgroup_v1(f"enter the {name} leaf", f"tasks:{name}")
        for name in spec.v1_controllers
    ]
    return [
        *steps,
        steps_of.unshare("a cgroup namespace whose root is the leaf", _NEWCGROUP),
        steps_of.setns("enter the cage's network namespace", "netns", _NEWNET),
        steps_of.hostname(f"host name {spec.name}", spec.name),
        steps_of.setsid("a session of its own"),
    ]


def _root(spec: BaseSpec) -> list[Step]:
    owner = spec.display
    steps = [
        _tmpfs("new root", b"/root", "0755", 1 << 20, DATA_ATTRS, owner, stage=True),
        steps_of.root("build in the new root", b"/root"),
        steps_of.canary("keep a file that Landlock must refuse", b"/proof"),
        steps_of.attach("the cage's disk", "slot", b"/slot", DATA_ATTRS, stage=True),
    ]
    for name in spec.system_dirs:
        steps += [
            *_mkdirs(b"/" + name, owner),
            *_sealed(f"/{name.decode()} read-only", b"/" + name, f"system:{name.decode()}"),
        ]
    for name, target in spec.system_links:
        steps.append(_symlink(b"", name, target, owner))
    for path in (
        b"/etc",
        b"/proc",
        b"/dev",
        b"/run",
        b"/tmp",
        b"/var",
        b"/opt",
        b"/srv",
        b"/mnt",
        b"/sys",
    ):
        steps += _mkdirs(path, owner)
    return [*steps, _symlink(b"var", b"run", b"/run", owner)]


def _devices(spec: BaseSpec) -> list[Step]:
    owner, agent = spec.display, spec.agent
    steps = [_tmpfs("a minimal /dev", b"/dev", "0755", 64 << 10, NOSUID | NOEXEC, owner)]
    for name, major, minor in _DEVICES:
        steps.append(
            steps_of.mknod(
                f"/dev/{name.decode()}", b"dev", name, _S_IFCHR | 0o666, major << 8 | minor, owner
            )
        )
    steps += [_symlink(b"dev", name, target, owner) for name, target in _DEV_LINKS]
    steps += [*_mkdirs(b"/dev/pts", owner), *_mkdirs(b"/dev/shm", owner)]
    options = {
        "newinstance": "",
        "ptmxmode": "0666",
        "mode": "0600",
        "uid": str(agent),
        "gid": str(agent),
    }
    options["max"] = str(_TERMINALS)
    steps += [
        _fsmount("terminals of its own", "devpts", options, b"/dev/pts", NOSUID | NOEXEC),
    ]
    return steps


def _proc() -> list[Step]:
    steps = [
        _fsmount(
            "processes of this cage only",
            "proc",
            {"hidepid": "ptraceable"},
            b"/proc",
            NOSUID | NODEV | NOEXEC,
        )
    ]
    steps += [
        _bind(
            f"/proc/{name.decode()} read-only",
            b"proc/" + name,
            b"proc/" + name,
            SYSTEM_ATTRS | NOEXEC,
        )
        for name in _PROC_READ_ONLY
    ]
    steps += [
        _bind(
            f"/proc/{name.decode()} masked", b"dev/null", b"proc/" + name, RDONLY | NOSUID | NOEXEC
        )
        for name in _PROC_MASKED_FILES
    ]
    steps += [
        _bind(f"/proc/{name.decode()} masked", b"run", b"proc/" + name, SYSTEM_ATTRS | NOEXEC)
        for name in _PROC_MASKED_DIRS
    ]
    return steps


def _trees(spec: CageSpec) -> list[Step]:
    """Home, /tmp, workspace and binds, parents before what stands in them."""
    trees: list[tuple[bytes, list[Step]]] = [
        (b"/tmp", [_slot("/tmp on the cage's disk", b"/slot/tmp", b"/tmp")]),
        # A directory, not a link: a workspace may stand below it, and no link is followed here.
        (b"/var/tmp", [_slot("/var/tmp, the same as /tmp", b"/slot/tmp", b"/var/tmp")]),
        (spec.home, [_slot("a private home", b"/slot/home", spec.home)]),
        (spec.workspace, _workspace(spec)),
    ]
    overlays = 0
    for bind in spec.binds:
        if bind.path in (spec.workspace, spec.home):
            raise PolicyError(
                f"{bind.path.decode(errors='replace')} is the workspace or the home, which the cage"
                " has anyway",
                "filesystem.read or filesystem.write",
                "leave it out there",
            )
        if bind.name:
            trees.append((bind.path, _sealed_file(bind)))
        elif bind.mode == "direct":
            what = f"{_show(bind.path)}, written directly"
            place = bind.path.lstrip(b"/")
            attach = steps_of.attach(what, bind.fd, place, DATA_ATTRS)
            trees.append((bind.path, [attach]))
        elif bind.mode == "sealed":
            trees.append((bind.path, _sealed(_show(bind.path) + " read-only", bind.path, bind.fd)))
        else:
            trees.append((bind.path, _overlay(bind, overlays)))
            overlays += 1
    if overlays > 8:
        raise PolicyError(
            "more than 8 directories are named for writing",
            "filesystem.write",
            "name a directory that holds several of them instead",
        )
    trees += [(path, [_pin(path)]) for path in sorted(_pinned(spec))]
    if_there = _pinned_if_there(spec)
    trees += [(path, [_pin(path, optional=True)]) for path in if_there]
    files = {bind.path for bind in spec.binds if bind.name}
    steps: list[Step] = []
    for path, mounts in sorted(trees, key=lambda tree: (tree[0].count(b"/"), tree[0])):
        # What leads to a mount in the private home belongs to the agent, who may put things beside
        # it.
        owner = (
            spec.identity.host_id if path.startswith(spec.home + b"/") else spec.identity.display
        )
        if path not in if_there:
            steps += _mkfile(path, owner) if path in files else _mkdirs(path, owner)
        steps += mounts
    return steps


def _pinned(spec: CageSpec) -> set[bytes]:
    """Directories of the workspace that lead to what is shown inside it.

    One that could be renamed would take what is shown away with it, and a commit would write what
    the agent put in its place: over the input of a standing cage, say, which it cannot change.
    What something is mounted on cannot be renamed (rename(2), EBUSY).
    """
    if spec.workspace_mode not in ("cow", "rw"):
        return set()
    return _leading(spec, {spec.home, *(bind.path for bind in spec.binds)})


def _pinned_if_there(spec: CageSpec) -> list[bytes]:
    """Directories of the workspace that lead to what is hidden in it: what an agent put in the
    place of one that it moved, a commit would write over what it could not see.
    """
    if spec.workspace_mode not in ("cow", "rw"):
        return []
    shown = {spec.home, *(bind.path for bind in spec.binds)}
    below = tuple(path + b"/" for path in shown)
    found = _leading(spec, set(spec.hide)) - set(_pinned(spec)) - shown
    return sorted(path for path in found if not path.startswith(below))


def _leading(spec: CageSpec, paths: set[bytes]) -> set[bytes]:
    """Directories of the workspace on the way to these paths, and neither one of them nor below."""
    inside = spec.workspace + b"/"
    leading: set[bytes] = set()
    for path in (path for path in paths if path.startswith(inside)):
        while (path := path.rpartition(b"/")[0]) != spec.workspace:
            leading.add(path)
    below = tuple(path + b"/" for path in paths)
    return {path for path in leading - paths if not path.startswith(below)}


def _pin(path: bytes, *, optional: bool = False) -> Step:
    place, what = path.lstrip(b"/"), f"{_show(path)} stays where it is"
    return steps_of.bind(what, place, place, DATA_ATTRS, optional=optional)


def _workspace(spec: CageSpec) -> list[Step]:
    mode, layers = spec.workspace_mode, "/lower"
    what = f"the workspace {_show(spec.workspace)}, {mode}"
    if mode == "rw-direct":
        return [steps_of.attach(what, "workspace", spec.workspace.lstrip(b"/"), DATA_ATTRS)]
    steps = []
    if spec.layer:
        layers = "/layer:/lower"
        why = "the workspace's trust stores, with the cage's authority"
        steps = [steps_of.attach(why, "layer", b"/layer", SYSTEM_ATTRS, stage=True)]
    if mode == "ro":
        return [
            *steps,
            *_sealed(what, spec.workspace, "workspace", layers if spec.layer else _SEALED),
        ]
    return [
        *steps,
        steps_of.attach("the workspace as it is", "workspace", b"/lower", SYSTEM_ATTRS, stage=True),
        _overlay_mount(what, layers, "/slot/upper", "/slot/work", spec.workspace),
    ]


def _sealed(what: str, path: bytes, fd: str, layers: str = _SEALED) -> list[Step]:
    """A read-only overlay.  In a read-only bind the host's sockets can be connected to, its pipes
    opened, what others do with its files be watched, and locks and leases keep the host waiting; an
    overlay's inodes are its own.

    It needs a second layer, which is empty; the stage is used by one overlay after the other.  Each
    cage mounts its own: clones of one overlay share its inodes.
    """
    return [
        steps_of.attach(f"{_show(path)} as it is", fd, b"/lower", SYSTEM_ATTRS, stage=True),
        _fsmount(what, "overlay", {"lowerdir": layers, **OVERLAY_OPTIONS}, path, SYSTEM_ATTRS),
    ]


def _sealed_file(bind: BindSpec) -> list[Step]:
    """One file of a sealed directory, which itself stays in the staging root: only directories can
    be sealed.
    """
    shown = _show(bind.path)
    options = {"lowerdir": _SEALED, **OVERLAY_OPTIONS}
    what = f"what holds {shown}, sealed"
    return [
        steps_of.attach(f"what holds {shown}", bind.fd, b"/lower", SYSTEM_ATTRS, stage=True),
        _fsmount(what, "overlay", options, _SEALED_STAGE, SYSTEM_ATTRS, stage=True),
        steps_of.bind(
            f"{shown} read-only",
            _SEALED_STAGE + b"/" + bind.name,
            bind.path.lstrip(b"/"),
            SYSTEM_ATTRS,
            stage=True,
        ),
    ]


def _overlay(bind: BindSpec, number: int) -> list[Step]:
    stage, shown = f"/l{number}", _show(bind.path)
    fate = "changes wait" if bind.waits else "changes thrown away"
    return [
        steps_of.attach(f"{shown} as it is", bind.fd, stage.encode(), SYSTEM_ATTRS, stage=True),
        _overlay_mount(
            f"{shown}, {fate}",
            stage,
            "/slot/" + upper_of(number),
            f"/slot/w{number}/work",
            bind.path,
        ),
    ]


def upper_of(number: int) -> str:
    """The upper layer of the overlay with this number, on the cage's disk."""
    return f"w{number}/upper"


def _overlay_mount(what: str, lower: str, upper: str, work: str, path: bytes) -> Step:
    options = {
        "lowerdir": lower,
        "upperdir": upper,
        "workdir": work,
        **OVERLAY_OPTIONS,
        "volatile": "",
    }
    return _fsmount(what, "overlay", options, path, DATA_ATTRS)


def _trust() -> Step:
    """The directory is in every chosen /etc, whose own trust stores are links to its files."""
    what = "the roots of the host, and the cage's own certificate authority"
    return steps_of.attach(what, "trust", TRUST.encode().lstrip(b"/"), SYSTEM_ATTRS | NOEXEC)


def _stores(spec: CageSpec) -> list[Step]:
    steps = []
    for path in spec.stores:
        source = f"{TRUST}/{store_kind(path)}".encode()
        steps.append(_cover(f"{_show(path)} is that of the cage", source.lstrip(b"/"), path))
    return steps


def _hidden(spec: CageSpec) -> list[Step]:
    """Cover each hidden path with an empty file or directory: both are tried, and the kernel keeps
    the one whose kind fits.
    """
    steps = []
    for path in spec.hide:
        for source in (b"dev/null", b"run"):
            steps.append(_cover(f"{_show(path)} hidden", source, path))
    return steps


def _watched(spec: CageSpec) -> list[Step]:
    """Watch every mount that holds programs, and every one that holds files that stay."""
    if not spec.watched:
        return []
    system = [b"/" + name for name in spec.system_dirs]
    read = [*system, b"/etc", *(bind.path for bind in spec.binds if bind.mode == "sealed")]
    written = [b"/dev/shm", b"/tmp", b"/var/tmp", spec.home, spec.workspace]
    written += [bind.path for bind in spec.binds if bind.mode != "sealed"]
    if_there = _pinned_if_there(spec)
    written += [*sorted(_pinned(spec)), *if_there]
    uses = [(path, FAN_OPEN_EXEC) for path in read] + [
        (path, FAN_OPEN_EXEC | FAN_CLOSE_WRITE) for path in written
    ]
    steps = []
    for path, mask in uses:
        parent, _, name = path.strip(b"/").rpartition(b"/")
        what = (
            f"the kernel tells what is executed{' and written' * bool(mask & FAN_CLOSE_WRITE)} in"
            f" {_show(path)}"
        )
        optional = path in if_there
        steps.append(steps_of.watch(what, "files", parent, name, mask, optional=optional))
    return steps


def _entry(spec: CageSpec) -> list[Step]:
    steps = []
    if spec.tty is not None:
        rows, columns = spec.tty
        steps.append(steps_of.pty("a terminal of the cage's own", b"dev/pts/ptmx", rows, columns))
    else:
        steps += [
            steps_of.stdio(name, name, number)
            for number, name in enumerate(("stdin", "stdout", "stderr"))
        ]
    return [
        *steps,
        steps_of.setattr("the root read-only", RDONLY),
        steps_of.pivot("the new root is all there is"),
        steps_of.umask("umask 022", 0o022),
    ]


def _confinement(spec: CageSpec) -> list[Step]:
    steps = [
        *_rlimits(spec.rlimits),
        steps_of.keyring("an empty session keyring"),
        steps_of.setns("enter the cage's user namespace", "userns", _NEWUSER),
        steps_of.close_range("no descriptor but stdio and the status socket", FD_FIRST_FREE),
        steps_of.bounding("empty the capability bounding set"),
        steps_of.securebits("lock the securebits", _SECUREBITS),
        steps_of.ids(
            f"become {spec.identity.inside}:{spec.identity.inside_gid} inside,"
            f" {spec.identity.host_id} outside",
            spec.identity.inside,
            spec.identity.inside_gid,
        ),
        steps_of.capset("no capability"),
        steps_of.lockdown("no_new_privs, non-dumpable, dies with akiosd"),
    ]
    if spec.landlock is not None:
        steps += _landlock(spec.landlock)
    if spec.filter:
        what = f"{len(spec.filter) // 8} instructions, with listener"
        steps.append(steps_of.seccomp(what, spec.filter, spec.filter_flags))
    return steps


@functools.lru_cache(maxsize=64)
def _rlimits(limits: tuple[Rlimit, ...]) -> tuple[Step, ...]:
    return tuple(
        steps_of.rlimit(f"{limit.name} ≤ {limit.hard}", limit.resource, limit.soft, limit.hard)
        for limit in limits
    )


@functools.lru_cache(maxsize=64)
def _landlock(spec: LandlockSpec) -> tuple[Step, ...]:
    rules = (
        steps_of.landlock_rule(
            f"{_show(rule.path)}: {rule.access:#x}", rule.path, rule.access, optional=rule.optional
        )
        for rule in spec.rules
    )
    return (
        steps_of.landlock(
            f"ruleset for ABI {spec.abi}", spec.handled_fs, spec.scoped, spec.attr_size
        ),
        *rules,
        steps_of.landlock_enforce("enforce it and prove one refusal"),
    )


# ---- single steps
# ---------------------------------------------------------------------------------


def _show(path: bytes) -> str:
    return path.decode("utf-8", "backslashreplace")


def _mkdirs(path: bytes, owner: int) -> list[Step]:
    steps, parent = [], b""
    for name in path.strip(b"/").split(b"/"):
        what = f"/{_show(parent + b'/' if parent else b'')}{_show(name)}"
        steps.append(steps_of.mkdir(what, parent, name, owner))
        parent = parent + b"/" + name if parent else name
    return steps


def _mkfile(path: bytes, owner: int) -> list[Step]:
    parent, _, name = path.strip(b"/").rpartition(b"/")
    steps = _mkdirs(parent, owner) if parent else []
    return [*steps, steps_of.mkfile(f"/{_show(path)}", parent, name, owner, _S_IFREG | 0o644)]


def _symlink(parent: bytes, name: bytes, target: bytes, owner: int) -> Step:
    what = f"/{_show(parent + b'/' if parent else b'')}{_show(name)} → {_show(target)}"
    return steps_of.symlink(what, parent, name, target, owner)


def _bind(what: str, source: bytes, target: bytes, attrs: int) -> Step:
    return steps_of.bind(what, source, target, attrs, optional=True)


def _cover(what: str, source: bytes, path: bytes) -> Step:
    attrs = SYSTEM_ATTRS | NOEXEC
    return steps_of.bind(what, source, path.strip(b"/"), attrs, optional=True, same_kind=True)


def _slot(what: str, source: bytes, target: bytes) -> Step:
    return steps_of.bind(what, source, target.lstrip(b"/"), DATA_ATTRS, stage=True)


def _fsmount(
    what: str, kind: str, options: dict[str, str], path: bytes, attrs: int, *, stage: bool = False
) -> Step:
    where = path if stage else path.lstrip(b"/")
    return steps_of.fsmount(what, kind, options, where, attrs, stage=stage)


def _tmpfs(
    what: str, path: bytes, mode: str, size: int, attrs: int, owner: int, *, stage: bool = False
) -> Step:
    options = {"mode": mode, "size": str(size), "uid": str(owner), "gid": str(owner)}
    return _fsmount(what, "tmpfs", options, path, attrs, stage=stage)
