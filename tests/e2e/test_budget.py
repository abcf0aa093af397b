"""Money on the real daemon: a stand-in model behind the real gateway, an agent in a real cage.

The stand-in claims 30 tokens out for every answer, which is what the agents ask for at most: $0.003
each.
"""

from __future__ import annotations

import itertools
import json
import os
import signal
import subprocess
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.models import USAGE, Models

CONFIG = """
gateway:
  providers:
    openai: {{upstream: "{url}"}}
  prices:
    stand-in: {{input: 0, output: 100, context: 100000, max_output: 1000}}
    small: {{input: 0.05, output: 0.6, max_output: 16384}}
    middle: {{input: 0.05, output: 10, max_output: 16384}}
    long: {{input: 0.05, output: 10, max_output: 65536}}
    large: {{input: 0.05, output: 15, max_output: 64000}}
    dear: {{input: 0.05, output: 75, max_output: 32000}}
"""
FIVE = ("small", "middle", "long", "large", "dear")
"""Output prices and lengths of models that are sold: of two, one answer of full length costs more
than $0.50.
"""
COST = 100 * USAGE["output"]  # micro-USD of one answer, and of the reservation for it
GIVE_UP_S = 60

# What the agents below share: plain HTTPS calls, as an SDK makes them, trusting what the cage tells
# them to trust.
LIBRARY = """
import http.client, json, os, ssl, sys, threading, time

def call(text, output=30, stream=False, connection=None, model="stand-in", messages=None):
    messages = messages or [{"role": "user", "content": text}]
    body = {"model": model, "messages": messages, "max_tokens": output, "stream": stream}
    connection = connection or http.client.HTTPSConnection("api.openai.com", timeout=60)
    key = "Bearer " + os.environ.get("OPENAI_API_KEY", "none")
    headers = {"authorization": key, "content-type": "application/json"}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    return connection.getresponse()

def status(*args, **more):
    answer = call(*args, **more)
    return answer.status, answer.read().decode()

def stay(*error):
    # Where the connection ends a moment before the cage does, the agent waits for its end.
    time.sleep(60)
"""


@pytest.fixture(scope="module")
def models() -> Iterator[Models]:
    with Models() as stand_in:
        yield stand_in


@pytest.fixture(scope="module")
def priced(models: Models) -> Iterator[Daemon]:
    private = Daemon(CONFIG.format(url=models.url), "projects_may: {loops: 50}\n")
    try:
        private.start()
        done = private.ctl("keys", "set", "openai", input="sk-stand-in\n")
        assert done.returncode == 0, done.stderr
        yield private
    finally:
        private.close()


def agent(daemon: Daemon, code: str) -> tuple[list[str], Path]:
    """The words to run, and the workspace they stand in."""
    workspace = daemon.workspace()
    (workspace / "library.py").write_text(LIBRARY)
    (workspace / "agent.py").write_text("from library import *\n" + code)
    return ["python3", "agent.py"], workspace


def begin(daemon: Daemon, code: str) -> subprocess.Popen[Any]:
    """A run whose three streams are the test's."""
    words, workspace = agent(daemon, code)
    return daemon.popen(
        "run",
        "--json",
        "--discard",
        "--workspace",
        workspace,
        "--",
        *words,
        cwd=workspace,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def running_cage(daemon: Daemon) -> str:
    found = [
        row["cage"] for row in json.loads(daemon.ctl("ps", "--json").stdout) if not row["ended_ns"]
    ]
    return str(found[0]) if found else "none yet"


def run(daemon: Daemon, code: str, *flags: str, policy: str = "") -> tuple[dict[str, Any], str]:
    """The report of the run, and what the agent printed; ``policy`` is the project's."""
    words, workspace = agent(daemon, code)
    if policy:
        (workspace / "akios.yaml").write_text(f"version: 1\n{policy}\n")
    done = daemon.run(*words, flags=["--json", "--discard", *flags], cwd=workspace)
    return json.loads(done.stderr.strip().splitlines()[-1]), done.stdout


def of_kind(daemon: Daemon, cage: str, kind: str) -> list[dict[str, Any]]:
    return [record for record in daemon.events(cage) if record["kind"] == kind]


def wait_until(true: Callable[[], Any]) -> Any:
    """Asks until the answer is true: for what another process does in its own time."""
    given_up = time.monotonic() + GIVE_UP_S
    while not (found := true()):
        assert time.monotonic() < given_up
        time.sleep(0.05)
    return found


def test_calls_cost_what_the_provider_counts(priced: Daemon) -> None:
    report, printed = run(priced, "print(status('one')[0], status('two')[0])\n")
    assert printed.split() == ["200", "200"], report
    usage = report["usage"]
    assert (usage["usd_micro"], usage["calls"], usage["tokens"]) == (2 * COST, 2, 2 * 1_030)
    calls = of_kind(priced, report["cage"], "llm_call")
    assert [call["total_usd_micro"] for call in calls] == [COST, 2 * COST]
    assert calls[0]["model"] == "stand-in" and calls[0]["outcome"] == "completed"


def test_a_hundred_calls_at_once_at_99_percent_of_the_budget(priced: Daemon) -> None:
    """With 99 % spent, of a hundred at once only what fits is made, and the run goes on."""
    limit = COST * 100
    code = """
for number in range(99):
    assert status(f"call {number}")[0] == 200
found, barrier = [], threading.Barrier(100)
def one(number):
    connection = http.client.HTTPSConnection("api.openai.com", timeout=60)
    connection.connect()
    barrier.wait()
    found.append(status(f"at once {number}", connection=connection)[0])
threads = [threading.Thread(target=one, args=(n,)) for n in range(100)]
[t.start() for t in threads]
[t.join() for t in threads]
print(json.dumps(sorted(found)))
"""
    report, printed = run(priced, code, "--budget", f"{limit / 1_000_000:.6f}")
    assert report["kind"] == "exited", report
    found = json.loads(printed)
    assert found == [200] + [402] * 99
    assert report["kind"] == "exited" and report["usage"]["usd_micro"] == limit
    totals = [call["total_usd_micro"] for call in of_kind(priced, report["cage"], "llm_call")]
    assert totals == [COST * number for number in range(1, 101)]
    assert len(of_kind(priced, report["cage"], "spend_warning")) == 99


def test_the_budget_that_is_told_allows_the_call_that_was_refused(priced: Daemon) -> None:
    """By the file and by the option: what is told is done, and the call is made."""
    code = "print(status('one')[0])\n"
    report, printed = run(priced, code, policy="budget: {usd: $0.00001}")
    [denied] = report["denied"]
    assert (printed, denied["rule"]) == ("402\n", "budget.usd"), report
    assert denied["setting"] != "budget: {usd: $0.00002}"
    assert denied["files"][0].endswith("/akios.yaml")
    assert run(priced, code, policy=denied["setting"])[1] == "200\n"

    report, printed = run(priced, code, "--budget", "0.00001")
    [denied] = report["denied"]
    give, option, figure = denied["advice"].split()
    assert (printed, give, option) == ("402\n", "give", "--budget"), report
    assert run(priced, code, option, figure)[1] == "200\n"
    why = priced.ctl("why", report["cage"])
    assert f"leave out --budget, or give --budget {figure} or more" in why.stdout, why


def test_a_spent_budget_is_told_and_then_ends_the_cage(priced: Daemon) -> None:
    code = """
for number in range(1000):
    code, body = status(f"call {number}")
    print(code, body if code != 200 else "", flush=True)
"""
    report, printed = run(priced, code, "--budget", f"{COST * 20 / 1_000_000:.6f}")
    assert (report["kind"], report["exit_code"]) == ("budget", 137)
    assert (
        report["reason"].startswith("killed: budget $0.06 spent")
        and report["usage"]["usd_micro"] == COST * 20
    )
    lines = printed.splitlines()
    assert lines[0].startswith("200") and any(
        line.startswith("402") and "budget.usd" in line for line in lines
    )
    warnings = of_kind(priced, report["cage"], "spend_warning")
    assert [warning.get("final", False) for warning in warnings] == [False] * (
        len(warnings) - 1
    ) + [True]
    assert 2 <= len(warnings) <= 257


ASKING = """
sys.excepthook = stay
while True:
    code, body = status("the same")
    print(code, body if code != 200 else "", flush=True)
"""
TALKING = """
sys.excepthook = stay
messages = [{"role": "user", "content": "fix it"}]
while True:
    code, body = status(None, messages=messages)
    print(code, body if code != 200 else "", flush=True)
    if code == 200:
        made = {"id": "call_1", "type": "function", "function": {"name": "read", "arguments": "{}"}}
        messages.append({"role": "assistant", "content": None, "tool_calls": [made]})
        messages.append({"role": "tool", "tool_call_id": "call_1", "content": time.ctime()})
"""


@pytest.mark.parametrize(("code", "answered", "number"), [
    (ASKING, 49, "same request and answer 50 times "
     "(budget.same_request is 5, and 50 for questions without a conversation)"),
    (TALKING, 8, "same tool calls and results 8 times (budget.same_tool_calls is 8)"),
])  # fmt: skip
def test_a_loop_is_warned_about_and_ends_the_cage_with_its_reason(
    priced: Daemon, code: str, answered: int, number: str
) -> None:
    report, printed = run(priced, code)
    assert (report["kind"], report["reason"]) == ("loop", f"killed: {number}"), printed
    told = printed.splitlines()
    assert [line.split()[0] for line in told[: answered + 1]] == ["200"] * answered + ["400"]
    assert "akios.yaml may raise it up to 50, as in budget: {" in told[answered]
    assert report["exit_code"] == 137 and report["usage"]["calls"] == answered


def test_a_project_raises_the_number_within_the_bound_of_the_system(priced: Daemon) -> None:
    """The control is the loop above, which is ended at 8."""
    report, printed = run(priced, TALKING, policy="budget: {same_tool_calls: 12}")
    assert report["reason"] == (
        "killed: same tool calls and results 12 times (budget.same_tool_calls is 12)"
    )
    assert [line.split()[0] for line in printed.splitlines()[:13]] == ["200"] * 12 + ["400"]
    place = priced.workspace()
    (place / "akios.yaml").write_text("version: 1\nbudget: {same_tool_calls: 51}\n")
    done = priced.run("true", cwd=place)
    assert done.returncode == 125 and "budget.same_tool_calls" in done.stderr, done.stderr


def test_an_unknown_model_is_refused_and_costs_nothing(priced: Daemon, models: Models) -> None:
    before = len(models.received)
    report, printed = run(priced, "print(*status('x', model='gpt-99'))\n")
    assert printed.startswith("403 ") and "gateway.prices" in printed
    assert report["usage"]["usd_micro"] == 0 and len(models.received) == before


@pytest.fixture
def paused(models: Models) -> Iterator[threading.Event]:
    """Streams stop before their last piece until it is set."""
    models.pause = event = threading.Event()
    yield event
    event.set()
    models.pause = None


def test_money_stays_right_when_the_gateway_is_killed_in_mid_stream(
    priced: Daemon, models: Models, paused: threading.Event
) -> None:
    """What it had open counts as spent to the last; `akiosctl budget` shows it; the next gateway
    goes on.
    """
    code = """
try:
    answer = call("a stream", 500, stream=True)
    answer.read()
except Exception as error:
    print(type(error).__name__, flush=True)
sys.stdin.readline()
for attempt in range(100):
    try:
        print(status("after")[0], flush=True)
        break
    except OSError:
        time.sleep(0.2)
sys.stdin.readline()
"""
    process = begin(priced, code)
    try:

        def budget() -> dict[str, Any]:
            done = priced.ctl("budget", running_cage(priced), "--json")
            return json.loads(done.stdout) if done.returncode == 0 else {}

        held = wait_until(lambda: (found := budget()) and found["open_calls"] and found)
        reserved = held["reserved_usd_micro"]
        assert (
            held["usd_micro"] == 0
            and reserved == 100 * 500
            and held["left_usd_micro"] == 10_000_000 - reserved
        )
        assert "openai/stand-in" in priced.ctl("budget", held["cage"]).stdout
        os.kill(gateway_of(held["cage"]), signal.SIGKILL)
        lost = wait_until(lambda: (found := budget()) and not found["open_calls"] and found)
        assert (lost["usd_micro"], lost["reserved_usd_micro"], lost["calls"]) == (reserved, 0, 1)
        paused.set()
        assert (
            process.stdin is not None and process.stdout is not None and process.stderr is not None
        )
        process.stdin.write(b"\n")
        process.stdin.flush()
        later = wait_until(lambda: (found := budget()) and found["calls"] == 2 and found)
        assert later["usd_micro"] == reserved + COST
        out, err = process.communicate(b"\n", timeout=GIVE_UP_S)
    finally:
        process.kill()
        process.wait()
    assert out.split()[-1] == b"200", out
    report = json.loads(err.strip().splitlines()[-1])
    assert report["usage"]["usd_micro"] == reserved + COST
    ended = priced.ctl("budget", report["cage"], "--json")
    told = {"cage": report["cage"], "ended": True, "usd_micro": reserved + COST, "calls": 2}
    assert (ended.returncode, json.loads(ended.stdout)) == (0, told), ended.stderr
    calls = of_kind(priced, report["cage"], "llm_call")
    assert [
        (call["outcome"], call["usd_micro"], call.get("estimated", False)) for call in calls
    ] == [
        ("cut", reserved, True),
        ("completed", COST, False),
    ]


def test_an_upstream_that_closes_early_is_paid_what_was_reserved(
    priced: Daemon, models: Models
) -> None:
    """The agent sees an error, the money is what was reserved, and the next call goes on."""
    code = """
try:
    print(len(call("a stream " * 20, 500, stream=True).read()))
except (http.client.IncompleteRead, OSError) as error:
    print(type(error).__name__)
sys.stdout.flush()
sys.stdin.readline()
print(status("after")[0])
"""
    models.breaks = True
    process = begin(priced, code)
    try:
        assert process.stdout is not None
        first = process.stdout.readline()
        models.breaks = False
        out, err = process.communicate(b"\n", timeout=GIVE_UP_S)
    finally:
        models.breaks = False
        process.kill()
        process.wait()
    assert first == b"IncompleteRead\n" and out == b"200\n", (first, out, err)
    report = json.loads(err.strip().splitlines()[-1])
    cut, whole = of_kind(priced, report["cage"], "llm_call")
    assert (cut["outcome"], cut["estimated"], whole["outcome"]) == ("cut", True, "completed")
    assert cut["usd_micro"] == cut["reserved_usd_micro"] == 100 * 500 and whole["usd_micro"] == COST
    assert report["usage"]["usd_micro"] == cut["usd_micro"] + COST


@pytest.mark.parametrize("many", [30, 300])
def test_default_calls_all_at_once_wait_for_each_other(
    priced: Daemon, models: Models, many: int
) -> None:
    """None names a length, so each may cost more than is left beside the others; what they do cost
    is a part of it.
    """
    code = f"""
import collections
models, results, limits = {FIVE!r}, [], set()
begin = threading.Barrier({many})

def one(number):
    body = {{"model": models[number % 5], "messages": [{{"role": "user", "content": f"text {{number}}"}}]}}
    connection = http.client.HTTPSConnection("api.openai.com", timeout=300)
    connection.connect()
    begin.wait()
    headers = {{"authorization": "Bearer " + os.environ["OPENAI_API_KEY"], "content-type": "application/json"}}
    connection.request("POST", "/v1/chat/completions", json.dumps(body), headers)
    answer = connection.getresponse()
    results.append(answer.status if answer.read() else 0)
    if models[number % 5] == "dear":
        limits.add(int(answer.getheader("akios-output-limit", 0)))

threads = [threading.Thread(target=one, args=(number,)) for number in range({many})]
[thread.start() for thread in threads]
[thread.join() for thread in threads]
print(json.dumps([collections.Counter(results), min(limits), max(limits)]))
"""
    report, printed = run(priced, code, "--budget", "0.50")
    results, least, most = json.loads(printed)
    assert results == {"200": many}, report
    # The dearest fits only lowered, and says so: a comfortable length, and never the whole.
    assert 1_000 < least <= most < 32_000
    calls = of_kind(priced, report["cage"], "llm_call")
    assert len(calls) == many and all(call["outcome"] == "completed" for call in calls)
    for before, call in itertools.pairwise([{"total_usd_micro": 0}, *calls]):
        assert before["total_usd_micro"] + call["reserved_usd_micro"] <= 500_000
    assert not of_kind(priced, report["cage"], "spend_warning")
    assert report["usage"]["usd_micro"] < 500_000


def test_control_without_money_nobody_waits(priced: Daemon) -> None:
    report, printed = run(priced, "print(status('x', 8)[0])", "--budget", "0.000050")
    assert printed.split() == ["402"] and report["usage"]["usd_micro"] == 0


def test_an_agent_that_goes_away_pays_its_reservation(
    priced: Daemon, models: Models, paused: threading.Event
) -> None:
    code = """
answer = call("a stream", 500, stream=True)
print(len(answer.read(40)), flush=True)
answer.close()
os._exit(3)
"""
    report, printed = run(priced, code)
    assert (report["exit_code"], printed.split()) == (3, ["40"])
    [cut] = of_kind(priced, report["cage"], "llm_call")
    assert cut["outcome"] == "cut" and cut["estimated"]
    assert cut["usd_micro"] == cut["reserved_usd_micro"] == 100 * 500
    assert report["usage"]["usd_micro"] == cut["usd_micro"]


def gateway_of(cage: str) -> int:
    """The process in the control group of this cage's gateway."""
    (group,) = {
        path.name: path for path in Path("/sys/fs/cgroup").glob(f"**/{cage}-gateway")
    }.values()
    (pid,) = (group / "cgroup.procs").read_text().split()
    return int(pid)


def test_programs_of_a_standing_cage_share_one_budget(priced: Daemon) -> None:
    """Each alone could pay for two answers; together they have two."""
    words, workspace = agent(priced, "print(status(sys.argv[1])[0], flush=True)")
    options = ("--json", "--budget", "0.006", "--workspace", workspace)
    up = priced.ctl("cage", "up", "money", *options, cwd=workspace)
    assert up.returncode == 0, up.stderr
    cage = json.loads(up.stdout)["cage"]
    try:
        ask = ("run", "--cage", "money", "--", *words)
        answers = [priced.ctl(*ask, f"text {n}", cwd=workspace).stdout for n in range(3)]
        assert answers[:2] == ["200\n", "200\n"] and answers[2] != "200\n", answers
        assert [call["usd_micro"] for call in of_kind(priced, cage, "llm_call")] == [COST, COST]
        (info,) = json.loads(priced.ctl("cage", "list", "--json").stdout)
        assert (info["usd_micro"], info["calls"]) == (2 * COST, 2)
    finally:
        down = priced.ctl("cage", "down", "money", "--discard", cwd=workspace)
    assert down.returncode == 0, down.stderr
