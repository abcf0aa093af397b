"""Requests that change logs: rotate the signing key, destroy a cage's data, prune old cages, pack
finished logs.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import replace

import trio

from akiosd.cage.destroying import may_destroy
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.peers import Peer
from akiosd.daemon.cages.erase_data import erase_log
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.prune import prune_host_log
from akiosd.daemon.ledger.read_clocks import LogAges, read_clocks
from akiosd.daemon.sockets.serve_clients import ClientConnection
from akiosd.errors import AkiosError, DeniedError
from akiosd.kernel.hashing import NATIVE
from akiosd.store.ages import Ages, Reading
from akiosd.store.archive_log import Places, drop_directory, make_archive
from akiosd.store.retention import Use, choose, survey_cages
from akiosd.store.wipe import How, Wiped
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.values.records import CageDestroyed, CagePacked
from akiosd.wire import messages as wire

_log = get_log("logs")


class LogKeeper:
    """Handlers of the requests.

    ``why_busy`` says why a cage's data may not be removed now, "" when it may; ``read`` reads the
    clocks; ``may_destroy`` says whether a peer may destroy a cage's log.
    """

    def __init__(
        self,
        host: Host,
        why_busy: Callable[[str], str],
        read: Callable[[], Reading] = read_clocks,
        may_destroy: Callable[[Peer, str], bool] = lambda peer, cage: False,
    ) -> None:
        self._host, self._why_busy, self._may_destroy = host, why_busy, may_destroy
        self._ages = LogAges(host.ledger, read)
        self._one_at_a_time = trio.Lock()

    async def rotate(
        self, peer: Peer, request: wire.RotateKey, fds: list[int], client: ClientConnection
    ) -> None:
        """Replace the signing key (root only)."""
        if peer.role != "root":
            what = "only root may change the key that signs the logs"
            raise DeniedError(what, "rotate-key", "use sudo")
        ledger = self._host.ledger
        await ledger.rotate_key()
        note, vkey = await ledger.checkpoint(HOST_LOG)
        await client.reply(
            wire.LedgerReply(
                log=HOST_LOG, origin=ledger.origin(HOST_LOG), vkey=str(vkey), checkpoint=note
            )
        )

    async def destroy(
        self, peer: Peer, request: wire.Destroy, fds: list[int], client: ClientConnection
    ) -> None:
        """Destroy all data of an ended cage; answers when no trace is left, in the WAL neither."""
        how = _how(request)
        if not self._may_destroy(peer, request.cage):
            raise DeniedError(
                "only root, administrators and, for a standing cage, the user who made it may"
                " destroy a log",
                "destroy",
                "use sudo, or ask an administrator",
            )
        if not is_cage_id(request.cage):
            raise DeniedError(
                f"{request.cage!r} is not the id of a cage",
                "destroy",
                "give its id: akiosctl ps --all shows it",
            )
        why = self._why_busy(request.cage)
        if why:
            raise DeniedError(
                why,
                request.cage,
                "stop it, or commit or discard its changes, first: akiosctl ps --all",
            )
        await client.reply(await self.take_down(LogId(request.cage), how, peer.uid))

    async def take_down(self, log: LogId, how: How, uid: int, outside: str = "") -> wire.Destroyed:
        """Destroy all data of an ended cage, its log included, until no trace is left.  ``uid`` is
        who asked, ``outside`` what was wiped elsewhere, for the tombstone.
        """
        outside = f"asked by uid {uid}" + (f"; {outside}" if outside else "")
        wiped, stone = await self._erase(log, how, outside)
        await self._clear_traces()
        await self._measure()
        return wire.Destroyed(
            files=wiped.files,
            overwritten=wiped.bytes,
            spared=wiped.spared,
            size=stone.size,
            root=stone.root,
            method=stone.method,
        )

    async def prune(
        self, peer: Peer, request: wire.Prune, fds: list[int], client: ClientConnection
    ) -> None:
        """Destroy the data of old cages, or with ``dry_run`` only say which."""
        how = _how(request)
        if not may_destroy("log", peer.role, owns=False):
            raise DeniedError(
                "only root and administrators may prune logs",
                "prune",
                "use sudo, or ask an administrator",
            )
        found = await self._survey()
        failed: dict[LogId, str] = {}
        if request.max_age_ns is not None and (await self._ages.now()).clock.waits:
            raise DeniedError(
                "the clock of this host jumped; --older-than works when it has been right for a"
                " day",
                "prune",
                "until then prune by size: --max-size",
            )
        if request.dry_run:
            chosen = await self._choose(found, request.max_age_ns, request.max_bytes)
        else:
            chosen, failed = await self.destroy_old(request.max_age_ns, request.max_bytes, how)
        cages = tuple(use.log for use in chosen)
        freed = sum(use.bytes for use in chosen)
        failures = tuple((str(log), why) for log, why in failed.items())
        await client.reply(
            wire.Pruned(cages=cages, freed=freed, kept=len(found) - len(cages), failed=failures)
        )

    async def _survey(self) -> list[Use]:
        return await trio.to_thread.run_sync(survey_cages, self._host.cages_dir)

    async def _choose(
        self,
        found: list[Use],
        max_age_ns: int | None,
        max_bytes: int | None,
        spare_ns: int = 0,
    ) -> list[Use]:
        """Choose cages to destroy.  Ages come from the host log, whatever the time of a file."""
        ages = await self._ages.now()
        aged = [
            replace(use, ended_ns=-ages.age_of(use.log))
            for use in found
            if not self._why_busy(use.log)
        ]
        return choose(aged, 0, None if ages.clock.waits else max_age_ns, max_bytes, spare_ns)

    async def destroy_old(
        self, max_age_ns: int | None, max_bytes: int | None, how: How, spare_ns: int = 0
    ) -> tuple[list[Use], dict[LogId, str]]:
        """Destroy ended cages, oldest first: those past an age, then until the rest takes at most
        ``max_bytes``, sparing those that ended less than ``spare_ns`` ago.

        Returns what was destroyed, and for the others why not: one that is damaged does not stop
        the rest.
        """
        gone: list[Use] = []
        failed: dict[LogId, str] = {}
        for use in await self._choose(await self._survey(), max_age_ns, max_bytes, spare_ns):
            try:
                await self._erase(use.log, how)
                gone.append(use)
            except AkiosError as error:
                failed[use.log] = _complain("a cage's data could not be destroyed", use.log, error)
        if gone:
            await self._clear_traces()
        await self._measure()
        return gone, failed

    async def _measure(self) -> None:
        """What is left is what new cages are admitted by."""
        found = await self._survey()
        self._host.log_bytes = sum(use.bytes for use in found if not self._why_busy(use.log))

    async def _clear_traces(self) -> None:
        """Remove what destroyed cages left in shared places: the WAL, and free space of a shared
        image.
        """
        await self._host.ledger.overwrite_wal()
        if self._host.disks is not None and not await trio.to_thread.run_sync(
            self._host.disks.punch_free
        ):
            _log.warning(
                "the image of the cages' disks still holds what was removed: its file system has no"
                " holes"
            )

    async def ages(self) -> Ages:
        """How long ago cages ended, by what the host log says of its clocks."""
        return await self._ages.now()

    async def note_clocks(self) -> None:
        """Write a reading of the clocks into the host log; ages are counted between readings."""
        await self._ages.now()

    async def finish_clearing(self) -> None:
        """Continue :meth:`_clear_traces` where a stop, or a client that left, interrupted it."""
        if self._host.ledger.has_traces:
            await self._clear_traces()

    async def pack_old(self, min_age_ns: int, how: How) -> list[LogId]:
        """Pack the logs of cages that ended at least ``min_age_ns`` ago; their files are removed as
        ``how`` says.
        """
        packed = []
        # First which are finished, then what the host's log lists of them: their last roots are in
        # it by then.
        finished = [use.log for use in await self._survey() if self._may_pack(use.log)]
        ages = await self._ages.now()
        for log in finished:
            if ages.age_of(log) >= min_age_ns:
                try:
                    if await self._pack(log, how):
                        packed.append(log)
                except (AkiosError, OSError) as error:
                    # One that is damaged stays as it is, for whoever looks into it; the others are
                    # packed.
                    _complain("a log could not be packed", log, error)
        return packed

    def _may_pack(self, log: LogId) -> bool:
        finished = log not in self._host.ledger.logs() and not self._why_busy(log)
        return finished and not Places.of(self._host.state_dir, log).is_packed

    async def _pack(self, log: LogId, how: How) -> bool:
        """A log that is not what the host's log lists is not confirmed by packing it."""
        ledger, places = self._host.ledger, Places.of(self._host.state_dir, log)
        with trio.CancelScope(shield=True):
            async with self._one_at_a_time:
                if log in ledger.logs() or places.is_packed:
                    return False
                report = await trio.to_thread.run_sync(
                    make_archive, places, NATIVE, self._ages.word_of(log)
                )
                record = CagePacked(ts=time.time_ns(), cage=log, size=report.size, root=report.root)
                await ledger.commit(HOST_LOG, record)
                await trio.to_thread.run_sync(drop_directory, places, how)
        return True

    async def prune_host(self, max_age_ns: int, now_ns: int) -> int:
        """Prune entries older than ``max_age_ns`` from the host log; returns its minimum index."""
        ages = await self._ages.now()
        return await self.prune_host_below(
            0 if ages.clock.waits else ages.older_than(max_age_ns), now_ns
        )

    async def prune_host_below(self, index: int, now_ns: int) -> int:
        """Prune entries before ``index`` from the host log; returns its minimum index."""
        logs = {use.log for use in await self._survey()} | {
            log for log in self._host.ledger.logs() if log != HOST_LOG
        }
        ledger = self._host.ledger
        async with self._one_at_a_time:
            before = ledger.first_index(HOST_LOG)
            minimum = await prune_host_log(ledger, sorted(logs), index, now_ns)
        if minimum > before:
            await ledger.overwrite_wal()
        return minimum

    async def _erase(self, log: LogId, how: How, outside: str = "") -> tuple[Wiped, CageDestroyed]:
        """Destroy one cage's data; not interrupted when the client leaves."""
        with trio.CancelScope(shield=True):
            async with self._one_at_a_time:
                done = await erase_log(self._host.ledger, self._host.cages_dir, log, how, outside)
        return done


def _complain(what: str, log: LogId, error: AkiosError | OSError) -> str:
    """Say in the daemon's log what could not be done to which cage; returns why."""
    why = error.what if isinstance(error, AkiosError) else str(error.strerror)
    where = error.where if isinstance(error, AkiosError) else str(error.filename or "")
    _log.error(what, cage=log, why=why, where=where)
    return why


def _how(request: wire.Destroy | wire.Prune) -> How:
    if not 1 <= request.passes <= 35:
        raise DeniedError("files cannot be overwritten that often", "--passes", "write 1 to 35")
    return How(request.passes, request.fast)
