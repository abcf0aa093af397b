"""Steps on a real PostgreSQL and with real MCP servers: longer than every run has time for.

PostgreSQL is Debian's (apt-get install postgresql), started here for itself; the servers come from
the package indexes, once for a machine.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.steps import Steps, many, said

pytestmark = pytest.mark.named_set("workflow")

HOST = "db.example"
SCHEMA = """
CREATE TABLE people (id serial PRIMARY KEY, name text);
INSERT INTO people (name) VALUES ('Ada'), ('Grace');
CREATE ROLE reader LOGIN; GRANT SELECT ON people TO reader;
CREATE ROLE writer LOGIN; GRANT ALL ON people TO writer; GRANT USAGE ON people_id_seq TO writer;
CREATE ROLE peeper LOGIN; GRANT pg_read_server_files TO peeper;
CREATE FUNCTION wipe() RETURNS int LANGUAGE sql AS 'DELETE FROM people; SELECT 1';
"""


def find_postgres() -> Path:
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("PostgreSQL is not installed: apt-get install postgresql")
    return found[-1].parent


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """Of a server that dies with the test, on loopback, which trusts every role."""
    programs = find_postgres()
    base = Path(tempfile.mkdtemp(prefix="akios-test-pg-"))
    os.chown(base, NOBODY, NOBODY)
    who: dict[str, Any] = {"user": NOBODY, "group": NOBODY, "extra_groups": [], "cwd": base}
    quiet: dict[str, Any] = {"check": True, "capture_output": True, "text": True}
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    make = [programs / "initdb", "-D", base / "data", "-U", "owner", "-A", "trust", "-E", "UTF8"]
    subprocess.run([*make, "--locale=C", "--no-sync"], **who, **quiet)
    words = ["-D", base / "data", "-p", str(port), "-h", "127.0.0.1", "-k", "", "-F"]
    server = subprocess.Popen(
        ["setpriv", "--pdeathsig", "TERM", programs / "postgres", *words],
        **who, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True,
    )  # fmt: skip
    try:
        assert server.stderr is not None
        for line in server.stderr:
            if "ready to accept connections" in line:
                break
        else:
            pytest.fail("PostgreSQL did not start")
        psql = ["psql", "-h", "127.0.0.1", "-p", str(port), "-U", "owner", "postgres"]
        subprocess.run([programs / psql[0], *psql[1:], "-c", SCHEMA], **quiet)
        yield port
    finally:
        server.terminate()
        server.communicate(timeout=30)
        shutil.rmtree(base, ignore_errors=True)


@pytest.fixture(scope="module")
def site(port: int) -> Iterator[Daemon]:
    hosts = f"{{'{HOST}': '127.0.0.1:{port}'}}"
    daemon = Daemon(f"gateway:\n  hosts: {hosts}\n", "allow_widening: true\n")
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def do(site: Daemon) -> Iterator[Steps]:
    where = site.workspace()
    (where / "akios.yaml").write_text(
        f"version: 1\nnetwork: {{allowed_domains: ['{HOST}:5432']}}\n"
    )
    with many(site, where) as steps:
        yield steps


def sql(do: Steps, query: str, action: str = "query", role: str = "reader", **more: Any) -> Any:
    params = more.pop("params", [])
    config = {"database": f"postgresql://{role}@{HOST}:5432/postgres?sslmode=disable", **more}
    return do("database", action, {"query": query, "params": params}, config)


def test_postgres_reads_with_bound_values(do: Steps) -> None:
    found = sql(do, "SELECT id, name FROM people WHERE name = $1", params=["Ada"])
    assert found["outputs"]["rows"] == [{"id": 1, "name": "Ada"}], found
    found = sql(do, "SELECT id FROM people WHERE name = %(n)s", params={"n": "x' OR 'a'='a"})
    assert found["outputs"]["rows"] == [] and found["outputs"]["row_count"] == 0
    assert "more than 1 rows" in said(sql(do, "SELECT name FROM people", max_rows=1))
    found = sql(do, "SELECT generate_series(1, 100000000)", max_rows=5, truncate=True)
    assert found["outputs"]["row_count"] == 5 and found["outputs"]["truncated"]
    config = {"database": f"postgresql://reader@{HOST}:5432/postgres?sslmode=disable"}
    found = do("database", "count", {"table": "public.people"}, config)
    assert found["outputs"]["count"] == 2


HOSTILE = (
    "DELETE FROM people",
    "SELECT 1; DELETE FROM people",
    "SELECT 1; COMMIT; DELETE FROM people",
    "WITH gone AS (DELETE FROM people RETURNING 1) SELECT * FROM gone",
    "SELECT wipe()",
    "SELECT nextval('people_id_seq')",
    "SELECT set_config('transaction_read_only', 'off', false)",
    "COPY people TO PROGRAM 'id'",
    "SET SESSION CHARACTERISTICS AS TRANSACTION READ WRITE",
    "SELECT pg_read_file('/etc/passwd')",
)


def test_postgres_only_reads(do: Steps) -> None:
    """Also by a role that may write; the control is the same function where the step may, too."""
    for role in ("reader", "writer"):
        for query in HOSTILE:
            assert "failure" in sql(do, query, role=role), (role, query)
    assert "could" not in said(sql(do, "SELECT 1", role="writer"))
    found = sql(do, "SELECT wipe()", "execute", "writer", allow_write=True)
    assert "failure" not in found, found
    assert sql(do, "SELECT count(*) AS n FROM people")["outputs"]["rows"] == [{"n": 0}]
    insert = "INSERT INTO people (name) VALUES ($1), ($2) RETURNING name"
    found = sql(do, insert, "execute", "writer", allow_write=True, params=["Ada", "Grace"])
    assert found["outputs"]["changed"] == 2, found


def test_postgres_takes_one_statement_where_it_may_write(do: Steps) -> None:
    for query in ("DELETE FROM people; DROP TABLE people", "DROP TABLE people", "TRUNCATE people"):
        assert "failure" in sql(do, query, "execute", "writer", allow_write=True), query
    assert sql(do, "SELECT count(*) AS n FROM people")["outputs"]["rows"] == [{"n": 2}]


def test_a_role_with_power_over_the_server_is_refused(do: Steps) -> None:
    for role in ("owner", "peeper"):
        assert "may read files of the server" in said(sql(do, "SELECT 1", role=role)), role
    assert "failure" not in sql(do, "SELECT 1"), "the control"


def test_a_statement_without_end_is_ended(do: Steps) -> None:
    assert "statement timeout" in said(sql(do, "SELECT pg_sleep(600)", timeout=1))


def test_a_server_that_the_policy_does_not_name(do: Steps) -> None:
    found = do(
        "database", "query", {"query": "SELECT 1"}, {"database": "postgresql://u@other.example/x"}
    )
    assert "no connection" in said(found) and "allowed_domains" in said(found)


# ---- MCP servers ---------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def servers() -> Path:
    """A directory with a venv that has mcp-server-time, and npm's server-everything."""
    npm = shutil.which("npm")
    if npm is None:
        pytest.skip("npm is not installed")
    home = Path(tempfile.gettempdir()) / f"akios-test-mcp-{sys.version_info[1]}-{os.getuid()}"
    home.mkdir(mode=0o755, exist_ok=True)
    with (home / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not (home / "done").exists():
            subprocess.run(["/usr/bin/python3", "-m", "venv", "--clear", home / "venv"], check=True)
            pip = [home / "venv/bin/python", "-m", "pip", "install", "-q", "mcp-server-time"]
            node = [npm, "install", "--silent", "--prefix", home]
            for words in (pip, [*node, "@modelcontextprotocol/server-everything"]):
                done = subprocess.run(words, capture_output=True, text=True)
                if done.returncode:
                    pytest.skip(f"the package index is not reachable: {done.stderr[-300:]}")
            (home / "done").touch()
    return home


@pytest.fixture
def near(site: Daemon, servers: Path) -> Iterator[Steps]:
    """Steps in a cage that sees the servers."""
    where = site.workspace()
    (where / "akios.yaml").write_text(f"version: 1\nfilesystem: {{read: ['{servers}']}}\n")
    with many(site, where) as steps:
        yield steps


def test_an_mcp_server_from_pypi(near: Steps, servers: Path) -> None:
    config = {"command": [str(servers / "venv/bin/python"), "-m", "mcp_server_time"]}
    names = [one["name"] for one in near("mcp", "list", {}, config)["outputs"]["tools"]]
    assert "get_current_time" in names
    found = near(
        "mcp", "call", {"tool": "get_current_time", "arguments": {"timezone": "UTC"}}, config
    )
    assert "datetime" in found["outputs"]["text"], found
    found = near(
        "mcp", "call", {"tool": "get_current_time", "arguments": {"timezone": "X"}}, config
    )
    assert "failure" in found


def test_an_mcp_server_from_npm(near: Steps, servers: Path) -> None:
    (script,) = servers.glob("node_modules/@modelcontextprotocol/server-everything/dist/index.js")
    config = {"command": ["node", str(script), "stdio"]}
    found = near("mcp", "call", {"tool": "echo", "arguments": {"message": "hello"}}, config)
    assert "hello" in found["outputs"]["text"], found
