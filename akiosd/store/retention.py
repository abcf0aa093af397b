"""Chooses the ended cages whose data is destroyed: whole cages, oldest first, by age and by size.

No log is ever shortened. What is left of a cage is its tombstone in the host log, with its last
size and root, so that what is gone is known to be gone.
"""

from __future__ import annotations

import os
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from akiosd.errors import LedgerError
from akiosd.store.tree_size import size_of_tree
from akiosd.values.ids import LogId, is_cage_id


@dataclass(frozen=True)
class Use:
    """What an ended cage uses: ``bytes`` on disk.  ``ended_ns`` is when its last checkpoint was
    written (Unix time).
    """

    log: LogId
    bytes: int
    ended_ns: int


def choose(
    cages: Iterable[Use],
    now_ns: int,
    max_age_ns: int | None = None,
    max_bytes: int | None = None,
    spare_ns: int = 0,
) -> list[Use]:
    """The cages to destroy, oldest first: those older than ``max_age_ns``, then as many as bring
    the rest to ``max_bytes``.  None is no limit.

    For its size nothing goes that ended less than ``spare_ns`` ago: else whoever fills the disk
    with logs could have the logs of others destroyed.
    """
    ordered = sorted(cages, key=lambda use: (use.ended_ns, use.log))
    gone = [use for use in ordered if max_age_ns is not None and now_ns - use.ended_ns > max_age_ns]
    left = ordered[len(gone) :]
    total = sum(use.bytes for use in left)
    for use in left:
        spared = spare_ns and now_ns - use.ended_ns < spare_ns
        if max_bytes is None or total <= max_bytes or spared:
            break
        gone.append(use)
        total -= use.bytes
    return gone


def survey_cages(cages_dir: Path) -> list[Use]:
    """Every cage that has a published log.  Raises ``LedgerError`` when the directory cannot be
    read.
    """
    found = []
    try:
        for entry in os.scandir(cages_dir):
            if is_cage_id(entry.name) and entry.is_dir(follow_symlinks=False):
                ended = _end_of(entry.path)
                if ended is None:
                    continue  # nothing of it is published
                found.append(Use(LogId(entry.name), size_of_tree(entry.path), ended))
    except OSError as error:
        raise LedgerError(
            f"the cages cannot be read: {error.strerror}",
            str(cages_dir),
            "check the mode of this directory, and its disk: dmesg",
        ) from error
    return found


def _end_of(cage: str) -> int | None:
    """When the last checkpoint was written; an archive has its time."""
    for name in ("audit.tar", "audit/checkpoint"):
        try:
            return os.stat(f"{cage}/{name}", follow_symlinks=False).st_mtime_ns
        except FileNotFoundError:
            continue
    return None
