"""Steps in cages of the real daemon, with hostile parameters: what the YAML or a model's answer says
does not widen what a step may do.
"""

from __future__ import annotations

import io
import json
import os
import shutil
import sqlite3
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.steps import PROGRAM, Steps, many, read_result, said
from tests.e2e.upstreams import Authority, Seen, Upstream, answer

NAME, OTHER = "site.example", "other.example"
HOOK = "hooks.example"
ZIP_OF_ZEROS = 80 << 20


def echo(seen: Seen) -> bytes:
    path = seen.target.partition("?")[0]
    moved = {
        "/inside": f"https://{HOOK}/arrived",
        "/metadata": "http://169.254.169.254/latest",
        "/outside": "https://evil.example/",
        "/plain": f"http://{NAME}/",
        "/for-ever": f"https://{NAME}/for-ever",
    }
    if path in moved:
        return answer(302, b"", [("Location", moved[path])])
    if path == "/large":
        return answer(200, b"x" * 5_000)
    if path == "/teapot":
        return answer(418, b"short and stout")
    told = {"method": seen.method, "target": seen.target, "body": seen.body.decode()}
    told |= {
        name: seen.header(name) for name in ("content-type", "authorization", "idempotency-key")
    }
    return answer(200, json.dumps(told).encode(), [("Content-Type", "application/json")])


@pytest.fixture(scope="module")
def up() -> Iterator[Upstream]:
    with Upstream(echo, Authority(), (NAME, HOOK)) as running:
        yield running


@pytest.fixture(scope="module")
def site(up: Upstream, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Daemon]:
    assert up.authority is not None
    roots = Path(tmp_path_factory.mktemp("roots")) / "roots.pem"
    roots.write_bytes(up.authority.pem)
    hosts = ", ".join(f"{name}: '127.0.0.1:{up.port}'" for name in (NAME, HOOK))
    daemon = Daemon(f"gateway:\n  roots: {roots}\n  hosts: {{{hosts}}}\n", "allow_widening: true\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def project(site: Daemon) -> Path:
    where = site.workspace()
    (where / "akios.yaml").write_text(
        f"version: 1\nnetwork: {{allowed_domains: [{NAME}, {HOOK}]}}\n"
    )
    for name in ("data/input", "data/input_evil", "data/output"):
        (where / name).mkdir(parents=True)
    (where / "data/input/a.txt").write_text("good\n")
    (where / "data/input_evil/a.txt").write_text("evil\n")
    (where / "secret.txt").write_text("secret\n")
    (where / "data/input/link").symlink_to("../input_evil/a.txt")
    (where / "data/input/up").symlink_to("../..")
    (where / "data/input/inner").symlink_to("a.txt")
    os.mkfifo(where / "data/input/fifo")
    return where


@pytest.fixture
def do(site: Daemon, project: Path) -> Iterator[Steps]:
    """Steps in one cage of that project."""
    with many(site, project) as steps:
        yield steps


INPUT = {"paths": ["data/input"]}


# ---- files ---------------------------------------------------------------------------------------


def test_files_are_read_and_written(do: Steps, project: Path) -> None:
    found = do("filesystem", "read", {"path": "data/input/a.txt"}, INPUT)
    assert (found["outputs"]["text"], found["bytes_received"]) == ("good\n", 5)
    found = do("filesystem", "read", {"path": "data/input/inner"}, INPUT)
    assert found["outputs"]["text"] == "good\n", "a link that stays inside"
    out = {"paths": ["data/output"]}
    content = {"a": ["é", 1]}
    found = do(
        "filesystem",
        "write",
        {"path": "data/output/x/y.json", "content": content},
        out,
    )
    do("filesystem", "append", {"path": "data/output/l", "content": "1\n"}, out)
    do("filesystem", "append", {"path": "data/output/l", "content": "2\n"}, out)
    found = do("filesystem", "list", {"path": "data/output"}, out)
    assert found["outputs"]["names"] == ["l", "x"]
    found = do("filesystem", "exists", {"path": "data/output/none"}, out)
    assert found["outputs"]["exists"] is False
    do.commit()
    assert json.loads((project / "data/output/x/y.json").read_text()) == content
    assert (project / "data/output/l").read_text() == "1\n2\n"


OUTSIDE = {
    "data/input/../../secret.txt": "leads upwards (..)",
    "data/input_evil/a.txt": "is not below the step's paths",
    "secret.txt": "is not below the step's paths",
    "/etc/passwd": "is not below the step's paths",
    "data/input/link": "leads out",
    "data/input/up/secret.txt": "leads out",
    "data/input/fifo": "not a regular file",
}


def test_a_path_stays_beneath_what_the_step_names(do: Steps) -> None:
    """The control: each is read by a program of the same cage that asks for it plainly."""
    for path, words in OUTSIDE.items():
        found = do("filesystem", "read", {"path": path}, INPUT)
        assert words in said(found) and "outputs" not in found, found
    plain = [path for path in OUTSIDE if not path.endswith("fifo")]
    assert do("tool", "run", {"argv": ["cat", *plain]}, {"allow": ["cat"]})["outputs"]["stdout"]


def test_a_write_follows_no_link_out(do: Steps, project: Path) -> None:
    (project / "data/output/link").symlink_to("../../secret.txt")
    (project / "data/output/away").symlink_to("/tmp")
    out, content = {"paths": ["data/output"]}, "owned"
    for path in ("data/output/link", "data/output/away/x", "data/input/a.txt", "secret.txt"):
        for action in ("write", "append"):
            do("filesystem", action, {"path": path, "content": content}, out)
    do.commit()
    assert (project / "secret.txt").read_text() == "secret\n"
    assert (project / "data/input/a.txt").read_text() == "good\n"
    found = do("filesystem", "write", {"path": "secret.txt", "content": "x"})
    assert "failure" not in found
    do.commit()
    assert (project / "secret.txt").read_text() == "x", "the control"
    only = {"read_only": True}
    found = do("filesystem", "write", {"path": "y", "content": "x"}, only)
    assert "may only read" in said(found)


# ---- documents -----------------------------------------------------------------------------------


def make_pdf(content: bytes, filter: bytes = b"") -> bytes:
    """One page that shows what the content stream says; source: ISO 32000-1, 7.5."""
    bodies = [
        b"<</Type/Catalog/Pages 2 0 R>>",
        b"<</Type/Pages/Kids[3 0 R]/Count 1>>",
        b"<</Type/Page/Parent 2 0 R/MediaBox[0 0 200 200]/Contents 4 0 R"
        b"/Resources<</Font<</F 5 0 R>>>>>>",
        b"<<%b/Length %d>>stream\n%b\nendstream" % (filter, len(content), content),
        b"<</Type/Font/Subtype/Type1/BaseFont/Helvetica>>",
    ]
    out, places = bytearray(b"%PDF-1.4\n"), []
    for number, body in enumerate(bodies, 1):
        places.append(len(out))
        out += b"%d 0 obj%b endobj\n" % (number, body)
    begin = len(out)
    out += b"xref\n0 %d\n0000000000 65535 f \n" % (len(bodies) + 1)
    out += b"".join(b"%010d 00000 n \n" % place for place in places)
    return bytes(out) + b"trailer<</Size 6/Root 1 0 R>>\nstartxref\n%d\n%%%%EOF\n" % begin


def make_docx(body: str) -> bytes:
    docx = pytest.importorskip("docx")
    plain = io.BytesIO()
    docx.Document().save(plain)
    made = io.BytesIO()
    with zipfile.ZipFile(plain) as old, zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as new:
        for name in old.namelist():
            new.writestr(name, body if name == "word/document.xml" else old.read(name))
    return made.getvalue()


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
PARAGRAPH = "<w:p><w:r><w:t>{}</w:t></w:r></w:p>"
ENTITIES = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 10))


def documents() -> dict[str, tuple[bytes, str]]:
    """name → (bytes, words of the refusal)."""
    import zlib

    zeros = zlib.compress(bytes(ZIP_OF_ZEROS), 9)
    many = f"<w:document {WORD}><w:body>{'<w:p/>' * 6_000_000}</w:body></w:document>"
    large = f"<w:document {WORD}><w:body>{PARAGRAPH.format('a' * (65 << 20))}</w:body></w:document>"
    laughs = f'<!DOCTYPE x [<!ENTITY e0 "ha">{ENTITIES}]>'
    laughs += f"<w:document {WORD}><w:body>{PARAGRAPH.format('&e9;')}</w:body></w:document>"
    return {
        "zeros.pdf": (make_pdf(zeros, b"/Filter/FlateDecode"), "PDF document"),
        "twice.pdf": (
            make_pdf(zlib.compress(zeros, 9), b"/Filter[/FlateDecode/FlateDecode]"),
            "PDF document",
        ),
        "nodes.docx": (make_docx(many), "Word document"),
        "large.docx": (make_docx(large), "unpacks to"),
        "laughs.docx": (make_docx(laughs), "Word document"),
        "text.pdf": (b"not a document", "PDF document"),
        "text.docx": (b"not a document", "Word document"),
    }


def test_documents_are_read(do: Steps, project: Path) -> None:
    pytest.importorskip("pypdf")
    (project / "a.pdf").write_bytes(make_pdf(b"BT /F 12 Tf 20 100 Td (Hello there) Tj ET"))
    found = do("filesystem", "read", {"path": "a.pdf"})
    assert (found["outputs"]["text"], found["outputs"]["pages"]) == ("Hello there", 1), found
    body = f"<w:document {WORD}><w:body>{PARAGRAPH.format('One')}{PARAGRAPH.format('two')}</w:body></w:document>"
    (project / "a.docx").write_bytes(make_docx(body))
    found = do("filesystem", "read", {"path": "a.docx"})
    assert found["outputs"]["text"] == "One\ntwo", found


def test_bombs_are_refused_within_bounds(do: Steps, project: Path) -> None:
    """A refusal with words; the cage's own limit of memory would end the step without."""
    pytest.importorskip("pypdf")
    for name, (data, words) in documents().items():
        (project / name).write_bytes(data)
        found = do("filesystem", "read", {"path": name})
        assert words in said(found), (name, found)


# ---- HTTP ----------------------------------------------------------------------------------------


def ask(do: Steps, method: str, path: str, **more: Any) -> dict[str, Any]:
    config = more.pop("config", {})
    return do("http", method, {"url": f"https://{NAME}{path}", **more}, config)


def test_bodies_and_queries_are_sent(do: Steps) -> None:
    found = ask(do, "post", "/p?a=1", json={"k": ["é"]}, query={"q": "x y&z", "n": 2})
    told = found["outputs"]["json"]
    assert told["method"] == "POST" and told["target"] == "/p?a=1&q=x+y%26z&n=2", found
    assert (told["body"], told["content-type"]) == ('{"k":["é"]}', "application/json")
    told = ask(do, "put", "/", form={"a": "1 2"})["outputs"]["json"]
    assert (told["method"], told["body"]) == ("PUT", "a=1+2")
    told = ask(do, "patch", "/", body="words")["outputs"]["json"]
    assert (told["method"], told["body"]) == ("PATCH", "words")
    assert ask(do, "delete", "/")["outputs"]["json"]["method"] == "DELETE"
    head = ask(do, "head", "/")
    assert (head["outputs"]["status"], head["outputs"]["body"]) == (200, "")
    assert "contradict" in said(ask(do, "post", "/", json={}, body="x"))


def test_redirects_stay_within_the_allowed_names(do: Steps, up: Upstream) -> None:
    headers = {"Authorization": "Bearer mine"}
    told = ask(do, "post", "/inside", json={"a": 1}, headers=headers)["outputs"]
    assert (
        told["redirects"] == [f"https://{NAME}/inside"] and told["url"] == f"https://{HOOK}/arrived"
    )
    assert told["json"]["method"] == "GET" and told["json"]["authorization"] == ""
    before = len(up.requests)
    for path, words in {
        "/metadata": "169.254.169.254",
        "/outside": "evil.example",
        "/plain": "without encryption",
        "/for-ever": "more than 5 times",
    }.items():
        found = ask(do, "get", path)
        assert words in said(found) and "outputs" not in found, found
    assert len(up.requests) == before + 3 + 6
    shown = ask(do, "get", "/metadata", config={"max_redirects": 0})["outputs"]
    assert shown["status"] == 302, "the control: the redirect is there"


def test_what_a_site_answers_is_bounded_and_said(do: Steps) -> None:
    small = {"max_bytes": 100}
    assert "more than 100 bytes" in said(ask(do, "get", "/large", config=small))
    found = ask(do, "get", "/large", config=small | {"truncate": True})
    assert found["outputs"]["truncated"] and len(found["outputs"]["body"]) == 100
    assert "was cut after 100 bytes" in found["notes"][0]
    found = ask(do, "get", "/teapot")
    assert "418" in said(found) and found["outputs"]["body"] == "short and stout"
    assert "failure" not in ask(do, "get", "/teapot", config={"any_status": True})


def test_names_that_are_not_allowed(do: Steps) -> None:
    for url in (
        f"https://{OTHER}/",
        "http://127.0.0.1:1/",
        "http://[::1]:1/",
        "file:///etc/passwd",
    ):
        assert "failure" in do("http", "get", {"url": url}), url
    refused = do("http", "get", {"url": "https://api.openai.com/v1/models"})["failure"]
    assert refused["next"].endswith("sudo akiosctl keys set openai"), (
        "what the gateway says would help"
    )
    smuggled = {"X": "a\r\nHost: evil.example"}
    assert "cannot be sent" in said(ask(do, "get", "/", headers=smuggled))
    # Ends of lines are no part of a URL (WHATWG URL, section 4.4): what is left is one target.
    found = ask(do, "get", "/a\r\nHost: evil")["outputs"]["json"]
    assert found["target"] == "/aHost:%20evil"


# ---- programs ------------------------------------------------------------------------------------


def tool(do: Steps, argv: Any, **config: Any) -> dict[str, Any]:
    return do("tool", "run", {"argv": argv}, config)


def test_programs_run_by_a_list_of_words(do: Steps) -> None:
    found = tool(do, ["echo", "$HOME; id", "`id`"], allow=["echo"])
    assert found["outputs"]["stdout"] == "$HOME; id `id`\n", found
    assert "would need a shell" in said(tool(do, "echo a; id", allow=["echo"]))
    assert "may not run cat" in said(tool(do, ["cat", "/etc/passwd"], allow=["echo"]))
    assert "may not run git" in said(tool(do, ["git", "push"], allow=[["git", "log"]]))
    assert "allowed: nothing" in said(tool(do, ["echo"]))
    found = tool(do, ["sh", "-c", "echo no >&2; exit 3"], allow=["sh"])
    assert "status 3: no" in said(found) and found["outputs"]["exit_code"] == 3


WIDENERS = (
    ["env", "cat", "/etc/shadow"],
    ["dash", "-c", "cat /etc/shadow"],
    ["xargs", "-a", "names", "cat"],
    ["python3", "-c", "print(open('/etc/shadow').read())"],
)


def test_a_program_that_starts_others_widens_nothing(do: Steps, project: Path) -> None:
    """The control: outside, as root, the same words print it."""
    (project / "names").write_text("/etc/shadow\n")
    for argv in WIDENERS:
        found = tool(do, argv, allow=[argv[0]])
        assert "failure" in found and "root:" not in json.dumps(found), found
        assert "root:" in subprocess.run(argv, cwd=project, capture_output=True, text=True).stdout


def test_time_and_output_of_a_program_are_bounded(do: Steps) -> None:
    found = tool(do, ["sleep", "600"], allow=["sleep"], timeout=0.2)
    assert "took more than 0.2 s" in said(found)
    found = tool(do, ["yes"], allow=["yes"], max_output=1000)
    assert "printed more than 1000 bytes" in said(found)
    found = tool(do, ["yes"], allow=["yes"], max_output=1000, truncate=True)
    assert len(found["outputs"]["stdout"]) == 1000 and "is cut" in found["notes"][0]
    deserter = ["sh", "-c", "setsid sleep 600 & echo left"]
    found = tool(do, deserter, allow=["sh"], timeout=1)
    assert found["outputs"]["stdout"] == "left\n", found


# ---- webhooks ------------------------------------------------------------------------------------


@pytest.mark.parametrize("service", ["slack", "discord", "teams", "generic"])
def test_webhooks(do: Steps, up: Upstream, service: str) -> None:
    config = {"service": service, "url": f"https://{HOOK}/secret-path"}
    text = "<!channel> @everyone done"
    found = do("webhook", "send", {"text": text}, config, "run-1/step-2")
    told = json.loads(found["outputs"]["body"])
    body = json.loads(told["body"])
    assert found["outputs"]["idempotent"] == (service == "generic")
    assert told["idempotency-key"] == ("run-1/step-2" if service == "generic" else "")
    if service == "slack":
        assert body["text"] == "&lt;!channel&gt; @everyone done"
    elif service == "discord":
        assert body["content"] == r"\<!channel\> \@everyone done"
        assert body["allowed_mentions"] == {"parse": []}
    elif service == "teams":
        assert body["attachments"][0]["content"]["body"][0]["inlines"] == [
            {"type": "TextRun", "text": text}
        ]
    else:
        assert body == {"text": text}
    before = len(up.requests)
    long = do("webhook", "send", {"text": "x" * 600_000}, config)
    assert "characters" in said(long) and len(up.requests) == before
    assert "secret-path" not in json.dumps(long)


# ---- SQLite --------------------------------------------------------------------------------------


@pytest.fixture
def table(project: Path) -> Path:
    with sqlite3.connect(project / "a.db") as connection:
        connection.execute("CREATE TABLE people (id INTEGER PRIMARY KEY, name TEXT)")
        names = [("Ada",), ("Grace",), ("x'); DROP TABLE people; --",)]
        connection.executemany("INSERT INTO people (name) VALUES (?)", names)
    connection.close()
    return project


def sql(do: Steps, query: str, action: str = "query", **more: Any) -> dict[str, Any]:
    params = more.pop("params", [])
    config = {"database": "a.db", **more}
    return do("database", action, {"query": query, "params": params}, config)


def test_sqlite_reads_with_bound_values(do: Steps, table: Path) -> None:
    found = sql(do, "SELECT id, name FROM people WHERE name = ?", params=["Ada"])
    assert found["outputs"]["rows"] == [{"id": 1, "name": "Ada"}], found
    evil = "x'); DROP TABLE people; --"
    found = sql(do, "-- a note\nWITH p AS (SELECT * FROM people) SELECT id FROM p WHERE name = :n",
                params={"n": evil})  # fmt: skip
    assert found["outputs"]["rows"] == [{"id": 3}]
    found = sql(do, "SELECT name FROM people", max_rows=2)
    assert "more than 2 rows" in said(found)
    found = sql(do, "SELECT name FROM people", max_rows=2, truncate=True)
    assert found["outputs"]["row_count"] == 2 and found["outputs"]["truncated"]
    found = do("database", "count", {"table": "people"}, {"database": "a.db"})
    assert found["outputs"]["count"] == 3


HOSTILE = (
    "DELETE FROM people",
    "/* SELECT */ DROP TABLE people",
    "SELECT 1; DELETE FROM people",
    "ATTACH 'other.db' AS o",
    "PRAGMA query_only = 0",
    "VACUUM INTO 'copy.db'",
    "WITH x AS (SELECT 1) DELETE FROM people",
    "SELECT load_extension('/tmp/x.so')",
    "SELECT * FROM pragma_journal_mode('wal')",
    "",
)


def test_sqlite_only_reads(do: Steps, table: Path) -> None:
    before = (table / "a.db").read_bytes()
    assert "failure" not in sql(do, "SELECT 1"), "the control"
    for query in HOSTILE:
        assert "failure" in sql(do, query), query
    do.commit()
    assert (table / "a.db").read_bytes() == before
    assert not (table / "other.db").exists() and not (table / "copy.db").exists()
    assert "failure" in sql(do, "SELECT 1", database="../a.db")
    assert "is not there" in said(sql(do, "SELECT 1", database="none.db"))


def test_sqlite_writes_rows_where_it_may(do: Steps, table: Path) -> None:
    insert = "INSERT INTO people (name) VALUES (?)"
    assert "may only read" in said(sql(do, insert, "execute", params=["Joan"]))
    found = sql(do, insert, "execute", params=["Joan"], allow_write=True)
    assert found["outputs"]["changed"] == 1, found
    for query in ("DROP TABLE people", "ATTACH 'o.db' AS o", "UPDATE sqlite_master SET name = 'x'",
                  "DELETE FROM people RETURNING load_extension('x')"):  # fmt: skip
        assert "failure" in sql(do, query, "execute", allow_write=True), query
    found = sql(do, "SELECT count(*) AS n FROM people")
    assert found["outputs"]["rows"] == [{"n": 4}]


def test_a_statement_without_end_is_ended(do: Steps, table: Path) -> None:
    endless = (
        "WITH RECURSIVE n(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM n) SELECT count(*) FROM n"
    )
    assert "took too long" in said(sql(do, endless, timeout=0.3))


# ---- MCP -----------------------------------------------------------------------------------------

SERVER = """
import json, os, sys
print("a line that is no message", flush=True)
def say(**message): print(json.dumps({"jsonrpc": "2.0", **message}), flush=True)
for line in sys.stdin:
    asked = json.loads(line)
    method, params, id = asked.get("method"), asked.get("params") or {}, asked.get("id")
    if method == "initialize":
        say(id="s1", method="ping")
        say(id="s2", method="sampling/createMessage", params={})
        say(id=id, result={"protocolVersion": "2025-06-18", "capabilities": {}, "serverInfo": {}})
    elif id == "s2":
        sampling = "error" in asked
    elif method == "tools/list":
        say(id=id, result={"tools": [{"name": "look", "inputSchema": {"type": "object"}}]})
    elif method == "tools/call" and params["name"] == "look":
        there = os.path.exists(params["arguments"]["path"])
        text = {"type": "text", "text": f"{there} {sampling}"}
        say(id=id, result={"content": [text], "structuredContent": {"there": there}})
    elif method == "tools/call" and params["name"] == "flood":
        while True: print("x" * 10000, flush=True)
    elif method == "tools/call" and params["name"] == "leave":
        sys.exit("I am leaving")
    elif method == "tools/call":
        say(id=id, error={"code": -32602, "message": "no such tool"})
"""


def mcp(do: Steps, name: str, **config: Any) -> dict[str, Any]:
    (do.workspace / "server.py").write_text(SERVER)
    config = {"command": ["python3", "server.py"], "timeout": 10} | config
    parameters = {"tool": name, "arguments": {"path": "/etc/shadow"}}
    return do("mcp", "call", parameters, config)


def test_mcp(do: Steps) -> None:
    found = mcp(do, "look")
    assert found["outputs"]["data"] == {"there": False}, found
    assert found["outputs"]["text"] == "False True", "a server gets no model of ours"
    assert os.path.exists("/etc/shadow"), "the control"
    assert "may not call" in said(mcp(do, "look", tools=["other"]))
    assert "no such tool" in said(mcp(do, "nothing"))
    assert "it ended; it says: I am leaving" in said(mcp(do, "leave"))
    assert "wrote more than" in said(mcp(do, "flood", max_bytes=50_000))
    assert "cannot be started" in said(mcp(do, "look", command=["no-such-server"]))
    config = {"command": ["python3", "server.py"]}
    found = do("mcp", "list", {}, config)
    assert [tool["name"] for tool in found["outputs"]["tools"]] == ["look"]


# ---- the program itself --------------------------------------------------------------------------


def test_a_request_that_is_none(site: Daemon, project: Path, do: Steps) -> None:
    for data in (
        "",
        "{",
        "[]",
        '{"kind": "shell", "action": "run"}',
        '{"kind": "http"}',
        "[" * 100_000,
    ):
        done = site.run(*PROGRAM, flags=("-q",), cwd=project, input=data)
        assert done.returncode == 1 and "failure" in read_result(done.stdout), (data[:40], done)
    assert "did you mean url?" in said(do("http", "get", {"ulr": "x"}))
    assert "text" in said(do("http", "get", {"url": 3}))
    assert "did you mean database?" in said(do("databse", "query", {}))
    old = do(
        "tool_executor",
        "execute",
        {"command": ["echo", "x"]},
        {"allowed_commands": ["echo"]},
    )
    assert old["outputs"]["stdout"] == "x\n"


def test_the_cage_shows_the_code_of_a_checkout_and_no_more(site: Daemon, project: Path) -> None:
    """Of the directory that holds it, nothing else is there."""
    import akiosd

    code = Path(akiosd.__file__).parent
    names = "import os, sys; print(sorted(os.listdir(sys.argv[1])))"
    done = site.run(sys.executable, "-I", "-c", names, str(code.parent), cwd=project)
    shown = set(json.loads(done.stdout.replace("'", '"')))
    assert "akiosd" in shown and "tests" not in shown and (code.parent / "tests").is_dir()
    assert shutil.which("git") and ".git" not in shown
