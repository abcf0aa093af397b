"""What is written beside a log, or packed into an archive, goes into nobody else's file."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from akiosd.errors import LedgerError
from akiosd.store.archive_log import pack_log
from akiosd.store.fsck import fsck
from akiosd.store.proofs_and_tiles import rebuild_tiles
from tests.unit.store.test_fsck import CAGE, KEY, write_log

VKEY = KEY.vkey(CAGE)
PRECIOUS = b"somebody's precious file"
# What lies at a path where something is to be written, and leads to a victim.
PLANTED: dict[str, Callable[[Path, Path], object]] = {
    "a link": lambda path, victim: path.symlink_to(victim),
    "another name of it": lambda path, victim: os.link(victim, path),
    "a pipe": lambda path, victim: os.mkfifo(path),
    "a directory": lambda path, victim: path.mkdir(),
}


@pytest.fixture
def log(tmp_path: Path) -> Path:
    (tmp_path / "state").mkdir()
    return write_log(tmp_path / "state", CAGE, 100, 600)


@pytest.fixture
def victim(tmp_path: Path) -> Path:
    victim = tmp_path / "victim"
    victim.write_bytes(PRECIOUS)
    return victim


@pytest.mark.parametrize("planted", PLANTED)
def test_a_tile_is_made_again_in_no_other_file(log: Path, victim: Path, planted: str) -> None:
    (log / "tile/0/000").unlink()
    PLANTED[planted](log / "tile/0/000.tmp", victim)
    with pytest.raises(LedgerError):
        rebuild_tiles(log, VKEY)
    assert victim.read_bytes() == PRECIOUS


@pytest.mark.parametrize("planted", PLANTED)
def test_a_log_is_packed_into_no_other_file(
    log: Path, tmp_path: Path, victim: Path, planted: str
) -> None:
    PLANTED[planted](tmp_path / "out.tar.tmp", victim)
    with pytest.raises(LedgerError):
        pack_log(log, tmp_path / "out.tar", VKEY)
    assert victim.read_bytes() == PRECIOUS and not (tmp_path / "out.tar").exists()


def test_nor_into_a_file_that_somebody_else_made_there(log: Path, tmp_path: Path) -> None:
    if os.geteuid() != 0:
        pytest.skip("needs root to give a file away")
    theirs = tmp_path / "out.tar.tmp"
    theirs.write_bytes(b"")
    os.chown(theirs, 65534, 65534)
    with pytest.raises(LedgerError, match="akiosd did not make"):
        pack_log(log, tmp_path / "out.tar", VKEY)
    assert theirs.read_bytes() == b""


def test_tiles_are_made_again_below_no_link(log: Path, tmp_path: Path) -> None:
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    shutil.rmtree(log / "tile/0")
    (log / "tile/0").symlink_to(elsewhere)
    with pytest.raises(LedgerError):
        rebuild_tiles(log, VKEY)
    assert not list(elsewhere.iterdir())


def test_what_a_stop_left_is_written_over(log: Path, tmp_path: Path) -> None:
    """The control: also where it was longer."""
    for left in (tmp_path / "out.tar.tmp", log / "tile/0/000.tmp"):
        left.write_bytes(b"x" * (1 << 20))
    (log / "tile/0/000").unlink()
    assert rebuild_tiles(log, VKEY) == ["tile/0/000"]
    pack_log(log, tmp_path / "out.tar", VKEY)
    assert fsck(log, VKEY).exit_code == fsck(tmp_path / "out.tar", VKEY, cage=CAGE).exit_code == 0
