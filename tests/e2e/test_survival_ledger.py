"""What a cage did is in its log once, whenever akiosd was killed meanwhile; and what is denied is
denied by every akiosd.
"""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import time
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.resources import processes
from tests.e2e.survival import host_ends, kill, kill_and_start, small_daemon, the_cage, verified

KILLS = 4
OPENS = """
import os, signal, sys
told = []
signal.signal(signal.SIGUSR1, lambda *_: told.append(1))
print("up", flush=True)
n = 0
while not told:
    n += 1
    try:
        os.open(f"gone-{n}", os.O_RDONLY)
    except FileNotFoundError:
        pass
print(n)
sys.exit(4)
"""
MOUNTS = """
import ctypes, signal
libc = ctypes.CDLL(None, use_errno=True)
signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGUSR1])
print("up", flush=True)
signal.sigwait([signal.SIGUSR1])
print(libc.mount(b"none", b"/tmp", b"tmpfs", 0, None), ctypes.get_errno(), flush=True)
"""
POLICY = "version: 1\nsyscalls: {trace: files}\n"


@pytest.fixture
def private() -> Iterator[Daemon]:
    with small_daemon() as daemon:
        yield daemon


def begin(daemon: Daemon, code: str) -> tuple[subprocess.Popen[bytes], Path]:
    where = daemon.workspace()
    (where / "akios.yaml").write_text(POLICY)
    client: subprocess.Popen[bytes] = daemon.popen(
        *("run", "--json", "--workspace", where, "--", "python3", "-c", code),
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=where,
        bufsize=0,
    )
    assert client.stdout is not None and client.stdout.readline() == b"up\n", client.stderr
    return client, where


def opened(records: list[dict[str, Any]]) -> Counter[int]:
    found: Counter[int] = Counter()
    for record in records:
        path = str(record.get("path", ""))
        if record["kind"] == "syscall" and path.startswith("gone-"):
            found[int(path.removeprefix("gone-"))] += record.get("count", 1)
    return found


@pytest.mark.parametrize(
    "kills", [KILLS, pytest.param(10, marks=pytest.mark.named_set("survival"))]
)
def test_every_open_is_recorded_once_through_kills_under_load(private: Daemon, kills: int) -> None:
    client, _ = begin(private, OPENS)
    cage = the_cage(private)
    chance = random.Random(kills)
    for _ in range(kills):
        time.sleep(chance.uniform(0.05, 0.4))  # a kill at any moment
        kill_and_start(private)
    client.send_signal(signal.SIGUSR1)
    out, words = client.communicate(timeout=120)
    assert client.returncode == 4, words
    records = private.events(cage)
    found, total = opened(records), int(out)
    missing = set(range(1, total + 1)) - set(found)
    doubled = {number: count for number, count in found.items() if count > 1}
    assert (missing, doubled) == (set(), {})
    assert [record for record in records if record["kind"] == "lost"] == []
    assert sum(record["kind"] == "daemon_restarted" for record in records) == kills
    assert verified(private)
    assert total > 1000


def test_what_would_be_denied_waits_and_is_denied(private: Daemon) -> None:
    client, _ = begin(private, MOUNTS)
    cage = the_cage(private)
    kill(private)
    (agent,) = find_agents(cage)
    # Straight into the cage: nobody is there to forward it.
    os.kill(agent, signal.SIGUSR1)
    time.sleep(0.5)
    assert client.poll() is None
    private.start()
    out, words = client.communicate(timeout=60)
    result, errno = map(int, out.split())
    assert result == -1 and errno in (1, 38), words
    denied = [
        record
        for record in private.events(cage)
        if record["kind"] == "syscall" and record["name"] == "mount"
    ]
    assert [record["verdict"] for record in denied] == ["denied"]
    assert host_ends(private) == {cage: "exited 0"} or host_ends(private)[cage] == ""


def find_agents(cage: str) -> list[int]:
    """Processes of the cage that are not its init."""
    (group,) = list(Path("/sys/fs/cgroup").glob(f"**/{cage}/cgroup.kill"))
    pids = [int(line) for line in (group.parent / "cgroup.procs").read_text().split()]
    known = processes()
    return [pid for pid in pids if known[pid][0] in pids]


@pytest.mark.parametrize("number", [3, pytest.param(50, marks=pytest.mark.named_set("survival"))])
def test_idle_cages_go_on(private: Daemon, number: int) -> None:
    cages = []
    for _ in range(number):
        done = private.run("sh", "-c", "sleep 1000", flags=["--detach"])
        cages.append(done.stdout.strip())
    kill_and_start(private)
    listed = {
        line["cage"]: line["state"] for line in json.loads(private.ctl("ps", "--json").stdout)
    }
    assert listed == dict.fromkeys(cages, "running")
