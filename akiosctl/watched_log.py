"""A log that is read while somebody watches how far it is: each bundle of entries counts."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from akiosctl.progress import Progress
from akiosd.errors import LedgerError
from akiosd.ledger.note import Checkpoint, parse_note
from akiosd.ledger.report import LogReader
from akiosd.ledger.tiles import WIDTH
from akiosd.store.fsck import Kept, Place

_ENTRIES = "tile/entries/"


class WatchedPlace:
    """``place``, whose readers tell ``progress`` what they read."""

    def __init__(self, place: Place, progress: Progress) -> None:
        self._place, self._progress = place, progress

    @contextmanager
    def open(self) -> Iterator[LogReader]:
        """As of the place itself."""
        self._progress.done = 0
        with self._place.open() as reader:
            yield _WatchedReader(reader, self._progress)

    def history(self) -> Kept:
        """As of the place itself."""
        return self._place.history()


class _WatchedReader:
    def __init__(self, reader: LogReader, progress: Progress) -> None:
        self._reader, self._progress = reader, progress

    def read(self, path: str, limit: int) -> bytes | None:
        data = self._reader.read(path, limit)
        if path.startswith(_ENTRIES):
            full = self._progress.done + WIDTH
            total = self._progress.total
            self._progress.advance((min(full, total) if total else full) - self._progress.done)
        elif path == "checkpoint" and data is not None:
            self._progress.total = _size(data)
        return data

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)


def _size(note: bytes) -> int:
    try:
        return Checkpoint.parse(parse_note(note).text).size
    except LedgerError:
        return 0  # what is wrong with it the verdict says
