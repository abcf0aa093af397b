"""What an akiosd before this one left: finished, kept or swept away, before anybody is served."""

from __future__ import annotations

import os
import time

import trio

from akiosd import __version__
from akiosd.daemon.base.log import get_log
from akiosd.daemon.base.service import Service
from akiosd.daemon.cages import pending_changes
from akiosd.daemon.cages.erase_data import finish_destructions
from akiosd.daemon.host import Host
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, CageId, LogId

_log = get_log("main")


async def take_over(host: Host, service: Service) -> None:
    """Set the host up, and finish what an akiosd before us left."""
    ledger = host.ledger
    service.starting("Setting the host up")
    await host.open()
    assert host.disks is not None
    service.starting("Looking for what an earlier akiosd left")
    await finish_destructions(ledger, host.cages_dir)
    told = await _read_ends(ledger, pending_changes.list_running(host.cages_dir))
    for cage in await trio.to_thread.run_sync(
        pending_changes.recover, host.cages_dir, host.disks, told
    ):
        _log.warning("changes of a killed agent were kept", cage=cage)
    for cage in pending_changes.list_torn(host.cages_dir):
        where = str(host.cages_dir / cage)
        _log.warning(
            "a record of a running agent is torn; its disk is kept, for you to look at",
            where=where,
        )
    pending_changes.sweep(host.cages_dir, host.disks, ledger.logs())
    _end_interrupted(ledger)
    ledger.append(
        HOST_LOG, records.DaemonStart(ts=time.time_ns(), version=__version__, pid=os.getpid())
    )


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
            told[cage] = end.ts, end.exit_code, end.reason
    return told


def _end_interrupted(ledger: Ledger) -> None:
    """Cages that died with a daemon before us: their logs get the end that nobody could write."""
    for log in ledger.interrupted:
        now, reason = time.time_ns(), pending_changes.LOST
        ledger.append(log, records.End(ts=now, exit_code=137, signal=9, reason=reason))
        ledger.append(HOST_LOG, records.CageEnd(ts=now, cage=log, exit_code=137, reason=reason))
        ledger.close_log(log)
