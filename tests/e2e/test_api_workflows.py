"""Workflows by the REST API: checked, run, looked at, gone on with, stopped.  Where the server
acts for nobody: ``test_api_system.py``.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from typing import Any

import pytest

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import Answer, ApiServer, Follower
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.test_api_running import begin

RUNS = "/workflows/runs"
YAML = {"Content_Type": "application/yaml"}


@pytest.fixture(scope="module")
def own(daemon: Daemon) -> Iterator[ApiServer]:
    """A user's own server."""
    with ApiServer(daemon) as made:
        yield made


def tool(name: str, *argv: str, **more: Any) -> dict[str, Any]:
    """A step that runs a program."""
    return {
        "name": name,
        "agent": "tool",
        "action": "run",
        "config": {"allow": [[argv[0]]]},
        "parameters": {"argv": list(argv)},
        **more,
    }


def text_of(*steps: dict[str, Any], **more: Any) -> str:
    """JSON is YAML."""
    return json.dumps({"name": "w", **more, "steps": list(steps)})


def look(server: ApiServer, run: str) -> dict[str, Any]:
    got = server.ask(f"{BASE}{RUNS}/{run}")
    assert got.status == 200, got.body
    found: dict[str, Any] = got.json()
    return found


def wait_for(server: ApiServer, run: str, *states: str) -> dict[str, Any]:
    until = time.monotonic() + 90
    while (found := look(server, run))["state"] not in states:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def wait_over(server: ApiServer, run: str) -> dict[str, Any]:
    return wait_for(server, run, "success", "failed", "unfinished")


def wait_step(server: ApiServer, run: str, name: str, state: str) -> dict[str, Any]:
    until = time.monotonic() + 90
    while steps(found := look(server, run))[name] != state:
        assert time.monotonic() < until, found
        time.sleep(0.1)
    return found


def steps(found: dict[str, Any]) -> dict[str, str]:
    return {one["name"]: one["state"] for one in found["steps"]}


def outputs(server: ApiServer, run: str) -> dict[str, Any]:
    told = server.ask(f"{BASE}{RUNS}/{run}/outputs").json()
    return {one["name"]: one["outputs"] for one in told["steps"]}


def started(answer: Answer) -> str:
    assert answer.status == 202, answer.body
    run: str = answer.json()["run"]
    assert answer.headers["location"] == f"{BASE}{RUNS}/{run}"
    return run


# ---- checked -------------------------------------------------------------------------------------


def check(server: ApiServer, text: str) -> dict[str, Any]:
    got = server.ask(f"{BASE}/workflows/validate", "POST", None, text.encode(), **YAML)
    assert got.status == 200, got.body
    found: dict[str, Any] = got.json()
    return found


def test_a_text_is_checked_with_every_mistake_at_its_place(own: ApiServer) -> None:
    text = (
        "name: w\nsteps:\n- name: a\n  agent: tool\n  action: run\n"
        "  parameters: {argv: [ls], what: 1}\n- {name: b, agent: llm, needs: [c], action: complete}\n"
    )
    told = check(own, text)
    assert not told["ok"] and told["plan"] is None
    places = {(one["line"], one["column"]) for one in told["errors"]}
    assert len(told["errors"]) >= 2 and all(line >= 3 and column for line, column in places), told
    assert any("'c'" in one["what"] and one["line"] == 7 for one in told["errors"]), told
    assert all(one["next"] for one in told["errors"])
    torn = check(own, "name: [\n")
    assert not torn["ok"] and torn["errors"][0]["line"] >= 1
    good = check(own, text_of(tool("a", "true"), tool("b", "true"), tool("c", "true", needs="a")))
    assert good["ok"] and good["order"] == [["a"], ["b", "c"]]
    assert [one["needs"] for one in good["plan"]["steps"]] == [[], ["a"], ["a"]]
    assert "limits.memory" in good["plan"]["steps"][0]["policy"]


# ---- run -----------------------------------------------------------------------------------------


def test_a_file_of_the_users_project_runs_as_by_the_verb(own: ApiServer, daemon: Daemon) -> None:
    project = daemon.workspace(uid=NOBODY)
    (project / "note").write_text("of the project\n")
    (project / "w.yml").write_text(
        text_of(
            tool("say", "cat", "note"),
            tool("again", "echo", "{steps.say.outputs.stdout}{inputs.word}"),
            tool("never", "true", **{"if": "inputs.word == 'other'"}),
            inputs={"word": {"type": "text"}},
        )
    )
    # Denied in a step, seen in the run.
    (project / "curl.yml").write_text(text_of(tool("ask", "curl", "-s", "http://no.example")))
    asked: dict[str, Any] = {"file": "w.yml", "workspace": str(project), "inputs": {"word": "!"}}
    run = started(begin(own, RUNS, **asked, key="once"))
    assert started(begin(own, RUNS, **asked, key="once")) == run
    assert begin(own, f"{RUNS}?at_once=2", **asked, key="once").status == 422
    with Follower(own, f"run={run}&replay=true") as events:
        births = [events.next("record") for _ in range(2)]
    assert all(run in " ".join(one["data"].get("argv", [run])) for one in births)
    found = wait_over(own, run)
    assert found["state"] == "success" and not found["here"], found
    assert steps(found) == {"say": "done", "again": "done", "never": "left out"}
    assert [one["needs"] for one in found["steps"]] == [[], ["say"], ["again"]]
    assert found["started_ns"] < found["ended_ns"] and found["complete"]
    assert "of the project" in outputs(own, run)["again"]["stdout"]
    # The verbs know it as theirs, and the list has it.
    told = json.loads(daemon.ctl("workflow", "status", run, "--json", uid=NOBODY).stdout)
    assert told["state"] == "success" and told["whole"]
    assert run in [one["run"] for one in own.ask(f"{BASE}{RUNS}").json()["runs"]]
    view = own.ask(f"{BASE}/views/workflows?state=success").json()
    (row,) = [one for one in view["runs"] if one["run"] == run]
    assert (row["steps"], row["done"], row["failed"]) == (3, 2, 0)
    denied = started(begin(own, RUNS, file=str(project / "curl.yml"), workspace=str(project)))
    ended = wait_over(own, denied)
    assert ended["state"] == "failed" and ended["denials"] > 0, ended
    assert ended["steps"][0]["instances"][0]["denials"] == ended["denials"]
    assert found["denials"] == 0  # control


def test_what_is_wrong_is_said_and_nothing_begins(own: ApiServer, daemon: Daemon) -> None:
    before = own.ask(f"{BASE}{RUNS}").json()
    theirs = daemon.workspace(uid=OTHER)
    (theirs / "w.yml").write_text(text_of(tool("a", "true")))
    theirs.chmod(0o700)
    good = text_of(tool("a", "true"), inputs={"n": {"type": "integer"}})
    for body, words in (
        ({}, "give one of the two"),
        ({"text": good, "file": "w.yml"}, "give one of the two"),
        ({"text": "name: w\nsteps: []\n"}, ""),
        ({"text": good}, "n=VALUE"),
        ({"text": good, "inputs": {"n": "x"}}, "whole number"),
        ({"text": good, "inputs": {"n": 1, "m": 2}}, ""),
        ({"file": "w.yml", "workspace": str(theirs)}, "directory"),
        ({"text": good, "workspace": str(theirs), "inputs": {"n": 1}}, "mode"),
        ({"file": "no-such-template"}, "the templates are"),
        ({"text": good, "files": [{"path": "../x", "text": "x"}], "inputs": {"n": 1}}, ""),
    ):
        got = begin(own, RUNS, **body)
        assert got.status == 409 and words in got.json()["next"], (body, got.body)
    assert own.ask(f"{BASE}{RUNS}").json() == before
    # The control.
    assert (
        wait_over(own, started(begin(own, RUNS, text=good, inputs={"n": 1})))["state"] == "success"
    )


SLOW = "import sys, time; print('begun', flush=True); time.sleep(60)"


def test_a_run_is_stopped_and_gone_on_with(own: ApiServer, daemon: Daemon) -> None:
    project = daemon.workspace(uid=NOBODY)
    text = text_of(
        tool("first", "date", "+%s%N"),
        tool("slow", "python3", "slow.py"),
        tool("last", "echo", "{steps.first.outputs.stdout}"),
    )
    (project / "slow.py").write_text(SLOW)
    run = started(begin(own, RUNS, text=text, workspace=str(project)))
    going = wait_step(own, run, "slow", "running")
    assert going["here"] and going["ended_ns"] == 0
    assert steps(going) == {"first": "done", "slow": "running", "last": "waiting"}
    while not (cage := look(own, run)["steps"][1]["instances"][0]["cage"]):
        time.sleep(0.1)
    begun = time.monotonic()
    stopped = begin(own, f"{RUNS}/{run}/stop")
    assert (stopped.status, stopped.json()["state"]) == (200, "failed")
    over = wait_over(own, run)
    assert time.monotonic() - begun < 20
    # It may have done something: nobody knows, and it is said so.
    assert steps(over) == {"first": "done", "slow": "not heard of", "last": "not begun"}
    assert over["state"] == "failed" and over["usd_micro"] == 0
    assert own.ask(f"{BASE}/cages/{cage}").json()["ended_ns"]
    first = outputs(own, run)["first"]["stdout"]
    # Gone on with: not what nobody knows of, unless it is said so.
    again = begin(own, f"{RUNS}/{run}/resume")
    assert started(again) == run
    over = wait_over(own, run)
    assert steps(over)["slow"] == "not heard of" and '{"repeat": true}' in over["why"]
    assert '{"repeat": true}' in over["steps"][1]["instances"][0]["next"]
    (project / "slow.py").write_text("print('quick')")
    assert begin(own, f"{RUNS}/{run}/resume", repeat=True, from_step="none").status == 409
    assert started(begin(own, f"{RUNS}/{run}/resume", repeat=True)) == run
    done = wait_over(own, run)
    assert set(steps(done).values()) == {"done"} and done["state"] == "success", done
    assert outputs(own, run)["last"]["stdout"].strip() == first.strip()


def test_a_question_of_a_stopped_run_was_answered_by_nobody(own: ApiServer, daemon: Daemon) -> None:
    ask = {"name": "agree", "agent": "approve", "action": "ask", "parameters": {"message": "so?"}}
    text, project = text_of({**ask, "config": {"timeout": 600}}), daemon.workspace(uid=NOBODY)
    run = started(begin(own, RUNS, text=text, workspace=str(project)))
    asked = wait_step(own, run, "agree", "asking")
    assert [one["message"] for one in asked["questions"]] == ["so?"]
    refused = begin(own, f"{RUNS}/{run}/resume")
    assert refused.status == 409 and "--resume" not in str(refused.json())
    assert refused.json()["next"].endswith(f"stop it: POST {BASE}{RUNS}/{run}/stop")
    assert begin(own, f"{RUNS}/{run}/stop").status == 200
    over = wait_over(own, run)
    assert over["state"] == "failed" and over["questions"] == []
    assert over["steps"][0]["instances"][0]["why"] == "the run was stopped"
    said = outputs(own, run)["agree"]
    assert (said["state"], said["by"], said["comment"]) == ("stopped", "", "")
    unfit = begin(own, f"{RUNS}/{run}/resume", from_step="none")
    assert unfit.status == 409 and "--from" not in str(unfit.json())
    # The control: somebody says no.
    assert started(begin(own, f"{RUNS}/{run}/resume")) == run
    wait_step(own, run, "agree", "asking")
    (question,) = look(own, run)["questions"]
    assert begin(own, f"/approvals/{question['id']}", yes=False).status == 200
    assert "said no" in wait_over(own, run)["steps"][0]["instances"][0]["why"]
    assert outputs(own, run)["agree"]["state"] == "refused"


def test_a_server_that_was_killed_leaves_a_run_to_be_gone_on_with(daemon: Daemon) -> None:
    text = text_of(tool("first", "true"), tool("slow", "python3", "slow.py"))
    files = [{"path": "slow.py", "text": SLOW}]
    with ApiServer(daemon) as killed:
        run = started(begin(killed, RUNS, text=text, files=files))
        wait_step(killed, run, "slow", "running")
        killed.process.kill()
        killed.process.wait(30)
    with ApiServer(daemon) as other:
        over = wait_over(other, run)
        assert over["state"] == "unfinished" and steps(over)["slow"] == "not heard of"
        # Its directory waited, though another one was made meanwhile.
        assert wait_over(other, started(begin(other, RUNS, text=text_of(tool("a", "true")))))
        assert begin(other, f"{RUNS}/{run}/resume", repeat=True).status == 202
        wait_step(other, run, "slow", "running")
        assert begin(other, f"{RUNS}/{run}/stop").status == 200
        assert wait_over(other, run)["state"] == "failed"


def test_a_key_of_a_run_outlives_the_server_that_took_it(daemon: Daemon) -> None:
    text = text_of(tool("a", "python3", "slow.py"))
    asked: dict[str, Any] = {"text": text, "files": [{"path": "slow.py", "text": SLOW}]}
    with ApiServer(daemon, OTHER) as killed:
        token = killed.token
        run = started(begin(killed, RUNS, token, key="a-run", **asked))
        assert started(begin(killed, RUNS, token, key="a-run", **asked)) == run
        wait_step(killed, run, "a", "running")
        killed.process.kill()
        killed.process.wait(30)
    with ApiServer(daemon, OTHER) as other:
        assert wait_over(other, run)["state"] == "unfinished"
        assert started(begin(other, RUNS, token, key="a-run", **asked)) == run
        assert look(other, run)["state"] == "unfinished"  # nothing was begun
        assert begin(other, RUNS, token, key="a-run", text=text).status == 422
        # control: it is the key
        again = started(begin(other, RUNS, token, key="another", **asked))
        assert again != run
        assert begin(other, f"{RUNS}/{again}/stop", token).status == 200
        wait_over(other, again)


def test_another_process_own_run_is_seen_and_not_stopped_here(
    own: ApiServer, daemon: Daemon
) -> None:
    project = daemon.workspace(uid=NOBODY)
    (project / "slow.py").write_text(SLOW)
    (project / "w.yml").write_text(text_of(tool("slow", "python3", "slow.py")))
    process = daemon.popen("workflow", "run", "w.yml", uid=NOBODY, cwd=project, stderr=-1)
    assert process.stderr is not None
    run = process.stderr.readline().decode().split()[-1]
    found = wait_step(own, run, "slow", "running")
    assert found["state"] == "going on" and not found["here"]
    got = begin(own, f"{RUNS}/{run}/stop")
    assert got.status == 409 and "another process" in got.json()["detail"]
    assert begin(own, f"{RUNS}/{run}/resume").status == 409
    process.terminate()
    process.wait(60)
    process.stderr.close()
    assert wait_over(own, run)["state"] == "unfinished"


def test_the_view_of_a_run_follows_it(own: ApiServer) -> None:
    text = text_of(tool("a", "sleep", "2"), tool("b", "true"))
    run = started(begin(own, RUNS, text=text))
    seen = []
    with Follower(own, path=f"/views/workflows/{run}/live") as follower:
        while not seen or seen[-1]["state"] == "going on":
            seen.append(follower.next("run")["data"])
    assert steps(seen[-1]) == {"a": "done", "b": "done"}
    assert "running" in {steps(one)["a"] for one in seen}
    with Follower(own, path="/views/workflows/live?state=success") as follower:
        assert run in [one["run"] for one in follower.next("runs")["data"]["runs"]]


def test_who_may_not_sees_no_run(own: ApiServer, daemon: Daemon) -> None:
    run = started(begin(own, RUNS, text=text_of(tool("a", "true"))))
    wait_over(own, run)
    with ApiServer(daemon, OTHER) as others:
        assert others.ask(f"{BASE}{RUNS}/{run}").status == 404
        assert others.ask(f"{BASE}/events?run={run}").status == 404
    assert own.ask(f"{BASE}/events?run={run}&cage=host").status == 409
