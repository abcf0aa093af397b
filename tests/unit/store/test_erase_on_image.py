"""Erasure, seen from below: an ext4 image of its own is searched byte by byte for what was in
records and files.

The image is mounted in a mount namespace of its own: it and its loop device are gone with the
process.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[3]
WORDS = ["first", "second", "host", "wiped"]
SCRIPT = """
mount -o loop "$1" "$2" || exit 77
shift; "${@:2}" "$1" $ERASE; code=$?
umount "$1"; exit $code
"""


def run(tmp_path: Path, erases: bool) -> tuple[list[str], Counter[str]]:
    """What the run said, and how often each kind of marker is in the image afterwards."""
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4")
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(160 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    program = [sys.executable, "-m", "tests.unit.store.erase_on_image"]
    command: list[str | Path] = [
        "unshare",
        "-m",
        "bash",
        "-c",
        SCRIPT,
        "bash",
        image,
        mount,
        *program,
    ]
    environment = {**os.environ, "ERASE": "--erase" if erases else ""}
    done = subprocess.run(
        command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"needs loop mounts: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    return done.stdout.splitlines(), Counter(
        found.decode() for found in re.findall(rb"MARK-([a-z]+)-", image.read_bytes())
    )


def test_the_control_finds_every_marker(tmp_path: Path) -> None:
    _, found = run(tmp_path, erases=False)
    assert {*WORDS, "plain"} == {*found}
    assert all(found[word] >= 470 for word in ("first", "second", "host"))


def test_nothing_of_what_was_erased_is_left_on_the_device(tmp_path: Path) -> None:
    said, found = run(tmp_path, erases=True)
    assert said == [
        "not overwritten: ''",
        "refused: something is mounted there; nothing was wiped",
        "tombstones: 0",
        "begun: []",
        "pruned below: True",
        "left of that: []",
        "packed: 2",
        "destroyed: 2 {}",
    ]
    assert {word: found[word] for word in WORDS} == dict.fromkeys(WORDS, 0)
    assert found["plain"] > 0, "a plain discard only unlinks: the search sees what that leaves"
