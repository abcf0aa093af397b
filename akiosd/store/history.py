"""Checkpoints kept beside a log as ``<log>.history/<size>``: read one at a time, however many there are."""

from __future__ import annotations

from array import array
from pathlib import Path

from akiosd.errors import LedgerError
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, NoteError, Vkey, is_signed_by, parse_note
from akiosd.store.log_files import LogFiles


class KeptCheckpoints:
    """``akiosd.ledger.report.History`` over a directory.  Owns the fd it opens; ``close`` it, or use it in ``with``.

    Raises ``LedgerError`` when a file there cannot be a kept checkpoint.
    """

    def __init__(self, log: Path) -> None:
        folder = log.absolute().with_name(log.name + ".history")
        self.sizes = array("Q")
        self._name = folder.name
        self._files = LogFiles(folder) if folder.is_dir() else None
        if self._files is not None:
            for name in self._files.files():
                if not name.isdigit() or name.startswith("0") or len(name) > 18:
                    raise LedgerError("not the name of a kept checkpoint", where=f"{folder.name}/{name}")
                self.sizes.append(int(name))
        self.sizes = array("Q", sorted(self.sizes))

    def __enter__(self) -> KeptCheckpoints:
        return self

    def __exit__(self, *_: object) -> None:
        if self._files is not None:
            self._files.close()

    def read(self, size: int) -> tuple[str, bytes, Checkpoint]:
        where = f"{self._name}/{size}"
        note = self._files.read(str(size), MAX_NOTE_BYTES) if self._files is not None else None
        if note is None:
            raise LedgerError("a kept checkpoint went while it was read", where=where)
        try:
            checkpoint = Checkpoint.parse(parse_note(note).text)
        except NoteError as error:
            raise LedgerError(f"a kept checkpoint is damaged: {error.what}", where=where) from None
        if checkpoint.size != size:
            raise LedgerError("a kept checkpoint is of another size", where=where)
        return where, note, checkpoint

    def check_signatures(self, keys: list[Vkey]) -> None:
        """Raise ``LedgerError`` unless each is signed by one of ``keys``."""
        for size in self.sizes:
            where, note, _ = self.read(size)
            if not any(is_signed_by(note, key) for key in keys):
                raise LedgerError("a kept checkpoint is signed by none of the log's keys", where=where)
