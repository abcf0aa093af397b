"""The store under a strict disk model: random histories, a stop at a random operation, recovery,
and what must hold.

The same harness must find each of the mistakes planted below; a harness that finds none proves
nothing.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest

from akiosd.errors import LedgerError
from akiosd.ledger.bundle import MAX_BUNDLE_BYTES, decode_bundle
from akiosd.ledger.frame import Head
from akiosd.ledger.merkle import HASH_BYTES, python_leaves, root_of
from akiosd.ledger.note import open_checkpoint
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import Publication, prepare
from akiosd.ledger.tiles import ENTRIES, WIDTH, Tile
from akiosd.ledger.verify import verify_log
from akiosd.store import log_dir
from akiosd.store.durable import Disk
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, discard_unpublished, drop_outgrown
from akiosd.store.recover import Opened, open_ledger, published_host
from akiosd.values.ids import HOST_LOG, LogId
from tests.unit.store.disk_model import Crash, ModelDisk, ModelLog

SEGMENT = 32 << 10
CAGES = [LogId("c-000000000001"), LogId("c-000000000002")]
Publish = Callable[[Disk, LedgerKey, Sequence[Publication], Callable[[list[Head]], None]], None]


@dataclass
class Promises:
    """What the ledger has said so far, and must keep through every stop."""

    appended: dict[LogId, list[bytes]] = field(default_factory=dict)
    acknowledged: dict[LogId, int] = field(default_factory=dict)
    shown: dict[LogId, dict[int, bytes]] = field(
        default_factory=dict
    )  # every checkpoint a reader could have seen


@dataclass
class Driver:
    """The order of ``commit.py`` and ``publish.py`` without their threads, one step at a time."""

    disk: ModelDisk
    opened: Opened
    promises: Promises
    publish: Publish = log_dir.publish_all
    dirty: set[LogId] = field(default_factory=set)

    @classmethod
    def start(cls, disk: ModelDisk, promises: Promises, publish: Publish) -> Driver:
        secret = random.Random(7)
        driver = cls(disk, open_ledger(disk, secret.randbytes, SEGMENT), promises, publish)
        for log in [HOST_LOG, *CAGES]:
            if log not in driver.opened.sequencer.logs:
                driver.opened.sequencer.open_log(
                    log, log_dir.load_edge(disk, driver.opened.key, log)
                )
            # What was never acknowledged may be gone; what is there goes on from where it is.
            del promises.appended.setdefault(log, [])[driver.opened.sequencer.logs[log].size :]
        disk.on_replace = driver.see
        return driver

    def see(self, path: str) -> None:
        if path.endswith("/checkpoint"):
            log = LogId("host") if path.startswith("ledger/host") else LogId(path.split("/")[1])
            note = self.disk.read(path, 1 << 16) or b""
            checkpoint = open_checkpoint(note, self.opened.key.vkey(log))
            self.promises.shown.setdefault(log, {})[checkpoint.size] = checkpoint.root

    def append(self, log: LogId, entries: list[bytes]) -> None:
        self.opened.sequencer.append(log, entries)
        self.promises.appended.setdefault(log, []).extend(entries)

    def commit(self) -> None:
        sequencer, wal = self.opened.sequencer, self.opened.wal
        while commit := sequencer.take_commit():
            while True:
                try:
                    seq = wal.write(commit.body)
                except OSError:
                    self.disk.full = lambda: (
                        False
                    )  # somebody makes room; the same frame is tried again
                    continue
                break
            announced = sequencer.committed()
            self.opened.frame_ends.append((seq, {m.log: m.end for m in announced}))
            for mark in announced:
                self.promises.acknowledged[mark.log] = mark.end

    def commit_heads(self, heads: list[Head]) -> None:
        self.opened.sequencer.mark(*heads)
        self.commit()

    def name_in_host_log(self, logs: list[LogId]) -> None:
        """Durable before anything of them is published."""
        full, self.disk.full = self.disk.full, lambda: False
        self.append(HOST_LOG, [" ".join(["roots", *logs]).encode()])
        self.commit()
        self.disk.full = full

    def publish_logs(self, logs: list[LogId]) -> None:
        sequencer = self.opened.sequencer
        new = [log for log in logs if log != HOST_LOG and not sequencer.logs[log].published.size]
        if new:
            self.name_in_host_log(new)
        work = [(log, *sequencer.work(log)) for log in logs]
        publications = [prepare(log, edge, batch) for log, edge, batch in work if batch]
        try:
            for log in self.dirty:
                discard_unpublished(self.opened.outgrown, log, sequencer.logs[log].published.size)
            if self.dirty:
                self.disk.sync_everything()
            self.dirty.update(publication.log for publication in publications)
            self.publish(self.disk, self.opened.key, publications, self.commit_heads)
        except OSError:
            self.disk.full = lambda: False
            return
        self.dirty.clear()
        for publication in publications:
            sequencer.published(publication)
        ends = self.opened.frame_ends
        while ends and all(
            sequencer.logs[log].published.size >= end for log, end in ends[0][1].items()
        ):
            ends.pop(0)
        self.opened.wal.keep_from(
            ends[0][0] if ends else self.opened.wal.seq, published_host(sequencer)
        )
        for publication in publications:
            drop_outgrown(self.opened.outgrown, publication)
        self.opened.outgrown.sweep()
        self.opened.wal.release()


def entry_bytes(rng: random.Random, number: int) -> bytes:
    return b"%d:" % number + rng.randbytes(rng.choice((0, 3, 20, 20, 700)))


def live(driver: Driver, rng: random.Random, steps: int) -> None:
    """A random history: appends, commits, publications, now and then a disk without room."""
    driver.commit()
    for number in range(steps):
        logs = [HOST_LOG, *CAGES]
        for log in rng.sample(logs, rng.randint(1, 3)):
            count = rng.choice((1, 1, 2, 3, 5, 20, 130))
            driver.append(log, [entry_bytes(rng, number) for _ in range(count)])
        if rng.random() < 0.15:
            driver.disk.full = lambda: True
        driver.commit()
        driver.disk.full = (lambda: True) if rng.random() < 0.1 else (lambda: False)
        if rng.random() < 0.4:
            driver.publish_logs(rng.sample(logs, rng.randint(1, 3)))
        driver.disk.full = lambda: False


def check(driver: Driver) -> None:
    """Publish what recovery found and hold it against every promise made."""
    promises, disk = driver.promises, driver.disk
    driver.publish_logs(list(driver.opened.sequencer.logs))
    for log, size in promises.acknowledged.items():
        report = (
            verify_log(ModelLog(disk, directory(log)), driver.opened.key.vkey(log))
            if size
            else None
        )
        if report is None:
            continue
        if disk.read(f"{directory(log)}/checkpoint", 1 << 16) is None or report.size < size:
            raise AssertionError(f"{log}: {report.size} entries of {size} acknowledged: {report}")
        if report.verdict is not Verdict.OK:
            raise AssertionError(f"{log}: {report}")
        entries = all_entries(disk, log, report.size)
        assert entries == promises.appended[log][: report.size], (
            f"{log}: other entries than were appended"
        )
        leaves = python_leaves(entries)
        for shown_size, root in promises.shown.get(log, {}).items():
            assert shown_size <= report.size, (
                f"{log}: a checkpoint of {shown_size} was seen, now {report.size}"
            )
            assert root_of(leaves[: shown_size * HASH_BYTES]) == root, (
                f"{log}: two histories at {shown_size}"
            )


def all_entries(disk: ModelDisk, log: LogId, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range(-(-size // WIDTH)):
        tile = Tile(ENTRIES, index, min(WIDTH, size - index * WIDTH))
        entries += decode_bundle(
            disk.read(f"{directory(log)}/{tile.path}", MAX_BUNDLE_BYTES) or b"", tile.width
        )
    return entries


def history(
    seed: int,
    publish: Publish = log_dir.publish_all,
    skip: Callable[[str], bool] = lambda path: False,
) -> None:
    """One life with up to three stops.  Raises ``AssertionError`` or ``LedgerError`` when a promise
    is broken.
    """
    rng = random.Random(seed)
    disk, promises = ModelDisk(), Promises()
    for _ in range(rng.randint(1, 3)):
        disk.skip_sync = skip
        # Small numbers stop in recovery itself, large ones in the life after it.
        disk.crash_at = rng.choice((rng.randrange(40), rng.randrange(400), rng.randrange(400)))
        try:
            driver = Driver.start(disk, promises, publish)
            live(driver, rng, steps=rng.randint(1, 8))
        except Crash:
            pass
        disk = disk.after_power_loss(rng) if rng.random() < 0.7 else disk.after_kill()
    check(Driver.start(disk, promises, log_dir.publish_all))


# Each of the mistakes below is found within twenty histories.
BATCHES, LONG_BATCHES = 6, 15


@pytest.mark.parametrize(
    "batch",
    [
        *range(BATCHES),
        *(
            pytest.param(batch, marks=pytest.mark.named_set("histories"))
            for batch in range(BATCHES, LONG_BATCHES)
        ),
    ],
)
def test_no_promise_is_broken(batch: int) -> None:
    for seed in range(batch * 100, batch * 100 + 100):
        try:
            history(seed)
        except (AssertionError, LedgerError) as error:
            raise AssertionError(f"history {seed}: {error}") from error


def no_head(
    disk: Disk, key: LedgerKey, publications: Sequence[Publication], commit_heads: object
) -> None:
    log_dir.publish_all(disk, key, publications, lambda heads: None)


def checkpoint_first(
    disk: Disk,
    key: LedgerKey,
    publications: Sequence[Publication],
    commit_heads: Callable[[list[Head]], None],
) -> None:
    for publication in publications:
        disk.make_dirs(directory(publication.log), 0o755)
    commit_heads([Head(p.log, p.size, p.root) for p in publications])
    disk.sync(
        [log_dir.write_checkpoint(disk, key, publication) for publication in publications], []
    )
    disk.sync([], [log_dir.reveal(disk, publication) for publication in publications])
    for publication in publications:
        for path, data in publication.growth.files:
            folder = log_dir.parent(f"{directory(publication.log)}/{path}")
            disk.sync([], disk.make_dirs(folder, 0o755))
            disk.write(f"{directory(publication.log)}/{path}", data)
            disk.sync([f"{directory(publication.log)}/{path}"], [folder])


PLANTED: dict[str, tuple[Publish, Callable[[str], bool]]] = {
    "no fdatasync of the WAL": (log_dir.publish_all, lambda path: path.endswith(".seg")),
    "tiles not synced before the checkpoint": (log_dir.publish_all, lambda path: "/tile/" in path),
    "checkpoint before tiles": (checkpoint_first, lambda path: False),
    "no head record": (no_head, lambda path: False),
    "segment without directory sync": (log_dir.publish_all, lambda path: path == "ledger/wal"),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_each_planted_mistake_is_found(mistake: str) -> None:
    publish, skip = PLANTED[mistake]
    for seed in range(400):
        try:
            history(seed, publish, skip)
        except (AssertionError, LedgerError):
            return
    pytest.fail(f"400 histories did not find: {mistake}")
