"""Histories of kills, lost files and restored backups: no OK that is wrong, no alarm that is wrong,
no second history.

A history is a few lives of the ledger on the disk model.  Between two of them it is killed, loses
power, loses a part of the state directory, or gets a part or the whole of it back from a backup.
What was signed is remembered outside.
"""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import pytest
from akiosd.errors import LedgerError
from akiosd.ledger.frame import Head
from akiosd.ledger.merkle import python_leaves, root_of
from akiosd.ledger.report import Anchor, Verdict
from akiosd.ledger.sequencer import Publication
from akiosd.ledger.verify import verify_log
from akiosd.store import log_dir, recover
from akiosd.store.durable import Disk
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory
from akiosd.store.recover import open_ledger
from akiosd.store.wal import Wal
from akiosd.values.ids import HOST_LOG, LogId
from tests.unit.store.disk_model import Crash, Folder, ModelDisk, ModelLog
from tests.unit.store.test_disk_model import SEGMENT, Driver, Promises, all_entries, entry_bytes

LOSSES = [
    *(
        "ledger",
        "ledger/wal",
        "ledger/host",
        "keys",
        "cages",
        "ledger/wal/magic",
        "ledger/wal/segments",
    ),
    *("ledger/host/checkpoint", "ledger/host/tile", "a segment", "a cage", "a file"),
]
# Not the whole of ``ledger``: an older one that fits together is a rollback, which only a pin can
# tell.
PARTS = ["ledger/wal", "ledger/host", "keys", "cages", "a cage", "a segment"]
Pin = tuple[LogId, int, bytes, LedgerKey]


@dataclass
class Backup:
    root: Folder
    signed: dict[tuple[LogId, int], bytes]
    entries: dict[LogId, list[bytes]]
    key: LedgerKey | None


@dataclass
class World:
    """What somebody outside remembers.  ``whole`` is false once something was lost or only a part
    was restored.
    """

    rng: random.Random
    disk: ModelDisk = field(default_factory=ModelDisk)
    signed: dict[tuple[LogId, int], bytes] = field(default_factory=dict)
    entries: dict[LogId, list[bytes]] = field(default_factory=dict)
    acknowledged: dict[LogId, int] = field(default_factory=dict)
    abandoned: list[Pin] = field(default_factory=list)
    backups: list[Backup] = field(default_factory=list)
    key: LedgerKey | None = None
    whole: bool = True
    cages: int = 0
    outcomes: list[str] = field(default_factory=list)

    def publish(
        self,
        disk: Disk,
        key: LedgerKey,
        work: Sequence[Publication],
        commit_heads: Callable[[list[Head]], None],
    ) -> None:
        def commit(heads: list[Head]) -> None:
            commit_heads(heads)  # may stop here: then nothing is signed
            for head in heads:
                known = self.signed.setdefault((head.log, head.size), head.root)
                assert known == head.root, f"{head.log}: two roots are signed for size {head.size}"

        self.key = key
        log_dir.publish_all(disk, key, work, commit)

    def start(self) -> Driver:
        opened = open_ledger(self.disk, self.rng.randbytes, SEGMENT)
        assert self.key is None or opened.key == self.key or not self.signed, (
            "another key signs the same logs"
        )
        driver = Driver(self.disk, opened, Promises(self.entries, self.acknowledged), self.publish)
        for log, state in opened.sequencer.logs.items():
            # Of the host log a single loss is noticed, or does no harm.
            if self.whole or (
                log == HOST_LOG and self.outcomes.count("lose") == 1 and "part" not in self.outcomes
            ):
                known = self.acknowledged.get(log, 0)
                assert state.size >= known, (
                    f"{log}: {known} entries were acknowledged, {state.size} are there"
                )
            del self.entries.setdefault(log, [])[state.size :]
        return driver

    def live(self) -> None:
        """One life, which may end at any operation."""
        self.disk.crash_at = self.rng.choice(
            (self.rng.randrange(60), self.rng.randrange(1000), None)
        )
        try:
            driver = self.start()
            driver.commit()
            self.cages += 1
            cage = LogId(f"c-{self.cages:012d}")
            driver.opened.sequencer.open_log(cage)
            logs = list(driver.opened.sequencer.logs)
            for number in range(self.rng.randint(1, 12)):
                for log in self.rng.sample(logs, self.rng.randint(1, min(3, len(logs)))):
                    count = self.rng.choice((1, 1, 3, 20, 60))
                    driver.append(log, [entry_bytes(self.rng, number) for _ in range(count)])
                driver.commit()
                if self.rng.random() < 0.5:
                    driver.publish_logs(self.rng.choice([logs, logs, [cage]]))
                if self.rng.random() < 0.5:
                    driver.opened.wal.release()
        except Crash:
            pass
        self.disk.crash_at = None

    def stop(self) -> None:
        self.disk = (
            self.disk.after_power_loss(self.rng)
            if self.rng.random() < 0.5
            else self.disk.after_kill()
        )

    def back_up(self) -> None:
        entries = {log: list(known) for log, known in self.entries.items()}
        self.backups.append(
            Backup(copy.deepcopy(self.disk.root), dict(self.signed), entries, self.key)
        )

    def _folder_of(self, path: str) -> tuple[Folder | None, str]:
        folder, _, name = path.rpartition("/")
        node = self.disk._find(folder)
        return (node if isinstance(node, Folder) else None), name

    def _choose(self, what: str) -> str:
        choices = {
            "a segment": [
                f"ledger/wal/{name}"
                for name in self.disk.names("ledger/wal")
                if name.endswith(".seg")
            ],
            "a cage": [f"cages/{name}" for name in self.disk.names("cages")],
            "a file": list(self.disk.files()),
        }.get(what, [what])
        return self.rng.choice(choices) if choices else "nothing"

    def lose(self) -> None:
        folder, name = self._folder_of(self._choose(self.rng.choice(LOSSES)))
        if folder is not None and name in folder.entries:
            folder.entries.pop(name)
            self.whole = False
            self.disk.root.settle()

    def restore_whole(self) -> None:
        backup = self.rng.choice(self.backups)
        self.disk = ModelDisk(copy.deepcopy(backup.root))
        gone = {item: root for item, root in self.signed.items() if item not in backup.signed}
        if self.key is not None:
            self.abandoned += [(log, size, root, self.key) for (log, size), root in gone.items()]
        self.signed, self.key = dict(backup.signed), backup.key
        self.entries = {log: list(known) for log, known in backup.entries.items()}
        self.acknowledged = {}

    def restore_part(self) -> None:
        backup, path = (
            ModelDisk(copy.deepcopy(self.rng.choice(self.backups).root)),
            self._choose(self.rng.choice(PARTS)),
        )
        node, (folder, name) = backup._find(path), self._folder_of(path)
        if node is not None and folder is not None:
            folder.entries[name] = node
            self.whole = False
            self.disk.root.settle()

    def check(self) -> None:
        """What a verifier says of every log, with what it remembers and with what was abandoned."""
        assert self.key is not None
        last = dict(sorted(self.signed, key=lambda item: item[1]))
        for log, size in last.items():
            root = self.signed[log, size]
            report = verify_log(
                ModelLog(self.disk, directory(log)),
                self.key.vkey(log),
                (Anchor("pin", size, root),),
            )
            if report.verdict in (Verdict.OK, Verdict.OK_RECOVERED):
                found = root_of(python_leaves(all_entries(self.disk, log, size)))
                assert report.size >= size and found == root, f"{log}: OK, and not what was signed"
                if self.whole:
                    assert all_entries(self.disk, log, size) == self.entries[log][:size]
            else:
                assert not self.whole, f"{log}: an alarm, and nothing was lost: {report}"
        for log, size, root, key in self.abandoned:
            report = verify_log(
                ModelLog(self.disk, directory(log)), key.vkey(log), (Anchor("pin", size, root),)
            )
            if report.exit_code == 0:  # the same records came again
                found = root_of(python_leaves(all_entries(self.disk, log, report.size)[:size]))
                assert found == root, (
                    f"{log}: OK, and the tree of {size} that was pinned is not in it"
                )


def history(seed: int) -> list[str]:
    """Raises ``AssertionError`` for a wrong OK or a second history, ``LedgerError`` for a wrong
    alarm.
    """
    world = World(random.Random(seed))
    for _ in range(world.rng.randint(2, 5)):
        try:
            world.live()
        except LedgerError:
            if world.whole:
                raise
            return [*world.outcomes, "refused"]
        world.stop()
        if world.rng.random() < 0.5:
            world.back_up()
        event = world.rng.choice(["kill", "kill", "lose", "whole", "part"])
        if event == "lose":
            world.lose()
        elif event == "whole" and world.backups and world.whole:
            world.restore_whole()
        elif event == "part" and world.backups:
            world.restore_part()
        world.outcomes.append(event)
    try:
        driver = world.start()
        driver.publish_logs(list(driver.opened.sequencer.logs))
    except LedgerError:
        if world.whole:
            raise
        return [*world.outcomes, "refused"]
    if world.key is not None:
        world.check()
    return [*world.outcomes, "checked"]


def run(seeds: range) -> list[list[str]]:
    done = []
    for seed in seeds:
        try:
            done.append(history(seed))
        except (AssertionError, LedgerError) as error:
            raise AssertionError(f"history {seed}: {error}") from error
    return done


def test_twenty_histories() -> None:
    ends = [outcome[-1] for outcome in run(range(20))]
    assert {*ends} == {"refused", "checked"}


@pytest.mark.named_set("histories")
@pytest.mark.parametrize("batch", range(20))
def test_a_thousand_histories(batch: int) -> None:
    run(range(100 + batch * 50, 150 + batch * 50))


def nothing(*_: object) -> None:
    return None


PLANTED: dict[str, Callable[[pytest.MonkeyPatch], object]] = {
    "a lost WAL is begun anew": lambda patch: patch.setattr(Wal, "is_empty", False),
    "checkpoints need no head": lambda patch: patch.setattr(recover, "_check_log", nothing),
    # The logs of cages that the host log does not know would tell most of it: that they are asked
    # is another fence.
    "segments do not say how far the host log is": lambda patch: (
        patch.setattr(Wal, "keep_from", lambda self, seq, opening: setattr(self, "base", seq)),
        patch.setattr(recover, "_check_cages", nothing),
    ),
    "a lost segment is not missed": lambda patch: patch.setattr(Wal, "_list_segments", nothing),
}


@pytest.mark.parametrize("mistake", PLANTED)
def test_each_planted_mistake_is_found(mistake: str, monkeypatch: pytest.MonkeyPatch) -> None:
    PLANTED[mistake](monkeypatch)
    for seed in range(1000):
        try:
            history(seed)
        except (AssertionError, LedgerError):
            return
    pytest.fail(f"1000 histories did not find: {mistake}")
