"""Cages of policy mode are made when they are asked for: nothing in one takes long."""

from __future__ import annotations

import os
import shutil
from datetime import UTC, datetime
from pathlib import Path

import trio

from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.prepared_cage import Caller, Prepared
from akiosd.daemon.gateways.cage_ca import make_authority
from akiosd.daemon.host import Host
from akiosd.daemon.policy_mode.domain_cage import DomainCage
from akiosd.daemon.policy_mode.launch import DomainLauncher, park
from akiosd.daemon.policy_mode.unprivileged_parts import Directory, Domain, NoGroups
from akiosd.errors import CageFailedError
from akiosd.kernel.fds import Fd
from akiosd.kernel.trust_mount import store_files, write_file
from akiosd.values.ids import CageId, make_cage_id
from akiosd.values.policy import Limits


class DomainPrepared(Prepared):
    """A private directory with the trust files, pipes, and an init that waits."""

    def __init__(self, cage: CageId, directory: Path) -> None:
        # No descriptor stands for the container's network.
        nothing = Fd(-1)
        super().__init__(
            cage, directory, os.geteuid(), nothing, Directory(directory), Domain(NoGroups(), cage)
        )
        self.host_gid = os.getegid()

    async def fit(self, host: Host, caller: Caller) -> None:
        """Record whose cage it is; the agent has akiosd's uid, whoever asked."""
        (self.directory / "owner").write_text(str(caller.uid))
        self.caller = caller

    async def park(self, host: Host) -> None:
        """Have an init begin the cage."""
        assert isinstance(host.launcher, DomainLauncher) and isinstance(self.leaf, Domain)
        self.child = await park(host.launcher)
        self.leaf.init = self.child.process

    def bring_trust(self, host: Host) -> None:
        """Make the cage's authority and write its trust files."""
        host.roots.refresh(host.settings.roots)
        self.authority = make_authority(self.cage, datetime.now(UTC))
        files = store_files(host.roots, self.authority.pem, self.authority.certificate)
        trust = self.slot.directory / "trust"
        with Fd(os.open(trust, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as directory:
            for name, parts in files.items():
                write_file(directory.fileno(), name, parts, os.geteuid())


class DomainPool(Pool):
    """Makes each cage when it is taken."""

    cage_type = DomainCage

    def __init__(self, host: Host) -> None:
        super().__init__(host, 0)

    async def take(self, caller: Caller, limits: Limits) -> Prepared:
        """A cage for this caller, who owns it then.  CageFailedError, KernelError."""
        cage = make_cage_id(os.urandom(8))
        directory = self._host.cages_dir / cage
        made: DomainPrepared | None = None
        try:
            directory.mkdir(mode=0o711)
            directory.chmod(0o711)
            made = DomainPrepared(cage, directory)
            made.make_pipes()
            made.bring_trust(self._host)
            await made.fit(self._host, caller)
            await made.park(self._host)
        except BaseException as error:
            if made is not None:
                await made.destroy(self._host)
            shutil.rmtree(directory, ignore_errors=True)
            if isinstance(error, OSError):
                raise CageFailedError(
                    f"a cage cannot be made: {error.strerror}",
                    str(error.filename or directory),
                    "see akiosd's log and akiosctl doctor",
                ) from error
            raise
        return made

    def refill_soon(self) -> None:
        """Nothing is kept ready."""

    def discard(self) -> None:
        """Nothing is kept ready."""

    async def refill(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """There is nothing to do."""
        task_status.started()
        await trio.sleep_forever()
