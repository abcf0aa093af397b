"""What the daemon destroys for its age when the wall clock jumps, and when time really passes."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import trio
from akiosd.daemon.ledger import commit
from akiosd.daemon.ledger.append import Ledger
from akiosd.daemon.requests.log_requests import LogKeeper
from akiosd.store.ages import HOUR_NS, Reading
from akiosd.store.log_dir import directory
from akiosd.store.wipe import How
from akiosd.values.ids import HOST_LOG, CageId, LogId
from akiosd.values.records import CageEnd, ClockRead, End, Started, decode_entry, encode_entry

CAGE = CageId("c-000000000001")
FAST = How(fast=True)
DAY_NS = 24 * HOUR_NS
KEEP_NS = 30 * DAY_NS


@pytest.fixture(autouse=True)
def small_reserve(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commit, "RESERVE_BYTES", 16 << 10)


class Clocks:
    def __init__(self) -> None:
        self.up_ns, self.wall_ns = HOUR_NS, 1_800_000_000 * 10**9

    def read(self) -> Reading:
        return Reading("one boot", self.up_ns, self.wall_ns)

    def pass_ns(self, ns: int) -> None:
        self.up_ns, self.wall_ns = self.up_ns + ns, self.wall_ns + ns


async def ended_cage(ledger: Ledger, wall_ns: int) -> None:
    log = ledger.open_log(CAGE)
    await ledger.commit(log, End(ts=wall_ns, exit_code=0))
    ledger.append(HOST_LOG, CageEnd(ts=wall_ns, cage=CAGE))
    ledger.append_many(HOST_LOG, [encode_entry(Started(ts=wall_ns, pid=1))] * 600)
    ledger.close_log(log)
    await ledger.publish(log)
    await ledger.publish(HOST_LOG)


async def cuts(keeper: LogKeeper, clocks: Clocks) -> tuple[int, int]:
    """How many cages went, and where the host log begins now."""
    gone, failed = await keeper.destroy_old(KEEP_NS, None, FAST)
    assert not failed
    return len(gone), await keeper.prune_host(KEEP_NS, clocks.wall_ns)


@pytest.mark.parametrize("wrong_ns", [60 * DAY_NS, -8000 * DAY_NS])
async def test_a_jump_destroys_nothing_and_time_does(tmp_path: Path, wrong_ns: int) -> None:
    clocks = Clocks()
    (tmp_path / "cages").mkdir()
    ledger = Ledger.open(tmp_path, lambda: clocks.wall_ns, os.urandom, segment_bytes=256 << 10)
    host: Any = SimpleNamespace(
        ledger=ledger, cages_dir=tmp_path / "cages", state_dir=tmp_path, disks=None
    )
    keeper = LogKeeper(host, lambda cage: "", clocks.read)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await keeper.note_clocks()
        await ended_cage(ledger, clocks.wall_ns)
        clocks.pass_ns(HOUR_NS)
        assert await cuts(keeper, clocks) == (0, 0)
        clocks.wall_ns += wrong_ns
        assert await cuts(keeper, clocks) == (0, 0)
        clocks.wall_ns -= wrong_ns
        assert await cuts(keeper, clocks) == (0, 0)
        clocks.pass_ns(31 * DAY_NS)
        await keeper.note_clocks()  # the first steady reading: a day and more after the jump
        assert await cuts(keeper, clocks) == (1, 512)
        first, end = ledger.first_index(HOST_LOG), ledger.size(HOST_LOG)
        found = [decode_entry(entry) for _, entry in await ledger.read(HOST_LOG, first, end)]
        jumps = [
            record.jump_ns for record in found if isinstance(record, ClockRead) and record.jump_ns
        ]
        assert jumps == [wrong_ns, -wrong_ns]
        assert LogId(CAGE) not in ledger.logs() and not (tmp_path / "cages" / CAGE).exists()
        # A keeper that reads the log anew comes to the same, and what was cut off is older than
        # what is left.
        again = LogKeeper(host, lambda cage: "", clocks.read)
        assert (await again._ages.now()).age_of("c-00000000000x") >= 31 * DAY_NS
        await ledger.aclose()


async def test_a_jump_packs_nothing_and_time_does(tmp_path: Path) -> None:
    clocks = Clocks()
    (tmp_path / "cages").mkdir()
    ledger = Ledger.open(tmp_path, lambda: clocks.wall_ns, os.urandom, segment_bytes=256 << 10)
    host: Any = SimpleNamespace(
        ledger=ledger, cages_dir=tmp_path / "cages", state_dir=tmp_path, disks=None
    )
    keeper = LogKeeper(host, lambda cage: "", clocks.read)
    async with trio.open_nursery() as nursery:
        await nursery.start(ledger.run)
        await keeper.note_clocks()
        await ended_cage(ledger, clocks.wall_ns)
        os.utime(
            tmp_path / directory(LogId(CAGE)) / "checkpoint", (0, 0)
        )  # nor does a file's own time count
        clocks.wall_ns += 60 * DAY_NS
        assert await keeper.pack_old(DAY_NS, FAST) == []
        clocks.wall_ns -= 60 * DAY_NS
        clocks.pass_ns(DAY_NS + HOUR_NS)
        assert await keeper.pack_old(DAY_NS, FAST) == [CAGE]
        await ledger.aclose()
