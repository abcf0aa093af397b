"""What all cages share where akiosd has no privilege."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path

from akiosd.daemon.base import directories
from akiosd.daemon.base.key_store import KeyStore, credentials_directory
from akiosd.daemon.base.priority import Hurry
from akiosd.daemon.base.settings import Settings
from akiosd.daemon.base.zygote import OldZygotes, Zygote
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.policy_mode.launch import DomainLauncher
from akiosd.daemon.policy_mode.unprivileged_parts import Directories, NoGroups, OwnUid
from akiosd.errors import LayerUnavailableError
from akiosd.kernel import probe, syscalls
from akiosd.kernel.system_trees import SystemTrees
from akiosd.kernel.trust_mount import HostRoots
from akiosd.policy.compile.policy_mode import FLOOR_ABI

CANARY = "proof"
"""Below the state directory: what Landlock must refuse before any agent starts."""
_YAMA = Path("/proc/sys/kernel/yama/ptrace_scope")
_PR_SET_CHILD_SUBREAPER = 36


class DomainHost(Host):
    """Has the attributes of :class:`Host`, and none of what needs a privilege."""

    def __init__(self, settings: Settings, ledger: Ledger) -> None:
        config = settings.config
        self.settings, self.ledger = settings, ledger
        self.renewed = set()
        self.state_dir = Path(config.state_dir)
        self.cages_dir = self.state_dir / "cages"
        self.facts = probe.read_host()
        self.system = SystemTrees(self.facts.system_dirs)
        self.own_namespaces = {}
        self.hurry = Hurry()
        self.launcher = DomainLauncher()
        self.zygote = Zygote()
        self.old_zygotes = OldZygotes()
        self.keeper = None
        self.log_bytes = 0
        self.cgroups = NoGroups()
        self.keys = KeyStore(self.state_dir, credentials_directory(), self._credential_of)
        self.roots = HostRoots()
        self.disks = Directories(self.cages_dir)
        self.system_userns = None
        self.uids = OwnUid()
        self.inits = set[int]()
        """pids of the inits of running cages."""

    async def open_keeper(self) -> None:
        """Nobody holds what cages need: they end with this akiosd."""

    async def open(self, spared: Collection[str] = ()) -> None:
        """Check what the mode rests on, and start the launcher and the zygote.

        Raises LayerUnavailableError where this kernel lacks something.
        """
        check_floor(self.facts.landlock_abi)
        # Agents whose init was killed come to us, and end with our container at the latest.
        syscalls.prctl(_PR_SET_CHILD_SUBREAPER, 1)
        directories.make(self.cages_dir, directories.CAGES_MODE)
        canary = self.state_dir / CANARY
        directories.make(canary, 0o700)
        (canary / "canary").write_bytes(b"")
        await self.launcher.start()
        self.zygote.start()

    async def close(self, *, for_good: bool = True) -> None:
        """End the helper processes."""
        await self.launcher.close()
        await self.zygote.close()


def check_floor(abi: int) -> None:
    """Raise LayerUnavailableError where agents of the same uid could not be held."""
    if abi < FLOOR_ABI:
        raise LayerUnavailableError(
            f"Landlock is {'ABI ' + str(abi) if abi else 'not there'}, policy mode needs ABI"
            f" {FLOOR_ABI}: below it nothing keeps an agent from ending other processes of its uid",
            "landlock",
            "run it on Linux 6.12 or newer, with landlock among the security modules (lsm=)",
        )
    if os.geteuid() == 0:
        raise LayerUnavailableError(
            "policy mode is for an akiosd without privileges, and this one is root",
            "start",
            "start it as another user, or without --policy-mode",
        )
    try:
        scope = int(_YAMA.read_text())
    except (OSError, ValueError):
        scope = 0
    if scope > 1:
        raise LayerUnavailableError(
            f"kernel.yama.ptrace_scope is {scope}: akiosd may not read the addresses that agents"
            " connect to",
            str(_YAMA),
            "set it to 1 or 0 on the host",
        )
