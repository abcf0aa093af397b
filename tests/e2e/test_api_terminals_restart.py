"""Terminals by WebSocket while akiosd is killed and started again: what runs goes on, and so do
they; where it does not, they end in words.
"""

from __future__ import annotations

import json
import signal
from collections.abc import Iterator
from urllib.parse import urlencode

import pytest
import trio

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.survival import small_daemon
from tests.e2e.test_api_running import begin
from tests.e2e.test_api_terminals import dialogue, left_running

pytestmark = pytest.mark.named_set("api")

ECHO = 'while read word; do echo "got $word"; test "$word" = bye && exit 7; done'
SHORT = "read word; exit 9"
PRINTS_MUCH = (
    "x=$(head -c 60000 /dev/zero | tr '\\0' x); echo ready; read word; n=0;"
    " while [ $n -lt 140 ]; do n=$((n+1)); echo $x; done; exit 5"
)
"""Eight million bytes, by the shell alone: it needs akiosd for no program."""
WAYS = ("attach", "exec", "pipes")


@pytest.fixture
def config() -> str:
    return ""


@pytest.fixture
def private(config: str) -> Iterator[Daemon]:
    with small_daemon(config) as daemon:
        yield daemon


@pytest.fixture
def server(private: Daemon) -> Iterator[ApiServer]:
    with ApiServer(private) as made:
        yield made


def way_in(server: ApiServer, how: str, script: str) -> str:
    """The path of a terminal, or of pipes, to a program that runs ``script``."""
    if how == "attach":
        return f"/cages/{left_running(server.daemon, 'sh', '-c', script)}/attach"
    made = begin(server, standing=True, name="restart")
    assert made.status == 202, made.body
    argv = [("argv", word) for word in ("sh", "-c", script)]
    more = [("rows", 20), ("columns", 80)] if how == "exec" else [("tty", "false")]
    return f"/cages/{made.json()['cage']}/exec?{urlencode([*argv, *more])}"


@pytest.mark.parametrize("how", WAYS)
def test_it_goes_on_with_what_runs(server: ApiServer, private: Daemon, how: str) -> None:
    path = way_in(server, how, ECHO)

    async def talk() -> None:
        async with dialogue(server, path) as one:
            await one.send(b"before\n")
            await one.until(lambda: b"got before" in one.output)
            await trio.to_thread.run_sync(private.stop, signal.SIGKILL)
            await one.until(lambda: "away" in [said["event"] for said in one.told])
            assert one.told[-1]["data"]["what"]
            await one.send(b"meanwhile\n")  # it needs akiosd for nothing
            await one.until(lambda: b"got meanwhile" in one.output)
            await trio.to_thread.run_sync(private.start)
            await one.until(lambda: one.told[-1]["event"] == "back")
            await one.send(b"bye\n")
            end = await one.end()
            assert (end["event"], end["data"]["exit_code"]) == ("end", 7), one.told
            assert [said["event"] for said in one.told] == ["started", "away", "back", "end"]

    trio.run(talk)


@pytest.mark.parametrize("how", WAYS)
def test_what_ends_meanwhile_tells_its_own_end(
    server: ApiServer, private: Daemon, how: str
) -> None:
    path = way_in(server, how, SHORT)

    async def talk() -> None:
        async with dialogue(server, path) as one:
            await one.until(lambda: one.told)
            await trio.to_thread.run_sync(private.stop, signal.SIGKILL)
            await one.until(lambda: one.told[-1]["event"] == "away")
            await one.send(b"now\n")
            await trio.to_thread.run_sync(private.start)
            end = await one.end()
            assert (end["event"], end["data"].get("exit_code")) == ("end", 9), one.told

    trio.run(talk)


def test_the_bound_on_output_holds_while_akiosd_is_away(server: ApiServer, private: Daemon) -> None:
    project = private.workspace(uid=NOBODY)
    (project / "akios.yaml").write_text("version: 1\nlimits: {output: 1M}\n")
    up = private.ctl("cage", "up", "bound", "--json", uid=NOBODY, cwd=project)
    assert up.returncode == 0, up.stderr
    (made,) = json.loads(private.ctl("cage", "list", "--json", uid=NOBODY).stdout)
    argv = [("argv", word) for word in ("sh", "-c", PRINTS_MUCH)]
    path = f"/cages/{made['cage']}/exec?{urlencode([*argv, ('tty', 'false')])}"

    async def talk() -> None:
        async with dialogue(server, path) as one:
            await one.until(lambda: b"ready" in one.output)
            await trio.to_thread.run_sync(private.stop, signal.SIGKILL)
            await one.until(lambda: one.told[-1]["event"] == "away")
            await one.send(b"now\n")
            await one.until(lambda: len(one.output) >= 1 << 19)
            await trio.to_thread.run_sync(private.start)
            end = await one.end()
            assert (end["event"], end["data"].get("kind")) == ("end", "output"), one.told
            assert len(one.output) <= 1 << 20

    trio.run(talk)


@pytest.mark.parametrize("how", WAYS)
@pytest.mark.parametrize("config", ["restart: {come_back_s: 0}\n"])
def test_where_nothing_outlives_akiosd_it_ends_in_words(
    server: ApiServer, private: Daemon, how: str
) -> None:
    """The control: it is the keeper that lets it go on."""
    path = way_in(server, how, ECHO)

    async def talk() -> None:
        async with dialogue(server, path) as one:
            await one.until(lambda: one.told)
            await trio.to_thread.run_sync(private.stop, signal.SIGKILL)
            end = await one.end()
            assert end["event"] == "left" and "akiosd" in end["data"]["what"], one.told
            await one.until(lambda: one.closed)

    trio.run(talk)
    private.start()
    assert server.ask(f"{BASE}/health").json()["akiosd"] == "running"
