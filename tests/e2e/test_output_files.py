"""Output that goes to plain files, as in ``akiosctl run -- make >log 2>&1``."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

TALK = "import os\nfor n in range(300): os.write(1 + n % 2, b'%d\\n' % n)"
IN_ORDER = "".join(f"{n}\n" for n in range(300))
SCRIPT = "for i in 1 2 3 4 5 6 7 8 9; do echo out $i; echo err $i >&2; done"


def test_two_streams_into_one_file_lose_nothing(daemon: Daemon) -> None:
    """Both streams share the file's position with each other, and with what the shell writes before
    and after.
    """
    where = daemon.workspace()
    log = daemon.base / "one-file.log"
    with log.open("wb") as file:
        for _ in range(3):
            subprocess.run(["echo", "before"], stdout=file, check=True)
            done = daemon.ctl(
                "run",
                "--quiet",
                "--workspace",
                where,
                "--",
                "sh",
                "-c",
                SCRIPT,
                cwd=where,
                capture_output=False,
                stdout=file,
                stderr=subprocess.STDOUT,
            )
            assert done.returncode == 0
    lines = log.read_text().splitlines()
    for stream in ("out", "err"):
        assert [line for line in lines if line.startswith(stream)] == [
            f"{stream} {i}" for i in range(1, 10)
        ] * 3
    assert lines.count("before") == 3 and len(lines) == 57


def run(daemon: Daemon, stdout: int, stderr: int) -> None:
    where = daemon.workspace(uid=NOBODY)
    command = ("run", "--quiet", "--workspace", where, "--", "python3", "-c", TALK)
    with daemon.popen(*command, uid=NOBODY, cwd=where, stdout=stdout, stderr=stderr) as process:
        assert process.wait(90) == 0


@pytest.mark.parametrize("mode", ["wb", "ab"])
def test_one_file_has_both_in_order(daemon: Daemon, tmp_path: Path, mode: str) -> None:
    with (tmp_path / "log").open(mode) as log:
        run(daemon, log.fileno(), subprocess.STDOUT)
    assert (tmp_path / "log").read_text() == IN_ORDER


def test_one_pipe_has_both_in_order(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    done = daemon.run(
        *("python3", "-c", TALK),
        cwd=where,
        uid=NOBODY,
        capture_output=False,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert done.stdout == IN_ORDER


@pytest.mark.parametrize("second", ["errors", "log"])
def test_two_files_stay_two(daemon: Daemon, tmp_path: Path, second: str) -> None:
    """The control; one file that was opened twice has two positions, and is written over."""
    with (tmp_path / "log").open("wb") as log, (tmp_path / second).open("wb") as errors:
        run(daemon, log.fileno(), errors.fileno())
    assert len((tmp_path / "log").read_text().splitlines()) == 150


@pytest.mark.parametrize("stderr", [subprocess.STDOUT, subprocess.PIPE], ids=["one", "two"])
def test_a_detached_cage_keeps_both_in_order(daemon: Daemon, stderr: int) -> None:
    """Where they were one for whoever started it: who attaches may still tell two apart."""
    where = daemon.workspace(uid=NOBODY)
    done = daemon.run(
        *("python3", "-c", TALK),
        flags=["--detach"],
        cwd=where,
        uid=NOBODY,
        capture_output=False,
        stdout=subprocess.PIPE,
        stderr=stderr,
    )
    cage = done.stdout.strip()
    daemon.ctl("attach", cage, uid=NOBODY)
    kept = daemon.ctl("logs", cage, uid=NOBODY).stdout
    assert stderr == subprocess.PIPE or kept == IN_ORDER
    assert sorted(kept.splitlines()) == sorted(IN_ORDER.splitlines())
