"""A fault of akiosd in serving one cage, one request or one client takes no other cage along; one
with which it cannot go on leaves them all to the next akiosd.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import faulty_daemon, resources
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import host_ends, the_cage


@contextmanager
def faulty(config: str = "") -> Iterator[tuple[Daemon, Path]]:
    """A daemon, and the directory in which a file makes a part of it fail."""
    daemon = Daemon("pools: {userns: 1}\n" + config)
    marks = daemon.base / "faults"
    marks.mkdir()
    daemon._prefix = [sys.executable, faulty_daemon.__file__, str(marks)]
    try:
        yield daemon.start(), marks
    finally:
        daemon.close()


@contextmanager
def failing(marks: Path, part: str) -> Iterator[None]:
    (marks / part).touch()
    try:
        yield
    finally:
        (marks / part).unlink()


def up(daemon: Daemon, name: str, uid: int = NOBODY) -> str:
    where = daemon.workspace(uid=uid)
    done = daemon.ctl("cage", "up", name, "--json", uid=uid, cwd=where)
    assert done.returncode == 0, done.stdout + done.stderr
    return str(json.loads(done.stdout)["cage"])


def running(daemon: Daemon) -> set[str]:
    return {
        line["cage"]
        for line in json.loads(daemon.ctl("ps", "--all", "--json").stdout)
        if line["state"] == "running"
    }


def inside(daemon: Daemon, cage: str) -> bool:
    groups = [Path(group, "cgroup.procs") for group in resources.cgroups(daemon) if cage in group]
    return any(group.read_text().split() for group in groups if group.exists())


def test_a_fault_in_serving_one_takes_no_other_along() -> None:
    with faulty() as (daemon, marks):
        other = up(daemon, "other")

        with failing(marks, "connection"):
            assert daemon.ctl("ps").returncode != 0
        with failing(marks, "list"):
            assert "akiosd failed to handle this request" in daemon.ctl("ps").stderr
        with failing(marks, "told"):
            where = daemon.workspace()
            daemon.ctl("run", "--detach", "--", "sleep", "1000", cwd=where)
        assert wait_until(lambda: running(daemon) == {other})

        one = up(daemon, "one")
        client = daemon.popen(
            *("exec", "one", "--", "sh", "-c", "echo up; sleep 1000"),
            uid=NOBODY,
            cwd=daemon.base,
            stdout=subprocess.PIPE,
        )
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        with failing(marks, "program"):
            client.kill()
            client.communicate()
            # A program that nobody can end any more ends with its cage.
            assert wait_until(lambda: running(daemon) == {other})
        assert "killed: AKIOS failed" in host_ends(daemon)[one]

        with failing(marks, "watch"):
            done = daemon.ctl("run", "--", "sleep", "1000", cwd=daemon.workspace())
        assert done.returncode == 125 and "AKIOS failed" in done.stderr
        assert wait_until(lambda: running(daemon) == {other})
        assert "killed: AKIOS failed" in set(host_ends(daemon).values())

        with failing(marks, "left"):
            assert daemon.ctl("run", "--", "true", cwd=daemon.workspace()).returncode == 0
        assert running(daemon) == {other} and inside(daemon, other)
        assert daemon.process is not None and daemon.process.poll() is None
        assert daemon.log.read_text().count("a task failed; everything else goes on") >= 3


@pytest.mark.parametrize(
    "part", ["accept", pytest.param("commit", marks=pytest.mark.named_set("survival"))]
)
def test_an_akiosd_that_fails_leaves_its_cages_to_the_next(part: str) -> None:
    with faulty() as (daemon, marks):
        cage = up(daemon, "one")
        fail(daemon, marks, part)
        assert inside(daemon, cage), daemon.log.read_text()
        daemon.start()
        assert the_cage(daemon) == cage
        done = daemon.ctl("exec", "one", "--", "echo", "lives", uid=NOBODY, cwd=daemon.base)
        assert done.stdout == "lives\n", done.stderr


@pytest.mark.named_set("survival")
def test_without_a_keeper_the_same_fault_ends_them() -> None:
    """The control: whom nobody watches does not run on."""
    with faulty("restart: {come_back_s: 0}\n") as (daemon, marks):
        cage = up(daemon, "one")
        assert inside(daemon, cage)
        fail(daemon, marks, "accept")
        assert not inside(daemon, cage)


def fail(daemon: Daemon, marks: Path, part: str) -> None:
    with failing(marks, part):
        daemon.ctl("run", "--", "true", cwd=daemon.workspace())
        assert daemon.process is not None
        assert daemon.process.wait(60) == 1
        daemon.process = None
