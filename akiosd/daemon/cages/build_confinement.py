"""Turns a request into everything that a cage is made of: descriptors opened and mapped, policy
compiled, the plan.
"""

from __future__ import annotations

import errno
import functools
import os
import stat
from collections.abc import Callable
from typing import NamedTuple

import msgspec

from akiosd.daemon.cages.git_directory import is_writable
from akiosd.daemon.cages.prepared_cage import STDIO, Caller, Prepared
from akiosd.daemon.gateways.gateway_setup import allowed_providers, region_of
from akiosd.daemon.host import Host
from akiosd.errors import CageFailedError, DeniedError, LayerUnavailableError
from akiosd.kernel import acl, cage_etc, mounts, probe, user_tree
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.landlock import MISSING
from akiosd.kernel.mount_space import MountSpace, own_name
from akiosd.kernel.overlay_layer import make_layer
from akiosd.kernel.seccomp import Compiled, compiled
from akiosd.kernel.trust_mount import store_files
from akiosd.kernel.user_tree import Access, Known
from akiosd.policy.compile.identity import Identity, caller_map, lookup
from akiosd.policy.compile.landlock import LandlockSpec, LandlockView, compile_landlock
from akiosd.policy.compile.limits import compile_rlimits
from akiosd.policy.compile.mounts import BindSpec, CageSpec, compile_rest
from akiosd.values.agent_environment import environment, hidden_variables
from akiosd.values.etc_names import in_etc
from akiosd.values.ids import Lines
from akiosd.values.places import is_system_path
from akiosd.values.plan import Plan
from akiosd.values.policy import Filesystem, Policy
from akiosd.values.trust import store_kind
from akiosd.wire.messages import Bind, Run

# include/uapi/linux/seccomp.h: NEW_LISTENER, WAIT_KILLABLE_RECV
FILTER_FLAGS = (1 << 3) | (1 << 5)
_OUR_ENDS = ("our stdin", "our stdout", "our stderr")
# Most runs of a host ask for the same.
_compile_rlimits = functools.lru_cache(maxsize=64)(compile_rlimits)
_LEAVE_OUT = "leave it out of the section filesystem of the policy, or correct it there"
_ATTRS = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
_READ_ONLY = _ATTRS | mounts.MOUNT_ATTR_RDONLY


class Parts(NamedTuple):
    """What a request and the pool bring together; all of it stays the caller's.

    ``bind_fds`` are the descriptors after the workspace's, in the order of the request's numbers.
    """

    host: Host
    prepared: Prepared
    run: Run
    workspace_fd: Fd
    bind_fds: list[Fd]
    client: int = 0
    """The process that opened them, 0 for one that akiosd cannot see."""
    watch: Fd | None = None
    """The fanotify group that reports executed and written files; None where there is none."""

    @property
    def caller(self) -> Caller:
        """Who asked for the cage."""
        assert self.prepared.caller is not None
        return self.prepared.caller

    def opened(self, bind: Bind) -> Fd:
        """The descriptor of what the client opened to be shown."""
        return self.bind_fds[bind.fd - 1]

    def shown(self, bind: Bind) -> Fd:
        """The descriptor of what is mounted for it: the tree, or the directory that
        holds the file.
        """
        return self.bind_fds[(bind.holder or bind.fd) - 1]


class Confinement:
    """The descriptors and the plan of one cage.

    ``fds`` are named as in the plan, and owned here. ``stdio`` are our ends of the cage's stdin,
    stdout and stderr, empty with a terminal; whoever takes them owns them. ``remote`` names the
    first tree whose file system may keep the child waiting for ever, "" for none. ``notes`` are for
    the client.
    """

    def __init__(
        self,
        parts: Parts,
        identity: Identity,
        spec: CageSpec,
        fds: dict[str, Fd],
        remote: str,
        notes: tuple[str, ...],
    ) -> None:
        policy = parts.run.policy
        self.remote = remote
        self.notes = notes
        self.identity = identity
        self.fds = fds
        self.stdio = [fds.pop(name) for name in _OUR_ENDS if name in fds]
        self.landlock: LandlockSpec | None = spec.landlock
        self.filter: Compiled = compiled(policy.syscalls)
        self._spec = spec

    def plan(self) -> Plan:
        """The part of the plan that the parked child has still to do."""
        return compile_rest(
            msgspec.structs.replace(self._spec, filter=self.filter.bpf, filter_flags=FILTER_FLAGS)
        )

    def close_sent(self) -> None:
        """Close what was sent: the child has copies."""
        close_all(self.fds.values())

    def close(self) -> None:
        """Close what is left."""
        close_all(self.fds.values())


class _Opened:
    """Facts about what the client opened, read without waiting for a file system, by the request's
    numbers.

    ``access`` says who may use those that can be written to.
    """

    def __init__(self, parts: Parts) -> None:
        numbers = [fd.fileno() for fd in (parts.workspace_fd, *parts.bind_fds)]
        self._known = user_tree.look(numbers)
        self.access: dict[int, Access] = {}
        self.space: MountSpace | None = None
        """The client's mount namespace, where that is not akiosd's."""
        if any(not known.file_system for known in self._known):
            space = self.space = MountSpace(parts.client)
            self._known = tuple(
                known
                if known.file_system
                else user_tree.look_elsewhere(number, known, space.mountinfo)
                for number, known in zip(numbers, self._known, strict=True)
            )

    def close(self) -> None:
        """Let go of the client's mount namespace."""
        if self.space is not None:
            self.space.close()

    @property
    def notes(self) -> tuple[str, ...]:
        """What a client elsewhere must know, in words."""
        if self.space is None:
            return ()
        return (
            f"you are in the mount namespace {self.space.name}, akiosd in {own_name()}: the"
            " workspace and what the policy or the toolchain adds are shown as you have them; /usr"
            " and /etc are those where akiosd runs",
        )

    @property
    def workspace(self) -> Known:
        return self._known[0]

    def shown(self, bind: Bind) -> Known:
        """What is to be seen."""
        return self._known[bind.fd]

    def mounted(self, bind: Bind) -> Known:
        """What is mounted for it: the tree, or the directory that holds the file."""
        return self._known[bind.holder or bind.fd]

    def remote(self, parts: Parts) -> str:
        """The first tree on a file system that may not answer, as ``WHAT, on KIND``; ``""``: there
        is none.
        """
        pairs = [("the workspace", self.workspace)]
        pairs += [(os.fsdecode(bind.path), self.mounted(bind)) for bind in parts.run.binds]
        return next(
            (f"{what}, on {known.file_system}" for what, known in pairs if not known.is_local), ""
        )

    async def ask(self, parts: Parts, trees: dict[str, Fd]) -> None:
        """Ask who may use what, and whether files are where they are said to be.

        Raises CageFailedError where a file system does not answer, DeniedError, OSError.
        """
        self.access[0] = await user_tree.read_access(
            parts.workspace_fd.fileno(), self.workspace, "the workspace"
        )
        for number, bind in enumerate(parts.run.binds):
            what = os.fsdecode(bind.path)
            if is_writable(bind, parts.run):
                fd = parts.opened(bind).fileno()
                self.access[bind.fd] = await user_tree.read_access(fd, self.shown(bind), what)
            if bind.name:
                await self._check_holder(trees[f"bind:{number}"], bind, what)

    async def _check_holder(self, tree: Fd, bind: Bind, what: str) -> None:
        """Check that ``bind``'s file is the one with its name in its directory: that the client
        could open both proves nothing.
        """
        try:
            found = await user_tree.find_entry(tree.fileno(), bind.name, self.mounted(bind), what)
        except OSError as error:
            raise DeniedError(
                f"{what} cannot be shown: {error.strerror}", what, _LEAVE_OUT
            ) from error
        file = self.shown(bind).directory
        if found != (file.device, file.inode):
            problem = f"{what} was replaced or mounted over while it was opened"
            raise DeniedError(problem, what, "run the command again")


async def build_confinement(parts: Parts, user_name: str) -> Confinement:
    """Open and map everything that the plan names.

    Raises AkiosError or OSError; nothing stays open then.
    """
    fds: dict[str, Fd] = {}
    opened = _Opened(parts)
    try:
        trees = await _client_trees(parts, opened)
    finally:
        opened.close()
    try:
        await opened.ask(parts, trees)
        return _build(parts, user_name, trees, fds, opened)
    except BaseException:
        close_all((*fds.values(), *trees.values()))
        raise


def _build(
    parts: Parts, user_name: str, trees: dict[str, Fd], fds: dict[str, Fd], opened: _Opened
) -> Confinement:
    run, host, prepared = parts.run, parts.host, parts.prepared
    caller = parts.caller
    identity = Identity(
        prepared.host_id,
        prepared.host_gid,
        host.config.uids.display_base,
        caller.uid,
        caller.gid,
        caller.inside,
        caller.inside_gid,
    )
    fds |= trees
    fds["etc"] = _etc(parts, user_name)
    binds = tuple(_bind(parts, number, opened) for number in range(len(run.binds)))
    overlays = [number for number, bind in enumerate(binds) if bind.mode == "cow"]
    _slot(parts, identity, overlays, opened)
    assert prepared.userns is not None
    assert prepared.trust is not None
    fds["userns"], fds["trust"] = prepared.userns.dup(), prepared.trust.dup()
    if parts.watch is not None:
        fds["files"] = parts.watch.dup()
    # Making a layer looks into the workspace; the child can wait for its file system, akiosd
    # cannot.
    layered = _trust_layer(parts, fds) if opened.workspace.is_local else ()
    if run.tty is None:
        for name, ours, pipe in zip(STDIO, _OUR_ENDS, prepared.pipes, strict=True):
            fds[name], fds[ours] = pipe.theirs, pipe.ours
        prepared.pipes = []
        if run.one_output:
            close_all((fds.pop("stderr"), fds.pop("our stderr")))
            fds["stderr"] = fds["stdout"].dup()
    home = home_of(run.home)
    view = LandlockView(
        workspace=run.workspace,
        home=home,
        read=tuple((b.path, not b.name) for b in binds if b.mode == "sealed"),
        write=tuple((b.path, not b.name) for b in binds if b.mode != "sealed"),
    )
    landlock = _ruleset(run.policy.filesystem, view, host.facts.landlock_abi)
    if landlock is None and not run.allow_degraded:
        found = probe.describe_landlock(host.facts.landlock_abi)
        what = f"a cage needs Landlock, and this kernel's is {found}"
        raise LayerUnavailableError(
            what, "landlock", f"{MISSING}; --allow-degraded runs without it"
        )
    spec = CageSpec(
        name=prepared.cage,
        identity=identity,
        workspace=run.workspace,
        workspace_mode=run.policy.filesystem.workspace,
        home=home,
        command=run.command,
        argv=run.argv,
        env=_environment(parts, user_name, home),
        cwd=run.cwd,
        system_links=host.facts.system_links,
        system_dirs=host.facts.system_dirs,
        binds=binds,
        hide=tuple(os.fsencode(path) for path in parts.run.policy.filesystem.hide),
        layer="layer" in fds,
        stores=tuple(path for path in run.stores if path not in layered),
        tty=(run.tty.rows, run.tty.columns) if run.tty is not None else None,
        shm=run.policy.limits.shm_bytes,
        rlimits=_compile_rlimits(run.policy.limits, host.facts.pools),
        landlock=landlock,
        watched="files" in fds,
    )
    return Confinement(parts, identity, spec, fds, opened.remote(parts), opened.notes)


@functools.lru_cache(maxsize=64)
def _ruleset(filesystem: Filesystem, view: LandlockView, abi: int) -> LandlockSpec | None:
    return compile_landlock(Policy(filesystem=filesystem), view, abi)


def _trust_layer(parts: Parts, fds: dict[str, Fd]) -> tuple[bytes, ...]:
    """Make the layer that covers trust stores inside the workspace; returns the paths that it
    covers.
    """
    run, prepared, roots = parts.run, parts.prepared, parts.host.roots
    below = run.workspace + b"/"
    inner = tuple(bind.path + b"/" for bind in run.binds if bind.path.startswith(below))
    layered = tuple(
        path for path in run.stores if path.startswith(below) and not path.startswith(inner)
    )
    if not layered or run.policy.filesystem.workspace == "rw-direct":
        return ()
    assert prepared.authority is not None
    contents = store_files(roots, prepared.authority.pem, prepared.authority.certificate)
    files = {os.fsdecode(path[len(below) :]): contents[store_kind(path)] for path in layered}
    layer = make_layer(fds["workspace"].fileno(), files, parts.host.config.uids.display_base)
    if layer is not None:
        fds["layer"] = layer
    return layered


def _environment(parts: Parts, user_name: str, home: bytes) -> tuple[bytes, ...]:
    found = cage_environment(parts, user_name, home)
    return tuple(key + b"=" + value for key, value in found.items())


def cage_environment(parts: Parts, user_name: str, home: bytes) -> dict[bytes, bytes]:
    """The agent's environment: what the client sent without real keys, and what AKIOS sets.  Only
    the policy may name other values for the latter.
    """
    policy = parts.run.policy
    providers = allowed_providers(policy)
    named = {os.fsencode(name) for name in policy.environment.set}
    hidden = {name.encode() for name in hidden_variables(providers)} - named
    env = {name: value for name, value in parts.run.env.items() if name not in hidden}
    ours = environment(
        providers, {provider: region_of(parts.host, provider) for provider in providers}
    )
    env |= {
        name.encode(): value.encode() for name, value in ours.items() if name.encode() not in named
    }
    fixed = {
        b"HOME": home,
        b"USER": user_name.encode(),
        b"LOGNAME": user_name.encode(),
        b"SHELL": b"/bin/bash",
    }
    return {b"PATH": b"/usr/local/bin:/usr/bin:/bin", **env, **fixed, b"AKIOS": b"1"}


def home_of(asked: bytes) -> bytes:
    """The home directory inside: the caller's own name for it, where that can be."""
    good = (
        asked.startswith(b"/")
        and asked.strip(b"/")
        and not any(c in asked for c in (b":", b"\n", b"\0", b"/../", b"//"))
        and not is_system_path(asked.rstrip(b"/"))
    )
    return asked.rstrip(b"/") if good else b"/home/agent"


def _etc(parts: Parts, user_name: str) -> Fd:
    host = parts.host
    home = os.fsdecode(home_of(parts.run.home))
    path = cage_etc.make(
        host.state_dir / "etc",
        user_name,
        home,
        parts.caller.inside,
        parts.caller.inside_gid,
        in_etc(parts.run.policy.filesystem.read),
    )
    with Fd(os.open(path, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as tree:
        return host.clone_system(tree.fileno())


async def _client_trees(parts: Parts, opened: _Opened) -> dict[str, Fd]:
    """Detached clones of what the client opened, ids mapped, by their names in the plan.

    Where a file system has no id-mapped mounts the agent must run as the caller to own the files,
    if that is allowed.
    """
    trees: dict[str, Fd] = {}
    try:
        plain = _clone_trees(parts, opened, trees)
        if plain:
            close_all(trees.values())
            trees.clear()
            _check_degradation(parts, plain)
            await parts.prepared.become_caller(parts.host)
            _clone_trees(parts, opened, trees)
    except BaseException:
        close_all(trees.values())
        raise
    return trees


def _check_degradation(parts: Parts, plain: str) -> None:
    what = (
        f"the file system of {plain} has no id-mapped mounts, so the agent could run only under"
        " your own"
        " uid and group"
    )
    move = f"put {plain} on ext4, xfs or btrfs"
    if 0 in (parts.caller.uid, parts.caller.gid):
        raise LayerUnavailableError(
            f"{what}, which are root's: it never runs as root",
            "identity",
            f"{move}; or run as an ordinary user, with --allow-degraded",
        )
    if not parts.run.allow_degraded:
        hint = f"{move}; or let it run so: --allow-degraded"
        raise LayerUnavailableError(what, "identity", hint)


def _clone_trees(parts: Parts, opened: _Opened, trees: dict[str, Fd]) -> str:
    """Fill ``trees``; returns the name of the last tree that could not be idmapped, "" when all
    could.
    """
    plain = ""
    workspace, mode = parts.workspace_fd.fileno(), parts.run.policy.filesystem.workspace
    if not stat.S_ISDIR(opened.workspace.mode) or not parts.run.workspace:
        what = "the workspace is the directory /, or a directory that was deleted"
        raise DeniedError(what, "workspace", "name a project's directory with --workspace")
    attrs = _ATTRS if mode == "rw-direct" else _READ_ONLY
    asked = [("workspace", workspace, opened.workspace, "the workspace", attrs)]
    for number, bind in enumerate(parts.run.binds):
        known = opened.mounted(bind)
        asked.append(
            (
                f"bind:{number}",
                parts.shown(bind).fileno(),
                known,
                os.fsdecode(bind.path),
                _ATTRS if bind.kind == "output" else _READ_ONLY,
            )
        )
    for name, fd, known, what, attrs in asked:
        _check_file_system(known, what, opened.space)
        clone = opened.space.clone if known.is_elsewhere and opened.space else mounts.open_tree
        trees[name], done = _clone_for_caller(parts, fd, what, attrs, clone)
        plain = plain if done else what
    return plain


def _check_file_system(known: Known, what: str, space: MountSpace | None) -> None:
    kind = known.file_system
    if not kind:
        yours = f"yours ({space.name})" if space is not None else "yours"
        raise CageFailedError(
            f"{what} lies neither in akiosd's mount namespace ({own_name()}) nor in {yours}",
            what,
            "run akiosctl in an ordinary shell of this host; if its file system was unmounted,"
            " mount it again or leave it out of the policy",
        )
    if kind in probe.REFUSED_FILE_SYSTEMS:
        raise DeniedError(
            f"{what} is on {kind}, which shows the host itself",
            what,
            "choose a directory of your own",
        )


def _clone_for_caller(
    parts: Parts, fd: int, what: str, attrs: int, clone: Callable[[int], Fd]
) -> tuple[Fd, bool]:
    """A detached, idmapped clone of a tree that the client opened; (tree, whether it is mapped)."""
    assert parts.prepared.bind_userns is not None
    try:
        userns = parts.prepared.bind_userns.fileno()
        return mounts.clone_idmapped(fd, userns, attrs, clone), True
    except OSError as error:
        if error.errno == errno.EINVAL:
            try:
                tree = mounts.clone_idmapped(fd, -1, attrs, clone)
            except OSError:
                raise CageFailedError(
                    f"{what} has mounts below it, and you may not look underneath them",
                    what,
                    "choose a directory without mounts below it",
                ) from error
            return tree, False
        raise CageFailedError(
            f"{what} cannot be mounted: {error.strerror}", what, _LEAVE_OUT
        ) from error


def _bind(parts: Parts, number: int, opened: _Opened) -> BindSpec:
    bind = parts.run.binds[number]
    what = os.fsdecode(bind.path)
    named = {"read": parts.run.policy.filesystem.read, "write": parts.run.policy.filesystem.write}
    if bind.kind in named and what not in named[bind.kind]:
        raise DeniedError(
            f"{what} is not in the policy's filesystem.{bind.kind}",
            what,
            f"add it to filesystem.{bind.kind} in the policy, and run again",
        )
    kind = opened.shown(bind).mode
    if not stat.S_ISDIR(kind) and not stat.S_ISREG(kind):
        raise DeniedError(
            f"{what} is neither a directory nor a file",
            what,
            "leave it out: a socket, pipe or device leads out of the cage",
        )
    if stat.S_ISREG(kind) != bool(bind.name):
        raise DeniedError(
            f"{what} came without the directory that holds it",
            what,
            "use the akiosctl that was installed with this akiosd",
        )
    mode = "cow" if is_writable(bind, parts.run) else "sealed"
    mode = "direct" if bind.kind == "output" else mode
    return BindSpec(bind.path, f"bind:{number}", mode, bind.name, bind.kind == "git")


def _slot(parts: Parts, identity: Identity, overlays: list[int], opened: _Opened) -> None:
    slot = parts.prepared.slot
    slot.prepare_upper(*_access(opened.access[0], identity))
    for number, bind in enumerate(overlays):
        slot.prepare_overlay(number, *_access(opened.access[parts.run.binds[bind].fd], identity))


def _access(found: Access, identity: Identity) -> tuple[int, int, int, bytes]:
    """Owner, group, mode and access list of a tree's root, in the cage's host ids."""
    uids = caller_map(identity.caller_uid, identity.inside, identity.host_id, identity.display)
    gids = caller_map(identity.caller_gid, identity.inside_gid, identity.host_gid, identity.display)
    listed = found.acl
    if listed:
        listed = acl.map_acl(
            listed,
            lambda uid: _mapped(uids, uid, identity),
            lambda gid: _mapped(gids, gid, identity),
        )
    uid, gid = _mapped(uids, found.uid, identity), _mapped(gids, found.gid, identity)
    return uid, gid, found.mode & 0o777, listed


def _mapped(lines: Lines, number: int, identity: Identity) -> int:
    found = lookup(lines, number)
    return found if found is not None else identity.display + 65534
