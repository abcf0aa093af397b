"""Verifies a log on disk without a daemon, and without trusting the directory that it lies in.

Symbolic links, FIFOs, devices, giant files and foreign names are findings, never followed or waited
for. What is found is judged in :mod:`akiosd.ledger.judge`, as for every other way to reach a log.
"""

from __future__ import annotations

import os
import stat
from contextlib import AbstractContextManager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Protocol

from akiosd.errors import LedgerError
from akiosd.ledger.host_word import HostWord, read_host_word
from akiosd.ledger.judge import NOTHING, Trust, blame_host, judge, name_of
from akiosd.ledger.key_list import KEY_LIST_PATH, MAX_KEY_LIST_BYTES, log_key, open_key_list
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import (
    MAX_NOTE_BYTES,
    Checkpoint,
    NoteError,
    UntrustedNoteError,
    Vkey,
    parse_note,
)
from akiosd.ledger.quorum import Quorum
from akiosd.ledger.report import LogReader, Report, Verdict
from akiosd.store.archive_format import KEYS_IN_ARCHIVE, PackedLog
from akiosd.store.history import Files, KeptCheckpoints
from akiosd.store.log_files import LogFiles
from akiosd.values.ids import HOST_LOG, is_cage_id

_MAX_VKEY_BYTES = 4096
_ATTEMPTS = 4
_NAME_LOG = "name a log's directory, or an archive of one, itself"


class Place(Protocol):
    """Where a log's files are; the same for all ways to reach one."""

    def open(self) -> AbstractContextManager[LogReader]:
        """The files of the log; the caller closes them.  Raises ``OSError`` and ``LedgerError``."""

    def history(self) -> KeptCheckpoints:
        """The checkpoints kept beside the log; the caller closes them."""


Kept = KeptCheckpoints


def kept_checkpoints(files: Files | None, name: str = "audit.history") -> Kept:
    """Kept checkpoints read by ``files``, which they own.  Raises ``LedgerError`` where one cannot
    be a checkpoint.
    """
    return KeptCheckpoints(files, name)


@dataclass(frozen=True)
class Nowhere:
    """A place without any file of the log."""

    name: str

    def open(self) -> AbstractContextManager[LogReader]:
        raise FileNotFoundError(self.name)

    def history(self) -> Kept:
        return KeptCheckpoints(None, "")


@dataclass(frozen=True)
class Foreign(Nowhere):
    """A place with something that cannot be a log."""

    def open(self) -> AbstractContextManager[LogReader]:
        raise LedgerError(
            "this is neither the directory nor the archive of a log",
            where=self.name,
            next=_NAME_LOG,
        )


@dataclass(frozen=True)
class OnDisk:
    """A directory or an archive: a path, or an open descriptor, which stays the caller's."""

    path: Path | int

    def open(self) -> LogFiles | PackedLog:
        return open_log_files(self.path)

    def history(self) -> KeptCheckpoints:
        return KeptCheckpoints.beside(self.path)


def open_log_files(path: Path | int) -> LogFiles | PackedLog:
    """The files of a log: a directory, or an archive made by ``pack``.  Raises ``LedgerError`` for
    anything else.
    """
    status = os.fstat(path) if isinstance(path, int) else os.stat(path, follow_symlinks=False)
    if stat.S_ISLNK(status.st_mode):
        raise LedgerError(
            "this is a symbolic link, which is not followed to a log",
            where=str(path),
            next=_NAME_LOG,
        )
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
    host_pin: bytes | None = None,
    cosigned: tuple[bytes, ...] = (),
    quorum: Quorum = NOTHING,
    key_list: bytes | None = None,
) -> Report:
    """Verify the log in a directory or archive (a path, or an open fd, which stays the caller's).

    ``vkey`` is a public key of its host, or its text; without it the file ``<path>.vkey`` beside
    the log is taken, and the report says so.  ``pin`` is a checkpoint remembered earlier, ``host``
    the host log's directory, which lists the roots of all cages; it must verify under the same key,
    or ``host_key``, and agree with ``host_pin``.  ``cage`` names the log (by default the directory
    above does).  ``cosigned``, ``quorum``, ``key_list``: see ``judge.Trust``.
    """
    log = cage or _name_by_place(path)
    try:
        given = _parse_vkey(vkey)
        word = None
        if host is not None:
            word = _ask_there(host, _parse_vkey(host_key) or given, host_pin, log, hasher)
            if word.report.exit_code == 0 and not _exists(path):
                given = given or Vkey.parse(word.report.vkey)
            elif word.report.exit_code != 0 and given is None:
                return blame_host(word.report)
        trust = read_trust(path, given, pin=pin, key_list=key_list)
        trust = replace(trust, cosigned=cosigned, quorum=quorum, beside=vkey is None)
        return verify_place(OnDisk(path), trust, name_log(path, trust, log), word, hasher)
    except (OSError, LedgerError) as error:
        return refusal(error, str(path))


def _ask_there(
    host: Path | int, key: Vkey | None, pin: bytes | None, log: str, hasher: Hasher
) -> HostWord:
    """The host's log is believed under the key that is trusted for the cage's, not under the one
    that lies beside it.

    Only where nothing is trusted but what lies beside the logs, it is that, and ``judge`` wants
    both to agree.
    """
    try:
        trust = read_trust(host, log_key(key, HOST_LOG) if key is not None else None, pin=pin)
    except (OSError, LedgerError) as error:
        return HostWord(refusal(error, str(host)))
    return ask_host(OnDisk(host), trust, log, hasher)


def ask_host(place: Place, trust: Trust, cage: str, hasher: Hasher = PYTHON) -> HostWord:
    """Verify the host's log, then read its word about a cage (``""``: about all)."""
    report = verify_place(place, trust, HOST_LOG, None, hasher)
    if report.exit_code != 0:
        return HostWord(report)
    try:
        with place.open() as reader:
            return read_host_word(reader, report, cage)
    except (OSError, LedgerError) as error:
        return HostWord(refusal(error, "host log"))


def verify_place(
    place: Place, trust: Trust, log: str, host: HostWord | None, hasher: Hasher = PYTHON
) -> Report:
    """Judge what is at ``place``; tried again a few times where what was found may be a publication
    in progress.
    """
    try:
        for attempt in range(2):
            with place.history() as kept:
                report = _verify_still(place, trust, log, host, hasher, kept)
                # One that is being written just now is whole the next time.
                if report.exit_code == 0 or attempt or not kept.holds(report.first_bad):
                    break
        return report
    except (OSError, LedgerError) as error:
        if isinstance(error, FileNotFoundError):
            return judge(None, trust, log, host=host, hasher=hasher)
        return refusal(error, log)


def _verify_still(
    place: Place,
    trust: Trust,
    log: str,
    host: HostWord | None,
    hasher: Hasher,
    kept: KeptCheckpoints,
) -> Report:
    for attempt in range(_ATTEMPTS):
        with place.open() as reader:
            before = reader.read("checkpoint", MAX_NOTE_BYTES) if attempt < _ATTEMPTS - 1 else None
            report = judge(reader, trust, log, host=host, history=kept, hasher=hasher)
            if report.exit_code == 0 or attempt == _ATTEMPTS - 1:
                break
            if reader.read("checkpoint", MAX_NOTE_BYTES) == before:
                break
    return report


def refusal(error: OSError | LedgerError, where: str) -> Report:
    """The verdict when something cannot be read, or is not what it should be."""
    if isinstance(error, FileNotFoundError):
        return Report(
            Verdict.INCOMPLETE,
            first_bad=str(error.filename or where),
            detail="there is no such log",
        )
    if isinstance(error, OSError):
        detail = f"it cannot be read: {error.strerror}"
        return Report(Verdict.INCOMPLETE, first_bad=str(error.filename or where), detail=detail)
    verdict = Verdict.UNTRUSTED if isinstance(error, NoteError) else Verdict.TAMPERED
    return Report(verdict, first_bad=error.where, detail=error.what)


def name_log(path: Path | int, trust: Trust, cage: str = "") -> str:
    """The name of the log that should be there.

    As the caller or the directory says, else the trusted key, else the log itself; "" when none of
    these does.
    """
    said = cage or _name_by_place(path)
    if said:
        return said
    try:
        with open_log_files(path) as reader:
            note = reader.read("checkpoint", MAX_NOTE_BYTES)
        origin = Checkpoint.parse(parse_note(note or b"").text).origin
    except (OSError, LedgerError):
        return ""
    return name_of(trust.vkey, "", origin)


def read_trust(
    path: Path | int, given: Vkey | None, *, pin: bytes | None = None, key_list: bytes | None = None
) -> Trust:
    """Whose word is taken for the log there: the given key, else the one beside it.

    Raises ``OSError``, and ``LedgerError`` when there is no key.
    """
    # An archive's own key must be whole even where another is trusted: no byte of it may change
    # unnoticed.
    own = find_vkey(path) if given is None or _is_archive(path) else None
    vkey = given or own
    assert vkey is not None
    return Trust(vkey, pin, key_list=key_list or _find_key_list(path, vkey), beside=given is None)


def _name_by_place(path: Path | int) -> str:
    if isinstance(path, int):
        return ""
    above = path.absolute().parent.name
    return above if is_cage_id(above) else ""


def _exists(path: Path | int) -> bool:
    return isinstance(path, int) or os.path.lexists(path)


def _is_archive(path: Path | int) -> bool:
    try:
        return stat.S_ISREG(
            os.fstat(path).st_mode if isinstance(path, int) else os.lstat(path).st_mode
        )
    except FileNotFoundError:
        return False


def _parse_vkey(vkey: Vkey | str | None) -> Vkey | None:
    return Vkey.parse(vkey) if isinstance(vkey, str) else vkey


def find_vkey(path: Path | int) -> Vkey:
    """The key beside a log's directory, or in an archive; raises ``NoteError`` where there is
    none.
    """
    if isinstance(path, int) or not path.is_dir():
        with open_log_files(path) as reader:
            data = reader.vkey_text() if isinstance(reader, PackedLog) else None
    else:
        beside = path.absolute()
        with LogFiles(beside.parent) as folder:
            data = folder.read(f"{beside.name}.vkey", _MAX_VKEY_BYTES)
    if data is None:
        raise UntrustedNoteError(
            "there is no public key beside the log",
            where=f"{path}.vkey",
            next="give the log's public key: --vkey FILE; its host prints it: akiosctl ledger keys",
        )
    text = data.decode("utf-8", "replace")
    vkey = Vkey.parse(text)
    if text != f"{vkey}\n":
        raise NoteError("the public key's file holds more than a key", where=f"{path}.vkey")
    return vkey


def _find_key_list(path: Path | int, vkey: Vkey) -> bytes | None:
    """The list of the host's keys: in an archive, beside one that was unpacked, or where a state
    directory has it.

    None where there is none.  One that is no part of an archive counts only if it is sound: it can
    only add to what is trusted, and a stop in a rotation may leave it behind.
    """
    if _is_archive(path):
        with open_log_files(path) as reader:
            return reader.key_list() if isinstance(reader, PackedLog) else None
    if isinstance(path, int):
        return None
    place = path.absolute()
    state = place.parent.parent if place.name == HOST_LOG else place.parent.parent.parent
    # Beside it: where tar puts what an archive holds.
    for folder, name in ((state, KEY_LIST_PATH), (place.parent, KEYS_IN_ARCHIVE)):
        try:
            with LogFiles(folder) as files:
                data = files.read(name, MAX_KEY_LIST_BYTES)
            if data is not None:
                open_key_list(data, vkey)
                return data
        except (OSError, LedgerError):
            continue
    return None
