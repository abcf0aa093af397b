"""Replaces a finished log's directory by one archive: one file instead of a dozen inodes.

    archive written, verified, durable → its record in the host log
    → directory and kept checkpoints wiped

Stopped in between, both exist: the archive is read, and the directory is wiped the next time.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path

from akiosd.errors import LedgerDiskError, LedgerError
from akiosd.kernel.syscalls import sync_directory
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES
from akiosd.ledger.host_word import CageWord
from akiosd.ledger.merkle import PYTHON, Hasher
from akiosd.ledger.note import Vkey
from akiosd.ledger.report import LogReader, Report
from akiosd.store.archive_format import pack
from akiosd.store.fsck import find_vkey, fsck
from akiosd.store.log_dir import archive, directory
from akiosd.store.log_files import LogFiles
from akiosd.store.scratch import open_scratch
from akiosd.store.wipe import How, overwrite, wipe
from akiosd.values.ids import LogId


@dataclass(frozen=True)
class Places:
    """Paths of the parts of a cage's log."""

    log: Path
    archive: Path

    @classmethod
    def of(cls, state_dir: Path, log: LogId) -> Places:
        """The places of ``log`` below the state directory."""
        return cls(state_dir / directory(log), state_dir / archive(log))

    @property
    def history(self) -> Path:
        """Where its kept checkpoints are."""
        return self.log.with_name(self.log.name + ".history")

    @property
    def vkey(self) -> Path:
        """Where its public key is."""
        return self.log.with_name(self.log.name + ".vkey")

    @property
    def is_packed(self) -> bool:
        """Whether only the archive is left."""
        return self.archive.exists() and not any(
            path.exists() for path in (self.log, self.history, self.vkey)
        )


def pack_log(path: Path, out: Path, vkey: Vkey, hasher: Hasher = PYTHON) -> int:
    """Put a finished log into the archive ``out``, durable on return; returns its length in
    bytes.
    """
    with LogFiles(path) as reader:
        return pack_from(reader, out, vkey, hasher)


def pack_from(
    reader: LogReader, out: Path, vkey: Vkey, hasher: Hasher, key_list: bytes | None = None
) -> int:
    """The same, of a log that is open, with the list of its host's keys if one is given.

    What was written is verified before it gets its name.  Raises ``LedgerError``; the log itself is
    left as it is, and so is a device, a pipe or a directory of that name, such as /dev/null.
    """
    if os.path.lexists(out) and not (out.is_file() or out.is_symlink()):
        raise LedgerError(
            "this is not a regular file, and the archive would take its place",
            str(out),
            "name a new file for the archive",
        )
    temporary = out.with_name(out.name + ".tmp")
    fd = open_scratch(temporary)
    try:
        length = pack(reader, vkey, MAX_BUNDLE_BYTES, fd, key_list)
        os.ftruncate(fd, length)
        report = fsck(fd, vkey, hasher=hasher)
        if report.exit_code != 0:
            raise LedgerError(
                f"the log is {report.verdict}: {report.detail}", where=report.first_bad
            )
        os.fsync(fd)
    finally:
        os.close(fd)
    os.replace(temporary, out)
    sync_directory(out.parent)
    return length


def make_archive(places: Places, hasher: Hasher, word: CageWord) -> Report:
    """Put the log into its archive, which on return is verified, durable, and dated as the log's
    end.

    ``word``: what the host's log says about it. Raises ``LedgerError`` when the log is not whole or
    not as listed, or when there is no room; the log then stays as it is.
    """
    key = find_vkey(places.archive if places.archive.exists() else places.log)
    if not places.archive.exists():
        _refuse_bad(fsck(places.log, key, hasher=hasher), word)
        ended = os.stat(places.log / "checkpoint", follow_symlinks=False).st_mtime_ns
        try:
            pack_log(places.log, places.archive, key, hasher)
        except OSError as error:
            half = places.archive.with_name(places.archive.name + ".tmp")
            overwrite(half.parent, How(), [half.name])
            half.unlink(missing_ok=True)
            raise LedgerDiskError(
                f"the log cannot be packed into one file: {error.strerror}",
                str(places.archive),
                "check the mode and the room of that file's directory (ls -ld, df); akiosd tries"
                " again by itself",
            ) from error
        os.utime(places.archive, ns=(ended, ended))
    report = fsck(places.archive, key, hasher=hasher)
    _refuse_bad(report, word)
    return report


def _refuse_bad(report: Report, word: CageWord) -> None:
    if report.exit_code != 0:
        raise LedgerError(f"the log is {report.verdict}: {report.detail}", where=report.first_bad)
    if (report.size, report.root) != (word.size, word.root):
        listed = (
            "does not list it"
            if word.size is None
            else f"lists it at size {word.size}, root {word.root.hex()}"
        )
        what = (
            f"the log is of size {report.size}, root {report.root.hex()}, and the host's log"
            f" {listed}"
        )
        raise LedgerError(what, where=report.origin)


def drop_directory(places: Places, how: How) -> None:
    """The archive has replaced the log: wipe the files that it was made of."""
    wipe(places.log, how)
    wipe(places.history, how)
    places.vkey.unlink(missing_ok=True)
