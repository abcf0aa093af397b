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
    """What it says about one cage's log.  ``size`` and ``root`` are those listed last; None when
    nothing was ever published.
    """

    born: bool = False
    ended: bool = False
    size: int | None = None
    root: bytes = b""
    destroyed: CageDestroyed | None = None


@dataclass
class HostWord:
    """What it says about all cages, or the one that was asked for.

    ``report`` is the verdict on the host's log itself; when that is bad, ``cages`` means nothing.
    """

    report: Report
    cages: dict[str, CageWord] = field(default_factory=dict)


def read_host_word(reader: LogReader, report: Report, cage: str = "") -> HostWord:
    """Read the host word of one cage (``""``: of all) from a log whose verification gave
    ``report``.

    Raises ``LedgerError``.
    """
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
                _of(word, record.cage, cage, born=True)
            case CageEnd():
                _of(word, record.cage, cage, ended=True)
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
