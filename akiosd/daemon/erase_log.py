"""The destruction of a cage's data: tombstone, wipe, a note that nothing is left: in this order."""

from __future__ import annotations

from pathlib import Path

import trio

from akiosd.daemon.append_ledger import Ledger
from akiosd.daemon.log import get_log
from akiosd.errors import LedgerError
from akiosd.store.wipe import How, Wiped, wipe
from akiosd.values.ids import LogId

_log = get_log("erase")
# A cage's copy of the workspace, its home, its /tmp and what it printed are gone before its log may go.
_DISK = "its disk and output were unlinked before, not overwritten"


def method_of(how: How) -> str:
    """What the tombstone says."""
    return f"{how}; {_DISK}"


async def erase_log(ledger: Ledger, cages_dir: Path, log: LogId, how: How) -> Wiped:
    """Destroy everything of an ended cage, its log included.  Raises ``LedgerError``; the next start then goes on.

    What its records left in the WAL is gone only after ``Ledger.overwrite_wal``.
    """
    await ledger.destroy_log(log, method_of(how))
    wiped = await trio.to_thread.run_sync(wipe, cages_dir / log, how)
    await ledger.destroyed_log(log)
    return wiped


async def finish_destructions(ledger: Ledger, cages_dir: Path) -> None:
    """At start: go on with what an earlier run began.  What cannot be wiped is named, and tried at the next start."""
    for log, method in ledger.unfinished_destructions().items():
        try:
            await erase_log(ledger, cages_dir, log, How.parse(method.partition(";")[0]))
        except LedgerError as error:
            _log.error("a cage's data could not be destroyed", cage=log, why=error.what, where=error.where)
