"""The host log's minimum index: what goes, what stays provable, what is then found when more is
missing.
"""

from __future__ import annotations

import contextlib
import os
import random
import shutil
from collections.abc import Callable
from itertools import count
from pathlib import Path

import msgspec
import pytest
import trio

from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.prune import prune_host_log
from akiosd.errors import LedgerError
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.note import Vkey
from akiosd.ledger.proof import TlogProof, verify_proof
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.ledger.tiles import parse_path
from akiosd.ledger.verify import verify_log
from akiosd.store import prune
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.log_dir import directory, publish_all
from akiosd.store.outgrown import Outgrown
from akiosd.values.ids import HOST_LOG
from akiosd.values.records import DaemonStart, LogPruned, Started, encode_entry
from tests.unit.daemon.ledger.test_append import CAGE, LOG, killed_at_the_end, running
from tests.unit.ledger.all_tiles import tiles_of
from tests.unit.store.disk_model import Crash, ModelDisk, ModelLog
from tests.unit.store.proofs import prove
from tests.unit.store.test_fsck import KEY, flip

ENTRIES = 66_500  # more than one tile of level 1
KEEP = 65_900
HOST = directory(HOST_LOG)
KEY_OF_OLD: dict[str, Vkey] = {}


def open_ledger(state: Path) -> Ledger:
    ticks = count(10**6)
    return Ledger.open(state, lambda: next(ticks), os.urandom, segment_bytes=1 << 20)


async def write(state: Path) -> None:
    """A cage's log, a rotated key, and a long host log, whose entry i is i ns old."""
    async with running(open_ledger(state)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.commit(log, encode_entry(Started(ts=1, pid=1)))
        ledger.close_log(log)
        await ledger.publish(log)
        KEY_OF_OLD[str(state)] = ledger.vkey(HOST_LOG)
        await ledger.rotate_key()
        for first in range(ledger.size(HOST_LOG), ENTRIES, 3000):
            await ledger.wait_room()
            stop = min(first + 3000, ENTRIES)
            entries = [
                encode_entry(DaemonStart(ts=i, version="1"))
                for i in range(ledger.size(HOST_LOG), stop)
            ]
            ledger.append_many(HOST_LOG, entries)
            if first < 9000:
                await ledger.publish(HOST_LOG)
        await ledger.publish(HOST_LOG)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    state = tmp_path_factory.mktemp("state")
    trio.run(write, state)
    return state


@pytest.fixture
def state(written: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(written, tmp_path / "state"))


async def prune_it(state: Path, keep: int = KEEP) -> int:
    async with running(open_ledger(state)) as ledger:
        return await prune_host_log(ledger, [LOG], keep, 10**6)


@pytest.fixture
def pruned(state: Path) -> Path:
    assert trio.run(prune_it, state) == KEEP // 256 * 256
    return state


def test_what_is_old_is_gone_and_the_rest_verifies(pruned: Path) -> None:
    minimum = KEEP // 256 * 256
    report = fsck(pruned / HOST)
    assert (report.verdict, report.minimum) == (Verdict.OK, minimum), report
    assert any(f"before {minimum} were pruned" in note for note in report.notes)
    files = {
        str(path.relative_to(pruned / HOST))
        for path in (pruned / HOST).rglob("*")
        if path.is_file()
    }
    tiles = [parse_path(path) for path in files - {"checkpoint"}]
    assert all((tile.index + 1) << (8 * (max(tile.level, 0) + 1)) > minimum for tile in tiles)
    # The tree is whole where it must be: every file of it that ends behind the minimum index.
    ends = {
        tile.path: (tile.index + 1) << (8 * (max(tile.level, 0) + 1))
        for tile in tiles_of(report.size)
    }
    assert {path for path, end in ends.items() if end > minimum} <= files
    assert not [
        path for path in (pruned / "ledger/host.history").iterdir() if int(path.name) < minimum
    ]


def test_what_is_left_can_be_proved_and_anchors_the_cages(pruned: Path) -> None:
    report = fsck(pruned / HOST)
    key = Vkey.parse(report.vkey)
    for index in (KEEP // 256 * 256, KEEP, report.size - 1):
        proof, entry = prove(pruned / HOST, index, key)
        assert verify_proof(TlogProof.parse(proof.encode()), entry, key).size == report.size
    with pytest.raises(LedgerError, match="missing"):
        prove(pruned / HOST, 5, key)
    cage = fsck(pruned / directory(LOG), host=pruned / HOST)
    assert (cage.verdict, cage.anchored_to) == (Verdict.OK, "host log")


def test_whoever_trusts_the_first_key_follows_the_record(written: Path, pruned: Path) -> None:
    first = KEY_OF_OLD[str(written)]
    assert fsck(pruned / HOST, first).verdict is Verdict.OK
    stranger = Vkey(first.name, bytes(32))
    assert fsck(pruned / HOST, stranger).verdict is Verdict.UNTRUSTED


def test_more_than_the_record_says_is_not_pruned_but_missing(pruned: Path) -> None:
    report = fsck(pruned / HOST)
    path = next(tile.path for tile in tiles_of(report.size) if tile.index * 256 == report.minimum)
    (pruned / HOST / path).unlink()
    found = fsck(pruned / HOST, report.vkey)
    assert (found.verdict, found.first_bad) == (Verdict.INCOMPLETE, path)


@pytest.mark.parametrize(
    "path", ["tile/0/257", "tile/entries/257", "tile/1/001.p/3", "tile/2/000.p/1", "checkpoint"]
)
def test_every_file_left_is_watched(pruned: Path, path: str) -> None:
    (target,) = [found for found in (pruned / HOST).glob(path + "*") if found.is_file()]
    flip(target, target.stat().st_size - 33)
    assert fsck(pruned / HOST).exit_code != 0


def test_a_log_from_whose_start_files_are_missing_is_not_taken_for_pruned(
    written: Path, state: Path
) -> None:
    for index in range(3):
        (state / HOST / f"tile/entries/{index:03d}").unlink()
    found = fsck(state / HOST, fsck(written / HOST).vkey)
    assert (found.verdict, found.first_bad) == (Verdict.INCOMPLETE, "tile/entries/000")


def test_a_pin_of_what_is_gone_cannot_be_checked_and_that_is_a_verdict(
    written: Path, pruned: Path
) -> None:
    old = min(
        (written / "ledger/host.history").iterdir(), key=lambda path: int(path.name)
    ).read_bytes()
    report = fsck(pruned / HOST, pin=old)
    assert (report.verdict, report.first_bad) == (Verdict.INCOMPLETE, "pin")
    assert "cannot be checked" in report.detail
    assert fsck(pruned / HOST).verdict is Verdict.OK


async def test_it_goes_on_growing_and_is_pruned_again(state: Path) -> None:
    async with running(open_ledger(state)) as ledger:
        first = await prune_host_log(ledger, [LOG], 10_000, 10**6)
        assert (
            await prune_host_log(ledger, [LOG], 10_000, 10**6)
            == first
            == ledger.first_index(HOST_LOG)
        )
        assert (await ledger.read(HOST_LOG, 0, first + 1))[0][0] == first
        assert await prune_host_log(ledger, [LOG], 20_000, 10**6) > first
        await ledger.rotate_key()
        ledger.append_many(HOST_LOG, [encode_entry(DaemonStart(ts=10**6, version="1"))] * 600)
        await ledger.publish(HOST_LOG)
    report = fsck(state / HOST)
    assert (report.verdict, report.minimum) == (Verdict.OK, 19_968), report
    async with running(open_ledger(state)) as again:
        assert again.first_index(HOST_LOG) == 19_968


@pytest.mark.parametrize("after", ["record", "file", "some"])
async def test_a_stop_in_between_is_finished_by_the_next_start(
    state: Path, monkeypatch: pytest.MonkeyPatch, after: str
) -> None:
    removed = count()

    class Stop(Exception):
        pass

    def stop(*_: object) -> None:
        raise Stop

    def stop_late(self: Directory, source: str, target: str) -> None:
        if next(removed) == 3:
            raise Stop
        os.rename(self.root / source, self.root / target)

    with monkeypatch.context() as patch:
        if after == "some":
            patch.setattr(Directory, "move", stop_late)
        else:
            patch.setattr(prune, "set_minimum" if after == "record" else "remove_below", stop)
        with pytest.RaisesGroup(Stop):
            async with killed_at_the_end(open_ledger(state)) as ledger:
                await prune_host_log(ledger, [LOG], KEEP, 10**6)
    assert (
        fsck(state / HOST).exit_code == 0
    )  # between: nothing is gone, or what is gone is said to be
    async with running(open_ledger(state)) as ledger:
        assert ledger.first_index(HOST_LOG) == (0 if after == "record" else KEEP // 256 * 256)
        assert await prune_host_log(ledger, [LOG], KEEP, 10**6) == KEEP // 256 * 256
    assert (fsck(state / HOST).exit_code, fsck(state / HOST).minimum) == (0, KEEP // 256 * 256)


def test_a_forged_minimum_removes_nothing(state: Path) -> None:
    before = sorted(path for path in state.rglob("*") if path.is_file())
    (state / prune.PATH).write_bytes(msgspec.msgpack.encode(prune.Minimum(25_600, 5)))
    with pytest.raises(LedgerError, match="the log itself does not say so"):
        open_ledger(state)
    (state / prune.PATH).unlink()
    assert [path for path in before if not path.exists() and path.name != "lock"] == []


def pruned_on_a_model(
    crash_at: int, rng: random.Random, skip_sync: Callable[[str], bool] = lambda path: False
) -> ModelDisk:
    """A host log that says it is pruned, and a machine that loses power while that is done."""
    disk, edge = ModelDisk(), Edge()
    for last in (300, 800, 1500):
        entries = [encode_entry(DaemonStart(ts=i, version="1")) for i in range(edge.size, last - 1)]
        entries.append(encode_entry(LogPruned(ts=last, minimum=1280)))
        publication = prepare(HOST_LOG, edge, Batch.of(entries))
        publish_all(disk, KEY, [publication], lambda heads: None)
        edge = publication.growth.edge
    disk.sync_everything()
    disk.operations, disk.crash_at, disk.skip_sync = 0, crash_at, skip_sync
    with contextlib.suppress(Crash):
        prune.set_minimum(Outgrown(disk), prune.Minimum(1280, 1499))
    return disk.after_power_loss(rng)


@pytest.mark.parametrize("batch", range(4))
def test_power_lost_at_any_operation(batch: int) -> None:
    for seed in range(batch * 40, batch * 40 + 40):
        rng = random.Random(seed)
        disk = pruned_on_a_model(rng.randrange(30), rng)
        found = verify_log(ModelLog(disk, directory(HOST_LOG)), KEY.vkey(HOST_LOG))
        assert found.exit_code == 0 and found.minimum in range(0, 1281, 256), (seed, found)
        minimum = prune.resume(Outgrown(disk), 1500)
        assert minimum in (0, 1280)
        again = verify_log(ModelLog(disk, directory(HOST_LOG)), KEY.vkey(HOST_LOG))
        assert (again.exit_code, again.minimum) == (0, minimum), (seed, again)


def test_bundles_that_are_not_gone_for_good_before_their_tiles_are_found() -> None:
    """The control: the sync between the two left out."""
    for seed in range(100):
        rng = random.Random(seed)
        disk = pruned_on_a_model(rng.randrange(30), rng, lambda path: path.endswith("tile/entries"))
        if verify_log(ModelLog(disk, directory(HOST_LOG)), KEY.vkey(HOST_LOG)).exit_code != 0:
            return
    pytest.fail("100 histories did not find it")
