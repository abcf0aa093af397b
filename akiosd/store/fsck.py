"""``fsck``: verify a log on disk without a daemon, and without trusting the directory it lies in.

Symbolic links, FIFOs, devices, giant files and foreign names are findings, never followed or waited for.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    UntrustedNote,
    Vkey,
    open_checkpoint,
    parse_note,
)
from akiosd.ledger.report import Anchor, Bad, History, LogReader, Report, Verdict, read_tile
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile, parse_path
from akiosd.ledger.verify import verify_log
from akiosd.store.history import KeptCheckpoints
from akiosd.store.log_files import LogFiles
from akiosd.store.pack import PackedLog
from akiosd.values.records import CageDestroyed, Roots, decode_entry, escape

_MAX_VKEY_BYTES = 4096
_ATTEMPTS = 4


def open_log_files(path: Path | int) -> LogFiles | PackedLog:
    """The files of a log: a directory, or an archive made by ``pack``.  Raises ``LedgerError`` for anything else."""
    status = os.fstat(path) if isinstance(path, int) else os.stat(path, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise LedgerError("a symbolic link where a log should be", where=str(path))
    return LogFiles(path) if stat.S_ISDIR(status.st_mode) else PackedLog(path)


def fsck(
    path: Path | int,
    vkey: Vkey | str | None = None,
    pin: bytes | None = None,
    host: Path | int | None = None,
    *,
    cage: str = "",
    host_key: Vkey | str | None = None,
    hasher: Hasher = PYTHON,
) -> Report:
    """Verify the log in a directory or archive (a path, or an open fd, which stays the caller's).

    ``vkey`` is the public key or its text; without it the file ``<path>.vkey`` beside the log is taken, and the report
    says so.  ``pin`` is a checkpoint remembered earlier, ``host`` the host log's directory, which lists the roots of
    all cages (its key is ``host_key``); both anchor the log.  ``cage`` names it in the host log (by default the
    directory above).
    """
    beside = vkey is None
    if not isinstance(path, int) and not cage:
        cage = path.absolute().parent.name
    try:
        anchors: tuple[Anchor, ...] = ()
        kin = frozenset[bytes]()
        if host is not None:
            anchors, destroyed, kin = _host_anchors(host, cage, host_key, hasher)
            if destroyed is not None:
                return _destroyed_report(destroyed)
        # An archive's own key must be whole even where another is trusted: no byte of it may change unnoticed.
        own = find_vkey(path) if vkey is None or _is_archive(path) else None
        key = _parse_vkey(vkey) or own or find_vkey(path)
        if pin is not None:
            pinned = Checkpoint.parse(parse_note(pin).text)
            anchors = (*anchors, Anchor("pin", pinned.size, pinned.root))
        report = _verify_with_history(path, key, anchors, hasher, kin)
        if pin is not None:
            # One of the log's keys signed it: the present one or an earlier one.
            open_checkpoint(pin, key, *(Vkey(key.name, other) for other in report.keys))
    except Bad as bad:
        return Report(bad.verdict, first_bad=bad.first_bad, detail=bad.detail)
    except FileNotFoundError as error:
        return Report(Verdict.INCOMPLETE, first_bad=str(error.filename or path), detail="there is no such log")
    except PermissionError as error:
        return Report(
            Verdict.INCOMPLETE, first_bad=str(error.filename or path), detail="it may not be read by this user"
        )
    except NoteError as error:
        return Report(Verdict.UNTRUSTED, first_bad=error.where, detail=error.what)
    except LedgerError as error:
        return Report(Verdict.TAMPERED, first_bad=error.where, detail=error.what)
    if beside:
        return replace(report, notes=(*report.notes, "the public key was taken from beside the log"))
    return report


def _verify_with_history(
    path: Path | int, key: Vkey, anchors: tuple[Anchor, ...], hasher: Hasher, kin: frozenset[bytes]
) -> Report:
    for attempt in range(2):
        with KeptCheckpoints(path) as kept:
            report = _verify_still_log(path, key, anchors, hasher, kin, kept)
            # One that is being written just now is whole the next time.
            if report.exit_code != 0 and kept.holds(report.first_bad) and not attempt:
                continue
            if report.exit_code == 0:
                kept.check_signatures([Vkey(key.name, own) for own in report.keys])
        break
    return report


def _verify_still_log(
    path: Path | int,
    key: Vkey,
    anchors: tuple[Anchor, ...],
    hasher: Hasher,
    kin: frozenset[bytes],
    history: History | None,
) -> Report:
    """Verify; again, a few times at most, when what was found may be a publication that went on meanwhile."""
    for attempt in range(_ATTEMPTS):
        with open_log_files(path) as reader:
            before = reader.read("checkpoint", MAX_NOTE_BYTES)
            report = verify_log(reader, key, anchors, hasher, kin, history=history)
            if report.exit_code == 0 or attempt == _ATTEMPTS - 1:
                break
            if reader.read("checkpoint", MAX_NOTE_BYTES) == before:
                break
    return report


def _is_archive(path: Path | int) -> bool:
    return stat.S_ISREG(os.fstat(path).st_mode if isinstance(path, int) else os.lstat(path).st_mode)


def _parse_vkey(vkey: Vkey | str | None) -> Vkey | None:
    return Vkey.parse(vkey) if isinstance(vkey, str) else vkey


def find_vkey(path: Path | int) -> Vkey:
    """The key beside a log's directory, or in an archive; raises ``NoteError`` where there is none."""
    if isinstance(path, int) or not path.is_dir():
        with open_log_files(path) as reader:
            data = reader.vkey_text() if isinstance(reader, PackedLog) else None
    else:
        beside = path.absolute()
        with LogFiles(beside.parent) as folder:
            data = folder.read(f"{beside.name}.vkey", _MAX_VKEY_BYTES)
    if data is None:
        raise UntrustedNote("there is no public key beside the log", where=f"{path}.vkey", next="give one with --vkey")
    text = data.decode("utf-8", "replace")
    vkey = Vkey.parse(text)
    if text != f"{vkey}\n":
        raise NoteError("the public key's file holds more than a key", where=f"{path}.vkey")
    return vkey


def _host_anchors(
    host: Path | int, cage: str, host_key: Vkey | str | None, hasher: Hasher
) -> tuple[tuple[Anchor, ...], CageDestroyed | None, frozenset[bytes]]:
    """What the host log, verified first, says of a cage's log: its last listed root, or its destruction; its keys."""
    report = fsck(host, host_key, hasher=hasher)
    if report.exit_code != 0:
        raise Bad(report.verdict, report.first_bad, f"the host log is {report.verdict}: {report.detail}")
    last: Anchor | None = None
    with open_log_files(host) as reader:
        for entry in entries_of(reader, report.size, report.minimum):
            if cage.encode() not in entry:
                continue
            record = decode_entry(entry)
            if isinstance(record, CageDestroyed) and record.cage == cage:
                return (), record, report.keys
            if isinstance(record, Roots):
                last = next((Anchor("host log", s, root) for name, s, root in record.roots if name == cage), last)
    return ((last,) if last else ()), None, report.keys


def _destroyed_report(record: CageDestroyed) -> Report:
    return Report(
        Verdict.DESTROYED,
        origin=record.cage,
        size=record.size,
        root=record.root,
        anchored_to="host log",
        detail=f"destroyed on purpose, as the host log's record of {record.ts} ns says",
        notes=(f"how: {escape(record.method)}",) if record.method else (),
    )


def entries_of(reader: LogReader, size: int, first: int = 0) -> Iterator[bytes]:
    """The entries of a log of ``size`` from ``first`` on, bundle by bundle; not verified here."""
    for index in range(first // WIDTH, -(-size // WIDTH)):
        tile = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
        data = read_tile(reader, tile)
        if data is None:
            raise LedgerError("an entry bundle is missing", where=tile.path)
        yield from decode_bundle(data, tile.width)[max(first - index * WIDTH, 0) :]


def first_index(reader: LogReader) -> int:
    """Where the entries of a log begin that may have been pruned; not verified here."""
    if reader.read(Tile(ENTRIES, 0).path, MAX_BUNDLE_BYTES) is not None:
        return 0
    found = (parse_path(path) for path in reader.files() if path.startswith("tile/entries/"))
    return min((tile.index for tile in found), default=0) * WIDTH
