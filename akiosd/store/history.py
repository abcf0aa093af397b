"""Checkpoints kept beside a log as ``<log>.history/<size>``: read one at a time, however many there
are.
"""

from __future__ import annotations

import os
from array import array
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Protocol

from akiosd.errors import AGAIN, LedgerError
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, NoteError, Vkey, is_signed_by, parse_note
from akiosd.store.log_files import LogFiles


def _beside(log: Path | int) -> Path:
    """Where the log's kept checkpoints lie, beside it; of an open log, beside where it is now."""
    path = Path(os.readlink(f"/proc/self/fd/{log}")) if isinstance(log, int) else log.absolute()
    return path.with_name(path.name + ".history")


class Files(Protocol):
    """A ``LogReader`` that can be closed."""

    def read(self, path: str, limit: int) -> bytes | None: ...
    def files(self) -> Iterator[str]: ...
    def close(self) -> None: ...


class KeptCheckpoints:
    """``akiosd.ledger.report.History`` over the files of a directory beside a log; ``files`` is
    None for none.

    Owns ``files``: ``close`` it, or use it in ``with``. Raises ``LedgerError`` when a file there
    cannot be a kept checkpoint.
    """

    def __init__(self, files: Files | None, name: str) -> None:
        self.sizes = array("Q")
        self._files, self._name = files, name
        if files is None:
            return
        try:
            for found in self._names(files):
                if (
                    not (found.isascii() and found.isdigit())
                    or found.startswith("0")
                    or len(found) > 18
                ):
                    raise LedgerError(
                        "a file among the kept checkpoints is not one", where=f"{name}/{found}"
                    )
                self.sizes.append(int(found))
        except BaseException:
            files.close()
            raise
        self.sizes = array("Q", sorted(self.sizes))

    @classmethod
    def beside(cls, log: Path | int) -> KeptCheckpoints:
        """The kept checkpoints beside a log's directory or archive (a path, or an open
        descriptor).
        """
        folder = _beside(log)
        try:
            return cls(LogFiles(folder), folder.name)
        except FileNotFoundError:
            return cls(None, folder.name)
        except NotADirectoryError:
            raise LedgerError(
                "a file is where the directory of kept checkpoints should be", where=folder.name
            ) from None

    def _names(self, files: Files) -> Iterator[str]:
        try:
            yield from files.files()
        except LedgerError as error:
            raise LedgerError(error.what, where=f"{self._name}/{error.where}") from None

    def __enter__(self) -> KeptCheckpoints:
        return self

    def __exit__(self, *_: object) -> None:
        if self._files is not None:
            self._files.close()

    def holds(self, path: str) -> bool:
        """Whether the path in a report is one of these."""
        return path.startswith(f"{self._name}/")

    def read(self, size: int) -> tuple[str, bytes, Checkpoint]:
        where = f"{self._name}/{size}"
        note = self._files.read(str(size), MAX_NOTE_BYTES) if self._files is not None else None
        if note is None:
            raise LedgerError("a kept checkpoint disappeared while it was read", where, AGAIN)
        try:
            checkpoint = Checkpoint.parse(parse_note(note).text)
        except NoteError as error:
            raise LedgerError(f"a kept checkpoint is damaged: {error.what}", where=where) from None
        if checkpoint.size != size:
            raise LedgerError(
                f"a kept checkpoint is not of the size in its name, but of {checkpoint.size}",
                where=where,
            )
        return where, note, checkpoint

    def check_signatures(self, keys: Sequence[Vkey]) -> None:
        """Raise ``LedgerError`` unless each is signed by one of ``keys``."""
        for size in self.sizes:
            where, note, _ = self.read(size)
            if not any(is_signed_by(note, key) for key in keys):
                raise LedgerError(
                    "a kept checkpoint is signed by none of the log's keys", where=where
                )
