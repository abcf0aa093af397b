"""What a host's log, once verified, says about the logs of its cages: the *host word*."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from akiosd.ledger.entries import entries_of
from akiosd.ledger.report import LogReader, Report
from akiosd.values.records import CageBirth, CageDestroyed, CageEnd, CagePacked, Roots, decode_entry

_MARKS = (b"cage_birth", b"cage_end", b"cage_destroyed", b"cage_packed", b"roots")


@dataclass
class CageWord:
    """What it says about one cage's log.

    ``size`` and ``root`` are those of the longest tree that is listed; None when nothing was ever
    published. ``listed_at`` and ``destroyed_at`` are the entries of the host's log that list it
    first, and report its destruction.
    """

    ended: bool = False
    size: int | None = None
    root: bytes = b""
    listed_at: int | None = None
    destroyed: CageDestroyed | None = None
    destroyed_at: int | None = None

    def list_root(self, index: int, size: int, root: bytes) -> None:
        """A log only grows: a later record of a shorter tree, or another one of the same size,
        takes nothing back.
        """
        if self.size is None or size > self.size:
            self.size, self.root = size, root
        if self.listed_at is None:
            self.listed_at = index


@dataclass
class HostWord:
    """What it says about all cages, or the one that was asked for.

    ``report`` is the verdict on the host's log itself; when that is bad, ``cages`` means nothing.
    ``cosigned``: where witnesses were asked for on a cage's behalf, the size at which they cosigned
    the host's log.
    """

    report: Report
    cages: dict[str, CageWord] = field(default_factory=dict)
    cosigned: int | None = None


def read_host_word(reader: LogReader, report: Report, cage: str = "") -> HostWord:
    """Read the host word of one cage (``""``: of all) from a log whose verification gave
    ``report``.

    Raises ``LedgerError``.
    """
    word = HostWord(report)
    for index, entry in enumerate(entries_of(reader, report.size, report.minimum), report.minimum):
        note_entry(word.cages, index, entry, cage)
    return word


def note_entry(cages: dict[str, CageWord], index: int, entry: bytes, cage: str = "") -> None:
    """Put what the entry of a host's log says, of one cage or of all, to what those before it
    said.
    """
    if (cage and cage.encode() not in entry) or not any(mark in entry for mark in _MARKS):
        return
    try:
        record = decode_entry(entry)
    except msgspec.DecodeError:
        return
    if isinstance(record, Roots):
        for log, size, root in record.roots:
            if log == cage or not cage:
                _of(cages, log).list_root(index, size, root)
    elif isinstance(record, CageBirth | CageEnd | CagePacked | CageDestroyed) and record.cage == (
        cage or record.cage
    ):
        _note_cage(_of(cages, record.cage), index, record)


def _note_cage(
    word: CageWord, index: int, record: CageBirth | CageEnd | CagePacked | CageDestroyed
) -> None:
    match record:
        case CageEnd():
            word.ended = True
        case CagePacked():
            word.list_root(index, record.size, record.root)
        case CageDestroyed():
            word.destroyed, word.destroyed_at = record, index


def _of(cages: dict[str, CageWord], log: str) -> CageWord:
    return cages.setdefault(log, CageWord())
