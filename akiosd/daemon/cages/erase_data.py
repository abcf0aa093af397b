"""Destroys a cage's data: survey, wipe, tombstone, in this order.

Whatever refuses a wipe is met before anything is written or wiped; the tombstone is written when
nothing is left.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import trio

from akiosd.daemon.base.log import get_log
from akiosd.daemon.cages.pending_changes import OUTPUT
from akiosd.daemon.cages.wipe_changes import MARKER
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.store.survey import Found
from akiosd.store.wipe import How, Wiped, look, spared_by, wipe
from akiosd.values.ids import LogId
from akiosd.values.records import CageDestroyed, escape

_log = get_log("erase")
# A cage's copy of the workspace, its home, its /tmp and what it printed are gone before its log may
# go.
_UNLINKED = "its disk and output were unlinked before, not overwritten"
_OVERWRITTEN = "its disk and output were overwritten before"
_OUTPUT_HERE = "its disk was unlinked before, not overwritten; its output was wiped with its log"
_MOST_NAMES, _MOST_LETTERS = 20, 100  # named, and of each name


def method_of(how: How, found: Sequence[Found] = ()) -> str:
    """The words of the tombstone: how ``found`` is wiped, and what is not overwritten."""
    paths = {item.path for item in found}
    before = _OVERWRITTEN if MARKER in paths else _OUTPUT_HERE if OUTPUT in paths else _UNLINKED
    spared = [_shorten(escape(path)) for path in spared_by(found)]
    if not spared or how.fast:
        return f"{how}; {before}"
    more = f" and {len(spared) - _MOST_NAMES} more" if len(spared) > _MOST_NAMES else ""
    return (
        f"{how}; {before}; not overwritten, as they have names elsewhere:"
        f" {', '.join(spared[:_MOST_NAMES])}{more}"
    )


def _shorten(name: str) -> str:
    return name if len(name) <= _MOST_LETTERS else f"…{name[-_MOST_LETTERS:]}"


async def erase_log(
    ledger: Ledger, cages_dir: Path, log: LogId, how: How, outside: str = ""
) -> tuple[Wiped, CageDestroyed]:
    """Destroy everything of an ended cage, its log included.  ``outside``: what was wiped of it
    elsewhere, in words for the tombstone.

    Raises ``LedgerError``; where that is no refusal, the next start continues. Traces in the WAL
    and in files that the log outgrew are gone only after ``Ledger.overwrite_wal``.
    """
    found = await trio.to_thread.run_sync(look, cages_dir / log)
    method = method_of(how, found)
    await ledger.destroy_log(log, f"{method}; {escape(outside)}" if outside else method)
    wiped = await trio.to_thread.run_sync(wipe, cages_dir / log, how)
    return wiped, await ledger.destroyed_log(log)


async def finish_destructions(ledger: Ledger, cages_dir: Path) -> None:
    """At start: continue what an earlier run began.  What cannot be wiped is logged, and tried
    again at the next start.
    """
    for log, method in ledger.unfinished_destructions().items():
        try:
            await erase_log(ledger, cages_dir, log, How.parse(method.partition(";")[0]))
        except LedgerError as error:
            _log.error(
                "a cage's data could not be destroyed", cage=log, why=error.what, where=error.where
            )
