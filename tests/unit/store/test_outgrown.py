"""What logs outgrow is zeros before its blocks are free, and never zeros where a reader looks for
it.
"""

from __future__ import annotations

import contextlib
import os
import random
from collections.abc import Callable
from pathlib import Path

import pytest
from akiosd.ledger.bundle import Batch
from akiosd.ledger.edge import Edge
from akiosd.ledger.sequencer import prepare
from akiosd.ledger.verify import verify_log
from akiosd.store import outgrown
from akiosd.store.durable import Directory
from akiosd.store.keys import LedgerKey
from akiosd.store.log_dir import directory, discard_unpublished, drop_outgrown, publish_all
from akiosd.store.outgrown import Outgrown
from akiosd.values.ids import LogId
from tests.unit.store.disk_model import Crash, ModelDisk, ModelLog

KEY = LedgerKey("akios/0123456789abcdef", bytes(range(32)))
LOG = LogId("c-000000000001")
BASE = directory(LOG)


def grown(
    crash_at: int, rng: random.Random, skip: Callable[[ModelDisk], Callable[[str], bool]]
) -> ModelDisk:
    """A log that outgrew partial tiles, and a machine that loses power while they are cleared
    away.
    """
    disk, edge = ModelDisk(), Edge()
    aside = Outgrown(disk)
    for last in (100, 200, 300):
        publication = prepare(
            LOG, edge, Batch.of([b"entry %d" % i for i in range(edge.size, last)])
        )
        publish_all(disk, KEY, [publication], lambda heads: None)
        edge = publication.growth.edge
    disk.sync_everything()
    disk.operations, disk.crash_at, disk.skip_sync = 0, crash_at, skip(disk)
    with contextlib.suppress(Crash):
        drop_outgrown(aside, publication)
        aside.sweep()
    return disk.after_power_loss(rng)


def test_power_lost_at_any_operation() -> None:
    for seed in range(200):
        rng = random.Random(seed)
        disk = grown(rng.randrange(30), rng, lambda disk: lambda path: False)
        assert verify_log(ModelLog(disk, BASE), KEY.vkey(LOG)).exit_code == 0, seed
        aside = Outgrown(disk)
        discard_unpublished(aside, LOG, 300)
        aside.sweep()
        assert verify_log(ModelLog(disk, BASE), KEY.vkey(LOG)).exit_code == 0, seed
        assert disk.names(outgrown.DIRECTORY) == disk.names(f"{BASE}/tile/entries/000.p") == []


def test_zeros_before_the_move_is_durable_are_found() -> None:
    """The control: the sync between the two left out."""
    for seed in range(200):
        rng = random.Random(seed)
        disk = grown(rng.randrange(30), rng, lambda disk: disk.is_dir)
        if verify_log(ModelLog(disk, BASE), KEY.vkey(LOG)).exit_code != 0:
            return
    pytest.fail("200 histories did not find it")


def test_a_file_is_zeros_when_its_name_goes(tmp_path: Path) -> None:
    disk = Directory(tmp_path)
    aside = Outgrown(disk)
    (tmp_path / "log/x.p").mkdir(parents=True)
    for name in ("log/file", "log/x.p/1", "log/x.p/2"):
        (tmp_path / name).write_bytes(b"words" * 1000)
    fds = [os.open(tmp_path / name, os.O_RDONLY) for name in ("log/file", "log/x.p/1", "log/x.p/2")]
    for path in ("log/file", "log/x.p", "log/nothing"):
        aside.take(path)
    assert os.listdir(tmp_path / "log") == []
    assert all(b"words" in os.pread(fd, 10, 0) for fd in fds)  # the control
    again = Outgrown(disk)  # an earlier run left them
    again.sweep()
    assert os.listdir(tmp_path / outgrown.DIRECTORY) == []
    for fd in fds:
        assert os.pread(fd, 10_000, 0) == bytes(5000)
        os.close(fd)
    disk.close()
