"""The host log's minimum index (c2sp.org/tlog-tiles, "Pruning"): files below it may be removed, the
tree stays the same.

    record in the log durable and published → ``ledger/host.minimum`` durable
    → bundles removed, durably → tiles and kept checkpoints removed

After a stop in between, the next start finds the file, sees that the log says the same, and removes
what is left.
"""

from __future__ import annotations

import msgspec

from akiosd.errors import LedgerError
from akiosd.ledger.tiles import HEIGHT
from akiosd.store.durable import Disk, write_durably
from akiosd.store.log_dir import directory, read_entries
from akiosd.store.outgrown import Outgrown
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import LogPruned, decode_entry

PATH = "ledger/host.minimum"
_MAX_BYTES = 256


class Minimum(msgspec.Struct, frozen=True):
    """Entries below ``minimum``, a whole number of bundles, may be gone; the log's record at
    ``index`` says so.
    """

    minimum: int = 0
    index: int = 0


def set_minimum(outgrown: Outgrown, new: Minimum) -> None:
    """Remember ``new`` durably, and remove what is below."""
    write_durably(outgrown.disk, PATH, msgspec.msgpack.encode(new), 0o600)
    remove_below(outgrown, new.minimum)


def resume(outgrown: Outgrown, size: int) -> int:
    """The minimum index of the host log, of which ``size`` entries are published; files below it
    are removed.

    Raises ``LedgerError``, having removed nothing, when the log does not say so.
    """
    disk = outgrown.disk
    data = disk.read(PATH, _MAX_BYTES)
    if data is None:
        return 0
    try:
        known = msgspec.msgpack.decode(data, type=Minimum)
        (entry,) = read_entries(disk, HOST_LOG, known.index, known.index + 1, size)
        record = decode_entry(entry)
    except (msgspec.DecodeError, ValueError):
        record = None
    if not isinstance(record, LogPruned) or record.minimum != known.minimum:
        raise LedgerError(
            "this file says that the host's log was pruned, and the log itself does not say so",
            PATH,
            "copy host.minimum from the backup that ledger/host is from; if no backup has it,"
            " delete host.minimum: the log was never pruned",
        )
    remove_below(outgrown, known.minimum)
    return known.minimum


def remove_below(outgrown: Outgrown, minimum: int) -> None:
    """Remove the files of the host log whose entries are all below ``minimum``; ``outgrown.sweep``
    overwrites them.

    Bundles go first. Tiles may go without a sync: the tree is complete from any bundle on from
    which all bundles exist, and ``resume`` removes them again.
    """
    base, disk = directory(HOST_LOG), outgrown.disk
    disk.sync([], _remove_level(outgrown, f"{base}/tile/entries", minimum >> HEIGHT, 0))
    for kind in disk.names(f"{base}/tile"):
        if kind != "entries":
            _remove_level(outgrown, f"{base}/tile/{kind}", minimum >> (HEIGHT * (int(kind) + 1)), 0)
    _remove_history(disk, minimum)


def _remove_history(disk: Disk, minimum: int) -> None:
    folder = f"{directory(HOST_LOG)}.history"
    for name in disk.names(folder):
        if name.isdigit() and int(name) < minimum:
            disk.remove(f"{folder}/{name}")


def _remove_level(outgrown: Outgrown, folder: str, end: int, prefix: int) -> list[str]:
    """Remove tiles of index < ``end``; ``prefix`` is what the names of the directories above add up
    to.

    Returns the directories that are left of those whose listing changed.
    """
    changed, disk = list[str](), outgrown.disk
    before = disk.names(folder)
    for name in before:
        number = prefix * 1000 + int(name.removeprefix("x").partition(".")[0])
        path = f"{folder}/{name}"
        if name.startswith("x"):
            if number * 1000 < end:
                changed += _remove_level(outgrown, path, end, number)
                if not disk.names(path):
                    disk.remove_dir(path)
                    changed = [other for other in changed if other != path]
        elif number < end:
            outgrown.take(path)
    return [*changed, folder] if disk.names(folder) != before else changed
