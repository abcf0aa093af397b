"""What is not gone on with ends, whole, and its log says why: damaged memories, keepers that are
gone, daemons that do not come back or come back twice, and a stop that was asked for.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e import resources
from tests.e2e.daemon import BIN, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import (
    SEVERAL,
    begin,
    host_ends,
    keeper_pid,
    kill,
    kill_and_start,
    report,
    small_daemon,
    the_cage,
    verified,
)

CHANGES = "echo work >result; echo up; sleep 1000"


@pytest.fixture
def config() -> str:
    return ""


@pytest.fixture
def private(config: str) -> Iterator[Daemon]:
    with small_daemon(config) as daemon:
        yield daemon


def inside(daemon: Daemon) -> set[int]:
    assert daemon.process is not None
    found = resources.descendants(daemon.process.pid) & resources.caged_processes()
    assert found
    return found


def is_over(processes: set[int]) -> bool:
    return not processes & set(resources.processes())


def flip(pid: int, at: int) -> None:
    """Change a byte of the only state memory that the process ``pid`` holds."""
    for fd in Path(f"/proc/{pid}/fd").iterdir():
        if "memfd:akios-cage" in os.readlink(fd):
            with open(fd, "r+b") as memory:
                memory.seek(at)
                (byte,) = memory.read(1)
                memory.seek(at)
                memory.write(bytes([byte ^ 1]))
            return
    raise AssertionError("the process holds no state memory")


def test_a_cage_whose_state_memory_is_damaged_is_ended_by_name(private: Daemon) -> None:
    where = private.workspace()
    with begin(private, CHANGES, workspace=where) as client:
        cage, processes = the_cage(private), inside(private)
        kill(private)
        flip(keeper_pid(private), 16)
        private.start()
        assert wait_until(lambda: is_over(processes))
        _, words = client.communicate(timeout=60)
    reason = "killed: akiosd ended, and could not go on with it: what akiosd kept of it is damaged"
    assert host_ends(private) == {cage: reason}
    assert (client.returncode, report(words)["reason"]) == (137, reason)
    assert [record["kind"] for record in private.events(cage)][-1] == "end"
    # What the agent did belongs to its user all the same.
    assert wait_until(lambda: private.ctl("commit", cage, cwd=where).returncode == 0)
    assert (where / "result").read_text() == "work\n"
    assert verified(private)


@pytest.mark.parametrize("config", ["restart: {come_back_s: 3}\n"])
def test_if_nobody_comes_back_everything_ends_and_is_said(private: Daemon) -> None:
    where = private.workspace()
    with begin(private, CHANGES, workspace=where) as client:
        cage, processes = the_cage(private), inside(private)
        keeper = keeper_pid(private)
        kill(private)
        assert not is_over(processes)
        assert wait_until(lambda: is_over(processes | {keeper}))
        private.start()
        _, words = client.communicate(timeout=60)
    reason = "killed: akiosd ended, and could not go on with it: akiosd was away for more than 3 s"
    assert host_ends(private) == {cage: reason}
    assert (client.returncode, report(words)["reason"]) == (137, reason)
    assert wait_until(lambda: private.ctl("commit", cage, cwd=where).returncode == 0)
    assert wait_until(lambda: not any(cage in path for path in resources.cgroups(private)))


def test_a_keeper_that_is_killed_is_replaced(private: Daemon) -> None:
    with begin(private, SEVERAL.format(150)) as client:
        first = keeper_pid(private)
        os.kill(first, signal.SIGKILL)
        assert wait_until(lambda: keeper_pid(private) not in (0, first))
        assert wait_until(lambda: "another one holds what it held" in private.log.read_text())
        kill_and_start(private)
        out, _ = client.communicate(timeout=60)
    assert (client.returncode, len(out.split())) == (7, 149)


def test_if_keeper_and_akiosd_are_killed_the_cage_ends(private: Daemon) -> None:
    with begin(private, CHANGES) as client:
        cage, processes = the_cage(private), inside(private)
        keeper = keeper_pid(private)
        os.kill(private.process.pid, signal.SIGSTOP)  # type: ignore[union-attr]
        os.kill(keeper, signal.SIGKILL)
        kill(private)
        assert wait_until(lambda: is_over(processes))
        private.start()
        client.communicate(timeout=60)
    assert client.returncode == 137
    assert host_ends(private) == {cage: "killed: akiosd ended without a word"}
    assert verified(private)


@pytest.mark.named_set("survival")
def test_a_second_daemon_takes_no_cage_over(private: Daemon, tmp_path: Path) -> None:
    with begin(private, SEVERAL.format(150)) as client:
        other = subprocess.run(
            [BIN / "akiosd", "--config", private.config, "--state-dir", tmp_path],
            capture_output=True,
            text=True,
            timeout=60,
            cwd="/",
        )
        assert other.returncode == 1 and "another akiosd serves this socket" in other.stderr
        kill_and_start(private)
        out, _ = client.communicate(timeout=60)
    assert (client.returncode, len(out.split())) == (7, 149)


def test_a_stop_ends_the_cages_and_the_keeper(private: Daemon) -> None:
    with begin(private, CHANGES) as client:
        processes, keeper = inside(private), keeper_pid(private)
        assert private.stop(signal.SIGTERM) == 0
        assert is_over(processes) and wait_until(lambda: is_over({keeper}))
        _, words = client.communicate(timeout=60)
    assert (client.returncode, report(words)["kind"]) == (137, "daemon_stopped")
    assert not (private.base / "run" / "keeper.sock").exists()


def test_a_restart_that_is_asked_for_leaves_them_alone(private: Daemon) -> None:
    with begin(private, SEVERAL.format(150)) as client:
        cage = the_cage(private)
        assert private.stop(signal.SIGUSR2) == 0
        private.start()
        out, words = client.communicate(timeout=60)
    assert (client.returncode, len(out.split())) == (7, 149), words
    shown = private.ctl("ledger", "show", "--json").stdout
    stops = [line for line in map(json.loads, shown.splitlines()) if line["kind"] == "daemon_stop"]
    assert [line["reason"] for line in stops] == ["restarted: cages go on"]
    assert host_ends(private) == {cage: "exited 7"}


@pytest.mark.named_set("survival")
def test_a_cage_that_akiosd_twice_did_not_survive_is_not_tried_again(private: Daemon) -> None:
    """As if it had ended while it took the cage over, which its state memory counts."""
    script = (
        "import sys, msgspec\n"
        "from akiosd.daemon.cages.adopt_cage import MOST_TRIES\n"
        "from akiosd.daemon.cages.cage_state import LIFE, LifeState, decode, encode\n"
        "from akiosd.kernel.fds import Fd\n"
        "from akiosd.kernel.state_memory import StateMemory, read_boot\n"
        "import os; memory = StateMemory.open(Fd(os.open(sys.argv[1], os.O_RDWR)), read_boot())\n"
        "life = decode(memory.sections, LIFE, LifeState)\n"
        "memory.write(LIFE, encode(msgspec.structs.replace(life, adoptions=MOST_TRIES)))\n"
    )
    with begin(private, CHANGES) as client:
        cage, processes = the_cage(private), inside(private)
        kill(private)
        held = Path(f"/proc/{keeper_pid(private)}/fd")
        (memory,) = [fd for fd in held.iterdir() if "akios-cage" in os.readlink(fd)]
        done = subprocess.run([sys.executable, "-c", script, memory], check=False)
        assert done.returncode == 0
        private.start()
        assert wait_until(lambda: is_over(processes))
        client.communicate(timeout=60)
    assert "akiosd ended 2 times in a row while it took this cage over" in host_ends(private)[cage]


def test_a_stop_that_comes_while_akiosd_starts_ends_them_too(private: Daemon) -> None:
    """It is told before it has even looked for them.  The control: told nothing, it goes on with
    them, as all others here show.
    """
    hasty = (
        "import os, signal, sys\n"
        "from akiosd.daemon import main\n"
        "from akiosd.daemon.host import Host\n"
        "method = Host.open_keeper\n"
        "def told(self):\n"
        "    os.kill(os.getpid(), signal.SIGTERM)\n"
        "    return method(self)\n"
        "Host.open_keeper = told\n"
        "sys.exit(main.main(sys.argv[2:]))\n"
    )
    with begin(private, CHANGES) as client:
        processes, keeper = inside(private), keeper_pid(private)
        kill(private)
        private._prefix = [sys.executable, "-c", hasty]
        private.start()
        assert private.process is not None and private.process.wait(60) == 0
        private.process = None
        assert is_over(processes) and wait_until(lambda: is_over({keeper}))
        client.kill()
        client.communicate()
    private._prefix = []
    private.start()
    assert list(host_ends(private).values()) == ["killed: akiosd stopped"]
