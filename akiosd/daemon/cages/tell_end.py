"""The end of a cage in numbers and words: what it used, why it ended, and the records
that say so.
"""

from __future__ import annotations

import os
import time

from akiosd.cage.machine import Life
from akiosd.cage.reasons import End, EndFacts
from akiosd.daemon.cages.record_calls import CallRecorder
from akiosd.daemon.ledger.append import Ledger
from akiosd.kernel.cgroup import CageCgroup
from akiosd.kernel.disk import Slot
from akiosd.meter.account import Account
from akiosd.values import records
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.policy import Limits
from akiosd.values.usage import Usage


def read_usage(
    group: CageCgroup,
    slot: Slot,
    calls: CallRecorder | None,
    account: Account,
    limits: Limits,
    wall_ns: int,
    refusals: int,
) -> Usage:
    """What the whole cage has used, also what was killed: init's rusage knows only what it could
    reap.

    ``calls`` is None where nothing was recorded; ``wall_ns`` is the time since the start in ns.
    Read before the cgroup and the slot are given back.
    """
    found, (used, limit), (user_ns, system_ns) = group.events(), slot.space(), group.cpu_ns()
    return Usage(
        wall_ns=wall_ns,
        user_ns=user_ns,
        system_ns=system_ns,
        memory_peak=found.peak,
        memory_limit=found.limit if limits.memory else 0,
        oom_kills=found.oom_kills,
        pids_peak=found.pids_peak,
        pids_limit=found.pids_limit,
        pids_denied=found.pids_denied,
        disk_used=used,
        disk_limit=limit,
        records=calls.records if calls is not None else 0,
        denials=calls.denials if calls is not None else 0,
        refusals=refusals,
        dead_ends=calls.dead_ends if calls is not None else 0,
        usd_micro=account.usd_micro,
        tokens=account.tokens,
        calls=account.calls,
    )


def end_facts(life: Life, usage: Usage, limits: Limits) -> EndFacts:
    """What :mod:`akiosd.cage.reasons` makes an exit code and a sentence of.

    ``life.status`` is a wait status (wait(2)), -1 where there is none.
    """
    signal = end_signal(life.status)
    code = -1 if life.status < 0 else (128 + signal if signal else os.WEXITSTATUS(life.status))
    return EndFacts(
        cause=life.cause, status=code, signal=signal, usage=usage, limits=limits, detail=life.detail
    )


def end_signal(status: int) -> int:
    """The signal that ended a process, 0 where none did."""
    return os.WTERMSIG(status) if status >= 0 and os.WIFSIGNALED(status) else 0


async def record_end(
    ledger: Ledger,
    log: LogId,
    cage: str,
    end: End,
    status: int,
    rusage: tuple[int, int, int],
    programs: int = 0,
) -> None:
    """Record the end in the host's log and in the cage's own, which is closed then.

    ``status`` is a wait status or -1; ``rusage`` is user ns, system ns, largest resident set in
    bytes; ``programs`` is how many a standing cage was asked to start.
    Returns once the record in the cage's log is durable.
    """
    now = time.time_ns()
    used = records.Rusage(user_ns=rusage[0], system_ns=rusage[1], max_rss=rusage[2])
    ledger.append(
        HOST_LOG, records.CageEnd(ts=now, cage=cage, exit_code=end.exit_code, reason=end.reason)
    )
    await ledger.commit(
        log,
        records.End(
            ts=now,
            exit_code=end.exit_code,
            signal=end_signal(status),
            reason=end.reason,
            rusage=used,
            programs=programs,
            lost=end.lost,
        ),
    )
    ledger.close_log(log)
