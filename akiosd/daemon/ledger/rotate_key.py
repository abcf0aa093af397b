"""Chooses the key for each checkpoint while a rotation goes on, and keeps the order of that
rotation.

    next key durable → named in the host log, durable → in the present key's place → named in every open log

A log is signed by the new key from the size on that includes its naming, and by the old key below.
Where the old key is gone, because of a restart in between, the log is not published before the
naming is durable.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable

import trio

from akiosd.daemon.ledger.commit import Committer
from akiosd.daemon.ledger.state import LedgerState
from akiosd.errors import LedgerDiskError, LedgerError
from akiosd.ledger.key_list import KEY_LIST_PATH, MAX_EPOCHS, MAX_KEY_LIST_BYTES
from akiosd.store.durable import Disk, write_durably
from akiosd.store.keys import NEXT_PATH, LedgerKey, install_next, save_next
from akiosd.store.recover import BEGIN_ANEW
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import KeyEpoch, encode_entry


class KeyRing:
    """The present key, and during a rotation the one before or after it."""

    def __init__(
        self,
        state: LedgerState,
        committer: Committer,
        disk: Disk,
        key: LedgerKey,
        now_ns: Callable[[], int],
    ) -> None:
        self.current = key
        self._state, self._committer, self._disk, self._now_ns = state, committer, disk, now_ns
        self._older: LedgerKey | None = None
        self._newer: LedgerKey | None = None
        self._named_at: dict[LogId, int] = {}  # index of the entry that names the newest key
        self._lock = trio.Lock()

    def key_for(self, log: LogId, size: int) -> LedgerKey | None:
        """The key that signs this log at this size; None when none can, any more or yet."""
        named_at = self._named_at.get(log)
        if named_at is None:
            return self.current
        if size > named_at:
            return self._newer or self.current
        return self.current if self._newer else self._older

    def name_key(self, log: LogId, after: int) -> int:
        """Append a record for every epoch after ``after`` to an open log; returns the index of the
        last.
        """
        key = self._newer or self.current
        self._state.check()
        for epoch in key.epochs:
            if epoch.number > after:
                record = KeyEpoch(
                    ts=self._now_ns(),
                    epoch=epoch.number,
                    public_key=epoch.public_key,
                    certified_by=epoch.certified_by,
                )
                self._named_at[log] = self._committer.append_own(log, [encode_entry(record)])
        return self._named_at[log]

    async def keep_list(self) -> None:
        """Write the list of the host's keys beside its log; when there is no room, the next start
        does it.
        """
        key = self.current

        def write() -> None:
            data = key.key_list()
            if not _holds(self._disk, KEY_LIST_PATH, data):
                write_durably(self._disk, KEY_LIST_PATH, data)

        await self._committer.in_thread_unless_full(write)

    async def rotate(self, seed: bytes, publish: Callable[[LogId], Awaitable[None]]) -> int:
        """Replace the present key by a new one; returns its epoch.  On return everything is
        published under it.

        ``seed`` is 32 random bytes; ``publish`` is awaited for each open log. Raises
        ``LedgerError`` before anything was changed if the disk is full.
        """
        async with self._lock:
            if self._state.full:
                raise LedgerError(
                    "the disk is full: the key is not changed now",
                    next="make room where state_dir lies",
                )
            if len(self.current.epochs) >= MAX_EPOCHS:
                what = f"a host has at most {MAX_EPOCHS} keys: this one stays"
                next = f"to change it even so, first commit or discard all changes that wait; then {BEGIN_ANEW}"
                raise LedgerError(what, KEY_LIST_PATH, next)
            newer = self.current.next(seed)
            before = self.current.epochs[-1].number
            try:
                await self._committer.in_thread(save_next, self._disk, newer)
            except OSError as error:
                raise LedgerDiskError(
                    f"the new key cannot be kept: {error.strerror}", where=NEXT_PATH
                ) from error
            self._newer = newer
            await self._committer.wait_durable(HOST_LOG, self.name_key(HOST_LOG, before))
            try:
                await self._committer.in_thread(install_next, self._disk)
            except OSError as error:
                failure = LedgerDiskError(
                    f"the new key cannot be put in place: {error.strerror}", where=NEXT_PATH
                )
                self._state.fail(failure)
                raise failure from error
            # From here to the end of this step nothing may be published: there is no await in it.
            self._older, self.current, self._newer = self.current, newer, None
            logs = [log for log in self._state.sequencer.logs if log != HOST_LOG]
            for log in logs:
                self.name_key(log, before)
            for log in [*logs, HOST_LOG]:
                await publish(log)
            self._older = None
            self._named_at.clear()
            await self.keep_list()
            return newer.epochs[-1].number


def _holds(disk: Disk, path: str, data: bytes) -> bool:
    """Whether a derived file is as it should be; what else is in its place is written over."""
    try:
        return disk.read(path, MAX_KEY_LIST_BYTES) == data
    except LedgerError:
        return False
