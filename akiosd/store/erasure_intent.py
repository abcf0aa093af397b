"""Destructions under way, remembered on disk from before the first byte is wiped until after the
tombstone.

One small file for each: whatever stops in between, the next start finds it and continues
(``Ledger.destroy_log``).
"""

from __future__ import annotations

import msgspec

from akiosd.errors import LedgerError
from akiosd.store.durable import Disk, write_durably
from akiosd.values.ids import LogId, is_cage_id

DIRECTORY = "ledger/destroying"
_MAX_BYTES = 64 << 10  # what the method says is bounded where it is made


class Intent(msgspec.Struct, frozen=True):
    """What a destruction is going to say in its tombstone.

    The tombstone, if it was written already, is in the host log at ``host_index`` or later.
    ``method`` begins with how to wipe, and says what is not overwritten. ``size`` and ``root`` are
    the log's last; an earlier version, which wrote the tombstone first, left them out.
    """

    host_index: int
    method: str = ""
    size: int = 0
    root: bytes = b""


def begin(disk: Disk, log: LogId, intent: Intent) -> None:
    """Remember that a destruction begins; durable on return."""
    disk.sync([], disk.make_dirs(DIRECTORY, 0o700))
    write_durably(disk, f"{DIRECTORY}/{log}", msgspec.msgpack.encode(intent), 0o600)


def finish(disk: Disk, log: LogId) -> None:
    """Nothing of the log is left: forget it; durable on return."""
    if disk.size(f"{DIRECTORY}/{log}") is not None:
        disk.remove(f"{DIRECTORY}/{log}")
        disk.sync([], [DIRECTORY])


def unfinished(disk: Disk) -> dict[LogId, Intent]:
    """Destructions that were begun and not finished.  Raises ``LedgerError`` for a file that cannot
    be one of these.
    """
    found = {}
    for name in disk.names(DIRECTORY):
        if name.endswith(".tmp"):  # never became one: nothing was destroyed for it
            continue
        path = f"{DIRECTORY}/{name}"
        try:
            found[LogId(name)] = msgspec.msgpack.decode(
                disk.read(path, _MAX_BYTES) or b"", type=Intent
            )
        except msgspec.DecodeError:
            raise LedgerError(
                "this note of what is being destroyed is damaged", where=path
            ) from None
        if not is_cage_id(name):
            raise LedgerError("this file is not named after a cage", where=path)
    return found
