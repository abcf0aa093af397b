"""The publishing side of the ledger: decides when which tree is written; all that are due share the
same syncs.
"""

from __future__ import annotations

import errno
from collections.abc import Callable, Iterable

import trio

from akiosd.daemon.ledger.commit import RETRY_S, WAITING_BYTES, Committer
from akiosd.daemon.ledger.rotate_key import KeyRing
from akiosd.daemon.ledger.state import LedgerState
from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.merkle import Hasher
from akiosd.ledger.note import MAX_NOTE_BYTES
from akiosd.ledger.sequencer import Publication, prepare
from akiosd.store.durable import Disk, write_durably
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, discard_unpublished, drop_outgrown, publish_all
from akiosd.store.outgrown import Outgrown
from akiosd.values.ids import HOST_LOG, LogId
from akiosd.values.records import Roots, encode_entry

ROOTS_IN_A_RECORD = 800
"""Roots that fit into one record."""
AHEAD_ENTRIES = 16_384
"""With more durable entries than this behind a publication, the next tree is hashed while that one
is written.
"""


class Publisher:
    """Publishes the host log and ended logs every ``every_s`` seconds, logs of running cages every
    ``running_every_s``.
    """

    every_s = 1.0
    running_every_s = 10.0

    def __init__(
        self,
        state: LedgerState,
        committer: Committer,
        outgrown: Outgrown,
        keys: KeyRing,
        hasher: Hasher,
        now_ns: Callable[[], int],
    ) -> None:
        self._state, self._committer, self._sequencer = state, committer, state.sequencer
        self._outgrown, self._disk = outgrown, outgrown.disk
        self._keys, self._hasher, self._now_ns = keys, hasher, now_ns
        self._demanded: set[LogId] = set()
        self._published_at: dict[LogId, float] = {}
        self._last_cycle = -1e9
        self._dirty: set[LogId] = set()  # a publication failed half-way and left files
        self._ahead: dict[LogId, Publication] = {}  # hashed while the one before was written

    def demand(self, logs: Iterable[LogId]) -> None:
        """Publish these logs at once."""
        self._demanded.update(logs)
        self._state.to_publish.set()

    def opened(self, log: LogId) -> None:
        """A log was opened: its time runs from now on."""
        self._published_at[log] = trio.current_time()

    def closed(self, log: LogId) -> None:
        """A log was closed: it is due soon."""
        self._published_at.pop(log, None)
        self._state.to_publish.set()

    async def publish(self, log: LogId) -> None:
        """Publish everything appended to ``log`` so far; returns once its checkpoint is durable."""
        target = self._sequencer.logs[log].size if log in self._sequencer.logs else 0
        if target:
            await self._committer.wait_durable(log, target - 1)
        while True:
            self._state.check()
            published = self._sequencer.published_size(log)
            if published is None or published >= target:
                return
            self.demand([log])
            await self._state.progress.wait()

    def _due(self, now: float) -> tuple[list[LogId], float]:
        """The logs to publish now, and when to look again if there are none."""
        unpublished = self._sequencer.unpublished()
        if self._state.stopping or self._sequencer.waiting_bytes > WAITING_BYTES:
            return unpublished, float("inf")
        soon = self._last_cycle + self.every_s
        due, wake = [], float("inf")
        for log in unpublished:
            at = soon
            if log in self._demanded:
                at = now
            elif log != HOST_LOG and not self._sequencer.logs[log].closed:
                at = max(soon, self._published_at.get(log, now) + self.running_every_s)
            if at <= now:
                due.append(log)
            wake = min(wake, at)
        return due, wake

    async def run(self, scope: trio.CancelScope) -> None:
        """Publish what is due; when stopping, everything, and then cancel ``scope``."""
        committer = self._committer
        while True:
            due, wake = self._due(trio.current_time())
            if due:
                await self._cycle(due)
                continue
            if self._state.stopping:
                if not self._sequencer.has_commit() and not self._sequencer.queued_bytes:
                    await committer.tidy()
                    await committer.sweep()
                    scope.cancel()
                    return
                await self._state.progress.wait()
                continue
            self._state.to_publish = trio.Event()
            # With cages frozen nothing may ever be due again: look for room now and then.
            retry = trio.current_time() + RETRY_S if self._state.full else float("inf")
            with trio.move_on_at(min(wake, retry)):
                await self._state.to_publish.wait()
            if self._state.full:
                await committer.tidy()

    async def _cycle(self, due: list[LogId]) -> None:
        committer = self._committer
        try:
            publications = await self._prepare([log for log in due if log != HOST_LOG])
            await self._list_roots(publications)
            publications += await self._prepare([HOST_LOG])
            publications, signed = self._choose_keys(publications)
            if not publications:
                await self._state.progress.wait()  # what names their new key is not durable yet
                return
            await self._write_all(publications, signed)
        except OSError as error:
            self._ahead.clear()
            self._state.no_room(error)
            if not await committer.in_thread(committer.drop_reserve):
                if self._state.stopping:
                    raise LedgerError(
                        "there is no room on the disk to publish the last records of the logs",
                        "ledger and cages in state_dir",
                        "make room where state_dir lies; the next start of akiosd publishes",
                    ) from error
                await trio.sleep(RETRY_S)
            return
        self._finish(publications)
        await committer.in_thread_unless_full(self._drop_outgrown, publications)
        self._state.untidy.set()
        if any(publication.outgrown for publication in publications):
            self._state.outgrown.set()

    async def _prepare(self, logs: list[LogId]) -> list[Publication]:
        found, work = [], []
        for log in logs:
            if log in self._sequencer.logs:
                ahead = self._ahead.pop(log, None)
                if ahead is not None and ahead.old_size == self._sequencer.published_size(log):
                    found.append(ahead)
                else:
                    work.append((log, *self._sequencer.work(log)))
        if work:
            found += await self._committer.in_thread(self._prepare_all, work)
        return self._choose_keys(found)[0]

    def _prepare_all(self, work: list[tuple[LogId, Edge, Batch]]) -> list[Publication]:
        return [prepare(*item, self._hasher) for item in work if item[2]]

    async def _prepare_ahead(self, publications: list[Publication]) -> None:
        """While these are written: hash what else is durable by now, where that is much."""
        for publication in publications:
            state = self._sequencer.logs.get(publication.log)
            if state is not None and state.durable - publication.size > AHEAD_ENTRIES:
                work = [(state.id, *self._sequencer.work(state.id, publication))]
                self._ahead[state.id] = (await self._committer.in_thread(self._prepare_all, work))[
                    0
                ]

    async def _list_roots(self, publications: list[Publication]) -> None:
        """The host log names the roots before they are published."""
        roots = [
            (publication.log, publication.size, publication.root) for publication in publications
        ]
        for start in range(0, len(roots), ROOTS_IN_A_RECORD):
            record = Roots(ts=self._now_ns(), roots=tuple(roots[start : start + ROOTS_IN_A_RECORD]))
            index = self._committer.append(HOST_LOG, [encode_entry(record)])
            await self._committer.wait_durable(HOST_LOG, index)

    def _choose_keys(
        self, publications: list[Publication]
    ) -> tuple[list[Publication], list[tuple[LedgerKey, list[Publication]]]]:
        """The publications that can be signed now, grouped by key; there is more than one key only
        during a rotation.
        """
        chosen = [
            (self._keys.key_for(publication.log, publication.size), publication)
            for publication in publications
        ]
        groups: dict[bytes, tuple[LedgerKey, list[Publication]]] = {}
        for key, publication in chosen:
            if key is not None:
                groups.setdefault(key.seed, (key, []))[1].append(publication)
        return [publication for key, publication in chosen if key is not None], list(
            groups.values()
        )

    def _half_done(self) -> dict[LogId, int]:
        sizes = {log: self._sequencer.published_size(log) for log in self._dirty}
        return {log: size for log, size in sizes.items() if size is not None}

    async def _write_all(
        self, publications: list[Publication], signed: list[tuple[LedgerKey, list[Publication]]]
    ) -> None:
        """Raises what ``_write`` raises, as it is."""
        failed: list[Exception] = []

        async def write() -> None:
            try:
                await self._committer.in_thread(
                    self._write, publications, signed, self._half_done()
                )
            except Exception as error:
                failed.append(error)

        async with trio.open_nursery() as nursery:
            nursery.start_soon(write)
            await self._prepare_ahead(publications)
        if failed:
            raise failed[0]

    def _write(
        self,
        publications: list[Publication],
        signed: list[tuple[LedgerKey, list[Publication]]],
        half_done: dict[LogId, int],
    ) -> None:
        """Blocking; in a worker thread."""
        for log, size in half_done.items():
            discard_unpublished(self._outgrown, log, size)
        if half_done:
            self._disk.sync_everything()
        self._dirty.update(publication.log for publication in publications)
        for key, group in signed:
            publish_all(self._disk, key, group, self._committer.commit_heads)
            if key.earlier:
                for publication in group:
                    _keep_vkey(self._disk, key, publication.log)

    def _finish(self, publications: list[Publication]) -> None:
        now = trio.current_time()
        self._last_cycle = now
        self._dirty.clear()
        for log in [log for log in self._ahead if log not in self._sequencer.logs]:
            del self._ahead[log]  # destroyed
        for publication in publications:
            self._sequencer.published(publication)
            self._demanded.discard(publication.log)
            if publication.log in self._published_at:
                self._published_at[publication.log] = now
        self._committer.release_frames()
        self._state.advance()

    def _drop_outgrown(self, publications: list[Publication]) -> None:
        for publication in publications:
            drop_outgrown(self._outgrown, publication)


def _keep_vkey(disk: Disk, key: LedgerKey, log: LogId) -> None:
    """Put the key that signs a log since a rotation beside it, for tools that know nothing of
    rotations.

    After its checkpoint. Until then, or when the disk is full, the old key is there, from which the
    log itself leads to the new one.
    """
    path, text = f"{directory(log)}.vkey", f"{key.vkey(log)}\n".encode()
    if disk.read(path, MAX_NOTE_BYTES) == text:
        return
    try:
        write_durably(disk, path, text)
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
