"""The pool of half-made cages: id, directory, uid with user namespaces, network, disk, cgroup,
parked child.

A run takes one, and the pool makes another in the background, so that no request waits for work
that does not depend on it.
"""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Awaitable, Callable
from pathlib import Path

import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.prepared_cage import Caller, Prepared, create_slot
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.gateways import listeners
from akiosd.daemon.host import Host
from akiosd.errors import AkiosError, CageFailedError
from akiosd.kernel import netns, syscalls
from akiosd.kernel.disk import Slot
from akiosd.kernel.fds import Fd, close_all
from akiosd.values.ids import make_cage_id
from akiosd.values.policy import Limits

_log = get_log("pool")
_REST_S = 1.0


class Pool:
    """Keeps ``size`` half-made cages ready."""

    cage_type: type[Cage] = Cage
    """What becomes of one that is taken."""

    def __init__(self, host: Host, size: int) -> None:
        self._host = host
        self._size = size
        self._ready: list[Prepared] = []
        self._spoiled: list[Prepared] = []
        self._networks: list[Fd] = []
        self._making = trio.Lock()
        self._wanted = trio.Event()
        self._caller: Caller | None = None
        self._limits = host.policy.limits

    async def take(self, caller: Caller, limits: Limits) -> Prepared:
        """A half-made cage for this caller, which the caller of this method owns; the next ones are
        made for the same caller.

        Raises CageFailedError, KernelError.
        """
        self._caller = caller
        self._limits = limits
        disk_size = limits.disk
        found = self._ready.pop(0) if self._ready else None
        try:
            if found is None:
                found = await self._make()
            if found.slot.size != disk_size or found.child is None or not found.child.alive:
                await found.begin_again(self._host, disk_size)
            found.bring_trust(self._host)
            await found.fit(self._host, caller)
            found.limit(self._host, limits)
        except BaseException as error:
            if found is not None:
                await found.destroy(self._host)
            self._wanted.set()
            if isinstance(error, OSError):
                raise _explain(error, self._host.state_dir) from error
            raise
        return found

    def refill_soon(self) -> None:
        """A cage was taken and has started: there is time to make another."""
        self._wanted.set()

    def discard(self) -> None:
        """Use nothing that is ready, and destroy it soon.

        To be called when the disk is full: a sparse image that met a full disk has lost writes, and
        says so only when it is used.
        """
        self._spoiled += self._ready
        self._ready = []
        self._wanted.set()

    async def refill(
        self, *, task_status: trio.TaskStatus[None] = trio.TASK_STATUS_IGNORED
    ) -> None:
        """Keep the pool full until cancelled; then destroy what was not taken."""
        try:
            await self._fill()
            task_status.started()
            while True:
                await self._wait_wanted()
                await self._destroy_spoiled()
                try:
                    await self._fill()
                except (AkiosError, OSError) as error:
                    # The next run makes its own, its caller is told what is wrong, and then this is
                    # tried again: not before, for a host without room would be kept busy by it.
                    _log.error("no cage can be made in advance", error=str(error))
                    await self._rest()
                except Exception:
                    _log.exception("no cage can be made in advance")
                    await self._rest()
        finally:
            self.discard()
            await self._destroy_spoiled()
            close_all(self._networks)

    async def _rest(self) -> None:
        self.discard()
        await self._destroy_spoiled()
        self._wanted = trio.Event()

    async def _wait_wanted(self) -> None:
        with trio.move_on_after(_REST_S) as rest:
            await self._wanted.wait()
        if rest.cancelled_caught:
            # After a crowd of cages what is still in use lies scattered, and nothing shrinks by
            # itself.
            await trio.to_thread.run_sync(syscalls.malloc_trim)
            await self._wanted.wait()

    async def _destroy_spoiled(self) -> None:
        with trio.CancelScope(shield=True):
            while self._spoiled:
                await self._spoiled.pop().destroy(self._host)

    async def _fill(self) -> None:
        self._wanted = trio.Event()
        while len(self._ready) < self._size and self._host.uids.left > self._size:
            # With few cages left the next caller would have to wait, so they are made at once.
            calm = len(self._ready) > self._size // 2
            made = await self._make(
                self._host.hurry.wait_calm if calm else trio.lowlevel.checkpoint
            )
            try:
                if self._caller is not None:
                    await made.fit(self._host, self._caller)
            except BaseException:
                await made.destroy(self._host)
                raise
            self._ready.append(made)

    async def _take_network(self) -> Fd:
        """A network namespace; several are made at once, so that of a crowd only the
        first waits.
        """
        async with self._making:
            if not self._networks:
                self._networks += await netns.create(max(1, self._size // 2))
            return self._networks.pop()

    async def _make(
        self, wait: Callable[[], Awaitable[None]] = trio.lowlevel.checkpoint
    ) -> Prepared:
        """Make one cage.  ``wait`` is called between the parts, so that those who wait for their
        cages come first.
        """
        await wait()
        network = await self._take_network()
        cage = make_cage_id(os.urandom(8))
        directory = self._host.cages_dir / cage
        slot: Slot | None = None
        host_id = 0
        try:
            host_id = self._host.uids.take()
            directory.mkdir()
            directory.chmod(0o711)
            slot = await create_slot(self._host, directory, self._limits.disk, host_id)
        except BaseException:
            network.close()
            if slot is not None:
                slot.destroy()
            shutil.rmtree(directory, ignore_errors=True)
            self._host.uids.give_back(host_id)
            raise
        made = Prepared(cage, directory, host_id, network, slot, self._host.cgroups.leaf(cage))
        try:
            await wait()
            made.leaf.make()
            made.limit(self._host, self._limits)
            made.leaf.open_oom_event()
            made.make_pipes()
            await wait()
            made.bound = listeners.open_base(network)
            await wait()
            made.bring_trust(self._host)
            await wait()
            await made.park(self._host)
            await wait()
        except BaseException:
            await made.destroy(self._host)
            raise
        return made


def _explain(error: OSError, state_dir: Path) -> CageFailedError:
    full = error.errno in (errno.ENOSPC, errno.EDQUOT)
    return CageFailedError(
        f"a cage cannot be made: {error.strerror}",
        str(error.filename or state_dir),
        f"make room on the disk of {state_dir}" if full else "see akiosd's log and akiosctl doctor",
    )
