"""Whoever dies at whatever step of a start: an agent runs only while somebody watches it, or will.

What is ended here is ended by the kernel and by init, before any other akiosd is there.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.e2e import dying_daemon, resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import begin, host_ends, kill, the_cage, verified

AGENT = "echo began; sleep 1000"


@contextmanager
def dying(step: str, who: str) -> Iterator[Daemon]:
    """A daemon that has died in the start of its first cage, or is about to."""
    daemon = Daemon("pools: {userns: 1}\n")
    mark = daemon.base / "died"
    daemon._prefix = [sys.executable, dying_daemon.__file__, step, who, str(mark)]
    try:
        yield daemon.start()
        assert mark.exists()
    finally:
        daemon.close()


def inside(daemon: Daemon) -> set[int]:
    """What runs in its cages."""
    groups = [Path(group, "cgroup.procs") for group in resources.cgroups(daemon)]
    return {int(pid) for group in groups if group.exists() for pid in group.read_text().split()}


def start(daemon: Daemon) -> subprocess.Popen[bytes]:
    words = ("run", "--workspace", daemon.workspace(), "--", "sh", "-c", AGENT)
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    client: subprocess.Popen[bytes] = daemon.popen(
        *words, stdin=subprocess.DEVNULL, cwd=daemon.base, bufsize=0, **pipes
    )
    return client


def is_dead(daemon: Daemon) -> None:
    assert daemon.process is not None
    daemon.process.wait(60)
    daemon.process = None


FIRST = ("before it is kept", "once it is kept", "before go")
OTHERS = [
    pytest.param(step, who, marks=pytest.mark.named_set("survival"))
    for step in FIRST
    for who in ("akiosd", "both")
    if (step, who) != ("before go", "akiosd")
]


@pytest.mark.parametrize(("step", "who"), [("before go", "akiosd"), *OTHERS])
def test_before_go_the_agent_never_runs(step: str, who: str) -> None:
    with dying(step, who) as daemon:
        with start(daemon) as client:
            is_dead(daemon)
            assert wait_until(lambda: not inside(daemon))
            daemon.start()
            out, _ = client.communicate(timeout=60)
        assert (client.returncode, out) == (125, b"")
        assert json.loads(daemon.ctl("ps", "--json").stdout) == []
        assert wait_until(lambda: not any("exited" in end for end in host_ends(daemon).values()))
        assert verified(daemon)


def test_once_it_runs_it_goes_on_with_the_next_akiosd() -> None:
    """The control of the others: what they found dead lives here."""
    with dying("once it runs", "akiosd") as daemon:
        with start(daemon) as client:
            is_dead(daemon)
            assert client.stdout is not None and client.stdout.readline() == b"began\n"
            assert len(inside(daemon)) >= 2
            daemon.start()
            cage = the_cage(daemon)
            assert daemon.ctl("stop", cage).returncode == 0
        kinds = [record["kind"] for record in daemon.events(cage)]
        assert kinds.count("started") == kinds.count("end") == 1


@pytest.mark.parametrize(
    "step", ["once it runs", pytest.param("after go", marks=pytest.mark.named_set("survival"))]
)
def test_after_go_it_ends_if_both_die(step: str) -> None:
    with dying(step, "both") as daemon:
        with start(daemon) as client:
            is_dead(daemon)
            assert wait_until(lambda: not inside(daemon))
            daemon.start()
            client.communicate(timeout=60)
        assert set(host_ends(daemon).values()) == {"killed: akiosd ended without a word"}


@pytest.mark.parametrize(
    "step",
    [
        "once it is kept",
        *(
            pytest.param(step, marks=pytest.mark.named_set("survival"))
            for step in dying_daemon.STEPS
            if step != "once it is kept"
        ),
    ],
)
def test_a_keeper_that_dies_alone_is_no_harm(step: str) -> None:
    with dying(step, "keeper") as daemon:
        with start(daemon) as client:
            assert client.stdout is not None and client.stdout.readline() == b"began\n"
            assert wait_until(lambda: "another one holds" in daemon.log.read_text())
            kill(daemon)
            daemon.start()
            assert the_cage(daemon)
            assert daemon.ctl("stop", the_cage(daemon)).returncode == 0
            client.communicate(timeout=60)


@pytest.mark.parametrize("frozen", [False, True])
def test_a_setting_of_0_ends_what_an_earlier_akiosd_left(frozen: bool) -> None:
    """Nobody would watch it, and its log would say that it is over.  It is dead before anybody is
    served, also when init cannot see that its status socket has ended.
    """
    daemon = Daemon("pools: {userns: 1}\n")
    try:
        with begin(daemon.start(), AGENT) as client:
            cage = the_cage(daemon)
            processes = inside(daemon)
            kill(daemon)
            (freeze,) = [
                file
                for path in resources.cgroups(daemon)
                if path.endswith(f"/{cage}") and (file := Path(path, "cgroup.freeze")).exists()
            ]
            freeze.write_text(str(int(frozen)))
            assert processes & set(resources.processes())
            with daemon.config.open("a") as config:
                config.write("restart: {come_back_s: 0}\n")
            daemon.start()
            assert wait_until(lambda: not processes & set(resources.processes()), 5)
            client.communicate(timeout=60)
        assert host_ends(daemon) == {cage: "killed: akiosd ended without a word"}
        assert not (daemon.base / "run" / "keeper.sock").exists()
    finally:
        daemon.close()
