"""Servers that a signal ends while they write to a directory of the user's: it is written whole, and
nothing begins after the signal.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

import pytest

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import ApiServer
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.test_api_running import begin, run
from tests.e2e.test_api_workflows import RUNS, look, started, steps, text_of, tool, wait_over
from tests.e2e.test_ended_verbs import end_amid, temporaries

COUNT = 3000
WRITE = f"for i in range({COUNT}): open(f'f{{i}}', 'w').write('newer')"
TWO = (signal.SIGTERM, signal.SIGINT, signal.SIGTERM)


@pytest.fixture
def project(private: Daemon) -> Path:
    """With files that will be replaced."""
    where = private.workspace(uid=NOBODY)
    for i in range(COUNT):
        (where / f"f{i}").write_text("old")
        os.chown(where / f"f{i}", NOBODY, NOBODY)
    return where


def contents(project: Path) -> set[str]:
    return {(project / f"f{i}").read_text() for i in range(COUNT)}


def begin_commit(server: ApiServer, project: Path) -> None:
    cage = run(server, "python3", "-c", WRITE, workspace=str(project))["cage"]
    got = server.ask(f"{BASE}/cages/{cage}/commit", "POST", If_Match="*")
    assert got.status == 202, got.body


@pytest.mark.parametrize("ends", [(signal.SIGTERM,), (signal.SIGINT,), (signal.SIGHUP,), TWO])
def test_a_commit_that_a_server_has_begun_is_whole_when_it_has_ended(
    private: Daemon, project: Path, ends: tuple[signal.Signals, ...]
) -> None:
    with ApiServer(private) as server:
        begin_commit(server, project)
        assert end_amid(server.process, project, *ends) == 0
        assert server.process.stderr is not None
        said = server.process.stderr.read().decode()
    assert contents(project) == {"newer"} and temporaries(project) == []
    assert said.count("ending; waiting for a commit") == 1 and "Traceback" not in said


def test_a_server_that_is_killed_leaves_a_commit_in_its_midst(
    private: Daemon, project: Path
) -> None:
    """The control: nothing else finishes it."""
    with ApiServer(private) as server:
        begin_commit(server, project)
        end_amid(server.process, project, signal.SIGKILL)
    assert "old" in contents(project) and temporaries(project)


def test_changes_of_a_step_are_whole_and_no_step_begins(private: Daemon, project: Path) -> None:
    write = tool("write", "python3", "-c", WRITE, policy={"filesystem": {"workspace": "rw"}})
    text = text_of(write, tool("after", "true", needs="write"))
    with ApiServer(private) as server:
        made = started(begin(server, RUNS, text=text, workspace=str(project)))
        assert end_amid(server.process, project, signal.SIGTERM) == 0
    assert contents(project) == {"newer"} and temporaries(project) == []
    with ApiServer(private) as other:
        over = look(other, made)
        assert steps(over) == {"write": "done", "after": "not begun"} and not over["here"]
        # Gone on with: what is written is not written again.
        assert started(begin(other, f"{RUNS}/{made}/resume")) == made
        assert set(steps(wait_over(other, made)).values()) == {"done"}


@pytest.mark.parametrize("ends", [(signal.SIGTERM,), TWO])
def test_a_commit_that_mcp_has_begun_is_whole_when_it_has_ended(
    private: Daemon, project: Path, ends: tuple[signal.Signals, ...]
) -> None:
    pipes = {"stdin": -1, "stdout": -1, "stderr": -1}
    process = private.popen("mcp", uid=NOBODY, cwd=project, **pipes)
    assert process.stdin is not None and process.stdout is not None and process.stderr is not None

    def send(**more: object) -> None:
        process.stdin.write(json.dumps({"jsonrpc": "2.0", **more}).encode() + b"\n")
        process.stdin.flush()

    def call(number: int, tool: str, **arguments: object) -> None:
        send(id=number, method="tools/call", params={"name": tool, "arguments": arguments})

    client = {"protocolVersion": "2025-06-18", "capabilities": {}}
    send(id=1, method="initialize", params={**client, "clientInfo": {"name": "x", "version": "1"}})
    assert json.loads(process.stdout.readline())["id"] == 1
    send(method="notifications/initialized")
    call(2, "run", command=["python3", "-c", WRITE])
    assert json.loads(process.stdout.readline())["id"] == 2
    call(3, "commit")
    assert end_amid(process, project, *ends) in {128 + one for one in ends}
    assert b"ending; waiting for a commit" in process.stderr.read()
    assert contents(project) == {"newer"} and temporaries(project) == []
    for pipe in (process.stdin, process.stdout, process.stderr):
        pipe.close()
