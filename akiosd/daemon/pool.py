"""Cages half-made in advance: an id, a directory, a uid with its user namespace, a network, a disk.

A run takes one and the pool makes another behind its back, so that the request does not wait for what
depends on nothing in it.
"""

from __future__ import annotations

import errno
import os
import shutil
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import trio

from akiosd.daemon import listeners
from akiosd.daemon.cage_ca import Authority, make_authority
from akiosd.daemon.host import Host
from akiosd.daemon.log import get_log
from akiosd.errors import AkiosError, CageFailed
from akiosd.kernel import netns, userns
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.disk import Slot
from akiosd.kernel.fds import Fd, close_all
from akiosd.kernel.trust import Identity, make_tree
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import AGENT_ID, cage_map, caller_map
from akiosd.values.ids import CageId, Lines, make_cage_id

_log = get_log("pool")
_AUTHORITY_WAITS = timedelta(days=1)


class Caller(msgspec.Struct, frozen=True):
    """Whose files the cage shows, and the numbers the agent has inside."""

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
        system: dict[str, Fd],
    ) -> None:
        self.cage = cage
        self.directory = directory
        self.host_id = self.host_gid = host_id
        self.owner = host_id
        """Of its user namespace: the id stays the cage's own where the agent gets its caller's."""
        self.network = network
        self.slot = slot
        self.leaf = leaf
        self.system = system
        self.caller: Caller | None = None
        self.uid_lines: Lines = ()
        self.authority: Authority | None = None
        self.trust: Fd | None = None
        self.bound: list[listeners.Bound] = []
        self._roots: Identity | None = None
        self.userns: Fd | None = None
        self.bind_userns: Fd | None = None

    async def fit(self, host: Host, caller: Caller) -> None:
        """Make the two user namespaces for this caller, unless they are there."""
        if self.caller == caller:
            return
        close_all((self.userns, self.bind_userns))
        display = host.config.uids.display_base
        self.uid_lines = cage_map(caller.inside, self.host_id, display)
        inside = IdMap(self.uid_lines, cage_map(caller.inside_gid, self.host_gid, display))
        binds = IdMap(
            caller_map(caller.uid, caller.inside, self.host_id, display),
            caller_map(caller.gid, caller.inside_gid, self.host_gid, display),
        )
        self.userns = await userns.create(host.launcher, inside, self.owner)
        self.bind_userns = self.userns.dup() if binds == inside else await userns.create(host.launcher, binds)
        self.caller = caller

    @property
    def is_caller(self) -> bool:
        """The agent has its caller's own ids on the host, because files could not be shown with others."""
        return self.caller is not None and self.host_id == self.caller.uid

    async def become_caller(self, host: Host) -> None:
        """Give up the ids of the cage's own for the caller's.  Never for root."""
        caller = self.caller
        assert caller is not None and caller.uid and caller.gid
        self.host_id, self.host_gid, self.caller = caller.uid, caller.gid, None
        self.slot.give_home(caller.uid, caller.gid)
        await self.fit(host, caller)

    def bring_trust(self, host: Host) -> None:
        """Make its certificate authority and what shows it, unless they are fresh and the host's roots the same."""
        now, roots = datetime.now(UTC), host.roots.refresh()
        if self.authority is not None and not self.authority.is_older(now, _AUTHORITY_WAITS) and roots == self._roots:
            return
        close_all((self.trust,))
        self.authority, self._roots = make_authority(self.cage, now), roots
        display = host.config.uids.display_base
        self.trust = make_tree(host.roots, self.authority.pem, self.authority.certificate, display)

    def close(self) -> None:
        close_all(one.fd for one in self.bound)
        close_all((self.trust, self.network, self.userns, self.bind_userns, *self.system.values()))

    def destroy(self) -> None:
        """Never used: remove it all."""
        self.close()
        self.slot.destroy()
        self.leaf.remove_unused()
        shutil.rmtree(self.directory, ignore_errors=True)


class Pool:
    def __init__(self, host: Host, size: int) -> None:
        self._host = host
        self._size = size
        self._ready: list[Prepared] = []
        self._networks: list[Fd] = []
        self._wanted = trio.Event()
        self._caller: Caller | None = None
        self._disk_size = host.policy.limits.disk

    async def take(self, caller: Caller, disk_size: int) -> Prepared:
        """A half-made cage for this caller; the returned one is the taker's."""
        self._caller = caller
        self._disk_size = disk_size
        found = self._ready.pop(0) if self._ready else None
        self._wanted.set()
        try:
            if found is None:
                found = await self._make()
            if found.slot.size != disk_size:
                found.slot.destroy()
                found.slot = await self._create_slot(found.directory, disk_size, found.host_id)
            found.bring_trust(self._host)
            await found.fit(self._host, caller)
        except BaseException as error:
            if found is not None:
                found.destroy()
            if isinstance(error, OSError):
                raise _explain(error, self._host.state_dir) from error
            raise
        return found

    def discard(self) -> None:
        """Destroy what is ready: a sparse image that met a full disk has lost writes, and says so only when used."""
        ready, self._ready = self._ready, []
        for prepared in ready:
            prepared.destroy()

    async def refill(self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED) -> None:
        """Keep the pool full until cancelled; then destroy what was not taken."""
        try:
            await self._fill()
            task_status.started()
            while True:
                await self._wanted.wait()
                # Not while the run that took one is starting: it needs the processor more.
                await trio.sleep(0.02)
                try:
                    await self._fill()
                except (AkiosError, OSError) as error:
                    # The next run makes its own, and its caller is told what is wrong.
                    _log.error("no cage can be made in advance", error=str(error))
                    self.discard()
        finally:
            for prepared in self._ready:
                prepared.destroy()
            close_all(self._networks)

    async def _fill(self) -> None:
        self._wanted = trio.Event()
        while len(self._ready) < self._size:
            made = await self._make()
            try:
                if self._caller is not None:
                    await made.fit(self._host, self._caller)
            except BaseException:
                made.destroy()
                raise
            self._ready.append(made)

    async def _make(self) -> Prepared:
        if not self._networks:
            self._networks += await netns.create(max(1, self._size // 2))
        network = self._networks.pop()
        cage = make_cage_id(os.urandom(8))
        directory = self._host.cages_dir / cage
        slot: Slot | None = None
        try:
            directory.mkdir()
            directory.chmod(0o711)
            host_id = self._host.next_uid()
            slot = await self._create_slot(directory, self._disk_size, host_id)
            trees = self._host.clone_system_trees()
        except BaseException:
            network.close()
            if slot is not None:
                slot.destroy()
            shutil.rmtree(directory, ignore_errors=True)
            raise
        made = Prepared(cage, directory, host_id, network, slot, self._host.cgroups.leaf(cage), trees)
        try:
            made.leaf.make()
            made.bound = listeners.open_base(network)
            made.bring_trust(self._host)
        except BaseException:
            made.destroy()
            raise
        return made

    async def _create_slot(self, directory: Path, size: int, host_id: int) -> Slot:
        disks = self._host.disks
        assert disks is not None
        slot = await trio.to_thread.run_sync(disks.create, directory, size)
        try:
            slot.prepare(host_id, self._host.config.uids.display_base)
        except BaseException:
            slot.destroy()
            raise
        return slot


def _explain(error: OSError, state_dir: Path) -> CageFailed:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return CageFailed(
        f"a cage cannot be made: {error.strerror}",
        str(error.filename or state_dir),
        f"make room on the disk of {state_dir}" if full else "see akiosd's log and akiosctl doctor",
    )
