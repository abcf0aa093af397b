"""Answers the requests of the control socket: a table from messages to handlers."""

from __future__ import annotations

import time
from collections.abc import Callable, Coroutine
from typing import Any

import trio

from akiosd import __version__
from akiosd.daemon.base.guarded import Tasks, call_guarded
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.host import Host
from akiosd.daemon.requests.admission import Admission
from akiosd.daemon.requests.cage_requests import CageRequests
from akiosd.daemon.requests.change_requests import ChangeRequests
from akiosd.daemon.requests.disk_use import read_disk_use, read_free
from akiosd.daemon.requests.doctor import read_posture, read_room
from akiosd.daemon.requests.http_requests import Direct
from akiosd.daemon.requests.keys import KeyKeeper
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.daemon.requests.run_requests import RunRequests
from akiosd.daemon.requests.serve_logs import LogServer
from akiosd.daemon.requests.standing_requests import StandingRequests
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import ShellAsked
from akiosd.wire import messages as wire


class Supervisor:
    """The handler of :func:`akiosd.daemon.sockets.serve_clients.serve_clients`."""

    def __init__(self, host: Host, pool: Pool, tasks: Tasks) -> None:
        self._host = host
        self._started = time.monotonic_ns()
        self._looking, self._recording = trio.Lock(), trio.Lock()
        self.registry = registry = Registry(host)
        self.owner_of = registry.owner_of
        self._admission = Admission(host, registry)
        self._direct = Direct(host, registry.find, self._admission.admit_request)
        self.logs = LogKeeper(host, self._why_busy, may_destroy=registry.may_destroy_log)
        self.changes = ChangeRequests(host, registry)
        self._standing = standing = StandingRequests(tasks, registry, self.changes, self.logs)
        self.runs = runs = RunRequests(host, pool, tasks, registry, self._admission, standing)
        cages = CageRequests(registry, standing)
        logs, keys = LogServer(host, registry.owner_of), KeyKeeper(host)
        self._handlers: dict[type[wire.Message], Callable[..., Coroutine[Any, Any, None]]] = {
            wire.Run: runs.run,
            wire.Program: standing.program,
            wire.Pause: standing.pause,
            wire.CageStatus: standing.status,
            wire.Down: standing.down,
            wire.Attach: runs.attach,
            wire.Rejoin: runs.rejoin,
            wire.Detach: runs.detach,
            wire.Output: runs.output,
            wire.Signal: cages.signal,
            wire.Stop: cages.stop,
            wire.List: cages.list,
            wire.Measure: cages.measure,
            wire.BudgetInfo: cages.budget,
            wire.View: self.changes.view,
            wire.Discard: self.changes.discard,
            wire.Doctor: self._doctor,
            wire.LedgerInfo: logs.info,
            wire.ReadLog: logs.entries,
            wire.ReadLogFile: logs.file,
            wire.ListLogFiles: logs.files,
            wire.ListLogs: logs.names,
            wire.RotateKey: self.logs.rotate,
            wire.Destroy: self.logs.destroy,
            wire.Prune: self.logs.prune,
            wire.KeySet: keys.set,
            wire.KeyRemove: keys.remove,
            wire.KeyList: keys.list,
            wire.Http: self._direct.handle,
            wire.SystemPolicyInfo: self._system_policy,
            wire.ShellRefused: self._shell_refused,
        }

    async def handle(
        self, peer: Peer, request: wire.Message, fds: list[int], client: ClientConnection
    ) -> None:
        """Answer one request with the handler of its type."""
        await self._handlers[type(request)](peer, request, fds, client)

    def leave(self) -> None:
        """Nothing is begun any more, and what clients do from now on ends no cage."""
        self._admission.stopping = self.runs.leaving = self._standing.leaving = True

    async def stop_all(self) -> None:
        """Kill every cage and wait until all have ended and given back what they held."""
        self._admission.stopping = True
        for cage in list(self.registry.running.values()):
            call_guarded("end a cage", cage.end, "daemon_stopped")
        await self._direct.stop()
        await self.registry.wait_empty()
        self.registry.close()

    def freeze_all(self, frozen: bool) -> None:
        """Freeze or thaw all running cages: the ledger has no room, or has it again."""
        for cage in self.registry.running.values():
            # One that ends in this moment has nothing left to freeze.
            call_guarded("freeze a cage", cage.standstill.freeze, frozen)

    async def _doctor(
        self, peer: Peer, request: wire.Doctor, fds: list[int], client: ClientConnection
    ) -> None:
        async with self._looking:  # one walk through the disk at a time, whoever asks
            disk = await trio.to_thread.run_sync(read_disk_use, self._host.config, self._host.disks)
        free_bytes, free_inodes = read_free(self._host.state_dir)
        reply = wire.DoctorReply(
            software=f"akiosd {__version__}",
            kernel=self._host.facts.kernel,
            posture=(*read_posture(self._host), *await read_room(self._host)),
            cages=len(self.registry.running),
            uptime_ns=time.monotonic_ns() - self._started,
            state_dir=str(self._host.state_dir),
            disk=disk,
            free_bytes=free_bytes,
            free_inodes=free_inodes,
        )
        await client.reply(reply)

    async def _system_policy(
        self, peer: Peer, request: wire.SystemPolicyInfo, fds: list[int], client: ClientConnection
    ) -> None:
        """Clients merge theirs over it; what they send is checked against it all the same."""
        await client.reply(wire.SystemPolicyReply(packed=self._host.settings.packed))

    async def _shell_refused(
        self, peer: Peer, request: wire.ShellRefused, fds: list[int], client: ClientConnection
    ) -> None:
        """One at a time, so that nobody fills the log faster than it is written."""
        async with self._recording:
            record = ShellAsked(ts=time.time_ns(), place=request.place, uid=peer.uid)
            await self._host.ledger.commit(HOST_LOG, record)
        await client.reply(wire.Ok())

    def _why_busy(self, cage: str) -> str:
        if cage in self.registry.running or cage in self._direct.running:
            return f"the cage {cage} still runs"
        return (
            f"changes of {cage} wait to be committed or discarded"
            if cage in self.registry.kept
            else ""
        )
