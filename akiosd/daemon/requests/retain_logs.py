"""What akiosd does to old logs by itself, as ``ledger:`` in akiosd.yaml says: destroy,
pack, prune.
"""

from __future__ import annotations

import time
from collections.abc import Callable

import trio

from akiosd.daemon.base.config import LedgerConfig
from akiosd.daemon.base.log import get_log
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.errors import AkiosError

_DAY_NS = 86_400 * 10**9
_log = get_log("retain")


async def retain(keeper: LogKeeper, read: Callable[[], LedgerConfig]) -> None:
    """Run :func:`retain_once` at start and every ``check_every_s`` seconds, for ever.  Failures are
    logged, and tried again.  ``read`` gives the configuration of now.
    """
    while True:
        config = read()
        try:
            await retain_once(keeper, config, time.time_ns())
        except Exception:
            _log.exception("old logs could not be cared for")
        await trio.sleep(config.check_every_s)


async def retain_once(keeper: LogKeeper, config: LedgerConfig, now_ns: int) -> None:
    """One round: traces of what was destroyed, whole cages from the oldest on, packing, and last
    the host log.
    """
    age = config.keep_days * _DAY_NS or None
    try:
        await keeper.finish_clearing()
        await keeper.note_clocks()
        if age is not None or config.keep_bytes:
            gone, _ = await keeper.destroy_old(
                age, config.keep_bytes or None, config.how, config.spare_days * _DAY_NS
            )
            for use in gone:
                _log.info(
                    "a cage's data was destroyed, as the configuration says",
                    cage=use.log,
                    bytes=use.bytes,
                )
        if config.pack_after_s:
            for log in await keeper.pack_old(config.pack_after_s * 10**9, config.how):
                _log.info("a finished log was packed", cage=log)
        if config.host_keep_days:
            await keeper.prune_host(config.host_keep_days * _DAY_NS, now_ns)
    except AkiosError as error:
        _log.error("old logs could not be cared for", why=error.what, where=error.where)
