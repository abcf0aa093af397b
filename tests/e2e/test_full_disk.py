"""The state directory's disk runs full: errors name it, nothing durable is lost, and with room
again it goes on.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosctl.client import Client
from akiosd.wire.messages import LogEntries, ReadLog
from tests.e2e.daemon import Daemon
from tests.e2e.image_disk import on_image
from tests.e2e.resources import wait_until

FLOOD = """
import os
print("up", flush=True)
n = 0
while True:
    n += 1
    try:
        os.unlink("/tmp/%d" % n)
    except OSError:
        pass
"""


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose state directory is a file system of 256 MiB."""
    daemon = Daemon("pools: {userns: 2}\n")
    with on_image(daemon, tmp_path / "image", daemon.state, 256 << 20):
        yield daemon


def fill(daemon: Daemon) -> Path:
    ballast = daemon.state / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for step in (1 << 20, 4096):
            with pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * step)
    assert os.statvfs(daemon.state).f_bavail == 0
    return ballast


def test_runs_are_refused_with_words_and_go_on_with_room(small: Daemon) -> None:
    assert small.run("sh", "-c", "exit 3").returncode == 3
    ballast = fill(small)
    refused = 0
    for _ in range(16):
        # What was prepared before still runs, and gives its room back; what began just before waits
        # for room.
        with contextlib.suppress(subprocess.TimeoutExpired):
            done = small.run("sh", "-c", "exit 3", timeout=15)
            assert done.returncode in (3, 125)
            if done.returncode == 125:
                refused += 1
                assert "No space left on device" in done.stderr and str(small.state) in done.stderr
                assert "Traceback" not in done.stderr
        if refused == 3:
            break
        fill(small)
    assert refused == 3
    assert small.ctl("doctor").returncode in (0, 1), (
        "it answers, and is unwell once the ledger had to wait"
    )
    told = small.ctl("ledger", "verify", "--json")
    assert json.loads(told.stdout)["verdict"] == "OK", "what was published before is there to read"
    ballast.unlink()
    assert wait_until(lambda: small.run("sh", "-c", "exit 3").returncode == 3), (
        "room is not noticed"
    )
    for _ in range(3):
        assert small.run("sh", "-c", "exit 3").returncode == 3
    assert_whole(small)


def test_a_cage_that_fills_the_log_waits_and_goes_on(small: Daemon) -> None:
    workspace = small.workspace()
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            small.popen(
                "run",
                "--workspace",
                workspace,
                "--",
                "python3",
                "-c",
                FLOOD,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=workspace,
            )
        )
        stack.callback(client.kill)
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        cage = next(iter(json.loads(small.ctl("ps", "--json").stdout)))["cage"]
        ballast = fill(small)
        assert wait_until(lambda: stands_still(small, cage), 60), (
            "records are written although there is no room"
        )
        assert client.poll() is None, "the cage was to wait, not to end"
        assert small.ctl("ps").returncode == 0
        stopped_at = size_of_log(small, cage)
        ballast.unlink()
        assert wait_until(lambda: size_of_log(small, cage) > stopped_at, 60), "it does not go on"
        assert small.ctl("stop", "--kill", cage).returncode == 0
        assert client.wait(60) == 137
    records = small.events(cage)
    assert records[-1]["kind"] == "end"
    # The last call may have been killed before its path was read.
    unlinks = [
        record for record in records if record.get("name") == "unlink" and record.get("path")
    ]
    numbers = [int(record["path"].rpartition("/")[2]) for record in unlinks]
    assert numbers[:stopped_at] == list(range(1, len(numbers) + 1))[:stopped_at], (
        "a record is missing or came twice"
    )
    assert_whole(small)


def test_what_was_acknowledged_survives_a_kill_while_it_is_full(small: Daemon) -> None:
    workspace = small.workspace()
    with contextlib.ExitStack() as stack:
        client = stack.enter_context(
            small.popen(
                "run",
                "--workspace",
                workspace,
                "--",
                "python3",
                "-c",
                FLOOD,
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                cwd=workspace,
            )
        )
        stack.callback(client.kill)
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        cage = next(iter(json.loads(small.ctl("ps", "--json").stdout)))["cage"]
        (frozen,) = Path("/sys/fs/cgroup").glob(f"**/{cage}/cgroup.freeze")
        assert frozen.read_text() == "0\n"
        ballast = fill(small)
        assert wait_until(lambda: stands_still(small, cage), 60)
        assert frozen.read_text() == "1\n", "the cage is not frozen"
        acknowledged = size_of_log(small, cage)
        last = entry_of(small, cage, acknowledged - 1)
        small.stop(signal.SIGKILL)
    ballast.unlink()
    small.start()
    assert (
        size_of_log(small, cage) >= acknowledged and entry_of(small, cage, acknowledged - 1) == last
    )
    assert small.run("sh", "-c", "exit 3").returncode == 3
    for words in ([], [cage]):
        report = json.loads(small.ctl("ledger", "verify", *words, "--json").stdout)
        assert report["verdict"] in ("OK", "OK-RECOVERED"), report


def entry_of(daemon: Daemon, cage: str, index: int) -> bytes:
    with Client(str(daemon.socket)) as client:
        reply, _ = client.call(ReadLog(cage=cage, start=index, stop=index + 1), LogEntries)
    (entry,) = reply.entries
    return entry


def size_of_log(daemon: Daemon, cage: str) -> int:
    """How many durable records the log has."""
    low, high = 0, 1 << 24
    with Client(str(daemon.socket)) as client:
        while low < high:
            middle = (low + high) // 2
            reply, _ = client.call(ReadLog(cage=cage, start=middle, stop=middle + 1), LogEntries)
            low, high = (middle + 1, high) if reply.entries else (low, middle)
    return low


def stands_still(daemon: Daemon, cage: str) -> bool:
    """No record becomes durable for a second."""
    before = size_of_log(daemon, cage)
    return not wait_until(lambda: size_of_log(daemon, cage) != before, 1)


def assert_whole(daemon: Daemon) -> None:
    done = daemon.ctl("ledger", "verify", "--json")
    assert json.loads(done.stdout)["verdict"] == "OK", done.stdout
