"""What a run's directory holds, and what of a comparison is the output of a step."""

from __future__ import annotations

import os
import resource
from pathlib import Path

from akiosctl.changes import compare
from akiosctl.foreign_changes import keep_output, measure


def open_at(place: Path) -> int:
    return os.open(place, os.O_PATH | os.O_DIRECTORY)


def test_all_that_is_below_a_directory_counts_and_no_link_is_followed(tmp_path: Path) -> None:
    big, small = tmp_path / "big", tmp_path / "run"
    for place in (big, small):
        place.mkdir()
    (big / "file").write_bytes(b"x" * (1 << 20))
    (small / "link").symlink_to(big)
    (small / "name").touch()
    fd = open_at(small)
    try:
        few = measure(fd)
        assert 1024 <= few < 1 << 16
        with (small / "holes").open("wb") as file:
            file.truncate(1 << 30)
        assert measure(fd) < few + (1 << 16)  # as much as it has on the disk
        (small / "file").write_bytes(b"x" * (1 << 20))
        assert measure(fd) >= few + (1 << 20)
    finally:
        os.close(fd)


def test_a_deep_tree_takes_no_descriptors(tmp_path: Path) -> None:
    fd = open_at(tmp_path)
    paths = ["/".join(["d"] * depth) for depth in range(1, 1501)]
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    try:
        for path in paths:
            os.mkdir(path, dir_fd=fd)
        resource.setrlimit(resource.RLIMIT_NOFILE, (min(512, before[0]), before[1]))
        assert measure(fd) >= 1500 * 512
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)
        for path in reversed(paths):
            os.rmdir(path, dir_fd=fd)
        os.close(fd)


def test_of_a_comparison_only_what_lies_below_the_output_is_kept(tmp_path: Path) -> None:
    before, after = tmp_path / "before", tmp_path / "after"
    for place in (before, after):
        (place / "data/output").mkdir(parents=True)
    (after / "data/output/sub").mkdir()
    (after / "data/output/sub/file").write_text("x")
    os.link(after / "data/output/sub/file", after / "beside")
    (after / "data/outputs").touch()
    (before / "data/output/gone").touch()
    fds = [open_at(before), open_at(after)]
    try:
        diff = compare(*fds)
        kept = keep_output(diff)
    finally:
        for fd in fds:
            os.close(fd)
    below = {b"data/output/sub", b"data/output/sub/file", b"data/output/gone"}
    assert {one.path for one in kept.changes} == below
    assert b"beside" in {one.path for one in diff.changes}  # the control
    assert {path for paths in kept.links.values() for path in paths} <= below
