"""What a start removes of the daemon before it, and what it must not touch."""

from __future__ import annotations

from pathlib import Path
from typing import cast

from akiosd.daemon.keep import sweep
from akiosd.kernel.disk import Disks


class NoDisks:
    def remove_others(self, names: set[str]) -> None:
        self.kept = names


def make(cages: Path, name: str, *files: str) -> None:
    (cages / name).mkdir()
    for file in files:
        (cages / name / file).touch()


def test_half_made_cages_go_and_recovered_logs_stay(tmp_path: Path) -> None:
    make(tmp_path, "c-half", "disk.img", "owner")
    make(tmp_path, "c-recovered", "owner")  # its records are in the WAL, its tree is about to be written
    make(tmp_path, "c-ended", "owner", "audit")
    make(tmp_path, "c-packed", "owner", "audit.tar")
    make(tmp_path, "c-waits", "kept.msgpack")
    disks = NoDisks()
    sweep(tmp_path, cast(Disks, disks), ["host", "c-recovered"])
    assert {path.name for path in tmp_path.iterdir()} == {"c-recovered", "c-ended", "c-packed", "c-waits"}
    assert disks.kept == {"c-waits"}
