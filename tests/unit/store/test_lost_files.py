"""Parts of the state that went, or that come from a backup: the start is refused, and says what
helps.

Each case is also begun with nothing gone, which starts; so a refusal is the loss's doing.
"""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
import trio

from akiosd.daemon.ledger import commit
from akiosd.errors import LedgerError
from akiosd.ledger.report import Verdict
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.keys import KEY_PATH, make_key
from akiosd.store.log_dir import directory
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import End
from tests.unit.daemon.ledger.test_append import SEGMENT, open_here, running, started

CAGE = CageId("c-000000000001")
LOST_WAL, LOST_KEY = "write-ahead log", "signing key"
HOST = directory(HOST_LOG)


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "RESERVE_BYTES", 16 << 10)


async def live(state: Path, cage: CageId = CAGE, telemetry: int = 0) -> None:
    """One life of the daemon with one cage; ``telemetry`` makes the WAL begin new segments and
    clear the old.
    """
    async with running(open_here(state)) as ledger:
        log = ledger.open_log(cage)
        await ledger.commit(log, started(1))
        for _ in range(telemetry):
            ledger.append_many(log, [bytes(1000)] * 14)
            await ledger.wait_durable(log, ledger.size(log) - 1)
            await ledger.publish(log)
        await ledger.commit(log, End(ts=2, exit_code=0))
        ledger.close_log(log)
        await ledger.publish(log)
        await ledger.publish(HOST_LOG)


def remove(state: Path, path: str) -> None:
    for found in sorted(state.glob(path)):
        shutil.rmtree(found) if found.is_dir() else found.unlink()


def zero_segments(state: Path) -> None:
    for path in state.glob("ledger/wal/*.seg"):
        path.write_bytes(bytes(SEGMENT))


def content(state: Path) -> dict[Path, bytes]:
    return {path: path.read_bytes() for path in state.rglob("*") if path.is_file()}


def refused(state: Path, words: str) -> None:
    before = content(state)
    with pytest.raises(LedgerError, match=words) as caught:
        open_here(state)
    assert caught.value.next, "a refusal says what to do"
    assert content(state) == before


GONE = {
    "the WAL": (["ledger/wal"], LOST_WAL),
    "the WAL and the host log": (["ledger"], LOST_WAL),
    "all but the key": (["ledger", "cages"], LOST_WAL),
    "all but the key and a cage": (["ledger"], LOST_WAL),
    "the key": ([KEY_PATH], LOST_KEY),
    "the key and the WAL": ([KEY_PATH, "ledger/wal"], LOST_KEY),
    "the key and the host log": ([KEY_PATH, "ledger/host*"], LOST_KEY),
    "all but the cages": (["ledger", "keys"], LOST_KEY),
    "all but the WAL": (["ledger/host*", "keys", "cages"], LOST_KEY),
    "the host log": (
        ["ledger/host"],
        "missing from the write-ahead log|entries before it are lost",
    ),
    "the WAL's segments": (["ledger/wal/*.seg"], "a file of the write-ahead log is missing"),
    "one of them": (["ledger/wal/00000000.seg"], "a file of the write-ahead log is missing"),
    "the magic": (["ledger/wal/magic"], "magic"),
}


@pytest.fixture(scope="module")
def two_lives(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The control of all cases: with everything there it started again."""
    base = tmp_path_factory.mktemp("two")
    state = base / "state"
    state.mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(commit, "RESERVE_BYTES", 16 << 10)
        trio.run(live, state, CAGE, 12)
        shutil.copytree(state, base / "backup")
        trio.run(live, state, CageId("c-000000000002"), 16)
    return base


@pytest.mark.parametrize("what", GONE)
def test_a_loss_is_noticed(two_lives: Path, tmp_path: Path, what: str) -> None:
    state = tmp_path / "state"
    shutil.copytree(two_lives / "state", state)
    paths, words = GONE[what]
    for path in paths:
        remove(state, path)
    refused(state, words)


async def test_segments_without_a_frame_are_a_lost_wal(tmp_path: Path) -> None:
    await live(tmp_path)
    zero_segments(tmp_path)
    refused(tmp_path, LOST_WAL)


async def test_a_host_log_that_the_wal_still_holds_whole_is_the_same_again(tmp_path: Path) -> None:
    await live(tmp_path)
    pin = (tmp_path / HOST / "checkpoint").read_bytes()
    remove(tmp_path, "ledger/host")
    async with running(open_here(tmp_path)):
        pass
    report = fsck(tmp_path / HOST, pin=pin)
    assert (report.verdict, report.anchored_to) == (Verdict.OK_RECOVERED, "pin")


@pytest.mark.parametrize("older", ["ledger/wal", "ledger/host", "ledger"])
async def test_a_part_from_a_backup_is_noticed(two_lives: Path, tmp_path: Path, older: str) -> None:
    state, backup = tmp_path / "state", tmp_path / "backup"
    shutil.copytree(two_lives / "state", state)
    shutil.copytree(two_lives / "backup", backup)
    shutil.rmtree(state / older)
    shutil.copytree(backup / older, state / older)
    refused(
        state,
        "was to be signed|missing from the write-ahead log|entries before it are lost|does not list",
    )
    # The control: the whole of the backup starts.
    async with running(open_here(backup)):
        pass


async def test_a_key_that_the_host_log_does_not_name_signs_nothing(tmp_path: Path) -> None:
    await live(tmp_path)
    for path in ("ledger/host*", "keys", "cages"):
        remove(tmp_path, path)
    disk = Directory(tmp_path)
    make_key(disk, os.urandom)
    disk.close()
    refused(tmp_path, "not the one that the host log names")


async def test_a_first_start_that_was_stopped_is_none(tmp_path: Path) -> None:
    """A frame and no key, an empty WAL and no key, a directory of cages without a log: nothing was
    ever signed.
    """
    (tmp_path / "cages" / CAGE).mkdir(parents=True)
    await live(tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    shutil.copytree(tmp_path / "ledger/wal", other / "ledger/wal")
    zero_segments(other)
    await live(other)
    assert fsck(other / directory(LogId(CAGE))).verdict is Verdict.OK
