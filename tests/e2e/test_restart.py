"""Ends that somebody else decides: the client's, the daemon's; and what a second daemon may not
do.
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
from tests.e2e.daemon import BIN, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import small_daemon

STUBBORN = "trap '' TERM HUP INT; (trap '' TERM HUP; setsid sleep 1000 &) ; echo up; while :; do sleep 1000; done"


@pytest.fixture
def config() -> str:
    return ""


@pytest.fixture
def private(config: str) -> Iterator[Daemon]:
    with small_daemon(config) as daemon:
        yield daemon


def start(daemon: Daemon, *flags: str, command: str = STUBBORN) -> subprocess.Popen[bytes]:
    """A client whose agent has said that it is up."""
    client = daemon.popen(
        "run",
        "--json",
        *flags,
        "--workspace",
        daemon.workspace(),
        "--",
        "sh",
        "-c",
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=daemon.base,
    )
    assert client.stdout is not None
    assert client.stdout.readline() == b"up\n"
    return client


def caged_by(daemon: Daemon) -> set[int]:
    assert daemon.process is not None
    return resources.descendants(daemon.process.pid) & resources.caged_processes()


def ends(daemon: Daemon) -> list[str]:
    """Reasons in the host's log, in the order of the ends."""
    done = daemon.ctl("ledger", "show", "--json")
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return [line["reason"] for line in lines if line["kind"] == "cage_end"]


def test_a_client_that_is_killed_takes_its_cage_with_it(private: Daemon) -> None:
    with start(private) as client:
        assert caged_by(private)
        client.kill()
        client.communicate()
    assert wait_until(lambda: not caged_by(private))
    assert wait_until(lambda: bool(ends(private)))
    assert ends(private) == ["killed: the client went away"]


def test_a_detached_cage_outlives_its_client_but_not_the_daemon(private: Daemon) -> None:
    done = private.run("sh", "-c", STUBBORN, flags=["--detach"])
    cage = done.stdout.strip()
    assert done.returncode == 0 and cage in private.ctl("ps").stdout
    processes = caged_by(private)
    assert processes
    assert private.stop() == 0
    assert not processes & set(resources.processes())
    private.start()
    assert ends(private) == ["killed: akiosd stopped"]


def test_sigterm_ends_every_cage_and_closes_the_ledger(private: Daemon) -> None:
    clients = [start(private) for _ in range(3)]
    processes = caged_by(private)
    assert len(processes) >= 9
    assert private.stop(signal.SIGTERM) == 0
    for client in clients:
        words = client.communicate(timeout=30)[1]
        report = json.loads(words.splitlines()[-1])
        assert (report["kind"], report["exit_code"], client.returncode) == (
            "daemon_stopped",
            137,
            137,
        )
    assert not processes & set(resources.processes())
    assert resources.cgroups(private) == set()
    assert resources.backing(private) == set()
    assert not any(str(private.base) in line for line in resources.mounts())
    assert not (private.base / "run" / "control.sock").exists()
    private.start()
    assert ends(private) == ["killed: akiosd stopped"] * 3
    verified = private.ctl("ledger", "verify", "--json")
    assert json.loads(verified.stdout)["verdict"] == "OK"


def second(daemon: Daemon, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [BIN / "akiosd", "--config", daemon.config, *arguments],
        capture_output=True,
        text=True,
        timeout=60,
        cwd="/",
    )


def test_a_second_daemon_on_the_same_state_is_refused(private: Daemon, tmp_path: Path) -> None:
    with start(private) as client:
        other = second(private, "--runtime-dir", tmp_path)
        assert other.returncode == 1
        assert str(private.state) in other.stderr and "Traceback" not in other.stderr
        same = second(private)
        assert same.returncode == 1 and "Traceback" not in same.stderr
        # The first one noticed nothing.
        assert private.run("true").returncode == 0
        assert caged_by(private)
        client.kill()
        client.communicate()


def test_a_second_daemon_on_the_same_socket_is_refused(private: Daemon, tmp_path: Path) -> None:
    other = second(private, "--state-dir", tmp_path)
    assert other.returncode == 1
    assert "another akiosd serves this socket" in other.stderr and "Traceback" not in other.stderr
    assert private.run("true").returncode == 0
    assert not [line for line in resources.loop_devices() if str(tmp_path) in line]
    assert not [line for line in resources.mounts() if str(tmp_path) in line]


def test_changes_of_an_ended_cage_survive_a_killed_daemon(private: Daemon) -> None:
    workspace = private.workspace()
    done = private.run("sh", "-c", "echo work >result", cwd=workspace, flags=["--json"])
    cage = json.loads(done.stderr.splitlines()[-1])["cage"]
    private.stop(signal.SIGKILL)
    private.start()
    committed = private.ctl("commit", cage, cwd=workspace)
    assert committed.returncode == 0, committed.stderr
    assert (workspace / "result").read_text() == "work\n"


@pytest.mark.parametrize("config", ["restart: {come_back_s: 0}\n"])
def test_a_killed_daemon_says_so_to_its_client(private: Daemon) -> None:
    with start(private) as client:
        private.stop(signal.SIGKILL)
        words = client.communicate(timeout=30)[1]
    assert client.returncode == 125
    assert b"akiosd closed the connection" in words
    private.start()
    assert len(ends(private)) == 1


def test_ids_are_not_handed_out_again_after_a_kill(private: Daemon) -> None:
    def uid() -> int:
        with start(private) as client:
            found = {resources.processes()[pid][1] for pid in caged_by(private)}
            client.kill()
            client.communicate()
        assert len(found) == 1
        return found.pop()

    first = uid()
    private.stop(signal.SIGKILL)
    private.start()
    assert uid() > first


def test_the_sockets_and_the_state_are_not_writable_by_others(private: Daemon) -> None:
    for path, mode in (("keys", 0o700), ("ledger", 0o700), ("disk", 0o700), ("cages", 0o711)):
        found = os.stat(private.state / path)
        assert (found.st_mode & 0o777, found.st_uid) == (mode, 0), path
