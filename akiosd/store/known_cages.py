"""Checks that the host's log knows every cage whose log is on disk; a host's log from an older
backup does not.

A cage's root is in the host's log before its own checkpoint is. So a cage log that was never named
there is newer than the host's log, and what that would sign next was signed before, with other
content.
"""

from __future__ import annotations

import re
from collections.abc import Iterable

from akiosd.ledger.bundle import MAX_BUNDLE_BYTES
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile
from akiosd.store import erasure_intent
from akiosd.store.durable import Disk
from akiosd.store.log_dir import archive, directory
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id

CAGES = "cages"
_ID = re.compile(rb"c-[0-9a-z]{12}")


def cage_logs(disk: Disk) -> set[LogId]:
    """Cages of whose log anything is published."""
    cages = [LogId(name) for name in disk.names(CAGES) if is_cage_id(name)]
    return {log for log in cages if any(disk.size(path) is not None for path in _published(log))}


def _published(log: LogId) -> tuple[str, str]:
    return f"{directory(log)}/checkpoint", archive(log)


def find_unknown(
    disk: Disk, known: Iterable[LogId], waiting: Iterable[bytes], size: int
) -> set[LogId]:
    """Cages that neither the WAL nor the host's log names.

    ``known`` are named by the WAL, ``waiting`` are entries of the host's log in it; ``size`` is how
    far the host's log is published. Last roots of what was pruned are listed again after it.
    """
    unknown = cage_logs(disk) - set(known) - erasure_intent.unfinished(disk).keys()
    unknown -= _named(b"\0".join(waiting)) if unknown else set()
    for index in reversed(range(-(-size // WIDTH))):
        if not unknown:
            break
        tile = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
        data = disk.read(f"{directory(HOST_LOG)}/{tile.path}", MAX_BUNDLE_BYTES)
        if data is None:
            data = disk.read(f"{directory(HOST_LOG)}/{Tile(ENTRIES, index).path}", MAX_BUNDLE_BYTES)
        unknown -= _named(data or b"")
    return unknown


def _named(data: bytes) -> set[LogId]:
    return {LogId(found.decode()) for found in _ID.findall(data)}
