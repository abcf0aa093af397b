"""What root and admins do to logs: rotate the key that signs them, destroy a cage's data, prune old ones."""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from akiosd.daemon.erase_log import erase_log
from akiosd.daemon.host import Host
from akiosd.daemon.peers import Peer
from akiosd.daemon.serve_clients import ClientConnection
from akiosd.errors import Refused
from akiosd.store.retention import choose, survey_cages
from akiosd.store.wipe import How, Wiped
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.wire import messages as wire


class LogKeeper:
    """Handlers for the supervisor.  ``why_busy`` says why a cage's data may not go now, or ""."""

    def __init__(self, host: Host, why_busy: Callable[[str], str]) -> None:
        self._host, self._why_busy = host, why_busy
        self._one_at_a_time = trio.Lock()

    async def rotate(self, peer: Peer, request: wire.RotateKey, fds: list[int], client: ClientConnection) -> None:
        if peer.role != "root":
            raise Refused("only root changes the key that signs the logs", "rotate-key")
        ledger = self._host.ledger
        await ledger.rotate_key()
        note, vkey = await ledger.checkpoint(HOST_LOG)
        await client.reply(
            wire.LedgerReply(log=HOST_LOG, origin=ledger.origin(HOST_LOG), vkey=str(vkey), checkpoint=note)
        )

    async def destroy(self, peer: Peer, request: wire.Destroy, fds: list[int], client: ClientConnection) -> None:
        how = _how(peer, request)
        if not is_cage_id(request.cage):
            raise Refused(f"{request.cage!r} is not the name of a cage", "destroy", "give its whole name")
        why = self._why_busy(request.cage)
        if why:
            raise Refused(why, request.cage)
        wiped, size, root = await self._erase(LogId(request.cage), how)
        await self._host.ledger.overwrite_wal()
        await client.reply(
            wire.Destroyed(files=wiped.files, overwritten=wiped.bytes, spared=wiped.spared, size=size, root=root)
        )

    async def prune(self, peer: Peer, request: wire.Prune, fds: list[int], client: ClientConnection) -> None:
        how = _how(peer, request)
        found = await trio.to_thread.run_sync(survey_cages, self._host.cages_dir)
        idle = [use for use in found if not self._why_busy(use.log)]
        chosen = choose(idle, time.time_ns(), request.max_age_ns, request.max_bytes)
        if not request.dry_run:
            for use in chosen:
                await self._erase(use.log, how)
            if chosen:
                await self._host.ledger.overwrite_wal()
        cages = tuple(use.log for use in chosen)
        freed = sum(use.bytes for use in chosen)
        await client.reply(wire.Pruned(cages=cages, freed=freed, kept=len(found) - len(cages)))

    async def _erase(self, log: LogId, how: How) -> tuple[Wiped, int, bytes]:
        """Not left half done because the client went away: the next start would do it, but why wait for that."""
        with trio.CancelScope(shield=True):
            async with self._one_at_a_time:
                tombstone = await self._host.ledger.destroy_log(log, str(how))
                wiped = await erase_log(self._host.ledger, self._host.cages_dir, log, how)
        return wiped, tombstone.size, tombstone.root


def _how(peer: Peer, request: wire.Destroy | wire.Prune) -> How:
    if peer.role not in ("root", "admin"):
        raise Refused("only root and admins destroy logs", "destroy", "ask an administrator")
    if not 1 <= request.passes <= 35:
        raise Refused("between 1 and 35 passes", "destroy")
    return How(request.passes, request.fast)
