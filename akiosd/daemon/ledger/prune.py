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
from akiosd.ledger.host_word import CageWord, note_entry
from akiosd.ledger.note import open_checkpoint
from akiosd.ledger.tiles import WIDTH
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import LogPruned, Roots


async def prune_host_log(ledger: Ledger, cages: Iterable[LogId], below: int, now_ns: int) -> int:
    """Prune whole bundles of entries before index ``below``; returns the minimum index, new or old.

    ``cages`` are all logs that exist. Raises ``LedgerError``.
    """
    first = ledger.first_index(HOST_LOG)
    note, vkey = await ledger.checkpoint(HOST_LOG)
    minimum = min(below, open_checkpoint(note, vkey).size) // WIDTH * WIDTH
    if minimum <= first:
        return first
    roots = await _last_roots(ledger, cages)
    for start in range(0, len(roots), ROOTS_IN_A_RECORD):
        ledger.append(
            HOST_LOG, Roots(ts=now_ns, roots=tuple(roots[start : start + ROOTS_IN_A_RECORD]))
        )
    epochs = tuple((epoch.number, epoch.public_key, epoch.certified_by) for epoch in ledger.epochs)
    index = await ledger.commit(HOST_LOG, LogPruned(ts=now_ns, minimum=minimum, epochs=epochs))
    await ledger.publish(HOST_LOG)
    with trio.CancelScope(shield=True):
        await ledger.set_minimum(minimum, index)
    return minimum


async def _read_cage_words(ledger: Ledger) -> dict[str, CageWord]:
    """What the host's log, durable or not, says about every cage."""
    words: dict[str, CageWord] = {}
    start, end = ledger.first_index(HOST_LOG), ledger.size(HOST_LOG)
    while start < end:
        entries = await ledger.read(HOST_LOG, start, min(start + 4096, end))
        for index, entry in entries:
            note_entry(words, index, entry)
        start = entries[-1][0] + 1 if entries else end
    return words


async def _last_roots(ledger: Ledger, cages: Iterable[LogId]) -> list[tuple[str, int, bytes]]:
    """The last root of every log that was not destroyed, as this log itself lists it.

    Not as it is on disk: a log that is gone, rolled back or spoilt must still be missed when the
    cut is done.  Nor may the cut hide that a log was destroyed when it was shorter than it had
    been.
    """
    listed: list[tuple[str, int, bytes]] = []
    words = await _read_cage_words(ledger)
    for log, word in words.items():
        if word.size is not None and (word.destroyed is None or word.destroyed.size < word.size):
            listed.append((log, word.size, word.root))
    for cage in cages:
        word = words.get(cage, CageWord())
        root = (
            await _root_of(ledger, cage) if word.size is None and word.destroyed is None else None
        )
        if root is not None:
            listed.append(root)
    return sorted(listed)


async def _root_of(ledger: Ledger, log: LogId) -> tuple[str, int, bytes] | None:
    try:
        note, vkey = await ledger.checkpoint(log)
    except LedgerError:
        return None  # destroyed meanwhile
    found = open_checkpoint(note, vkey)
    return log, found.size, found.root
