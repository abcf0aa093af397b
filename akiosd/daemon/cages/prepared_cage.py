"""One half-made cage: what it consists of before anybody asks for it, and how it is fitted to its
caller.
"""

from __future__ import annotations

import fcntl
import functools
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import trio

from akiosd.daemon.cages.give_back import attempt
from akiosd.daemon.cages.parked import Parked, park
from akiosd.daemon.gateways import listeners
from akiosd.daemon.gateways.cage_ca import Authority, make_authority
from akiosd.daemon.host import Host
from akiosd.kernel import userns
from akiosd.kernel.cgroup import CONTROLLERS, CageCgroup
from akiosd.kernel.disk import Slot
from akiosd.kernel.fds import Fd, close_all, open_pipe
from akiosd.kernel.trust_mount import Seen, make_tree
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import AGENT_ID, cage_map, caller_map
from akiosd.policy.compile.limits import compile_cgroup_v1, compile_cgroup_v2
from akiosd.policy.compile.mounts import BaseSpec, compile_base
from akiosd.values.ids import CageId, Lines
from akiosd.values.policy import Limits

STDIO = ("stdin", "stdout", "stderr")
_AUTHORITY_WAITS = timedelta(days=1)
_PIPE_BYTES = 1 << 20
_F_SETPIPE_SZ = 1031


async def create_slot(host: Host, directory: Path, size: int, host_id: int) -> Slot:
    """A disk with its directories; the caller owns it.  Raises OSError, KernelError."""
    assert host.disks is not None
    slot = await trio.to_thread.run_sync(host.disks.create, directory, size)
    try:
        slot.prepare(host_id, host.config.uids.display_base)
    except BaseException:
        slot.destroy()
        raise
    return slot


class Pipe(msgspec.Struct):
    """One of the cage's three pipes: the end that the agent gets, and ours."""

    theirs: Fd
    ours: Fd


def make_pipes(uid: int, gid: int) -> list[Pipe]:
    """Pipes for stdin, stdout and stderr, owned by the cage's uid so that /dev/stderr can be
    opened; the caller's to close.
    """
    pipes: list[Pipe] = []
    for number in range(len(STDIO)):
        read_end, write_end = open_pipe()
        pipe = Pipe(read_end, write_end) if number == 0 else Pipe(write_end, read_end)
        pipes.append(pipe)
        os.fchown(pipe.theirs.fileno(), uid, gid)
        try:
            fcntl.fcntl(
                pipe.ours.fileno(), _F_SETPIPE_SZ, _PIPE_BYTES if number < 2 else _PIPE_BYTES >> 4
            )
        except OSError:
            pass  # the user's share of pipe memory is used up: the default size works too
    return pipes


class Caller(msgspec.Struct, frozen=True):
    """Whose files the cage shows, and which numbers the agent has inside."""

    uid: int
    gid: int
    inside: int = AGENT_ID
    inside_gid: int = AGENT_ID


class Prepared:
    """One half-made cage; whoever takes it owns its descriptors, its directory and its disk."""

    def __init__(
        self,
        cage: CageId,
        directory: Path,
        host_id: int,
        network: Fd,
        slot: Slot,
        leaf: CageCgroup,
    ) -> None:
        self.cage = cage
        self.directory = directory
        self.host_id = self.host_gid = host_id
        self.owner = host_id
        """Host uid that owns its user namespace: the cage's own, also where the agent runs under
        the caller's ids.
        """
        self.network = network
        self.slot = slot
        self.leaf = leaf
        self.child: Parked | None = None
        self.caller: Caller | None = None
        self.uid_lines: Lines = ()
        self.authority: Authority | None = None
        self.trust: Fd | None = None
        self.bound: list[listeners.Bound] = []
        self._roots: Seen | None = None
        self.userns: Fd | None = None
        self.bind_userns: Fd | None = None
        self.pipes: list[Pipe] = []
        self.limits: Limits | None = None
        self.limits_found: dict[str, str] = {}
        """Controller → what the kernel said when the limits were read back."""
        self.limits_missing: dict[str, str] = {}

    async def fit(self, host: Host, caller: Caller) -> None:
        """Make the two user namespaces for this caller, unless they exist, and record whose cage it
        is.
        """
        if self.caller == caller:
            return
        with Fd(
            os.open(
                self.directory / "owner",
                os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC,
                0o600,
            )
        ) as file:
            os.write(file.fileno(), str(caller.uid).encode())
        close_all((self.userns, self.bind_userns))
        display = host.config.uids.display_base
        self.uid_lines = cage_map(caller.inside, self.host_id, display)
        inside = IdMap(self.uid_lines, cage_map(caller.inside_gid, self.host_gid, display))
        binds = IdMap(
            caller_map(caller.uid, caller.inside, self.host_id, display),
            caller_map(caller.gid, caller.inside_gid, self.host_gid, display),
        )
        self.userns = await userns.create(host.launcher, inside, self.owner)
        self.bind_userns = (
            self.userns.dup() if binds == inside else await userns.create(host.launcher, binds)
        )
        self.caller = caller

    @property
    def is_caller(self) -> bool:
        """Whether the agent runs under its caller's own ids, because a file system has
        no id maps.
        """
        return self.caller is not None and self.host_id == self.caller.uid

    async def become_caller(self, host: Host) -> None:
        """Change from the cage's own ids to the caller's.  Never for root."""
        caller = self.caller
        assert caller is not None and caller.uid and caller.gid
        self.host_id, self.host_gid, self.caller = caller.uid, caller.gid, None
        self.make_pipes()
        await self.fit(host, caller)
        await self.begin_again(host, self.slot.size)
        self.slot.give_home(caller.uid, caller.gid)

    async def begin_again(self, host: Host, disk_size: int) -> None:
        """Make another disk and another child: the old disk is mounted in the old child's
        namespace.
        """
        await self.end_child()
        self.slot.destroy()
        self.slot = await create_slot(host, self.directory, disk_size, self.host_id)
        await self.park(host)

    async def park(self, host: Host) -> None:
        """Have a child begin the cage with what this object holds now."""
        spec = BaseSpec(
            name=self.cage,
            agent=self.host_id,
            display=host.config.uids.display_base,
            system_links=host.facts.system_links,
            system_dirs=host.facts.system_dirs,
            v1_controllers=tuple(self.leaf.v1),
        )
        trees = host.clone_system_trees()
        try:
            fds = {**trees, "slot": self.slot.mount, "netns": self.network}
            self.child = await park(host.launcher, compile_base(spec), fds, self.leaf)
        finally:
            close_all(trees.values())

    async def end_child(self) -> None:
        """Kill and reap the child, if there is one."""
        child, self.child = self.child, None
        if child is not None:
            await child.end()

    def bring_trust(self, host: Host) -> None:
        """Make its certificate authority and trust files, unless they are recent and the host's
        roots are unchanged.
        """
        now, roots = datetime.now(UTC), host.roots.refresh(host.settings.roots)
        if (
            self.authority is not None
            and not self.authority.is_older(now, _AUTHORITY_WAITS)
            and roots == self._roots
        ):
            return
        close_all((self.trust,))
        self.authority, self._roots = make_authority(self.cage, now), roots
        display = host.config.uids.display_base
        self.trust = make_tree(host.roots, self.authority.pem, self.authority.certificate, display)

    def limit(self, host: Host, limits: Limits) -> None:
        """Set the limits of its cgroups and read them back, unless that was done.  Raises
        KernelError.
        """
        if limits == self.limits:
            return
        self.limits = None
        v2, v1, missing = compile_cgroup_v2(limits), compile_cgroup_v1(limits), dict[str, str]()
        for controller in CONTROLLERS:
            if controller not in host.cgroups.controllers:
                wanted = any(
                    v.controller == controller and not v.value.startswith("max") for v in v2
                )
                v2 = tuple(v for v in v2 if v.controller != controller)
                v1 = tuple(v for v in v1 if v.controller != controller)
                if wanted:
                    missing[controller] = "this host has no such cgroup controller"
        self.limits_found, self.limits_missing = self.leaf.limit(v2, v1), missing
        self.limits = limits

    def make_pipes(self) -> None:
        """Pipes for stdin, stdout and stderr of the agent."""
        self.close_pipes()
        self.pipes = make_pipes(self.host_id, self.host_gid)

    def close_pipes(self) -> None:
        """Close both ends of all pipes; calling it again does nothing."""
        pipes, self.pipes = self.pipes, []
        close_all(fd for pipe in pipes for fd in (pipe.theirs, pipe.ours))

    def close(self) -> None:
        """Close all descriptors, except those of child and disk."""
        self.close_pipes()
        close_all(one.fd for one in self.bound)
        close_all((self.trust, self.network, self.userns, self.bind_userns))

    async def destroy(self, host: Host) -> None:
        """Remove everything of a cage that was never used, except what something may still live in:
        the next start removes that.
        """
        give_back = functools.partial(attempt, self.cage)
        with trio.CancelScope(shield=True):
            gone = await give_back("its parked child", self.end_child)
            await give_back("what was prepared", self.close)
            gone = await give_back("its control groups", self.leaf.destroy) and gone
            if not gone:
                self.slot.release()
                return
            host.uids.give_back(self.owner)
            await give_back("its disk", self.slot.destroy)
            shutil.rmtree(self.directory, ignore_errors=True)
