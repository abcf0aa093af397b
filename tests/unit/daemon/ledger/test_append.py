"""The ledger as a service: what it acknowledges, announces, publishes, and how it behaves when the
disk does not.
"""

from __future__ import annotations

import errno
import os
import random
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from itertools import count
from pathlib import Path

import pytest
import trio

from akiosd.daemon.cages.erase_data import erase_log, finish_destructions, method_of
from akiosd.daemon.ledger import commit, publish
from akiosd.daemon.ledger.append import Ledger
from akiosd.errors import LedgerError
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import Publication
from akiosd.ledger.verify import verify_log
from akiosd.store import erasure_intent, wipe
from akiosd.store.durable import Disk
from akiosd.store.fsck import fsck
from akiosd.store.log_dir import directory
from akiosd.store.recover import open_ledger
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import (
    CageDestroyed,
    End,
    KeyEpoch,
    LogOpen,
    Recovered,
    Roots,
    Started,
    decode_entry,
    encode_entry,
)
from tests.unit.store.disk_model import ModelDisk, ModelLog

CAGE = CageId("c-000000000001")
LOG = LogId(CAGE)
SEGMENT = 64 << 10


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "RESERVE_BYTES", 16 << 10)
    monkeypatch.setattr(commit, "RETRY_S", 0.01)
    monkeypatch.setattr(publish, "RETRY_S", 0.01)


def open_here(state: Path) -> Ledger:
    ticks = count(1)
    return Ledger.open(state, lambda: next(ticks), os.urandom, segment_bytes=SEGMENT)


@asynccontextmanager
async def running(ledger: Ledger) -> AsyncIterator[Ledger]:
    with trio.fail_after(300):
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            yield ledger
            await ledger.aclose()


@asynccontextmanager
async def killed_at_the_end(ledger: Ledger) -> AsyncIterator[Ledger]:
    """The service stops as if the process had been killed: nothing is flushed, nothing
    published.
    """
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        yield ledger
        nursery.cancel_scope.cancel()


def started(number: int) -> bytes:
    return encode_entry(Started(ts=1, pid=number))


async def host_records(ledger: Ledger) -> list[object]:
    await ledger.wait_durable(HOST_LOG, ledger.size(HOST_LOG) - 1)
    return [decode_entry(entry) for _, entry in await ledger.read(HOST_LOG, 0, 1000)]


async def test_first_start_then_a_cage_then_a_clean_stop(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        assert await ledger.commit(log, started(1)) == 1
        await ledger.commit(log, End(ts=2, exit_code=0))
        ledger.close_log(log)
        records = await host_records(ledger)
        assert [type(record) for record in records[:2]] == [LogOpen, KeyEpoch]
        await ledger.publish(log)
        entries = [decode_entry(entry) for _, entry in await ledger.read(log, 0, 10)]
        assert [type(entry) for entry in entries] == [LogOpen, Started, End]
    report = fsck(tmp_path / directory(LOG), host=tmp_path / directory(HOST_LOG))
    assert (report.verdict, report.size, report.anchored_to) == (Verdict.OK, 3, "host log")
    assert fsck(tmp_path / directory(HOST_LOG)).verdict is Verdict.OK
    async with running(open_here(tmp_path)) as again:
        assert again.interrupted == []
        assert not [record for record in await host_records(again) if isinstance(record, Recovered)]


async def test_only_durable_records_are_announced_in_order(tmp_path: Path) -> None:
    announced: list[tuple[LogId, int, bytes]] = []
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)

        def note(log: LogId, first: int, entries: list[bytes]) -> None:
            assert ledger._sequencer.logs[log].durable >= first + len(entries)
            announced.extend((log, first + i, entry) for i, entry in enumerate(entries))

        cancel = ledger.subscribe(note)
        first = ledger.append_many(log, [started(i) for i in range(1000)])
        assert announced == []
        await ledger.wait_durable(log, first + 999)
        mine = [(index, entry) for name, index, entry in announced if name == log]
        assert [index for index, _ in mine] == list(range(1001))
        assert [entry for _, entry in mine[1:]] == [started(i) for i in range(1000)]
        cancel()
        await ledger.commit(log, started(0))
        assert len([1 for name, *_ in announced if name == log]) == 1001


async def test_a_kill_loses_nothing_acknowledged_and_is_recorded(tmp_path: Path) -> None:
    async with killed_at_the_end(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        index = ledger.append_many(log, [started(i) for i in range(700)])
        await ledger.wait_durable(log, index + 699)
    async with running(open_here(tmp_path)) as again:
        assert again.interrupted == [LOG]
        assert again.size(LOG) == 701
        await again.commit(LOG, End(ts=3, exit_code=125, reason="akiosd was stopped"))
        again.close_log(LOG)
        recovered = [
            record for record in await host_records(again) if isinstance(record, Recovered)
        ]
        assert [LOG in record.finished for record in recovered] == [True]
    report = fsck(tmp_path / directory(LOG), host=tmp_path / directory(HOST_LOG))
    assert (report.verdict, report.size) == (Verdict.OK, 702)
    assert fsck(tmp_path / directory(HOST_LOG)).verdict is Verdict.OK_RECOVERED


async def test_reading_across_disk_and_memory(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        ledger.append_many(log, [started(i) for i in range(1, 600)])
        await ledger.publish(log)
        last = ledger.append_many(log, [started(i) for i in range(600, 650)]) + 49
        await ledger.wait_durable(log, last)
        assert await ledger.read(log, 590, 610) == [(i, started(i)) for i in range(590, 610)]
        assert await ledger.read(log, 645, 9999) == [(i, started(i)) for i in range(645, 650)]
        assert await ledger.read(log, 700, 710) == []


async def test_a_second_log_of_the_same_name_is_refused(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        ledger.append(log, End(ts=1, exit_code=0))
        ledger.close_log(log)
        await ledger.publish(log)
    ledger = open_here(tmp_path)
    with pytest.RaisesGroup(pytest.RaisesExc(LedgerError, match="exists already")):
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            ledger.open_log(CAGE)
            with pytest.raises(LedgerError, match="failed before"):
                await ledger.publish(LOG)


async def test_a_second_daemon_is_refused(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)):
        with pytest.raises(LedgerError, match=f"pid {os.getpid()}"):
            open_here(tmp_path)
    await open_here(tmp_path).aclose()


class Stop(Exception):
    """Where the daemon is killed."""


def steps_of_destruction(state: Path, stop_at: int) -> Callable[[str], None]:
    left = stop_at

    def step(name: str) -> None:
        nonlocal left
        if left == 0:
            raise Stop(name)
        left -= 1

    return step


async def destroy(
    ledger: Ledger, state: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int = 99
) -> None:
    """The whole destruction, stopped before its ``stop_at``th step on disk."""
    step = steps_of_destruction(state, stop_at)
    real_begin, real_finish, real_do = erasure_intent.begin, erasure_intent.finish, wipe._Run._do
    real_destroyed = Ledger.destroyed_log

    async def destroyed(self: Ledger, log: LogId) -> CageDestroyed:
        step("before the tombstone")
        return await real_destroyed(self, log)

    def begin(disk: Disk, log: LogId, intent: erasure_intent.Intent) -> None:
        step("before the intent")
        real_begin(disk, log, intent)
        step("before the log is forgotten")

    def finish(disk: Disk, log: LogId) -> None:
        step("before the end is noted")
        real_finish(disk, log)

    def do(self: wipe._Run, what: wipe.Step) -> None:
        step(f"before {what.do} {what.path}")
        real_do(self, what)

    with monkeypatch.context() as patch:
        patch.setattr(erasure_intent, "begin", begin)
        patch.setattr(erasure_intent, "finish", finish)
        patch.setattr(Ledger, "destroyed_log", destroyed)
        patch.setattr(wipe._Run, "_do", do)
        await erase_log(ledger, state / "cages", LOG, wipe.How())


async def test_destruction_leaves_a_tombstone_and_nothing_to_recover(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with killed_at_the_end(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.commit(log, started(1))
        await destroy(ledger, tmp_path, monkeypatch)
        assert ledger.unfinished_destructions() == {}
        with pytest.raises(LedgerError, match="no such log"):
            await ledger.destroy_log(log)
        with pytest.raises(LedgerError, match="cannot be destroyed"):
            await ledger.destroy_log(HOST_LOG)
    async with running(open_here(tmp_path)) as again:
        assert again.interrupted == []
        assert again.unfinished_destructions() == {}
    assert os.listdir(tmp_path / "cages") == []
    report = fsck(tmp_path / directory(LOG), host=tmp_path / directory(HOST_LOG))
    assert (report.verdict, report.exit_code, report.size) == (Verdict.DESTROYED, 0, 2)


@pytest.mark.parametrize("stop_at", range(16))
async def test_a_destruction_stopped_anywhere_is_finished_at_the_next_start(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, stop_at: int
) -> None:
    where = "after the end"
    async with killed_at_the_end(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.commit(log, started(1))
        try:
            await destroy(ledger, tmp_path, monkeypatch, stop_at)
        except Stop as stop:
            where = str(stop)
    async with running(open_here(tmp_path)) as again:
        said = [record for record in await host_records(again) if isinstance(record, CageDestroyed)]
        assert bool(said) == (where in ("before the end is noted", "after the end")), where
        unfinished = again.unfinished_destructions()
        assert (LOG in unfinished) == (where not in ("before the intent", "after the end")), where
        if where == "before the intent":
            assert again.interrupted == [LOG]
            await destroy(again, tmp_path, monkeypatch)
        else:
            assert again.interrupted == []
            await finish_destructions(again, tmp_path / "cages")
        assert again.unfinished_destructions() == {}
        # The WAL is overwritten after everything else: whatever stopped, that is still to be done,
        # and is known.
        assert again.has_traces
        await again.overwrite_wal()
        assert not again.has_traces
        tombstones = [
            record for record in await host_records(again) if isinstance(record, CageDestroyed)
        ]
        assert [(record.cage, record.size) for record in tombstones] == [(LOG, 2)]
        assert tombstones[0].method == method_of(wipe.How())
    assert os.listdir(tmp_path / "cages") == []
    report = fsck(tmp_path / directory(LOG), host=tmp_path / directory(HOST_LOG))
    assert (report.verdict, report.root) == (Verdict.DESTROYED, tombstones[0].root)


async def test_a_damaged_intent_stops_the_start(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)):
        pass
    (tmp_path / erasure_intent.DIRECTORY).mkdir()
    (tmp_path / erasure_intent.DIRECTORY / LOG).write_bytes(b"x")
    with pytest.raises(LedgerError, match="being destroyed"):
        open_here(tmp_path)


async def test_a_destroyed_log_leaves_no_byte_in_the_wal(tmp_path: Path) -> None:
    secret = b"the agent's own words"
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.commit(log, secret)
        other = ledger.open_log(CageId("c-000000000002"))
        await ledger.commit(other, started(1))
        assert any(secret in path.read_bytes() for path in tmp_path.glob("ledger/wal/*.seg"))
        await ledger.destroy_log(log)
        await ledger.overwrite_wal()
        assert not any(secret in path.read_bytes() for path in tmp_path.glob("ledger/wal/*.seg"))
        assert await ledger.commit(other, started(2)) == 2
    async with running(open_here(tmp_path)) as again:
        assert again.interrupted == [other]
    assert fsck(tmp_path / directory(other)).size == 3


async def test_verifying_a_log_that_is_being_published(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        await ledger.publish(log)
        done = trio.Event()

        async def grow() -> None:
            for turn in range(25):
                ledger.append_many(log, [started(turn * 40 + i) for i in range(40)])
                await ledger.publish(log)
            done.set()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(grow)
            while not done.is_set():
                report = await trio.to_thread.run_sync(fsck, tmp_path / directory(log))
                assert report.verdict is Verdict.OK, report


async def test_the_host_log_lists_what_changed(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)) as ledger:
        for number in range(5):
            log = ledger.open_log(CageId(f"c-00000000000{number}"))
            ledger.close_log(log)
        await ledger.publish(log)
        await ledger.publish(HOST_LOG)
        roots = [record for record in await host_records(ledger) if isinstance(record, Roots)]
        listed = {cage: size for record in roots for cage, size, _ in record.roots}
        assert listed == {f"c-00000000000{number}": 1 for number in range(5)}


async def test_missing_key_is_never_replaced(tmp_path: Path) -> None:
    async with running(open_here(tmp_path)):
        pass
    (tmp_path / "keys/ledger.key").unlink()
    with pytest.raises(LedgerError, match="signing key"):
        open_here(tmp_path)


@pytest.mark.parametrize(
    "victim",
    ["ledger/host/checkpoint", "ledger/host/tile/0/000.p", "ledger/host/tile/entries/000.p"],
)
async def test_a_changed_host_log_stops_the_start(tmp_path: Path, victim: str) -> None:
    async with running(open_here(tmp_path)):
        pass
    path = tmp_path / victim
    if path.is_dir():
        path = max(path.iterdir(), key=lambda entry: int(entry.name))
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(bytes(data))
    before = {p: p.read_bytes() for p in tmp_path.rglob("*") if p.is_file()}
    with pytest.raises(LedgerError):
        open_here(tmp_path)
    assert {p: p.read_bytes() for p in before} == before


class Broken(ModelDisk):
    """Syncs of WAL segments fail from a given moment on."""

    broken = False

    def _sync_file(self, file: object, path: str) -> None:
        if self.broken and path.endswith(".seg"):
            raise OSError(errno.EIO, "Input/output error", path)
        super()._sync_file(file, path)  # type: ignore[arg-type]


def on_model(disk: ModelDisk) -> Ledger:
    secret = random.Random(3)
    return Ledger(disk, open_ledger(disk, secret.randbytes, SEGMENT), lambda: 1, secret.randbytes)


async def test_a_failed_fsync_stops_the_service_and_is_not_tried_again() -> None:
    disk = Broken()
    ledger = on_model(disk)
    with pytest.RaisesGroup(
        pytest.RaisesExc(LedgerError, match="the write-ahead log cannot be written")
    ):
        async with trio.open_nursery() as nursery:
            await nursery.start(ledger.run)
            await ledger.commit(HOST_LOG, started(1))
            disk.broken = True
            with pytest.raises(LedgerError, match="failed before"):
                await ledger.commit(HOST_LOG, started(2))
            with pytest.raises(LedgerError, match="failed before"):
                ledger.append(HOST_LOG, started(3))


async def test_a_full_disk_acknowledges_nothing_and_goes_on_at_the_same_index() -> None:
    disk = ModelDisk()
    ledger = on_model(disk)
    states: list[str] = []
    full = trio.Event()

    def on_full() -> None:
        states.append("full")
        full.set()

    ledger.state.on_full, ledger.state.on_room = on_full, lambda: states.append("room")
    async with running(ledger):
        log = ledger.open_log(CAGE)
        await ledger.commit(log, started(0))
        await ledger.publish(log)  # the reserve and a spare segment are there now
        disk.full = lambda: True
        entries = [bytes([65 + n % 26]) * 2000 for n in range(300)]
        first = ledger.append_many(log, entries)
        await full.wait()
        assert not ledger.has_room
        with trio.move_on_after(0.05):
            await ledger.wait_durable(log, first + len(entries) - 1)
            pytest.fail("acknowledged without room")
        disk.full = lambda: False
        await ledger.wait_durable(log, first + len(entries) - 1)
        await ledger.publish(log)
        await ledger.wait_room()
        assert states == ["full", "room"]
        assert await ledger.commit(log, started(9)) == first + len(entries)
    again = open_ledger(disk.after_kill(), random.Random(3).randbytes, SEGMENT)
    report = verify_log(ModelLog(disk, directory(LOG)), again.key.vkey(LOG))
    assert (report.verdict, report.size) == (Verdict.OK, 303)


async def test_a_flood_in_one_log_does_not_hold_up_anothers_record() -> None:
    ledger = on_model(ModelDisk())
    order: list[LogId] = []
    async with running(ledger):
        flood, quiet = ledger.open_log(CAGE), ledger.open_log(CageId("c-000000000002"))
        ledger.subscribe(lambda log, first, entries: order.append(log))
        last = ledger.append_many(flood, [bytes(1000)] * 1000) + 999
        await ledger.commit(quiet, started(1))
        assert ledger._sequencer.logs[flood].durable < last
        await ledger.wait_durable(flood, last)
    assert order.count(flood) > 1


async def test_wal_space_is_given_back() -> None:
    disk = ModelDisk()
    ledger = on_model(disk)
    async with running(ledger):
        log = ledger.open_log(CAGE)
        for _ in range(20):
            ledger.append_many(log, [os.urandom(1000)] * 100)
            await ledger.publish(log)
    segments = [name for name in disk.names("ledger/wal") if name.endswith(".seg")]
    # Some 40 were written; how many are still there depends on how busy the machine is.
    assert len(segments) <= 12


@pytest.mark.parametrize("full", [False, True])
async def test_what_is_hashed_ahead_is_the_next_tree(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, full: bool
) -> None:
    list_roots, prepare_ahead = publish.Publisher._list_roots, publish.Publisher._prepare_ahead
    publish_all = publish.publish_all
    rounds, tries, ahead = count(), count(), list[int]()

    async def append_more(self: publish.Publisher, publications: list[Publication]) -> None:
        await list_roots(self, publications)
        if publications and next(rounds) < 3:
            index = ledger.append_many(log, [started(i) for i in range(300)])
            await ledger.wait_durable(log, index + 299)

    async def note_ahead(self: publish.Publisher, publications: list[Publication]) -> None:
        await prepare_ahead(self, publications)
        ahead.extend(publication.size for publication in self._ahead.values())

    def fail_once(*arguments: object) -> None:
        if full and next(tries) == 1:
            raise OSError(errno.ENOSPC, "no room")
        publish_all(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr(publish, "AHEAD_ENTRIES", 100)
    monkeypatch.setattr(publish.Publisher, "_list_roots", append_more)
    monkeypatch.setattr(publish.Publisher, "_prepare_ahead", note_ahead)
    monkeypatch.setattr(publish, "publish_all", fail_once)
    async with running(open_here(tmp_path)) as ledger:
        log = ledger.open_log(CAGE)
        ledger.append_many(log, [started(i) for i in range(300)])
        while ledger.size(log) < 1201:
            await ledger.publish(log)
        await ledger.publish(log)
        assert ahead and set(ahead) <= {601, 901, 1201}
    report = fsck(tmp_path / directory(LOG))
    assert (report.verdict, report.size) == (Verdict.OK, 1201), report
    assert ledger._publisher._ahead == {}
