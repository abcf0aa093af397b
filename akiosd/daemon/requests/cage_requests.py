"""Requests about running cages: send a signal, stop, ask for the budget, list."""

from __future__ import annotations

import trio

from akiosd.cage.machine import Event
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.registry import Registry, user_name
from akiosd.daemon.requests.standing_requests import StandingRequests
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import AkiosError
from akiosd.kernel.user_tree import identify
from akiosd.wire import messages as wire

_log = get_log("cages")


class CageRequests:
    """Handlers of :class:`Signal`, :class:`Stop`, :class:`BudgetInfo`, :class:`Measure` and
    :class:`List`.
    """

    def __init__(self, registry: Registry, standing: StandingRequests) -> None:
        self._registry, self._standing = registry, standing

    async def signal(
        self, peer: Peer, request: wire.Signal, fds: list[int], client: ClientConnection
    ) -> None:
        """Send a signal to the agent of a running cage, or to a program of a standing one."""
        if request.program:
            await self._standing.signal(peer, request, client)
            return
        await self._registry.find(peer, request.cage).signal(request.signo)
        await client.reply(wire.Ok())

    async def stop(
        self, peer: Peer, request: wire.Stop, fds: list[int], client: ClientConnection
    ) -> None:
        """End a running cage, or a program of a standing one; answers when it has ended."""
        if request.program:
            await self._standing.stop(peer, request, client)
            return
        cage = self._registry.find(peer, request.cage)
        if request.cause == "output" and cage.policy.limits.output:
            cage.post(Event("limit", "output"))
            await cage.ended.wait()
        elif request.grace_ns:
            try:
                with trio.move_on_after(request.grace_ns / 1e9):
                    if cage.is_standing:
                        await cage.ask_programs_to_end()
                    else:
                        await cage.signal(15)
                        await cage.ended.wait()
            except (AkiosError, OSError) as error:
                # It was to end, and does, without having been asked.
                _log.warning("a cage cannot be asked to end", cage=cage.id, error=str(error))
        if not cage.ended.is_set():
            cage.end("stopped", user_name(peer.uid))
            await cage.ended.wait()
        await client.reply(wire.Ok())

    async def budget(
        self, peer: Peer, request: wire.BudgetInfo, fds: list[int], client: ClientConnection
    ) -> None:
        """Answer with the state of a running cage's account."""
        cage = self._registry.find(peer, request.cage)
        await client.reply(cage.spend.describe(cage.id))

    async def measure(
        self, peer: Peer, request: wire.Measure, fds: list[int], client: ClientConnection
    ) -> None:
        """Answer with what running cages use; between two of them others have their turn."""
        page, more = self._registry.running_page(peer, request.everyone, request.after)
        used = []
        for cage in page:
            await trio.lowlevel.checkpoint()
            used.append(cage.measure())
        await client.reply(wire.Measured(cages=tuple(used), more=more))

    async def list(
        self, peer: Peer, request: wire.List, fds: list[int], client: ClientConnection
    ) -> None:
        """Answer with one page of the cages that the peer may see."""
        page, more = self._registry.list_page(peer, request.everyone, request.after)
        here = identify(fds[0]) if fds else None
        await client.reply(wire.Cages(cages=tuple(page), more=more, here=here))
