"""What all cages of a host share: launcher, zygote, base cgroup, disks, id ranges, facts, keys, and
the ledger.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Awaitable, Callable, Collection, Coroutine
from pathlib import Path
from typing import Any

import trio

from akiosd.daemon.base import directories
from akiosd.daemon.base.config import Config
from akiosd.daemon.base.key_store import KeyStore, credentials_directory
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.priority import Hurry
from akiosd.daemon.base.settings import Settings
from akiosd.daemon.base.uids import CageUids
from akiosd.daemon.base.zygote import OldZygotes, Zygote
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import KernelError
from akiosd.kernel import cage_etc, memory_disk, mounts, probe, userns
from akiosd.kernel.cgroup import CgroupHost, find_layout
from akiosd.kernel.disk import Disks
from akiosd.kernel.fds import Fd
from akiosd.kernel.keeper import Keeper
from akiosd.kernel.launcher import Launcher
from akiosd.kernel.scope import Scope
from akiosd.kernel.system_trees import SystemTrees
from akiosd.kernel.trust_mount import HostRoots
from akiosd.kernel.userns import IdMap
from akiosd.policy.compile.identity import system_map
from akiosd.policy.compile.limits import compile_base_pids
from akiosd.values.policy import Policy

_log = get_log("host")
KEEPER = "keeper.sock"
"""Of the runtime directory; the keeper is there while this akiosd is not."""
KEEPER_ENDED = "keeper-ended"
"""Of the state directory: cages that the keeper had to end, because nobody came back."""
_SYSTEM_ATTRS = mounts.MOUNT_ATTR_RDONLY | mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV


class Host:
    """Opened once, by :meth:`open`; :meth:`close` leaves nothing of it in the kernel."""

    check_room: Callable[[], Awaitable[None]] | None = None
    """Raises DeniedError where there is no room for the disk of another cage."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        self.settings = settings
        self.renewed: set[Callable[[], Coroutine[Any, Any, None]]] = set()
        """Called after the settings were changed, each in a task of its own."""
        config = settings.config
        self.ledger = ledger
        self.state_dir = Path(config.state_dir)
        self.cages_dir = self.state_dir / "cages"
        self.facts = probe.read_host()
        self.system = SystemTrees(self.facts.system_dirs)
        self.own_namespaces = probe.read_namespaces("self")
        self.hurry = Hurry()
        self.launcher = Launcher()
        self.zygote = Zygote()
        self.old_zygotes = OldZygotes()
        self._layout = find_layout(Path("/proc/self/mountinfo").read_text())
        self.keeper: Keeper | None = None
        """Who holds what cages need to outlive this akiosd; None where there is nobody."""
        self._has_cgroups = False
        self.cgroups: CgroupHost
        """Of the cages; there once :meth:`open_keeper` has returned."""
        self.keys = KeyStore(self.state_dir, credentials_directory(), self._credential_of)
        self.roots = HostRoots()
        self.log_bytes = 0
        """What ended cages took when it was last measured."""
        self.disks: Disks | None = None
        self.system_userns: Fd | None = None
        self.uids = CageUids(
            self.state_dir / "next-uid", config.uids.first_cage, config.uids.cage_count
        )

    @property
    def config(self) -> Config:
        """``akiosd.yaml`` as it holds now."""
        return self.settings.config

    def _credential_of(self, provider: str) -> str:
        """The name that akiosd.yaml gives the credential with a provider's key."""
        settings = self.config.gateway.providers.get(provider)
        return settings.credential if settings is not None else ""

    @property
    def policy(self) -> Policy:
        """The system policy as it holds now."""
        return self.settings.policy

    async def open_keeper(self) -> None:
        """Find the keeper, or start one; without one, cages end with this akiosd.

        Cages that an earlier akiosd left with a keeper that this one does not use are ended:
        KernelError where even that is not possible, because nobody would watch them.
        """
        path, ended = Path(self.config.runtime_dir, KEEPER), self.state_dir / KEEPER_ENDED
        come_back_s, name = self.config.restart.come_back_s, cgroup_name(self.config.state_dir)
        if come_back_s:
            scope = Scope(self._layout, name.replace("akios", "akios-cages", 1))
            try:
                self.keeper = await Keeper.open(path, ended, come_back_s, scope.spawn)
            except KernelError as error:
                _log.warning("cages do not outlive this akiosd", why=str(error))
        if self.keeper is None:
            await Keeper.end(path, ended)
        self.cgroups = CgroupHost(self._layout, name, self.keeper.pid if self.keeper else 0)
        self._has_cgroups = True
        self.zygote.keeper = self.old_zygotes.keeper = self.keeper
        self.zygote.group = self.cgroups.outliving

    async def _renew_patience(self) -> None:
        """restart.come_back_s may be another now."""
        if self.keeper is not None and self.config.restart.come_back_s:
            try:
                await self.keeper.be_patient(self.config.restart.come_back_s)
            except KernelError as error:
                _tell_lost(error)

    async def watch_keeper(self) -> None:
        """Say that the cages are served again, and have another keeper take the place of one that
        is lost.
        """
        if self.keeper is None:
            return
        try:
            self.renewed.add(self._renew_patience)
            await self.keeper.here()
        except KernelError as error:
            _tell_lost(error)
        await self.keeper.watch(self._keeper_lost)

    def _keeper_lost(self, error: KernelError | None) -> None:
        _tell_lost(error)
        if error is None and not self.cgroups.v2.is_dir():
            # There was no cage: systemd ended the scope, and the new one is empty.
            self.cgroups.set_up(compile_base_pids(self.facts.pools))

    async def open(self, spared: Collection[str] = ()) -> None:
        """Start the launcher and the zygote, set up cgroups and disks; remove what a killed daemon
        left, but for the control groups ``spared``, in which cages go on.

        Raises AkiosError when the host lacks what every cage needs.
        """
        probe.refuse_old_kernel()
        directories.make(self.cages_dir, directories.CAGES_MODE)
        cage_etc.sweep(self.state_dir / "etc")
        await self.launcher.start()
        self.cgroups.set_up(compile_base_pids(self.facts.pools))
        async with trio.open_nursery() as nursery:
            for name in set(self.cgroups.leaves()) - set(spared):
                nursery.start_soon(self._remove_left, name)
        self.zygote.start()
        self.disks = memory_disk.open_disks(self.state_dir, self.config.pools.disk_image_bytes)
        lines = system_map(self.config.uids.display_base)
        self.system_userns = await userns.create(self.launcher, IdMap(lines, lines))

    async def _remove_left(self, name: str) -> None:
        """A group of a daemon that was killed: its cages died with it, their groups did not."""
        try:
            await self.cgroups.leaf(name).destroy()
        except KernelError as error:
            # Something in it waits for a file system that does not answer, and cannot be killed
            # before.
            _log.error("what an earlier akiosd left stays", group=name, error=str(error))

    async def close(self, *, for_good: bool = True) -> None:
        """End the helper processes and unmount.  Unless ``for_good``, which is a stop that was
        asked for, the keeper stays and waits for the next akiosd.
        """
        if self.system_userns is not None:
            self.system_userns.close()
        await self.launcher.close()
        if for_good:
            await self.zygote.close()
        if self.disks is not None:
            self.disks.close()
        if self.keeper is not None:
            if for_good:
                await self.keeper.leave()
            else:
                self.keeper.close()
        if not self._has_cgroups:
            return
        try:
            await self.cgroups.tear_down()
        except KernelError as error:
            _log.error("the control groups stay", error=str(error))

    def clone_system(self, tree: int) -> Fd:
        """A read-only clone of the system tree at ``tree``, with owners in the display range; the
        descriptor is the caller's.
        """
        assert self.system_userns is not None
        try:
            return mounts.clone_idmapped(tree, self.system_userns.fileno(), _SYSTEM_ATTRS)
        except OSError:
            # A root file system without id maps: owners look like nobody, nothing more is given
            # away.
            return mounts.clone_idmapped(tree, -1, _SYSTEM_ATTRS)

    def clone_system_trees(self) -> dict[str, Fd]:
        """Clones of ``/usr`` and the other system directories, under their names in the plan; the
        caller owns them.
        """
        trees: dict[str, Fd] = {}
        for name in self.facts.system_dirs:
            with Fd(os.open(b"/" + name, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as tree:
                trees["system:" + name.decode()] = self.clone_system(tree.fileno())
        return trees


def _tell_lost(error: KernelError | None) -> None:
    if error is None:
        _log.warning("the keeper was lost; another one holds what it held")
    else:
        _log.error("there is no keeper: cages do not outlive this akiosd now", why=str(error))


def cgroup_name(state_dir: str) -> str:
    """``akios`` for the service, a name of its own for every private daemon."""
    if state_dir == "/var/lib/akios":
        return "akios"
    return "akios-" + hashlib.sha256(os.path.realpath(state_dir).encode()).hexdigest()[:12]
