"""Discards changes by overwriting: what a cage changed and printed is overwritten before it is
unlinked.

The record of the changes goes first, so that a stop in the middle leaves no half-wiped disk that
could be committed.
"""

from __future__ import annotations

from pathlib import Path

from akiosd.daemon.cages.pending_changes import KEPT, OUTPUT
from akiosd.kernel.disk import IMAGE, Disks
from akiosd.kernel.syscalls import sync_directory
from akiosd.store.wipe import How, overwrite

MARKER = "wiped"
"""Name of a file in the cage's directory: its disk and output were overwritten, and its tombstone
may say so.
"""
UNLINKED = "its disk was unlinked, not overwritten"


def wipe_changes(directory: Path, disks: Disks, size: int, how: How) -> str:
    """Overwrite the changes, which the caller then unlinks; returns what could not be overwritten,
    in words, or "".

    Blocking. Raises ``LedgerError`` when something could not be overwritten, or is mounted there.
    """
    overwrite(directory, how, [KEPT])
    (directory / KEPT).unlink(missing_ok=True)
    sync_directory(directory)
    overwrite(directory, how, [IMAGE, OUTPUT])
    (directory / OUTPUT).unlink(missing_ok=True)
    if (directory / IMAGE).exists():
        _mark(directory)
        return ""
    slot = disks.reopen(directory, size)
    try:
        overwrite(slot.directory, how)
    finally:
        slot.release()
    rest = disks.not_overwritten()
    return f"not overwritten: {rest}" if rest else ""


def _mark(directory: Path) -> None:
    (directory / MARKER).touch(0o600)
    sync_directory(directory)
