"""Real system calls that fail, or in which the process is killed: what was acknowledged is there
after the restart.
"""

from __future__ import annotations

import os
import shutil
import signal
import subprocess
import sys
from functools import cache
from pathlib import Path

import pytest
from akiosd.ledger.report import Verdict
from akiosd.ledger.sequencer import prepare
from akiosd.store.durable import Directory
from akiosd.store.fsck import fsck
from akiosd.store.lock import StateLock
from akiosd.store.log_dir import directory, publish_all
from akiosd.store.recover import open_ledger
from akiosd.values.ids import HOST_LOG, LogId
from tests.unit.store.write_ledger import CAGE

LOG = LogId(CAGE)
ROOT = Path(__file__).parents[3]
WRITER = [sys.executable, "-m", "tests.unit.store.write_ledger"]


@cache
def can_inject() -> bool:
    strace = shutil.which("strace")
    if strace is None:
        return False
    command = [
        strace,
        "-f",
        "-qq",
        "-e",
        "inject=getppid:error=EIO",
        "-e",
        "trace=getppid",
        "-o",
        os.devnull,
        "true",
    ]
    return subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0


def run_with(fault: str, state: Path) -> tuple[int, int]:
    """Run the writer with a fault; returns its exit code (negative: killed) and the last index it
    acknowledged.
    """
    call = fault.partition(":")[0]
    command = [
        "strace",
        "-f",
        "-qq",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={fault}",
        "-o",
        os.devnull,
        *WRITER,
        state,
    ]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    indices = [int(line) for line in done.stdout.split() if line != "go"]
    return done.returncode, max(indices, default=-1)


def recover(state: Path) -> None:
    """The start-up path, then publication of what it found."""
    lock, disk = StateLock(state), Directory(state)
    try:
        opened = open_ledger(disk, os.urandom, 64 << 10)
        sequencer = opened.sequencer

        def commit_heads(heads: list[object]) -> None:
            sequencer.mark(*heads)  # type: ignore[arg-type]
            while commit := sequencer.take_commit():
                opened.wal.write(commit.body)
                sequencer.committed()

        work = [(log, *sequencer.work(log)) for log in list(sequencer.logs)]
        publications = [prepare(log, edge, batch) for log, edge, batch in work if batch]
        publish_all(disk, opened.key, publications, commit_heads)  # type: ignore[arg-type]
        opened.wal.close()
    finally:
        disk.close()
        lock.release()


def check(state: Path, acknowledged: int) -> None:
    recover(state)
    report = fsck(state / directory(LOG))
    if acknowledged >= 0:
        assert report.verdict in (Verdict.OK, Verdict.OK_RECOVERED), report
        assert report.size > acknowledged
    if (state / directory(HOST_LOG) / "checkpoint").exists():
        assert fsck(state / directory(HOST_LOG)).exit_code == 0


FATAL = [
    "fdatasync:error=EIO:when=2",
    "fdatasync:error=EIO:when=6",
    "fsync:error=EIO:when=9",
    "pwrite64:error=EIO:when=4",
    "renameat:error=EIO:when=5",
    "fdatasync:signal=KILL:when=2",
    "fdatasync:signal=KILL:when=7",
    "pwrite64:signal=KILL:when=5",
    "fsync:signal=KILL:when=20",
    "renameat:signal=KILL:when=6",
    "unlinkat:signal=KILL:when=1",
]


@pytest.mark.parametrize("fault", FATAL)
def test_nothing_acknowledged_is_lost(fault: str, tmp_path: Path) -> None:
    if not can_inject():
        pytest.skip("strace cannot inject faults here")
    code, acknowledged = run_with(fault, tmp_path)
    happened = (-signal.SIGKILL, 128 + signal.SIGKILL) if "KILL" in fault else (3,)
    assert code in (*happened, 0)
    check(tmp_path, acknowledged)
    if code == 0:
        pytest.skip(f"this run made too few calls of {fault.partition(':')[0]} in one thread")


def test_a_second_kill_during_recovery(tmp_path: Path) -> None:
    if not can_inject():
        pytest.skip("strace cannot inject faults here")
    _, acknowledged = run_with("fdatasync:signal=KILL:when=6", tmp_path)
    for fault in (
        "syncfs:signal=KILL:when=1",
        "pwrite64:signal=KILL:when=1",
        "fdatasync:signal=KILL:when=1",
    ):
        code, more = run_with(fault, tmp_path)
        acknowledged = max(acknowledged, more)
        assert code in (-signal.SIGKILL, 128 + signal.SIGKILL)
    check(tmp_path, acknowledged)


def test_a_small_file_system_runs_full_and_gets_room_again(tmp_path: Path) -> None:
    """On an ext4 of its own, in a mount namespace of its own: both are gone with the process."""
    image, mount = tmp_path / "image", tmp_path / "mount"
    mount.mkdir()
    with image.open("wb") as file:
        file.truncate(12 << 20)
    if os.geteuid() != 0 or shutil.which("mkfs.ext4") is None:
        pytest.skip("needs root and mkfs.ext4")
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    script = 'mount -o loop "$1" "$2" || exit 77; shift; exec "${@:2}" "$1" --fill'
    command = ["unshare", "-m", "bash", "-c", script, "bash", image, mount, *WRITER]
    done = subprocess.run(
        command, cwd=ROOT, capture_output=True, text=True, timeout=300, check=False
    )
    if done.returncode == 77:
        pytest.skip(f"needs loop mounts: {done.stderr.strip()}")
    assert done.returncode == 0, done.stderr
    assert done.stdout.split("\n")[:4] == ["full", "durable 1001", "room", "OK OK 1002"]
