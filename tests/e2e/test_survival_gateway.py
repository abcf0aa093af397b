"""A gateway outlives akiosd: streams go on, what needs akiosd's word waits, and the budget's spend is
what the stand-in model was paid.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.models import Models
from tests.e2e.resources import wait_until
from tests.e2e.survival import keeper_pid, kill, kill_and_start, report, verified
from tests.e2e.test_budget import CONFIG, COST, LIBRARY

CALLS = """
from library import *
import concurrent.futures
def one(number):
    found = []
    for turn in range({turns}):
        try:
            found.append(status(f"{{number}} {{turn}} " + os.urandom(8).hex(), stream=turn % 2 == 0)[0])
        except Exception as error:
            found.append(repr(error))
    return found
print("up", flush=True)
sys.stdin.readline()
with concurrent.futures.ThreadPoolExecutor({agents}) as pool:
    print(json.dumps(list(pool.map(one, range({agents})))), flush=True)
sys.stdin.readline()
"""
STREAM = """
from library import *
print("up", flush=True)
sys.stdin.readline()
answer = call("tell me", stream=True)
print(answer.read1(1) and "begun", flush=True)
print(len(answer.read()) > 100, flush=True)
sys.stdin.readline()
print(status("another one")[0], flush=True)
sys.stdin.readline()
"""


@pytest.fixture
def models() -> Iterator[Models]:
    with Models() as stand_in:
        yield stand_in


@pytest.fixture
def priced(models: Models) -> Iterator[Daemon]:
    config = "pools: {userns: 2}\n" + CONFIG.format(url=models.url)
    private = Daemon(config, system_policy="allow_widening: true\n")
    try:
        private.start()
        done = private.ctl("keys", "set", "openai", input="sk-stand-in\n")
        assert done.returncode == 0, done.stderr
        yield private
    finally:
        private.close()


class Talking:
    """An agent that says a line, and is told to go on by one."""

    def __init__(self, daemon: Daemon, code: str, policy: str = "") -> None:
        workspace = daemon.workspace()
        (workspace / "library.py").write_text(LIBRARY)
        (workspace / "agent.py").write_text(code)
        (workspace / "akios.yaml").write_text(f"version: 1\n{policy}\n")
        self.client: subprocess.Popen[str] = daemon.popen(
            *("run", "--json", "--discard", "--workspace", workspace, "--", "python3", "agent.py"),
            cwd=workspace,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        assert self.read() == "up", self.client.communicate()
        (line,) = json.loads(daemon.ctl("ps", "--json").stdout)
        self.cage = str(line["cage"])

    def __enter__(self) -> Talking:
        return self

    def __exit__(self, *exc: object) -> None:
        self.client.kill()
        self.client.communicate()

    def read(self) -> str:
        assert self.client.stdout is not None
        return self.client.stdout.readline().strip()

    def go_on(self) -> None:
        assert self.client.stdin is not None
        self.client.stdin.write("\n")
        self.client.stdin.flush()

    def end(self) -> dict[str, Any]:
        """Its report."""
        self.go_on()
        _, words = self.client.communicate(timeout=60)
        assert self.client.returncode == 0, words
        return report(words.encode())


def gateway_of(daemon: Daemon, cage: str) -> int:
    """The process of the gateway; 0 for none."""
    for path in resources.cgroups(daemon):
        if path.endswith(f"{cage}-gateway"):
            found = Path(path, "cgroup.procs").read_text().split()
            return int(found[0]) if found else 0
    return 0


def budget(daemon: Daemon, cage: str) -> dict[str, Any]:
    done = daemon.ctl("budget", cage, "--json")
    assert done.returncode == 0, done.stderr
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def paid(daemon: Daemon, cage: str) -> list[int]:
    return [found["usd_micro"] for found in daemon.events(cage) if found["kind"] == "llm_call"]


def test_a_stream_goes_on_and_the_next_call_waits(priced: Daemon, models: Models) -> None:
    models.pause = threading.Event()
    with Talking(priced, STREAM) as agent:
        agent.go_on()
        assert agent.read() == "begun"
        gateway = gateway_of(priced, agent.cage)
        kill(priced)
        models.pause.set()
        assert agent.read() == "True", "the stream ends while there is no akiosd"
        config = priced.config.read_text()
        priced.config.write_text(config.replace("output: 100,", "output: 200,"))
        agent.go_on()
        # Whatever it would be answered, nobody can answer it.
        time.sleep(1)
        assert len(models.received) == 1
        priced.start()
        assert agent.read() == "200" and len(models.received) == 2
        assert gateway_of(priced, agent.cage) == gateway, "the same process"
        assert wait_until(lambda: budget(priced, agent.cage)["usd_micro"] == 3 * COST)
        agent.end()
    assert paid(priced, agent.cage) == [COST, 2 * COST], "at the prices of the akiosd that grants"
    assert "gateway_failed" not in {one["kind"] for one in priced.events(agent.cage)}
    assert verified(priced)


def bill_after_kills(
    daemon: Daemon, models: Models, kills: int, *, agents: int, turns: int
) -> None:
    limits = "budget: {usd: 100, requests_per_minute: 0, usd_per_minute: 0}"
    with Talking(daemon, CALLS.format(agents=agents, turns=turns), limits) as agent:
        agent.go_on()
        for number in range(kills):
            some = agents * turns * (number + 1) // (kills + 2)
            assert wait_until(lambda some=some: len(models.received) >= some)  # type: ignore[misc]
            kill_and_start(daemon)
        found = json.loads(agent.read())
        assert {one for each in found for one in each} == {200}
        told = budget(daemon, agent.cage)
        bill = COST * len(models.received)
        assert (told["usd_micro"], told["open_calls"]) == (bill, 0)
        agent.end()
    assert sum(paid(daemon, agent.cage)) == bill and len(paid(daemon, agent.cage)) == agents * turns
    assert len(models.received) == agents * turns
    assert verified(daemon)


def test_the_budget_is_the_models_bill_after_kills(priced: Daemon, models: Models) -> None:
    bill_after_kills(priced, models, 3, agents=4, turns=20)


@pytest.mark.named_set("deaths")
def test_the_budget_is_the_models_bill_after_many_kills(priced: Daemon, models: Models) -> None:
    bill_after_kills(priced, models, 30, agents=4, turns=400)


@pytest.mark.named_set("deaths")
def test_a_gateway_that_dies_meanwhile_costs_what_it_had_open(
    priced: Daemon, models: Models
) -> None:
    models.pause = threading.Event()
    with Talking(priced, STREAM) as agent:
        agent.go_on()
        assert agent.read() == "begun"
        gateway = gateway_of(priced, agent.cage)
        kill(priced)
        os.kill(gateway, signal.SIGKILL)
        priced.start()
        assert wait_until(lambda: paid(priced, agent.cage))
    (call,) = (one for one in priced.events(agent.cage) if one["kind"] == "llm_call")
    assert (call["outcome"], call["estimated"]) == ("cut", True)
    assert call["usd_micro"] == call["reserved_usd_micro"] == call["total_usd_micro"] == COST


def test_with_the_keeper_gone_too_the_gateway_ends(priced: Daemon) -> None:
    with Talking(priced, STREAM) as agent:
        agent.go_on()
        assert agent.read() == "begun"
        gateway = gateway_of(priced, agent.cage)
        zygote = int(Path(f"/proc/{gateway}/stat").read_text().rpartition(")")[2].split()[1])
        # A gateway that was taken over would not end by itself.
        os.kill(gateway, signal.SIGSTOP)
        keeper = keeper_pid(priced)
        kill(priced)
        assert {gateway, zygote} <= set(resources.processes()), "the control: it outlives akiosd"
        os.kill(keeper, signal.SIGKILL)
        assert wait_until(lambda: not {gateway, zygote} & set(resources.processes()))
