"""What systemd does to akiosd, and what becomes of a running agent: a restart, a kill, the watchdog
and twenty restarts leave it alone, a stop ends it.

The service is the one that is installed, but for the path of its program.  The control of "it goes
on" is the stop: there the same agent does not.
"""

from __future__ import annotations

import json
import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.e2e import resources
from tests.e2e.resources import wait_until
from tests.guest.service import SCOPE, Agent, ctl, serving, show, systemctl


@pytest.fixture(scope="module")
def service() -> Iterator[None]:
    with serving():
        yield


@pytest.fixture
def place(service: None, tmp_path: Path) -> Path:
    """A workspace, and a service that serves."""
    systemctl("start", "akiosd")
    return tmp_path


def restart(first: str) -> None:
    systemctl("restart", "akiosd")


def kill(first: str) -> None:
    os.kill(int(first), signal.SIGKILL)


def hang(first: str) -> None:
    """The watchdog of systemd ends it, after the minute that the service gives it."""
    os.kill(int(first), signal.SIGSTOP)


def restart_often(first: str) -> None:
    """Twenty times in ten seconds; most meet an akiosd that has only begun to start."""
    for _ in range(20):
        systemctl("restart", "--no-block", "akiosd")
        time.sleep(0.5)


LONG = [
    pytest.param(happens, marks=pytest.mark.named_set("survival"))
    for happens in (hang, restart_often)
]


@pytest.mark.parametrize("happens", [restart, kill, *LONG])
def test_an_agent_goes_on(place: Path, happens: Callable[[str], None]) -> None:
    with Agent(place) as agent:
        first, group = show("MainPID"), agent.group()
        assert f"/{SCOPE}/" in group and "akiosd.service" not in group
        happens(first)
        assert wait_until(lambda: show("MainPID") not in ("0", first), 300)
        assert wait_until(lambda: show("ActiveState") == "active", 300)
        # Answered by the next one, once it has taken the cage over.
        (line,) = json.loads(ctl("ps", "--json"))
        assert (line["cage"], line["state"]) == (agent.cage, "running")
        assert agent.group() == group
        agent.went_on()


def test_a_stop_ends_it_and_leaves_nothing(place: Path) -> None:
    with Agent(place) as agent:
        group = Path("/sys/fs/cgroup" + agent.group())
        systemctl("stop", "akiosd")
        _, words = agent.client.communicate(timeout=300)
        report = json.loads(words.splitlines()[-1])
        assert (agent.client.returncode, report["kind"]) == (137, "daemon_stopped"), words
    assert not resources.caged_processes() and not group.exists()
    assert wait_until(lambda: show("ActiveState", SCOPE) == "inactive")
    assert not Path("/run/akios/keeper.sock").exists()
    assert not Path("/sys/fs/cgroup/akios.slice", SCOPE).exists()
