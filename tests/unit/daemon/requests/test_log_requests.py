"""One damaged log does not keep the others from being packed, destroyed and pruned; what is said
names its cage.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.ledger.prune import prune_host_log
from akiosd.daemon.requests import log_requests
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.ledger.host_word import HostWord, read_host_word
from akiosd.ledger.report import Verdict
from akiosd.store.fsck import fsck, open_log_files
from akiosd.store.log_dir import archive, directory
from akiosd.store.wipe import How
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import CageBirth, DaemonStart, End, Started
from tests.unit.daemon.ledger.test_append import open_here, running
from tests.unit.store.test_fsck import flip

NAMES = [CageId(f"c-00000000000{n}") for n in range(4)]
BAD = LogId(NAMES[1])
FAST = How(1, fast=True)


@asynccontextmanager
async def kept(state: Path) -> AsyncIterator[tuple[Ledger, LogKeeper]]:
    """Four finished logs, oldest first, and who keeps them."""
    async with running(open_here(state)) as ledger:
        for name in NAMES:
            ledger.append(HOST_LOG, CageBirth(ts=1, cage=name))
            log = ledger.open_log(name)
            ledger.append_many(log, [])
            ledger.append(log, Started(ts=1, pid=1))
            await ledger.commit(log, End(ts=1, exit_code=0))
            ledger.close_log(log)
            await ledger.publish(log)
        await ledger.publish(HOST_LOG)
        for age, name in enumerate(reversed(NAMES), 10):
            os.utime(state / directory(LogId(name)) / "checkpoint", (age * -10 + 10**9,) * 2)
        host: Any = SimpleNamespace(
            state_dir=state, cages_dir=state / "cages", ledger=ledger, disks=None
        )
        yield ledger, LogKeeper(host, lambda cage: "")


@pytest.fixture
def complaints(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    said: list[dict[str, Any]] = []
    monkeypatch.setattr(
        log_requests, "_log", SimpleNamespace(error=lambda what, **more: said.append(more))
    )
    return said


def spoil(state: Path) -> None:
    (tile,) = (state / directory(BAD) / "tile/0").rglob("3")
    flip(tile)


async def test_the_others_are_packed(tmp_path: Path, complaints: list[dict[str, Any]]) -> None:
    async with kept(tmp_path) as (_, keeper):
        spoil(tmp_path)
        packed = await keeper.pack_old(0, FAST)
    assert sorted(packed) == [name for name in NAMES if name != BAD]
    assert all((tmp_path / archive(log)).exists() for log in packed)
    assert (
        fsck(tmp_path / directory(BAD)).verdict is Verdict.TAMPERED
    )  # it stays for whoever looks into it
    assert [said["cage"] for said in complaints] == [BAD] and "TAMPERED" in complaints[0]["why"]


async def test_the_others_are_destroyed(tmp_path: Path, complaints: list[dict[str, Any]]) -> None:
    async with kept(tmp_path) as (_, keeper):
        spoil(tmp_path)
        gone, failed = await keeper.destroy_old(None, 0, FAST)
    assert sorted(use.log for use in gone) == [name for name in NAMES if name != BAD]
    assert list(failed) == [BAD] and [said["cage"] for said in complaints] == [BAD]


def host_word(state: Path) -> HostWord:
    report = fsck(state / directory(HOST_LOG))
    assert report.exit_code == 0, report
    with open_log_files(state / directory(HOST_LOG)) as reader:
        return read_host_word(reader, report)


async def test_what_the_hosts_log_knew_of_them_outlives_its_pruning(tmp_path: Path) -> None:
    """Of a log that is gone, rolled back or spoilt the last root must not be forgotten with the
    cut.
    """
    async with kept(tmp_path) as (ledger, _):
        ledger.append_many(HOST_LOG, [])
        for n in range(600):
            ledger.append(HOST_LOG, DaemonStart(ts=10 + n, version="1"))
        await ledger.publish(HOST_LOG)
        before = host_word(tmp_path).cages
        shutil.rmtree(tmp_path / "cages" / NAMES[0])
        (tmp_path / directory(BAD) / "checkpoint").write_bytes(b"x")
        on_disk = [LogId(name) for name in NAMES[1:]]
        assert await prune_host_log(ledger, on_disk, 500, 10**6) > 0
    after = host_word(tmp_path)
    assert after.report.minimum > 0
    for name in NAMES:
        assert (after.cages[name].size, after.cages[name].root) == (
            before[name].size,
            before[name].root,
        )
    host = tmp_path / directory(HOST_LOG)
    for name, verdict in zip(
        NAMES, (Verdict.INCOMPLETE, Verdict.TAMPERED, Verdict.OK), strict=False
    ):
        assert fsck(tmp_path / directory(LogId(name)), host=host, cage=name).verdict is verdict
