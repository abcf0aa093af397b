"""Every endpoint with and without rights, and asked for another user's cage: one table."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from akiosctl.api.endpoints import ANY, BASE, ENDPOINTS, Endpoint
from akiosctl.api.tokens import SCOPES
from tests.e2e.api_server import Answer, ApiServer
from tests.e2e.daemon import NOBODY, OTHER, Daemon

KEY = "sk-real-key-that-nobody-may-see-0123456789"
PERSONAL = "ada.lovelace@example.org"
OCTETS, WORDS, YAML = "application/octet-stream", "text/plain", "application/yaml"


class Asked(msgspec.Struct):
    """How an endpoint is asked so that it answers with ``status``.  ``of``: about which cage."""

    of: str = ""
    query: str = ""
    body: bytes | None = None
    kind: str = "application/json"
    headers: dict[str, str] = {}
    status: int = 200


ENDED, STANDS, CHANGED, RUN_OF = "ended", "stands", "changed", "run"
STEPS = "name: w\nsteps:\n- {name: a, agent: filesystem, action: stat, parameters: {path: .}}\n"
WORKFLOW = json.dumps({"text": STEPS}).encode()
RUN = json.dumps({"argv": ["true"]}).encode()
ASKED: dict[tuple[str, str], Asked] = {
    ("GET", "/version"): Asked(),
    ("POST", "/session"): Asked(),
    ("DELETE", "/session"): Asked(),
    ("GET", "/doctor"): Asked(),
    ("GET", "/metrics"): Asked(),
    ("GET", "/cages"): Asked(),
    ("POST", "/cages"): Asked(body=RUN, status=202),
    ("GET", "/cages/{cage}"): Asked(ENDED),
    ("GET", "/cages/{cage}/status"): Asked(STANDS),
    ("GET", "/cages/{cage}/budget"): Asked(ENDED),
    ("GET", "/cages/{cage}/why"): Asked(ENDED),
    ("GET", "/cages/{cage}/output"): Asked(ENDED),
    ("GET", "/cages/{cage}/output/follow"): Asked(ENDED),
    ("GET", "/cages/{cage}/logs"): Asked(ENDED),
    ("PUT", "/cages/{cage}/files"): Asked(STANDS, "path=made", b"x", OCTETS),
    ("GET", "/cages/{cage}/files"): Asked(STANDS, "path=made"),
    ("POST", "/cages/{cage}/exec"): Asked(STANDS, body=RUN, status=202),
    ("WS", "/cages/{cage}/exec"): Asked(STANDS, "argv=true", status=0),
    ("WS", "/cages/{cage}/attach"): Asked(STANDS, status=0),
    ("POST", "/cages/{cage}/pause"): Asked(STANDS),
    ("POST", "/cages/{cage}/resume"): Asked(STANDS),
    ("GET", "/cages/{cage}/diff"): Asked(CHANGED),
    ("GET", "/policies"): Asked(),
    ("GET", "/policies/{name}/explain"): Asked(),
    ("POST", "/policies/explain"): Asked(body=b"version: 1\n", kind=YAML),
    ("POST", "/policies/check"): Asked(body=b"version: 1\n", kind=YAML),
    ("POST", "/workflows/validate"): Asked(body=b"name: w\n", kind=YAML),
    ("GET", "/workflows/runs"): Asked(),
    ("POST", "/workflows/runs"): Asked(body=WORKFLOW, status=202),
    ("GET", "/workflows/runs/{run}"): Asked(RUN_OF),
    ("GET", "/workflows/runs/{run}/outputs"): Asked(RUN_OF),
    ("POST", "/workflows/runs/{run}/resume"): Asked(RUN_OF, body=b"{}", status=202),
    ("POST", "/workflows/runs/{run}/stop"): Asked(RUN_OF),
    ("GET", "/approvals"): Asked(),
    ("POST", "/approvals/{question}"): Asked(body=b'{"yes": true}', status=404),  # none waits
    ("GET", "/events"): Asked(status=0),
    ("WS", "/events"): Asked(status=0),
    ("GET", "/views/cages"): Asked(),
    ("GET", "/views/cages/live"): Asked(status=0),
    ("GET", "/views/cages/{cage}"): Asked(ENDED),
    ("GET", "/views/decisions"): Asked(),
    ("GET", "/views/approvals"): Asked(),
    ("GET", "/views/workflows"): Asked(),
    ("GET", "/views/workflows/live"): Asked(status=0),
    ("GET", "/views/workflows/{run}/live"): Asked(RUN_OF, status=0),
    ("GET", "/views/logs/{log}"): Asked(ENDED),
    ("GET", "/ledger/{log}/entries"): Asked(ENDED),
    ("GET", "/ledger/{log}/checkpoint"): Asked(ENDED),
    ("GET", "/ledger/{log}/inclusion/{index}"): Asked(ENDED),
    ("GET", "/ledger/{log}/consistency"): Asked(ENDED, "from=1"),
    ("POST", "/ledger/{log}/verify"): Asked(ENDED, status=202),
    ("GET", "/jobs/{job}"): Asked(),
    ("GET", "/ledger/{log}/tlog/checkpoint"): Asked(ENDED),
    ("GET", "/ledger/{log}/tlog/{path:path}"): Asked(ENDED),
    ("POST", "/redaction/scan"): Asked(body=PERSONAL.encode(), kind=WORDS),
    ("POST", "/redaction/redact"): Asked(body=PERSONAL.encode(), kind=WORDS),
    # What ends something stands last.
    ("POST", "/cages/{cage}/commit"): Asked(CHANGED, headers={"If_Match": "*"}, status=202),
    ("POST", "/cages/{cage}/discard"): Asked(ENDED, headers={"If_Match": "*"}),
    ("POST", "/cages/{cage}/stop"): Asked(STANDS, "grace=0"),
    ("POST", "/cages/{cage}/down"): Asked(STANDS, "fast=true&discard=true", status=202),
}
Cages = dict[str, str]


@pytest.fixture(scope="module")
def cages(private: Daemon) -> dict[int, Cages]:
    """The same three cages of two users, and a run, each with what nobody should see."""
    assert private.ctl("keys", "set", "openai", input=f"{KEY}\n").returncode == 0
    return {uid: _make(private, uid) for uid in (NOBODY, OTHER)}


def _make(daemon: Daemon, uid: int) -> Cages:
    found = {}
    workspace = daemon.workspace(uid=uid)
    (workspace / "private").write_text(f"{PERSONAL}\n")
    agent = (
        "echo x > made; cat private > /dev/null; curl -s http://example.com; echo $OPENAI_API_KEY"
    )
    for name in (ENDED, CHANGED):
        done = daemon.report("sh", "-c", agent, uid=uid, cwd=workspace)
        found[name] = str(done["cage"])
    flags = ("--json", "cage", "up", "stands", "--workspace", workspace)
    made = daemon.ctl(*flags, uid=uid, cwd=workspace)
    assert made.returncode == 0, made.stderr
    found[STANDS] = json.loads(made.stdout)["cage"]
    project = daemon.workspace(uid=uid)
    (project / "w.yml").write_text(STEPS)
    done = daemon.ctl("workflow", "run", "w.yml", "--json", uid=uid, cwd=project)
    found[RUN_OF] = json.loads(done.stdout)["run"]
    return found


@pytest.fixture(scope="module")
def server(private: Daemon) -> Iterator[ApiServer]:
    with ApiServer(private) as made:
        yield made


def ask(
    server: ApiServer, row: Endpoint, own: Cages, token: str | None = None, job: str = "0" * 16
) -> Answer:
    asked = ASKED[row.method, row.path]
    cage = own.get(asked.of, "") if asked.of != RUN_OF else ""
    path = BASE + row.path
    values = {
        "{cage}": cage,
        "{log}": cage,
        "{index}": "0",
        "{name}": "strict",
        "{run}": own[RUN_OF],
        "{job}": job,
        "{question}": "w-1.ask",
    }
    for name, value in {**values, "{path:path}": own.get("tile", "tile/entries/000")}.items():
        path = path.replace(name, value)
    query = asked.query
    if row.path == "/events":
        query = f"cage={own[ENDED]}"
    headers = dict(asked.headers)
    method = row.method
    if method == "WS":
        method = "GET"
        headers |= {"Connection": "Upgrade", "Upgrade": "websocket"}
        headers |= {"Sec_WebSocket_Version": "13", "Sec_WebSocket_Key": "eHh4eHh4eHh4eHh4eHh4eA=="}
    if asked.body is not None:
        headers["Content_Type"] = asked.kind
    return server.ask(f"{path}?{query}", method, token, asked.body, **headers)


ROWS = sorted(
    (row for row in ENDPOINTS if row.scope), key=lambda row: [*ASKED].index((row.method, row.path))
)


def test_every_endpoint_stands_in_the_table() -> None:
    assert {(row.method, row.path) for row in ENDPOINTS if row.scope} == set(ASKED)


@pytest.mark.parametrize("row", ROWS, ids=lambda row: f"{row.method} {row.path}")
def test_it_answers_who_may_ask_and_nobody_else(
    row: Endpoint, server: ApiServer, cages: dict[int, Cages], private: Daemon
) -> None:
    asked, own = ASKED[row.method, row.path], cages[NOBODY]
    assert ask(server, row, own, token="akt_00000000_" + "x" * 43).status in (401, 429)
    if row.scope != ANY:
        others = server.new_token(*(scope for scope in SCOPES if scope != row.scope))
        refused = ask(server, row, own, others)
        assert refused.status == 403 and refused.json()["rule"] == "token.scope", refused.body
    if asked.of or row.path == "/events":
        foreign = ask(server, row, cages[OTHER])
        assert foreign.status == 404, foreign.body
        _check(private, server, row, foreign)
    if not asked.status:
        return  # it has no end; others try it
    job, tile = "0" * 16, {}
    if row.path == "/jobs/{job}":
        job = server.ask(f"{BASE}/ledger/{own[ENDED]}/verify", "POST").json()["id"]
    if "{path:path}" in row.path:
        note = server.ask(f"{BASE}/ledger/{own[ENDED]}/tlog/checkpoint").body.decode()
        tile = {"tile": f"tile/entries/000.p/{note.splitlines()[1]}"}
    got = ask(server, row, {**own, **tile}, job=job)
    assert got.status == asked.status, got.body  # control: it is the right that was missing
    _check(private, server, row, got)


def _check(daemon: Daemon, server: ApiServer, row: Endpoint, got: Answer) -> None:
    """No answer holds a key, a secret of a token, what was private, or where akiosd keeps it."""
    planted = [KEY, PERSONAL, server.token.rpartition("_")[2], "-----BEGIN"]
    if "{" in row.path:
        planted.append(str(daemon.state))
    text = got.body.decode("latin-1") + str(got.headers)
    assert not [word for word in planted if word in text], text


def test_the_list_shows_own_cages_only(server: ApiServer, cages: dict[int, Cages]) -> None:
    told: list[dict[str, Any]] = server.ask(f"{BASE}/cages?limit=500").json()["cages"]
    names = {one["cage"] for one in told}
    assert names.isdisjoint(cages[OTHER].values()) and cages[NOBODY][CHANGED] in names
    for path in ("metrics", "views/cages?state=all&limit=200", "views/decisions?limit=200"):
        text = server.ask(f"{BASE}/{path}").body.decode()
        assert not [name for name in cages[OTHER].values() if name in text], path
