"""What steps decide by values alone: forms, statements, streams of providers, schemas."""

from __future__ import annotations

import json
import sqlite3
import struct
import zlib
from pathlib import Path
from typing import Any

import msgspec
import pytest

from akiosd.errors import AkiosError
from akiosd.values.approval import Approval, answer
from akiosd.values.step_call import MAX_REQUEST, MAX_RESULT, StepRequest, StepResult
from akiosd.workflow.steps import kinds, sqlite
from akiosd.workflow.steps.kind import read_form, seconds
from akiosd.workflow.steps.models.streams import read_events
from akiosd.workflow.steps.perform import encode, perform, perform_bytes
from akiosd.workflow.steps.statements import Rows, check_statement
from tests.unit.gateway.pack_headers import pack_headers


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
    request = StepRequest(kind="approve", action="ask", parameters={"message": "Send it?"})
    outputs = perform(request).outputs
    assert outputs["state"] == "waiting"
    assert outputs["until_ns"] - outputs["asked_ns"] == 24 * 3600 * 10**9
