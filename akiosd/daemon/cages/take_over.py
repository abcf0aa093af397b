"""What an akiosd before this one left: gone on with, finished, kept or swept away, before anybody
is served.
"""

from __future__ import annotations

import os
import time

import trio

from akiosd import __version__
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.service import Service
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.adopt_cage import (
    Found,
    Parts,
    Refused,
    by_cage,
    groups_of,
    look,
    make_cage,
)
from akiosd.daemon.cages.erase_data import finish_destructions
from akiosd.daemon.cages.run_cage import Cage
from akiosd.daemon.host import KEEPER_ENDED, Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import AkiosError, LedgerError
from akiosd.kernel.keeper_process import forget_ended, read_ended
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, CageId, LogId

_log = get_log("main")
_ENDED = "killed: akiosd ended, and could not go on with it: {}"
_OVER = "it had ended"
_AWAY = "akiosd was away for more than {} s"


async def take_over(host: Host, service: Service) -> list[Cage]:
    """Set the host up, and finish what an akiosd before us left.  Returns the cages that go on, to
    be run.
    """
    ledger = host.ledger
    service.starting("Looking for cages that go on")
    taken = await host.keeper.take_all() if host.keeper is not None else {}
    found, why = await _sort_out(ledger, by_cage(taken))
    why |= _ended_by_keeper(host)
    # Those that are not gone on with are killed here, with their groups.
    await host.open(groups_of(one.cage for one in found))
    assert host.disks is not None
    host.old_zygotes.take(taken)
    cages = _make_cages(host, found, why)
    await host.old_zygotes.sweep()
    for cage in why:
        await _forget(host, cage)
    service.starting("Looking for what an earlier akiosd left")
    await finish_destructions(ledger, host.cages_dir)
    going_on: set[str] = {cage.id for cage in cages}
    await _finish(host, why, going_on)
    _end_interrupted(ledger, why, going_on)
    ledger.append(
        HOST_LOG, records.DaemonStart(ts=time.time_ns(), version=__version__, pid=os.getpid())
    )
    return cages


def _ended_by_keeper(host: Host) -> dict[str, str]:
    """Cages that were ended while nobody was there, and why."""
    path = host.state_dir / KEEPER_ENDED
    try:
        ended = read_ended(path)
        forget_ended(path)
    except OSError as error:
        _log.error("what the keeper ended is not known", where=str(path), error=str(error))
        return {}
    words = _AWAY.format(host.config.restart.come_back_s)
    return {name.partition("/")[0]: words for name in ended}


async def _sort_out(
    ledger: Ledger, taken: dict[CageId, Parts]
) -> tuple[list[Found], dict[str, str]]:
    """The cages to go on with, and why others are not."""
    found, why = list[Found](), dict[str, str]()
    for cage, parts in taken.items():
        one = look(cage, parts)
        if isinstance(one, Refused):
            why[cage] = one.why
            _log.error("a cage is ended", cage=cage, why=one.why)
            continue
        try:
            is_open = await ledger.reopen_log(cage)
        except LedgerError as error:
            why[cage], is_open = error.what, False
        if is_open:
            found.append(one)
        else:
            one.close()
            why.setdefault(cage, _OVER)
    return found, why


def _make_cages(host: Host, found: list[Found], why: dict[str, str]) -> list[Cage]:
    cages = []
    for one in found:
        try:
            cages.append(make_cage(host, one))
        except (AkiosError, OSError) as error:
            why[one.cage] = error.what if isinstance(error, AkiosError) else str(error)
            _log.error("a cage is ended", cage=one.cage, why=why[one.cage])
    return cages


async def _forget(host: Host, cage: str) -> None:
    """A cage that is not gone on with: nothing of it is to live."""
    for name in groups_of([cage]):
        try:
            await host.cgroups.leaf(name).destroy()
        except AkiosError as error:
            _log.error("what an earlier akiosd left stays", group=name, error=str(error))
    if host.keeper is not None:
        await host.keeper.drop_all_of(cage)


async def _finish(host: Host, why: dict[str, str], going_on: set[str]) -> None:
    """Keep the changes of cages that are over, and sweep what nobody needs."""
    ledger, disks = host.ledger, host.disks
    assert disks is not None
    over = [cage for cage in pending_changes.list_running(host.cages_dir) if cage not in going_on]
    told = await _read_ends(ledger, over)
    reasons = {cage: _ENDED.format(reason) for cage, reason in why.items() if reason != _OVER}
    for name in await trio.to_thread.run_sync(
        pending_changes.recover, host.cages_dir, disks, told, reasons, going_on
    ):
        _log.warning("changes of a killed agent were kept", cage=name)
    for name in set(pending_changes.list_torn(host.cages_dir)) - going_on:
        _log.warning(
            "a record of a running agent is torn; its disk is kept, for you to look at",
            where=str(host.cages_dir / name),
        )
    pending_changes.sweep(host.cages_dir, disks, ledger.logs())


async def _read_ends(ledger: Ledger, cages: list[str]) -> dict[str, pending_changes.Told]:
    """The ends of cages whose logs have them, though nothing else was written down: akiosd was
    killed right then.
    """
    told: dict[str, pending_changes.Told] = {}
    for cage in cages:
        try:
            entry = await ledger.read_last(LogId(CageId(cage)))
        except LedgerError as error:
            _log.error("the end of a cage is not known", cage=cage, why=error.what)
            continue
        end = records.decode_entry(entry) if entry else None
        if isinstance(end, records.End):
            told[cage] = end.ts, end.exit_code, end.reason, end.lost
    return told


def _end_interrupted(ledger: Ledger, why: dict[str, str], going_on: set[str]) -> None:
    """Cages that died with a daemon before us: their logs get the end that nobody could write."""
    for log in ledger.interrupted:
        if log in going_on:
            continue
        now, known = time.time_ns(), why.get(log, "")
        reason = _ENDED.format(known) if known else pending_changes.LOST
        ledger.append(log, records.End(ts=now, exit_code=137, signal=9, reason=reason))
        ledger.append(HOST_LOG, records.CageEnd(ts=now, cage=log, exit_code=137, reason=reason))
        ledger.close_log(log)
