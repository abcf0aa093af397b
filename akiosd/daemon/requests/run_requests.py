"""Requests about runs: begin one, leave it and join it again, read what it wrote."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import Any

import trio

from akiosd.cage.machine import Event
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.base.priority import Hurried
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.pool import Pool
from akiosd.daemon.cages.prepared_cage import Caller
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.cages.spool import Spool
from akiosd.daemon.host import Host
from akiosd.daemon.requests.admission import Admission
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import DeniedError
from akiosd.kernel.fds import Fd
from akiosd.policy.compile.identity import AGENT_ID
from akiosd.values.ids import LogId
from akiosd.wire import messages as wire

_log = get_log("runs")


class RunRequests:
    """Handlers of :class:`Run`, :class:`Attach`, :class:`Detach` and :class:`Output`."""

    def __init__(
        self,
        host: Host,
        pool: Pool,
        nursery: trio.Nursery,
        registry: Registry,
        admission: Admission,
    ) -> None:
        self._host, self._pool, self._nursery = host, pool, nursery
        self._registry, self._admission = registry, admission
        self._spools: dict[str, Spool] = {}
        """Cages whose output nobody reads now, and where it goes."""

    async def run(
        self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection
    ) -> None:
        """Start a cage; answers when it has started, and again when it has ended."""
        self._admission.admit_run(peer, run)
        # Until its agent begins; with its end it waits again.
        with self._host.hurry.begin() as hurried:
            await self._run_hurried(peer, run, fds, client, hurried)

    async def _run_hurried(
        self, peer: Peer, run: wire.Run, fds: list[int], client: ClientConnection, hurried: Hurried
    ) -> None:
        caller = _caller(peer, run)
        with self._registry.claim_name(peer.uid, run.name):
            prepared = await self._pool.take(caller, run.policy.limits)
            taken = fds[: 1 + len(run.binds) + sum(bind.holder > 0 for bind in run.binds)]
            del fds[: len(taken)]
            order = self._registry.next_order()
            cage = Cage(self._host, prepared, peer, run, taken, hurried, order)
            self._registry.add(cage)

        async def on_started(reply: wire.Started, numbers: list[int]) -> None:
            try:
                await client.reply(reply, [] if run.detach else numbers)
            except trio.BrokenResourceError:
                cage.end("client_gone")
            self._pool.refill_soon()
            if run.detach:
                if cage.master is None:
                    cage.stdio[0].close()
                self._begin_spool(cage)

        self._nursery.start_soon(self._live, cage, on_started)
        try:
            await cage.ended.wait()
            assert cage.result is not None
            await client.reply(cage.result)
        except (trio.Cancelled, trio.BrokenResourceError):
            if not cage.detached:
                cage.end("client_gone")
            raise

    async def _live(self, cage: Cage, on_started: Callable[..., Any]) -> None:
        try:
            await cage.run(on_started)
        except Exception:
            _log.exception("a cage failed", cage=cage.id)
        finally:
            spool = self._spools.pop(cage.id, None)
            if spool is not None:
                spool.stop()
            self._pool.refill_soon()
            self._registry.remove(cage)

    async def attach(
        self, peer: Peer, request: wire.Attach, fds: list[int], client: ClientConnection
    ) -> None:
        """Hand over the terminal or the output of a detached cage; answers again at its end."""
        cage = self._registry.find(peer, request.cage)
        spool = self._spools.pop(cage.id, None)
        if spool is None:
            raise DeniedError(
                f"{cage.id} is attached somewhere else", "attach", "detach there first"
            )
        spool.stop()
        try:
            numbers = (
                [cage.master.fileno()]
                if cage.master is not None
                else [fd.fileno() for fd in cage.stdio[1:]]
            )
            await client.reply(
                wire.Started(
                    cage=cage.id,
                    tty=cage.master is not None,
                    output=cage.policy.limits.output,
                    posture=cage.posture,
                    notes=(str(spool.path),),
                ),
                numbers,
            )
            await cage.ended.wait()
            assert cage.result is not None
            await client.reply(cage.result)
        finally:
            if cage.id in self._registry.running and not cage.ended.is_set():
                self._begin_spool(cage)

    async def detach(
        self, peer: Peer, request: wire.Detach, fds: list[int], client: ClientConnection
    ) -> None:
        """Leave a cage running: its output is kept in a spool."""
        cage = self._registry.find(peer, request.cage)
        if cage.master is None and not cage.detached:
            raise DeniedError(
                "only a cage with a terminal can be left",
                "detach",
                "start it with -t, or with --detach",
            )
        cage.detached = True
        self._begin_spool(cage)
        await client.reply(wire.Ok())

    async def output(
        self, peer: Peer, request: wire.Output, fds: list[int], client: ClientConnection
    ) -> None:
        """Send the file with the output of a detached cage."""
        owner = self._registry.owner_of(LogId(request.cage))
        path = self._host.cages_dir / request.cage / pending_changes.OUTPUT
        if (
            owner is None
            or (peer.role not in ("root", "admin") and owner != peer.uid)
            or not path.exists()
        ):
            raise DeniedError(
                f"{request.cage} left no output here",
                "output",
                "only a detached cage's output is kept",
            )
        with Fd(os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)) as output:
            await client.reply(
                wire.OutputReply(cage=request.cage, running=request.cage in self._registry.running),
                [output.fileno()],
            )

    def _begin_spool(self, cage: Cage) -> None:
        if cage.id not in self._spools:
            reached = partial(cage.post, Event("limit", "output"))
            path = cage.directory / pending_changes.OUTPUT
            spool = self._spools[cage.id] = Spool(path, cage.policy.limits.output, reached)
            sources = [cage.master] if cage.master is not None else cage.stdio[1:]
            self._nursery.start_soon(
                spool.run, [fd for fd in sources if fd is not None and not fd.closed]
            )


def _caller(peer: Peer, run: wire.Run) -> Caller:
    mode = run.policy.identity.mode
    if mode == "root":
        return Caller(peer.uid, peer.gid, 0, 0)
    if mode == "caller" and peer.uid != 0:
        return Caller(peer.uid, peer.gid, peer.uid, peer.gid)
    return Caller(peer.uid, peer.gid, AGENT_ID, AGENT_ID)
