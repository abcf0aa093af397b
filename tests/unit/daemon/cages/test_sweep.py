"""What a start removes of the daemon before it, and what it must not touch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from akiosd.daemon.cages.pending_changes import sweep
from akiosd.kernel.disk import Disks


class NoDisks:
    def remove_others(self, names: set[str]) -> None:
        self.kept = names


def make(cages: Path, name: str, *files: str) -> None:
    (cages / name).mkdir()
    for file in files:
        (cages / name / file).touch()


def name(word: str) -> str:
    return f"c-{word:0<12}"


def test_half_made_cages_go_and_recovered_logs_stay(tmp_path: Path) -> None:
    make(tmp_path, name("half"), "disk.img", "owner")
    make(
        tmp_path, name("recovered"), "owner"
    )  # its records are in the WAL, its tree is about to be written
    make(tmp_path, name("ended"), "owner", "audit")
    make(tmp_path, name("packed"), "owner", "audit.tar")
    make(tmp_path, name("waits"), "kept.msgpack")
    make(tmp_path, name("torn"), "running.msgpack")  # its agent's work is on its disk all the same
    make(tmp_path, "holiday-pictures", "of-somebody-else.jpg")
    disks = NoDisks()
    sweep(tmp_path, cast(Disks, disks), ["host", name("recovered")])
    left = {path.name for path in tmp_path.iterdir()}
    assert left == {
        *map(name, ("recovered", "ended", "packed", "waits", "torn")),
        "holiday-pictures",
    }
    assert disks.kept == {name("waits"), name("torn")}
