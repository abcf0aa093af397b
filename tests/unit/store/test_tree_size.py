"""What a tree takes on disk."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

from akiosd.store.tree_size import size_of_tree, sizes_below


def test_it_is_what_du_counts(tmp_path: Path) -> None:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/b/file").write_bytes(bytes(100_000))
    (tmp_path / "out").symlink_to("/usr")
    told = subprocess.run(["du", "-s", "--block-size=1", tmp_path], capture_output=True, check=True)
    assert size_of_tree(str(tmp_path)) == int(told.stdout.split()[0])
    assert {name for name, _ in sizes_below(str(tmp_path))} == {".", "a", "b", "file", "out"}
    assert size_of_tree(str(tmp_path / "nothing")) == 0


def test_a_tree_deeper_than_python_recurses(tmp_path: Path) -> None:
    levels, here = 3000, os.open(".", os.O_PATH)
    try:
        os.chdir(tmp_path)
        for _ in range(levels):
            os.mkdir("d")
            os.chdir("d")
        os.fchdir(here)
        found = sum(1 for name, _ in sizes_below(str(tmp_path)) if name == "d")
        # As far as a path may be long: 4,096 bytes (limits.h).
        assert found == min(levels, (4095 - len(str(tmp_path))) // 2)
    finally:
        os.fchdir(here)
        os.close(here)
        subprocess.run(["rm", "-rf", "--one-file-system", tmp_path / "d"], check=True)
