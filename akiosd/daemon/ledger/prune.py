"""Prunes the host log: removes its oldest bundles, but nothing that ties the cages' logs to it.

Before anything is removed, the log lists again the root of every log, and all keys that signed so
far.
"""

from __future__ import annotations

from collections.abc import Iterable

import trio

from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.publish import ROOTS_IN_A_RECORD
from akiosd.errors import LedgerError
from akiosd.ledger.note import open_checkpoint
from akiosd.ledger.tiles import WIDTH
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import CageDestroyed, LogPruned, Roots, decode_entry


async def prune_host_log(ledger: Ledger, cages: Iterable[LogId], below: int, now_ns: int) -> int:
    """Prune whole bundles of entries before index ``below``; returns the minimum index, new or old.

    ``cages`` are all logs that exist. Raises ``LedgerError``.
    """
    first = ledger.first_index(HOST_LOG)
    note, vkey = await ledger.checkpoint(HOST_LOG)
    minimum = min(below, open_checkpoint(note, vkey).size) // WIDTH * WIDTH
    if minimum <= first:
        return first
    roots = await _last_roots(ledger, first, cages)
    for start in range(0, len(roots), ROOTS_IN_A_RECORD):
        ledger.append(HOST_LOG, Roots(ts=now_ns, roots=tuple(roots[start : start + ROOTS_IN_A_RECORD])))
    epochs = tuple((epoch.number, epoch.public_key, epoch.certified_by) for epoch in ledger.epochs)
    index = await ledger.commit(HOST_LOG, LogPruned(ts=now_ns, minimum=minimum, epochs=epochs))
    await ledger.publish(HOST_LOG)
    with trio.CancelScope(shield=True):
        await ledger.set_minimum(minimum, index)
    return minimum


async def _last_roots(ledger: Ledger, first: int, cages: Iterable[LogId]) -> list[tuple[str, int, bytes]]:
    """The last root of every log that was not destroyed, as the host log lists it.

    Not as found on disk: a log that is missing, rolled back or damaged must still be missed after
    the cut.
    """
    listed: dict[str, tuple[str, int, bytes]] = {}
    destroyed: set[str] = set()
    start, end = first, ledger.size(HOST_LOG)
    while start < end:
        entries = await ledger.read(HOST_LOG, start, min(start + 4096, end))
        for _, entry in entries:
            if not any(mark in entry for mark in (b"roots", b"cage_destroyed")):
                continue
            record = decode_entry(entry)
            if isinstance(record, Roots):
                listed.update((root[0], root) for root in record.roots)
            elif isinstance(record, CageDestroyed):
                destroyed.add(record.cage)
        start = entries[-1][0] + 1 if entries else end
    for cage in cages:
        root = await _root_of(ledger, cage) if cage not in listed else None
        if root is not None:
            listed[cage] = root
    return [root for log, root in sorted(listed.items()) if log not in destroyed]


async def _root_of(ledger: Ledger, log: LogId) -> tuple[str, int, bytes] | None:
    try:
        note, vkey = await ledger.checkpoint(log)
    except LedgerError:
        return None  # destroyed meanwhile
    found = open_checkpoint(note, vkey)
    return log, found.size, found.root
