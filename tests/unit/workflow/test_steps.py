"""What steps decide by values alone: forms, statements, streams of providers, schemas."""

from __future__ import annotations

import json
import resource
import signal
import sqlite3
import struct
import threading
import zlib
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akiosd.errors import AkiosError
from akiosd.values.approval import Approval, answer, stop
from akiosd.values.step_call import MAX_REQUEST, MAX_RESULT, StepRequest, StepResult
from akiosd.workflow.steps import kinds, sqlite
from akiosd.workflow.steps.kind import read_form, seconds
from akiosd.workflow.steps.models.streams import read_events
from akiosd.workflow.steps.perform import encode, perform, perform_bytes
from akiosd.workflow.steps.statements import Rows, check_statement
from tests.unit.gateway.pack_headers import pack_headers


class Answers(BaseHTTPRequestHandler):
    """What the path says: a status, ``cut`` for half an answer, ``hang`` for none."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers["content-length"] or 0))
        what = self.path.strip("/")
        if what == "hang":
            self.server.over.wait(30)  # type: ignore[attr-defined]
            return
        self.send_response(200 if what == "cut" else int(what))
        if what in ("303", "307"):
            self.send_header("location", "http://127.0.0.1:1/")
        self.send_header("content-length", "9" if what == "cut" else "0")
        self.end_headers()

    def log_message(self, *_: Any) -> None: ...


@pytest.fixture(scope="module")
def answers() -> Iterator[str]:
    with ThreadingHTTPServer(("127.0.0.1", 0), Answers) as server:
        server.over = threading.Event()  # type: ignore[attr-defined]
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield f"http://127.0.0.1:{server.server_port}"
        server.over.set()  # type: ignore[attr-defined]
        server.shutdown()


@pytest.mark.parametrize("kind", ["webhook", "http"])
@pytest.mark.parametrize(
    ("answer", "may_be_done"),
    [
        *((status, False) for status in ("400", "404", "429", "503")),
        *((status, True) for status in ("500", "502", "cut", "hang", "303", "307")),
        ("nobody", False),
    ],
)
def test_what_may_be_done_is_known_of_a_request(
    answers: str, kind: str, answer: str, may_be_done: bool
) -> None:
    """The control, 200, is no failure."""

    def ask(url: str) -> StepResult:
        if kind == "http":
            values: Any = {"action": "post", "parameters": {"url": url, "body": "x"}}
            return perform(StepRequest(kind="http", config={"timeout": 1}, **values))
        values = {"config": {"url": url, "timeout": 1}, "parameters": {"text": "x"}}
        return perform(StepRequest(kind="webhook", action="send", **values))

    assert ask(f"{answers}/200").failure is None
    result = ask("http://127.0.0.1:1/" if answer == "nobody" else f"{answers}/{answer}")
    assert result.failure is not None and result.failure.may_be_done is may_be_done, result


def test_what_may_be_done_is_known_of_a_write(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    path, database = tmp_path / "f", tmp_path / "d"
    with sqlite3.connect(database) as made:
        made.execute("create table t (a unique, b check (b < 9))")

    def execute(query: str) -> StepResult:
        return perform(
            StepRequest(
                kind="database",
                action="execute",
                config={"database": str(database), "allow_write": True},
                parameters={"query": query},
            )
        )

    assert execute("insert into t values (1, 1)").failure is None
    refused = execute("insert into t values (1, 1)").failure
    assert refused is not None and not refused.may_be_done, "it is rolled back"
    path.mkdir()
    values: Any = {"parameters": {"path": str(path), "content": "x"}}
    failed = perform(StepRequest(kind="filesystem", action="append", **values)).failure
    assert failed is not None and not failed.may_be_done, "nothing was opened"
    path.rmdir()
    resource_limit = resource.getrlimit(resource.RLIMIT_FSIZE)
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (1 << 16, resource_limit[1]))
    try:
        values = {"parameters": {"path": str(path), "content": "x" * (1 << 17)}}
        failed = perform(StepRequest(kind="filesystem", action="append", **values)).failure
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, resource_limit)
    assert failed is not None and failed.may_be_done and path.stat().st_size == 1 << 16


@pytest.mark.parametrize("kind", kinds.KINDS)
def test_every_kind_has_forms(kind: str) -> None:
    """Each field of a form has a default or is asked for by its name."""
    for name, action in kinds.KINDS[kind]().items():
        for form in (action.config, action.parameters):
            needed = [field.name for field in msgspec.structs.fields(form) if field.required]
            if needed:
                with pytest.raises(AkiosError, match=needed[0]):
                    read_form(form, {}, name)


@pytest.mark.parametrize(
    ("kind", "action", "same"),
    [
        ("tool_executor", "execute", ("tool", "run")),
        ("llm", "generate", ("llm", "complete")),
        ("filesystem", "analyze", ("filesystem", "stat")),
        ("webhook", "notify", ("webhook", "send")),
    ],
)
def test_names_of_before(kind: str, action: str, same: tuple[str, str]) -> None:
    assert kinds.find_action(kind, action) == kinds.find_action(*same)


def test_texts_of_numbers_are_numbers_where_these_are_due() -> None:
    config = kinds.find_action("http", "get").config
    assert read_form(config, {"max_bytes": "5", "truncate": "true"}, "").max_bytes == 5
    with pytest.raises(AkiosError, match="a number"):
        read_form(config, {"max_bytes": "many"}, "")
    assert (seconds("5m"), seconds(0.5), seconds("2")) == (300, 0.5, 2)
    for wrong in ("soon", "0s", "-1"):
        with pytest.raises(AkiosError):
            seconds(wrong)


SAID = {
    "SELECT 1": "",
    " -- x\n /* y */ WITH a AS (SELECT 1) SELECT * FROM a": "",
    "values (1)": "",
    "DELETE FROM t": "changes rows",
    "DROP TABLE t": "begins with DROP",
    "/* SELECT": "does not begin with a word",
    "BEGIN": "begins with BEGIN",
    "SELECT 1\0": "NUL",
    ";SELECT 1": "does not begin with a word",
}


@pytest.mark.parametrize("sql", SAID)
def test_statements_that_read(sql: str) -> None:
    if not SAID[sql]:
        check_statement(sql, writes=False)
        return
    with pytest.raises(AkiosError, match=SAID[sql]):
        check_statement(sql, writes=False)


def test_rows_have_a_number_and_a_size() -> None:
    rows = Rows(2, 100)
    rows.name(["a", "a", "b"])
    assert rows.add([1, 2, "x"]) and rows.add([1, 2, "x"]) and not rows.add([1, 2, "x"])
    assert rows.rows[0] == {"a": 1, "a_2": 2, "b": "x"} and rows.is_cut
    with pytest.raises(AkiosError, match="more than 100 bytes"):
        Rows(2, 100).add(["x" * 101])


def frame(kind: str, payload: Any) -> bytes:
    headers = pack_headers({":event-type": kind})
    body = json.dumps(payload).encode()
    prelude = struct.pack(">II", 16 + len(headers) + len(body), len(headers))
    whole = prelude + struct.pack(">I", zlib.crc32(prelude)) + headers + body
    return whole + struct.pack(">I", zlib.crc32(whole))


STREAMS = {
    "sse": b'event: x\ndata: {"a": 1}\n\n: ping\ndata: {"b": "\xc3\xa9"}\r\n\r\ndata: [DONE]\n\n',
    "lines": b'{"a": 1}\n\n{"b": "\xc3\xa9"}',
    "frames": frame("", {"a": 1}) + frame("", {"b": "é"}),
}


@pytest.mark.parametrize("form", STREAMS)
def test_a_stream_is_the_same_wherever_it_is_cut(form: str) -> None:
    data = STREAMS[form]
    wanted = [("", {"a": 1}), ("", {"b": "é"})]
    assert list(read_events(form, [data])) == wanted
    for at in range(len(data)):
        assert list(read_events(form, [data[:at], data[at:]])) == wanted
    assert list(read_events(form, [data[at : at + 1] for at in range(len(data))])) == wanted


@pytest.mark.parametrize(
    ("form", "data"),
    [
        ("sse", b"data: {\n\n"),
        ("lines", b"[1]\n"),
        ("frames", frame("x", {})[:-1]),
        ("frames", frame("x", {})[:-1] + b"\0"),
        ("frames", b"\0" * 12),
    ],
)
def test_a_stream_that_is_none_is_an_error(form: str, data: bytes) -> None:
    with pytest.raises(AkiosError, match="stream cannot be read"):
        list(read_events(form, [data]))


def test_what_a_step_raises_is_its_failure(monkeypatch: pytest.MonkeyPatch) -> None:
    result = perform(StepRequest(kind="filesystem", action="read", parameters={"path": "a\0b"}))
    assert result.failure is not None and "NUL" in result.failure.what
    deep: Any = "x"
    for _ in range(5_000):
        deep = [deep]
    request = {"path": "x", "content": deep}
    result = perform(StepRequest(kind="filesystem", action="write", parameters=request))
    assert result.failure is not None and "nested" in result.failure.what
    assert MAX_REQUEST > 10 << 20, "a document of 10 MB goes in"


def test_requests_and_results_are_bounded() -> None:
    large = perform_bytes(b" " * (MAX_REQUEST + 1))
    assert large.failure is not None and str(MAX_REQUEST) in large.failure.what
    data = encode(StepResult(outputs={"small": 1, "text": "x" * (MAX_RESULT + 1)}))
    failure = msgspec.json.decode(data, type=StepResult).failure
    assert failure is not None and failure.where == "outputs.text" and len(data) < 1_000


def test_sqlite_is_asked_for_everything_a_statement_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Behind the look at the first word, and where the file may be written."""
    monkeypatch.chdir(tmp_path)
    with sqlite3.connect("a.db") as connection:
        connection.execute("CREATE TABLE t (a, n INTEGER PRIMARY KEY AUTOINCREMENT)")
    connection.close()
    for sql in (
        "ATTACH 'b.db' AS b",
        "PRAGMA journal_mode = WAL",
        "DROP TABLE t",
        "CREATE TABLE u (a)",
        "COMMIT",
        "DELETE FROM sqlite_sequence",
        "SELECT load_extension('x')",
    ):
        with pytest.raises(AkiosError, match="more than this step may"):
            with sqlite.Database("a.db", ["."], 5, writes=True) as database:
                database.run(sql, [], Rows(10, 1_000))
    for sql in ("DELETE FROM t", "VACUUM INTO 'b.db'"):
        with pytest.raises(AkiosError, match="more than this step may"):
            with sqlite.Database("a.db", ["."], 5, writes=False) as database:
                database.run(sql, [], Rows(10, 1_000))
    assert not Path("b.db").exists()
    with sqlite.Database("a.db", ["."], 5, writes=True) as database:
        database.run("INSERT INTO t (a) VALUES (1)", [], rows := Rows(10, 1_000))
    assert rows.changed == 1, "the control"


def test_an_approval_is_answered_once_and_in_time() -> None:
    asked = Approval("Send it?", asked_ns=0, until_ns=100)
    yes = answer(asked, True, "ada", 50, "go on")
    assert (yes.state, yes.by, yes.comment, yes.answered_ns) == ("approved", "ada", "go on", 50)
    assert answer(asked, False, "ada", 50).state == "refused"
    with pytest.raises(AkiosError, match="approved by ada before"):
        answer(yes, False, "bob", 60)
    with pytest.raises(AkiosError, match="expired before"):
        answer(asked, True, "ada", 100)
    ended = stop(asked, 50)
    assert (ended.state, ended.by, ended.comment, ended.answered_ns) == ("stopped", "", "", 0)
    assert stop(yes, 60) is yes and stop(asked, 100).state == "expired"
    request = StepRequest(kind="approve", action="ask", parameters={"message": "Send it?"})
    outputs = perform(request).outputs
    assert outputs["state"] == "waiting"
    assert outputs["until_ns"] - outputs["asked_ns"] == 24 * 3600 * 10**9
