"""What becomes of ended cages that nobody asks for, as ``ended:`` in akiosd.yaml says: changes that
wait are destroyed, and what is known of the rest is forgotten.

The wall clock only says when to look; how old something is, the readings of the clocks in the host
log say. After a jump of the clock nothing goes for its age.
"""

from __future__ import annotations

import time

import trio

from akiosd.daemon.base.config import EndedConfig
from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.registry import Registry
from akiosd.daemon.cages.run_cage import DAY_NS
from akiosd.daemon.host import Host
from akiosd.daemon.requests.change_requests import ChangeRequests
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.errors import AkiosError

_log = get_log("expire")


async def expire(
    registry: Registry, changes: ChangeRequests, keeper: LogKeeper, host: Host
) -> None:
    """Look at start and every ``ledger.check_every_s`` seconds, for ever.  Failures are logged,
    and tried again.
    """
    while True:
        try:
            await expire_once(registry, changes, keeper, host.config.ended, time.time_ns())
        except (AkiosError, OSError) as error:
            _log.error("ended cages could not be cared for", why=str(error))
        except Exception:
            _log.exception("ended cages could not be cared for")
        await trio.sleep(host.config.ledger.check_every_s)


async def expire_once(
    registry: Registry,
    changes: ChangeRequests,
    keeper: LogKeeper,
    config: EndedConfig,
    now_ns: int,
) -> None:
    """One round."""
    kept_ns, known_ns = config.changes_days * DAY_NS, config.keep_days * DAY_NS
    kept = [kept.info.ended_ns for kept in registry.kept.values()]
    known = [info.ended_ns for info in registry.ended.infos()]
    due = [now_ns - ended >= kept_ns for ended in kept if kept_ns]
    due += [now_ns - ended >= known_ns for ended in known if known_ns]
    if not any(due):
        return
    ages = await keeper.ages()
    if ages.clock.waits:
        return
    if known_ns:
        registry.expire(lambda cage: ages.age_of(cage) >= known_ns)
    if kept_ns:
        for cage in await changes.expire(lambda cage: ages.age_of(cage) >= kept_ns):
            _log.info("changes that waited too long were destroyed", cage=cage)
