"""A log that somebody without the key put back to what it once was: what akiosd then does to it
confirms nothing.

The older log is whole and signed.  Packing, destroying and pruning must not make the host's log say
that this is all.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.prune import prune_host_log
from akiosd.daemon.requests import log_requests
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.kernel.hashing import NATIVE
from akiosd.ledger.report import Report, Verdict
from akiosd.store.archive_log import pack_log
from akiosd.store.fsck import find_vkey, fsck
from akiosd.store.log_dir import archive, directory
from akiosd.store.wipe import How
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import (
    CageBirth,
    CageDestroyed,
    CagePacked,
    DaemonStart,
    End,
    Started,
    decode_entry,
)
from tests.unit.daemon.ledger.test_append import open_here, running

CAGE = CageId("c-000000000001")
LOG = LogId(CAGE)
FAST = How(1, fast=True)


async def write(ledger: Ledger, state: Path, saved: Path) -> None:
    """A finished log of 43 entries; ``saved`` is what it was at 41."""
    ledger.append(HOST_LOG, CageBirth(ts=1, cage=CAGE))
    log = ledger.open_log(CAGE)
    ledger.append_many(log, [])
    for number in range(40):
        ledger.append(log, Started(ts=1, pid=number))
    await ledger.publish(log)
    shutil.copytree(state / directory(log), saved)
    ledger.append(log, Started(ts=1, pid=41))
    await ledger.commit(log, End(ts=1, exit_code=0))
    ledger.close_log(log)
    await ledger.publish(log)
    await ledger.publish(HOST_LOG)


def keeper_of(ledger: Ledger, state: Path) -> LogKeeper:
    host: Any = SimpleNamespace(
        state_dir=state, cages_dir=state / "cages", ledger=ledger, disks=None
    )
    return LogKeeper(host, lambda cage: "")


async def host_says(ledger: Ledger, kind: type) -> list[Any]:
    found = await ledger.read(HOST_LOG, 0, ledger.size(HOST_LOG))
    return [record for _, entry in found if isinstance(record := decode_entry(entry), kind)]


def look(state: Path) -> Report:
    """What an auditor finds, by the host's log under the host's key."""
    host = state / directory(HOST_LOG)
    packed = state / archive(LOG)
    there = packed if packed.exists() else state / directory(LOG)
    return fsck(there, find_vkey(host), host=host, cage=CAGE)


def roll_back(state: Path, saved: Path) -> None:
    shutil.rmtree(state / directory(LOG))
    shutil.copytree(saved, state / directory(LOG))


def plant_archive(state: Path, saved: Path) -> None:
    """The older log in an archive, beside the directory, which it then stands for."""
    pack_log(saved, state / archive(LOG), find_vkey(state / directory(LOG)), NATIVE)


ROLLED_BACK: dict[str, Callable[[Path, Path], None]] = {
    "its files": roll_back,
    "an archive": plant_archive,
}


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(
        log_requests, "_log", SimpleNamespace(error=lambda what, **more: said.append(more))
    )
    return said


@pytest.mark.parametrize("how", ROLLED_BACK)
async def test_it_is_not_packed(tmp_path: Path, complaints: list[dict[str, Any]], how: str) -> None:
    state, saved = tmp_path / "state", tmp_path / "saved"
    state.mkdir()
    async with running(open_here(state)) as ledger:
        await write(ledger, state, saved)
        saved.with_name(saved.name + ".vkey").write_text(f"{find_vkey(state / directory(LOG))}\n")
        assert look(state).verdict is Verdict.OK
        ROLLED_BACK[how](state, saved)
        assert look(state).verdict is Verdict.ROLLBACK
        assert await keeper_of(ledger, state).pack_old(0, FAST) == []
        assert await host_says(ledger, CagePacked) == []
        await ledger.publish(HOST_LOG)
        assert look(state).verdict is Verdict.ROLLBACK
        assert (state / directory(LOG)).exists(), "what an older archive stands beside is evidence"
    assert [said["cage"] for said in complaints] == [CAGE] and "43" in complaints[0]["why"]


async def test_the_same_log_unchanged_is_packed(tmp_path: Path) -> None:
    """The control."""
    async with running(open_here(tmp_path)) as ledger:
        await write(ledger, tmp_path, tmp_path / "saved")
        assert await keeper_of(ledger, tmp_path).pack_old(0, FAST) == [LOG]
        await ledger.publish(HOST_LOG)
        assert look(tmp_path).verdict is Verdict.OK


@pytest.mark.parametrize("how", ROLLED_BACK)
async def test_its_tombstone_does_not_hide_it(tmp_path: Path, how: str) -> None:
    """Not even when what the host's log said of it before is pruned."""
    state, saved = tmp_path / "state", tmp_path / "saved"
    state.mkdir()
    async with running(open_here(state)) as ledger:
        await write(ledger, state, saved)
        saved.with_name(saved.name + ".vkey").write_text(f"{find_vkey(state / directory(LOG))}\n")
        ROLLED_BACK[how](state, saved)
        for number in range(600):
            ledger.append(HOST_LOG, DaemonStart(ts=number, version="1"))
        gone, failed = await keeper_of(ledger, state).destroy_old(None, 0, FAST)
        assert [use.log for use in gone] == [LOG] and not failed
        (stone,) = await host_says(ledger, CageDestroyed)
        assert stone.size < 43
        await ledger.publish(HOST_LOG)
        assert look(state).verdict is Verdict.ROLLBACK
        assert await prune_host_log(ledger, [], 500, 10**6) > 0
        assert look(state).verdict is Verdict.ROLLBACK


async def test_the_tombstone_of_a_whole_log_is_believed(tmp_path: Path) -> None:
    """The control."""
    async with running(open_here(tmp_path)) as ledger:
        await write(ledger, tmp_path, tmp_path / "saved")
        await keeper_of(ledger, tmp_path).destroy_old(None, 0, FAST)
        await ledger.publish(HOST_LOG)
        report = look(tmp_path)
        assert (report.verdict, report.size) == (Verdict.DESTROYED, 43)
