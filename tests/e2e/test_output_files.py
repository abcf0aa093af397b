"""Output that goes to plain files, as in ``akiosctl run -- make >log 2>&1``."""

from __future__ import annotations

import subprocess

from tests.e2e.daemon import Daemon

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
