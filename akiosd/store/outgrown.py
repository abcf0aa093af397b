"""Files that held records and are no longer part of a log: moved aside, overwritten with zeros,
then unlinked.

    out of the log by one rename → the rename durable → zeros in place, durable → unlinked

So a reader of the log never meets a file of zeros, and no block with a record goes back to the file
system. What a stop left here is done at the next start. Moving is cheap, and done by whoever
outgrows a file; ``sweep`` is for a thread that nobody waits for.
"""

from __future__ import annotations

import threading

from akiosd.store.durable import Disk, parent

DIRECTORY = "ledger/outgrown"


class Outgrown:
    """``take`` may be called from any thread, also while ``sweep`` runs."""

    def __init__(self, disk: Disk) -> None:
        self.disk = disk
        self._lock = threading.Lock()  # over the next name and the changed directories
        self._sweeping = threading.Lock()
        self._changed: dict[str, None] = {}
        disk.sync([], disk.make_dirs(DIRECTORY, 0o700))
        self._next = 1 + max(
            (int(name) for name in disk.names(DIRECTORY) if name.isdigit()), default=0
        )

    def take(self, path: str) -> None:
        """Move a file, or a directory of files, out of its log; nothing there is nothing to do."""
        with self._lock:
            try:
                self.disk.move(path, f"{DIRECTORY}/{self._next:08d}")
            except FileNotFoundError:
                return
            self._next += 1
            self._changed[parent(path)] = None

    def sweep(self) -> None:
        """Blocking: overwrite and unlink everything taken so far.  Raises ``LedgerError`` when a
        sync fails.
        """
        with self._sweeping:
            with self._lock:
                names, changed = self.disk.names(DIRECTORY), list(self._changed)
                self._changed.clear()
            if not names:
                return
            # Before the first zero: after a power loss nothing may be found under its old name and
            # be zeros.
            self.disk.sync([], [DIRECTORY, *filter(self.disk.is_dir, changed)])
            files, folders = self._below(names)
            for path in files:
                self._overwrite(path)
            self.disk.sync(files, [])
            for path in files:
                self.disk.remove(path)
            for path in folders:
                self.disk.remove_dir(path)

    def _below(self, names: list[str]) -> tuple[list[str], list[str]]:
        files, folders = list[str](), list[str]()
        for name in names:
            path = f"{DIRECTORY}/{name}"
            if self.disk.is_dir(path):
                folders.append(path)
                files += [f"{path}/{inner}" for inner in self.disk.names(path)]
            else:
                files.append(path)
        return files, folders

    def _overwrite(self, path: str) -> None:
        file = self.disk.open_region(path)
        try:
            file.write_at(0, bytes(self.disk.size(path) or 0))
        finally:
            file.close()
