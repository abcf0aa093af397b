"""The table of endpoints: who may ask what, and the document that is made from it."""

from __future__ import annotations

import html
import json
import re
import shlex
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing
from openapi_spec_validator import validate

from akiosctl.api.endpoints import ANY, BASE, ENDPOINTS, Endpoint
from akiosctl.api.forms import (
    CommitJob,
    ExecJob,
    NewAnswer,
    NewCage,
    NewProgram,
    NewResumption,
    NewWorkflowRun,
    VerifyJob,
)
from akiosctl.api.jobs import MOST_BYTES, Jobs
from akiosctl.api.positions import MOST, Positions, parse_id
from akiosctl.api.problems import Refusal
from akiosctl.api.routes import Shares
from akiosctl.api.streams import MOST_OF_ONE, MOST_STREAMS, Open, check_room
from akiosctl.api.tokens import SCOPES
from akiosctl.api.workflow_runs import Runs
from akiosctl.progress import Progress
from akiosd.errors import AkiosError
from tests.unit.api.asgi import ask, bearer, make_guard, new_token

GUARDED = [row for row in ENDPOINTS if row.scope]
BODIES = {
    NewCage: b'{"argv": ["true"], "workspace": "/nowhere"}',
    NewProgram: b'{"argv": ["true"]}',
    NewAnswer: b'{"yes": true}',
    NewWorkflowRun: b'{"text": "name: w"}',
    NewResumption: b"{}",
}


def body_of(row: Endpoint) -> tuple[tuple[tuple[str, str], ...], bytes]:
    """Headers and a body that its handler takes."""
    if isinstance(row.takes, str):
        kind = (("content-type", row.takes),) if row.takes else (("if-match", "*"),)
        return kind, b"x"
    return (("content-type", "application/json"),), BODIES[row.takes]


CAGE = "c-000000000000"
VALUES = {
    "cage": CAGE,
    "log": CAGE,
    "index": "0",
    "job": "0" * 16,
    "name": "strict",
    "question": "q",
    "run": "w-0123456789",
}


def path_of(row: Endpoint) -> str:
    """With values that are of the right form, and lead nowhere."""
    path = row.path.replace("{path:path}", "tile/0/000")
    filled = re.sub(r"\{(\w+)\}", lambda found: VALUES[found[1]], path)
    query = "?from=1" if row.path.endswith("consistency") else ""
    query = "?argv=true" if row.method == "WS" and row.path.endswith("exec") else query
    return f"{BASE}{filled}" + ("?path=x" if row.path.endswith("files") else query)


def needed(row: Endpoint) -> tuple[str, ...]:
    return (row.scope, row.besides) if row.besides else (row.scope,)


def names(row: Endpoint) -> str:
    return f"{row.method} {row.path}"


@pytest.mark.parametrize("row", GUARDED, ids=names)
async def test_an_endpoint_needs_a_token_with_its_scope(row: Endpoint, tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    kind, body = body_of(row)
    bare = await ask(app, path_of(row), row.method, kind)
    assert bare.status == 401
    right, _ = new_token(tokens, *(SCOPES if row.scope == ANY else needed(row)))
    answer = await ask(app, path_of(row), row.method, (*bearer(right), *kind), (body,))
    # Control: akiosd is away, and that is all that is wrong.
    assert answer.status in (200, 404, 503), answer.body
    if row.scope == ANY:
        return
    others, _ = new_token(tokens, *(scope for scope in SCOPES if scope != row.scope))
    answer = await ask(app, path_of(row), row.method, (*bearer(others), *kind), (body,))
    assert answer.status == 403
    assert answer.json()["rule"] == "token.scope" and row.scope in answer.json()["hint"]
    if row.besides:  # nor the other half of what it needs alone
        half, _ = new_token(tokens, row.scope)
        answer = await ask(app, path_of(row), row.method, (*bearer(half), *kind), (body,))
        assert answer.status == 403 and row.besides in answer.json()["hint"]


def test_every_scope_opens_something_and_no_other_is_asked_for() -> None:
    assert {row.scope for row in ENDPOINTS} == {"", ANY, *SCOPES}
    assert [row.path for row in ENDPOINTS if not row.scope] == ["/health"]


async def document(tmp_path: Path) -> dict[str, Any]:
    app, _, _ = make_guard(tmp_path)
    found: dict[str, Any] = (await ask(app, "/openapi.json")).json()
    return found


async def test_the_document_is_openapi_and_tells_all(tmp_path: Path) -> None:
    found = await document(tmp_path)
    validate(found)
    assert found["openapi"].startswith("3.1")
    told = {(method.upper(), path) for path, routes in found["paths"].items() for method in routes}
    rows = [row for row in ENDPOINTS if row.method != "WS"]
    table = {(row.method, BASE + row.path.replace(":path", "")) for row in rows}
    assert told == table
    sockets = {BASE + row.path for row in ENDPOINTS if row.method == "WS"}
    assert set(found["x-websockets"]) == sockets and len(sockets) >= 3
    (attach,) = [one for path, one in found["x-websockets"].items() if path.endswith("/attach")]
    assert [one["name"] for one in attach["parameters"]] == ["cage", "rows", "columns"]
    refs = set(re.findall(r'"#/components/schemas/([^"]+)"', json.dumps(found)))
    assert refs <= set(found["components"]["schemas"])
    for routes in found["paths"].values():
        for route in routes.values():
            assert route["summary"] and route["description"], route


async def test_the_page_of_the_document_loads_nothing(tmp_path: Path) -> None:
    app, _, _ = make_guard(tmp_path)
    text = (await ask(app, "/docs")).body.decode()
    assert not re.findall(r"<script|src=|@import|url\(|\son\w+=", text)
    assert all(path in text for path in (await document(tmp_path))["paths"])
    for name, form in (("NewCage", NewCage), ("NewWorkflowRun", NewWorkflowRun)):
        assert f"<h3>{name}</h3>" in text
        for field in form.__struct_fields__:
            assert f"<tr><td><code>{field}</code>" in text, field
    # A form inside another one, and bodies that can be sent as they stand there.
    assert "<td>list of GivenFile" in text and "<h3>GivenFile</h3>" in text
    samples = [html.unescape(one) for one in re.findall(r"--json &#x27;(.*?)&#x27;", text)]
    bodies = [json.loads(one) for one in samples]
    assert bodies[0] == {"argv": ["true"]} and {"yes": True} in bodies


def shown_requests(text: str) -> Iterator[tuple[str, str, list[tuple[str, str]], bytes]]:
    """Method, path, headers and body of each request that the page shows."""
    for line in re.findall(r"<code>(curl .*?)</code>", text):
        words = shlex.split(html.unescape(line).replace("akt_…", "TOKEN"))
        method, headers, body = "GET", [], b""
        at = 1
        while at < len(words) - 1 or words[at].startswith("-"):
            match words[at : at + 2]:
                case ["-H", header]:
                    headers.append(tuple(header.lower().split(": ", 1)))
                case ["--json", data]:
                    method, body = "POST", data.encode()
                    headers.append(("content-type", "application/json"))
                case ["--data-binary", "@FILE"]:
                    method, body = "POST", b"version: 1\n"
                case ["-X", method]:
                    pass
                case ["-N", _]:
                    at -= 1
            at += 2
            if at >= len(words):
                break
        address = next(word for word in words if word.startswith("http://"))
        path = address.removeprefix("http://127.0.0.1:8470")
        named = path.replace("{path}", "tile/0/000")
        yield method, re.sub(r"\{(\w+)\}", lambda one: VALUES[one[1]], named), headers, body


async def test_each_request_that_the_page_shows_is_taken(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token, _ = new_token(tokens, *SCOPES)
    text = (await ask(app, "/docs")).body.decode()
    seen = 0
    for method, path, headers, body in shown_requests(text):
        own = [(name, value) for name, value in headers if name != "authorization"]
        if path.endswith("/health") or "/session" in path or "/live" in path:
            continue
        answer = await ask(app, path, method, (*bearer(token), *own), (body,))
        assert answer.status in (200, 202, 404, 409, 503), (method, path, answer.body)
        seen += 1
    assert seen > 40


async def test_the_page_tells_what_a_parameter_may_be(tmp_path: Path) -> None:
    app, _, _ = make_guard(tmp_path)
    text = (await ask(app, "/docs")).body.decode()
    rows = re.findall(r"<tr><td><code>([\w-]+)</code><td>(\w+)<td>(.*?)<td>(.*?)<td>", text)
    told = {(name, kind, html.unescape(default)) for name, _, kind, default in rows}
    assert ("wait", "whole number, 0 to 25", "0") in told
    assert ("limit", "whole number, 1 to 500", "100") in told
    assert ("rows", "whole number, 1 to 1000", "24") in told, "of a WebSocket, too"
    assert any(name == "If-Match" and default == "required" for name, _, default in told)
    assert any(name == "path" and default == "required" for name, _, default in told)
    (states,) = {kind for name, kind, _ in told if name == "state" and "waiting" in kind} - {
        kind for name, kind, _ in told if name == "state" and "standing" in kind
    }
    assert all(word in states for word in ("all", "running", "ended", "waiting"))
    for name, _, kind, default in rows:
        assert kind and default, name


async def test_an_error_says_what_where_and_next(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token = bearer(new_token(tokens)[0])
    cases = {
        "/api/v1/cages": 503,
        "/api/v1/cages/nothing": 422,
        "/api/v1/nothing": 404,
        "/api/v1/ledger/host/tlog/../../etc/passwd": 404,
        "/api/v1/ledger/host/tlog/tile/0/%2e%2e/x": 404,
        "/api/v1/events?kind=nothing": 422,
        "/api/v1/version?x=1": 422,
        "/api/v1/cages?limt=1": 422,
    }
    for path, status in cases.items():
        answer = await ask(app, path, headers=token)
        assert answer.status == status, (path, answer.body)
        assert answer.headers["content-type"] == "application/problem+json"
        found = answer.json()
        assert found["status"] == status and found["detail"] and found["where"] and found["next"]
    told = (await ask(app, "/api/v1/cages/nothing", headers=token)).json()
    assert told["detail"].startswith("this is not the id of a cage")
    assert told["next"] == "list them: GET /api/v1/cages"
    answer = await ask(app, "/api/v1/session", "PUT", token)
    assert answer.status == 405 and answer.headers["allow"] == "DELETE, POST"


async def test_no_answer_repeats_personal_data(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    headers = (*bearer(new_token(tokens)[0]), ("content-type", "text/plain"))
    planted = b"write to bob.smith@example.com"
    for path in ("scan", "redact"):
        answer = await ask(app, f"/api/v1/redaction/{path}", "POST", headers, (planted,))
        assert answer.status == 200 and b"EMAIL" in answer.body
        assert b"bob.smith" not in answer.body
    kept = await ask(app, "/api/v1/redaction/redact?disable=EMAIL", "POST", headers, (planted,))
    assert b"bob.smith" in kept.body  # control: it is the redaction that takes it out


# ---- positions ---------------------------------------------------------------------------------


def test_the_id_of_an_event_tells_how_to_go_on() -> None:
    positions = Positions()
    assert positions.move("host", 6) == "host:5"
    text = positions.move(CAGE, 3)
    assert text == f"{CAGE}:2,host:6"
    assert parse_id(text) == (CAGE, 2, {CAGE: 3, "host": 6})


def test_an_id_has_a_bounded_length() -> None:
    positions = Positions()
    texts = [positions.move(f"c-{number:012d}", 10**9) for number in range(500)]
    log, _, wanted = parse_id(texts[-1]) or ("", 0, {})
    assert log == "c-000000000499" and len(wanted) == MOST + 1
    assert "c-000000000498" in wanted and "c-000000000000" not in wanted


@pytest.mark.parametrize("text", ["", "host", "host:", "host:-1", "x:1", "host:1,", "host:1\n"])
def test_what_is_no_id_is_none(text: str) -> None:
    assert parse_id(text) is None


# ---- jobs --------------------------------------------------------------------------------------


def failing(progress: Progress) -> dict[str, object]:
    raise AkiosError("it broke", "there", "mend it")


def test_a_token_leaves_jobs_to_others_and_cannot_have_theirs_forgotten() -> None:
    jobs, go = Jobs(), threading.Event()

    def slow(progress: Progress) -> dict[str, object]:
        go.wait(60)
        raise AkiosError("it broke")

    try:
        for _ in range(12):
            jobs.begin("greedy", ExecJob, "x", "", b"", slow)
        with pytest.raises(Refusal, match="12 of them of this token"):
            jobs.begin("greedy", ExecJob, "x", "", b"", slow)
        mine = jobs.begin("other", ExecJob, "x", "", b"", slow)
    finally:
        go.set()
    first = jobs.begin("third", VerifyJob, "host", "", b"", failing)
    for _ in range(300):
        while True:
            try:
                last = jobs.begin("third", VerifyJob, "host", "", b"", failing)
                break
            except Refusal:  # two at once
                time.sleep(0.001)
    assert jobs.find("other", mine.id).id == mine.id and jobs.find("third", last.id)
    with pytest.raises(Refusal, match="no such job"):  # control: of its own the oldest go
        jobs.find("third", first.id)


async def test_a_token_that_has_all_its_threads_wait_keeps_no_other_waiting() -> None:
    shares, go = Shares(6, 4), threading.Event()
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(10):
                nursery.start_soon(shares.run, "greedy", go.wait)
            await trio.testing.wait_all_tasks_blocked(0.05)
            assert await shares.run("other", lambda: "served") == "served"
            own = True
            with trio.move_on_after(0.1):  # control: it has no more
                await shares.run("greedy", lambda: None)
                own = False
            assert own
            nursery.cancel_scope.cancel()  # the threads of requests that are over still count
        own = True
        with trio.move_on_after(0.1):
            await shares.run("greedy", lambda: None)
            own = False
        assert own
        go.set()
        assert await shares.run("greedy", lambda: "again") == "again"


def test_a_token_leaves_streams_to_others() -> None:
    with ExitStack() as open:
        for _ in range(MOST_OF_ONE):
            check_room("greedy")
            open.enter_context(Open("greedy"))
        with pytest.raises(Refusal, match="of this token"):
            check_room("greedy")
        check_room("other")
        for _ in range(MOST_STREAMS - MOST_OF_ONE):
            open.enter_context(Open("other"))
        with pytest.raises(Refusal, match=f"^{MOST_STREAMS} streams are open"):
            check_room("third")
    check_room("greedy")


def test_a_job_is_its_tokens_and_a_retry_begins_no_second() -> None:
    jobs = Jobs()
    first = jobs.begin("one", VerifyJob, "host", "key", b"a", failing)
    assert jobs.begin("one", VerifyJob, "host", "key", b"a", failing).id == first.id
    assert jobs.begin("two", VerifyJob, "host", "key", b"b", failing).id != first.id
    others = ((VerifyJob, CAGE, b"a"), (CommitJob, "host", b"a"), (VerifyJob, "host", b"b"))
    for kind, about, asked in others:
        with pytest.raises(Refusal, match="sent with another request") as refused:
            jobs.begin("one", kind, about, "key", asked, failing)
        assert refused.value.status == 422
    with pytest.raises(Refusal, match="no such job"):
        jobs.find("two", first.id)
    assert jobs.find("one", first.id).about == "host"


def test_nothing_begins_on_a_server_that_ends_and_a_retry_is_told_of_its_job() -> None:
    jobs, runs = Jobs(), Runs()
    first = jobs.begin("one", VerifyJob, "host", "key", b"a", failing)
    with runs.take_place("one"):  # the control
        pass
    jobs.close()
    runs.close()
    assert jobs.begin("one", VerifyJob, "host", "key", b"a", failing).id == first.id
    with pytest.raises(Refusal, match="begins nothing any more") as refused:
        jobs.begin("one", VerifyJob, "host", "", b"a", failing)
    assert refused.value.status == 503
    with pytest.raises(Refusal, match="begins nothing any more"), runs.take_place("one"):
        raise AssertionError("it began")
    held, late = ExitStack(), FakeRun()
    closed = list[str]()
    held.callback(closed.append, "held")
    with pytest.raises(Refusal, match="begins nothing any more"):
        runs.start(late, held)  # type: ignore[arg-type]
    assert late.is_closed and closed == ["held"]


class FakeRun:
    """A run that was made when the server was about to end."""

    name, is_closed = "w-late", False

    def close(self) -> None:
        self.is_closed = True


def test_results_of_a_token_are_bounded_in_bytes_and_their_keys_still_hold() -> None:
    jobs = Jobs()
    quarter = "x" * (MOST_BYTES // 4 - 1000)

    def finish(owner: str, key: str, text: str) -> Any:
        done = {"exit_code": 0, "kind": "exited", "reason": "", "stdout": text, "left_out": 0}
        done |= dict.fromkeys(("stdout_base64", "stderr", "stderr_base64"), "")
        job = jobs.begin(owner, ExecJob, "x", key, text[-1:].encode(), lambda _: done)
        while jobs.find(owner, job.id).state == "running":
            time.sleep(0.001)
        return job

    before = finish("other", "k", quarter)
    small = finish("one", "small", "a")
    large = [finish("one", f"large {number}", quarter) for number in range(4)]
    assert all(jobs.find("one", job.id).result for job in large), "the control"
    last = finish("one", "last", quarter)
    for job in (small, large[0]):  # the oldest go until the others fit
        with pytest.raises(Refusal, match="no longer kept: at most") as refused:
            jobs.find("one", job.id)
        assert refused.value.status == 410
    assert all(jobs.find("one", job.id).result for job in (*large[1:], last))
    assert jobs.find("other", before.id).result
    with pytest.raises(Refusal, match="no longer kept"):  # and it is not done a second time
        finish("one", "small", "a")
    with pytest.raises(Refusal, match="another request"):
        finish("one", "small", "b")
    huge = finish("one", "huge", quarter * 5)
    assert jobs.find("one", huge.id).result
