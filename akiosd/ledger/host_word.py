"""What a host's log, once it is verified, says of the logs of its cages."""

from __future__ import annotations

from dataclasses import dataclass, field

import msgspec

from akiosd.ledger.entries import entries_of
from akiosd.ledger.report import LogReader, Report
from akiosd.values.records import CageBirth, CageDestroyed, CagePacked, Roots, decode_entry

_MARKS = (b"cage_birth", b"cage_destroyed", b"cage_packed", b"roots")


@dataclass
class CageWord:
    """``size`` and ``root`` are those listed last; None where none is listed: nothing was ever published."""

    size: int | None = None
    root: bytes = b""
    destroyed: CageDestroyed | None = None


@dataclass
class HostWord:
    """``report`` is the verdict on the host's log itself; where it is bad, ``cages`` says nothing."""

    report: Report
    cages: dict[str, CageWord] = field(default_factory=dict)


def read_host_word(reader: LogReader, report: Report, cage: str = "") -> HostWord:
    """What the log of which this is the (good) report says, of one cage or of all.  Raises ``LedgerError``."""
    word = HostWord(report)
    name = cage.encode()
    for entry in entries_of(reader, report.size, report.minimum):
        if (name and name not in entry) or not any(mark in entry for mark in _MARKS):
            continue
        try:
            record = decode_entry(entry)
        except msgspec.DecodeError:
            continue
        match record:
            case Roots():
                for log, size, root in record.roots:
                    _of(word, log, cage, size=size, root=root)
            case CageBirth():
                _of(word, record.cage, cage)
            case CagePacked():
                _of(word, record.cage, cage, size=record.size, root=record.root)
            case CageDestroyed():
                _of(word, record.cage, cage, destroyed=record)
    return word


def _of(word: HostWord, log: str, wanted: str, **said: object) -> None:
    if not wanted or log == wanted:
        found = word.cages.setdefault(log, CageWord())
        for name, value in said.items():
            setattr(found, name, value)
