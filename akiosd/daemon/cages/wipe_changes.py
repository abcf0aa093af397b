"""A discard that wipes: what a cage changed and printed is overwritten before it is unlinked.

What is remembered of the changes goes first: a stop in the middle must not leave a half-wiped disk to be committed.
"""

from __future__ import annotations

from pathlib import Path

from akiosd.daemon.cages.pending_changes import KEPT, OUTPUT
from akiosd.kernel.disk import IMAGE, Disks
from akiosd.kernel.syscalls import sync_directory
from akiosd.store.wipe import How, overwrite

MARKER = "wiped"
"""In the cage's directory: its disk and output were overwritten, so its tombstone may say so."""
UNLINKED = "its disk and output were unlinked, not overwritten"


def wipe_changes(directory: Path, disks: Disks, size: int, how: How) -> str:
    """Overwrite them, to be unlinked by the caller; returns what could not be overwritten, or "".

    Blocking.  Raises ``LedgerError``: something could not be overwritten, or is mounted there.
    """
    overwrite(directory, how, [KEPT])
    (directory / KEPT).unlink(missing_ok=True)
    sync_directory(directory)
    overwrite(directory, how, [IMAGE, OUTPUT])
    if (directory / IMAGE).exists():
        _mark(directory)
        return ""
    slot = disks.reopen(directory, size)
    try:
        overwrite(slot.directory, how)
    finally:
        slot.release()
    return "not overwritten: what the agent itself had removed, in free blocks of the image that all cages share"


def _mark(directory: Path) -> None:
    (directory / MARKER).touch(0o600)
    sync_directory(directory)
