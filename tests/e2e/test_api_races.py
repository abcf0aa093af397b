"""The same thing asked for twice at once: one of them does it, and the other is told so."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import pytest

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import Answer, ApiServer
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.test_api_running import begin
from tests.e2e.test_api_workflows import (
    RUNS,
    SLOW,
    started,
    text_of,
    tool,
    wait_over,
    wait_step,
)

ROUNDS, AT_ONCE = 4, 4


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


def at_once(*asks: Callable[[], Any]) -> list[Any]:
    """What they return, all begun at the same time."""
    gate, found = threading.Barrier(len(asks)), [None] * len(asks)

    def one(place: int) -> None:
        gate.wait(30)
        found[place] = asks[place]()

    threads = [threading.Thread(target=one, args=(place,)) for place in range(len(asks))]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return found


def settled(server: ApiServer, begun: Answer) -> str:
    """Of a commit, how it ended; of what was refused at once, that."""
    if begun.status == 200:
        return "done"
    if begun.status != 202:
        assert begun.status in (403, 409, 412) and begun.json()["next"], begun.body
        return "refused"
    while (job := server.ask(f"{begun.headers['location']}?wait=20").json())["state"] == "running":
        pass
    assert job["state"] == "done" or job["error"]["next"], job
    return "done" if job["state"] == "done" else "refused"


@pytest.mark.parametrize("first", ["commit", "discard"])
@pytest.mark.parametrize("second", ["commit", "discard"])
def test_changes_are_settled_once(
    server: ApiServer, daemon: Daemon, first: str, second: str
) -> None:
    workspace = daemon.workspace(uid=NOBODY)
    token = server.token
    for number in range(ROUNDS):
        name = f"made{number}"
        words = ("sh", "-c", f"echo new > {name}")
        cage = daemon.report(*words, uid=NOBODY, cwd=workspace)["cage"]
        base = f"{BASE}/cages/{cage}"
        tag = server.ask(f"{base}/diff").headers["etag"]

        def settle(how: str, base: str = base, tag: str = tag) -> tuple[str, str]:
            return how, settled(server, server.ask(f"{base}/{how}", "POST", token, If_Match=tag))

        found = at_once(lambda: settle(first), lambda: settle(second))
        won = [how for how, end in found if end == "done"]
        assert len(won) == 1, found
        assert (workspace / name).exists() == (won == ["commit"])
        assert (
            server.ask(base).json()["settled"] == f"{won[0]}{'ted' if won[0] == 'commit' else 'ed'}"
        )
        assert settle("discard")[1] == "refused"  # control: there is nothing left


def test_a_key_sent_by_many_at_once_begins_one_cage(server: ApiServer) -> None:
    token = server.token
    data: dict[str, Any] = {"argv": ["true"]}
    answers = at_once(*[lambda: begin(server, token=token, key="k", **data)] * AT_ONCE)
    assert {one.status for one in answers} == {202}, [one.body for one in answers]
    assert len({one.json()["cage"] for one in answers}) == 1
    others = at_once(*[lambda: begin(server, token=token, **data)] * AT_ONCE)
    assert len({one.json()["cage"] for one in others}) == AT_ONCE  # control: it is the key


def test_a_key_sent_by_many_at_once_begins_one_run(server: ApiServer) -> None:
    token, text = server.token, text_of(tool("a", "true"))
    answers = at_once(*[lambda: begin(server, RUNS, token, key="r", text=text)] * AT_ONCE)
    runs = {started(one) for one in answers}
    assert len(runs) == 1
    wait_over(server, runs.pop())


def test_a_run_is_gone_on_with_once(server: ApiServer) -> None:
    token, files = server.token, [{"path": "slow.py", "text": SLOW}]
    text = text_of(tool("slow", "python3", "slow.py"))
    run = started(begin(server, RUNS, token, text=text, files=files))
    wait_step(server, run, "slow", "running")
    assert begin(server, f"{RUNS}/{run}/stop").status == 200
    wait_over(server, run)
    asks = [lambda: begin(server, f"{RUNS}/{run}/resume", token, repeat=True)] * AT_ONCE
    answers = at_once(*asks)
    assert sorted(one.status for one in answers) == [202, 409, 409, 409], [
        one.body for one in answers
    ]
    assert begin(server, f"{RUNS}/{run}/stop").status == 200
    wait_over(server, run)
