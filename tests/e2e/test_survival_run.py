"""A cage outlives the akiosd that began it: its agent runs on, its client comes back, its end
arrives.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until

COUNTS = "n=0; while [ ! -e stop ]; do n=$((n+1)); echo line $n; sleep 0.02; done; exit 7"


@pytest.fixture
def private() -> Iterator[Daemon]:
    daemon = Daemon("pools: {userns: 2}\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


def start(
    daemon: Daemon, command: str, *flags: str, workspace: Path | None = None
) -> subprocess.Popen[bytes]:
    """A client whose agent has written its first line, which is read."""
    where = workspace or daemon.workspace()
    client = daemon.popen(
        *("run", "--json", *flags, "--workspace", where, "--", "sh", "-c", command),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=daemon.base,
    )
    assert client.stdout is not None
    client.stdout.readline()
    return client


def kill_and_start(daemon: Daemon) -> None:
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL
    daemon.start()


def report(words: bytes) -> dict[str, object]:
    found: dict[str, object] = json.loads(words.splitlines()[-1])
    return found


def the_cage(daemon: Daemon) -> str:
    (line,) = json.loads(daemon.ctl("ps", "--json").stdout)["cages"]
    return str(line["cage"])


def end_it(cage_directory: Path) -> None:
    (cage_directory / "stop").touch()


def test_a_run_prints_on_and_its_exit_code_arrives(private: Daemon) -> None:
    with start(
        private, "n=0; while [ $n -lt 200 ]; do n=$((n+1)); echo $n; sleep 0.02; done; exit 7"
    ) as client:
        kill_and_start(private)
        out, words = client.communicate(timeout=60)
    assert [int(line) for line in out.split()] == list(range(2, 201))
    assert client.returncode == 7, words
    assert b"akiosd was restarted; c-" in words
    assert report(words)["exit_code"] == 7
    verified = private.ctl("ledger", "verify", "--json")
    assert json.loads(verified.stdout)["verdict"] == "OK"
