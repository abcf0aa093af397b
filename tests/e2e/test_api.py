"""The REST API over a real daemon: what it tells, to whom, and that it follows without loss."""

from __future__ import annotations

import json
import socket
import subprocess
import sys
from collections.abc import Iterator
from typing import Any

import msgspec
import pytest

from akiosctl.api.endpoints import BASE, ENDPOINTS
from akiosctl.help import schemas
from akiosd.ledger.merkle import leaf_hash
from tests.e2e.api_server import Answer, ApiServer, Follower
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.unit.ledger.consistency import verify_consistency

# It leaves behind: a denied name, a changed file, personal data in its output.
AGENT = "echo x > made; cat private; curl -s http://example.com; true"


STEPS = "name: w\nsteps:\n- {name: a, agent: filesystem, action: stat, parameters: {path: .}}\n"


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


@pytest.fixture(scope="module")
def cage(daemon: Daemon) -> str:
    """An ended cage of NOBODY's."""
    workspace = daemon.workspace(uid=NOBODY)
    (workspace / "private").write_text("ada.lovelace@example.org\n")
    daemon.run("true", uid=NOBODY)
    return str(daemon.report("sh", "-c", AGENT, uid=NOBODY, cwd=workspace)["cage"])


@pytest.fixture(scope="module")
def foreign(daemon: Daemon) -> str:
    """An ended cage of somebody else's."""
    return str(daemon.report("true", uid=OTHER)["cage"])


def test_each_answer_has_the_form_that_the_table_gives_it(server: ApiServer, cage: str) -> None:
    """And the same is told as on the command line."""
    texts = {"application/yaml": b"version: 1\n", "text/plain": b"hello"}
    job = server.ask(f"{BASE}/ledger/{cage}/verify", "POST").json()["id"]
    project = server.daemon.workspace(uid=NOBODY)
    (project / "w.yml").write_text(STEPS)
    words = ("workflow", "run", "w.yml", "--json")
    run = json.loads(server.daemon.ctl(*words, uid=NOBODY, cwd=project).stdout)["run"]
    seen = 0
    for row in ENDPOINTS:
        path = BASE + row.path.replace("{cage}", cage).replace("{log}", cage)
        path = path.replace("{index}", "1").replace("{job}", job).replace("{name}", "strict")
        path = path.replace("consistency", "consistency?from=3").replace("{run}", run)
        if isinstance(row.answer, str) or row.scope in ("changes", "run", "stop", "approve"):
            continue
        if row.path.endswith(("/status", "/files")):
            continue  # of a standing cage
        headers = {"Content_Type": row.takes} if row.takes else {}
        got = server.ask(path, row.method, body=texts.get(row.takes), **headers)
        assert got.status == row.status, (path, got.body)
        forms = row.answer if isinstance(row.answer, tuple) else (row.answer,)
        assert any(_fits(got.json(), form) for form in forms), (path, got.body)
        seen += 1
    assert seen >= 18
    listed = server.daemon.ctl("ps", "--all", "--json", uid=NOBODY).stdout
    told = server.ask(f"{BASE}/cages?limit=500").json()["cages"]
    assert sorted(c["cage"] for c in told) == sorted(c["cage"] for c in json.loads(listed))


def _fits(found: object, form: object) -> bool:
    try:
        msgspec.convert(found, form)  # type: ignore[call-overload]
    except msgspec.ValidationError:
        return False
    return True


def test_a_token_is_of_its_users_server_alone(server: ApiServer, cage: str, foreign: str) -> None:
    with ApiServer(server.daemon, OTHER) as theirs:
        assert theirs.ask(f"{BASE}/cages/{foreign}").status == 200
        assert theirs.ask(f"{BASE}/cages/{cage}").status == 404
        assert theirs.ask(f"{BASE}/cages/{foreign}", token=server.token).status == 401


def test_files_of_a_log_are_those_of_a_log(server: ApiServer, cage: str) -> None:
    for path in ("../../../etc/passwd", "%2e%2e/%2e%2e/state", "tile/0/..%2f..", "host.key"):
        assert server.ask(f"{BASE}/ledger/{cage}/tlog/{path}").status == 404
    assert server.ask(f"{BASE}/ledger/{cage}/tlog/checkpoint").status == 200  # control


def test_pages_go_through_a_list_without_loss(server: ApiServer, cage: str) -> None:
    for path, field in (
        ("/cages?limit=1", "cages"),
        (f"/ledger/{cage}/entries?limit=7", "records"),
    ):
        seen, cursor = [], ""
        while True:
            page = server.ask(f"{BASE}{path}" + (f"&cursor={cursor}" if cursor else "")).json()
            seen += [json.dumps(one) for one in page[field]]
            cursor = page["next"]
            if cursor is None:
                break
        whole = server.ask(f"{BASE}{path.partition('?')[0]}?limit=500").json()[field]
        assert seen == [json.dumps(one) for one in whole] and len(set(seen)) == len(seen) > 1


def test_a_foreign_reader_can_check_a_log(server: ApiServer, cage: str) -> None:
    """From what is served alone: the leaf of the first record, and that the log only grew."""
    note = server.ask(f"{BASE}/ledger/{cage}/tlog/checkpoint").body.decode().splitlines()
    size = int(note[1])
    tile = server.ask(f"{BASE}/ledger/{cage}/tlog/tile/0/000.p/{size}")
    bundle = server.ask(f"{BASE}/ledger/{cage}/tlog/tile/entries/000.p/{size}").body
    length = int.from_bytes(bundle[:2])
    assert leaf_hash(bundle[2 : 2 + length]) == tile.body[:32]
    assert "immutable" in tile.headers["cache-control"] and tile.headers["etag"]
    old = server.ask(f"{BASE}/ledger/{cage}/consistency?from=1").json()
    path, root = [bytes.fromhex(node) for node in old["path"]], bytes.fromhex(old["root"])
    verify_consistency(1, size, tile.body[:32], root, path)
    with pytest.raises(Exception):  # noqa: B017 - control: another first record is not its beginning
        verify_consistency(1, size, bytes(32), root, path)


def test_a_log_is_verified_by_a_job_of_its_token(server: ApiServer, cage: str) -> None:
    key = {"Idempotency_Key": "once"}
    first = server.ask(f"{BASE}/ledger/{cage}/verify", "POST", **key)
    again = server.ask(f"{BASE}/ledger/{cage}/verify", "POST", **key)
    assert (first.status, first.json()["id"]) == (202, again.json()["id"])
    where, job = first.headers["location"], _finish(server, first)
    assert job["state"] == "done" and job["result"]["verdict"] == "OK", job
    assert job["progress"]["done"] == job["result"]["size"] > 0
    assert server.ask(where, token=server.new_token("ledger")).status == 404


def test_a_token_that_ends_closes_its_stream(server: ApiServer) -> None:
    token = server.new_token("events")
    held, server._token = server.token, token
    try:
        with Follower(server) as follower:
            server.daemon.ctl("token", "revoke", token.split("_")[1], uid=NOBODY)
            server.daemon.run("true", uid=NOBODY)
            assert follower.next("end")["data"]["what"]
            assert follower.next()["event"] == "closed"
        assert server.ask(f"{BASE}/version").status == 401
    finally:
        server._token = held
    assert server.ask(f"{BASE}/version").status == 200


def test_events_resume_behind_the_last_id(server: ApiServer, cage: str) -> None:
    with Follower(server, f"cage={cage}&replay=true") as follower:
        events = list(follower.until_end(cage))
    assert [event["id"] for event in events] == [f"{cage}:{n}" for n in range(len(events))]
    assert [e["data"]["index"] for e in events] == list(range(len(events)))
    with Follower(server, f"cage={cage}", Last_Event_ID=f"{cage}:{len(events) - 3}") as follower:
        assert list(follower.until_end(cage)) == events[-2:]
    with Follower(server, f"cage={cage}&replay=true&kind=end") as follower:
        assert follower.next("record") == events[-1]


def test_what_happened_while_nobody_listened_is_told(server: ApiServer) -> None:
    with Follower(server) as follower:
        first = server.daemon.report("true", uid=NOBODY)["cage"]
        last = list(follower.until_end(first))[-1]["id"]
    second = server.daemon.report("true", uid=NOBODY)["cage"]
    with Follower(server, Last_Event_ID=last) as follower:
        found = list(follower.until_end(second))
    assert [event["data"]["index"] for event in found] == list(range(len(found)))


@pytest.mark.named_set("api")
def test_a_stream_lives_through_a_restart_of_akiosd(private: Daemon) -> None:
    with ApiServer(private) as server:
        first = private.report("true", uid=NOBODY)["cage"]
        with Follower(server, "replay=true") as follower:
            list(follower.until_end(first))
            private.stop()
            assert follower.next("away")["data"]["next"]
            got = server.ask(f"{BASE}/cages")
            assert got.status == 503 and got.headers["retry-after"]
            assert server.ask(f"{BASE}/health").json()["akiosd"] == "away"
            private.start()
            follower.next("back")
            second = private.report("true", uid=NOBODY)["cage"]
            found = list(follower.until_end(second))
        assert [event["data"]["index"] for event in found] == list(range(len(found)))
        assert server.ask(f"{BASE}/health").json()["akiosd"] == "running"
        assert server.stop() == 0


def test_changes_are_committed_once_and_only_as_they_were_seen(
    daemon: Daemon, server: ApiServer
) -> None:
    workspace = daemon.workspace(uid=NOBODY)
    cage = daemon.report("sh", "-c", "echo new > made", uid=NOBODY, cwd=workspace)["cage"]
    base = f"{BASE}/cages/{cage}"
    seen = server.ask(f"{base}/diff")
    assert _fits(seen.json(), schemas.Diff) and seen.json()["changes"][0]["path"] == "made"
    assert server.ask(f"{base}/commit", "POST").status == 422  # nobody said which changes
    (workspace / "made").write_text("by somebody else meanwhile\n")
    late = _finish(server, server.ask(f"{base}/commit", "POST", If_Match=seen.headers["etag"]))
    assert late["state"] == "failed" and (workspace / "made").read_text() != "new\n"
    assert server.ask(f"{base}/discard", "POST", If_Match=seen.headers["etag"]).status == 412
    (workspace / "made").unlink()
    now = server.ask(f"{base}/diff").headers["etag"]
    once = {"If_Match": now, "Idempotency_Key": "k"}
    jobs = [server.ask(f"{base}/commit", "POST", **once) for _ in range(2)]
    assert jobs[0].json()["id"] == jobs[1].json()["id"]
    done = _finish(server, jobs[0])
    assert done["state"] == "done" and done["result"]["committed"] == 1, done
    assert (workspace / "made").read_text() == "new\n"
    assert (workspace / "made").stat().st_uid == NOBODY
    again = server.ask(f"{base}/commit", "POST", If_Match="*")
    assert again.status == 409 and again.json()["next"]


def _finish(server: ApiServer, begun: Answer) -> dict[str, Any]:
    assert begun.status == 202, begun.body
    where = f"{begun.headers['location']}?wait=20"
    while (job := server.ask(where).json())["state"] == "running":
        pass
    found: dict[str, Any] = job
    return found


def test_a_cage_is_stopped_and_its_changes_discarded(daemon: Daemon, server: ApiServer) -> None:
    words = ("sh", "-c", "echo x > made; exec sleep 600")
    cage = daemon.run(*words, flags=["-d"], uid=NOBODY).stdout.strip()
    base = f"{BASE}/cages/{cage}"
    assert server.ask(f"{base}/budget").json()["limits"]
    assert server.ask(f"{base}/discard", "POST", If_Match="*").status == 409  # it runs
    assert server.ask(f"{base}/stop?grace=0", "POST").json() == {"cages": [cage]}
    while not server.ask(base).json()["ended_ns"]:
        pass
    assert server.ask(base).json()["changes"]
    assert server.ask(f"{base}/discard", "POST", If_Match="*").json()["cages"] == [cage]
    assert server.ask(base).json()["settled"] == "discarded"


def test_smuggled_requests_reach_nobody(server: ApiServer) -> None:
    """What two programs could read as one request or as two."""
    auth = f"Authorization: Bearer {server.token}\r\n"
    host = f"Host: 127.0.0.1:{server.port}\r\n"
    inner = f"GET {BASE}/version HTTP/1.1\r\n{host}{auth}\r\n"
    last = inner.replace(auth, f"{auth}Connection: close\r\n")
    post = f"POST {BASE}/session HTTP/1.1\r\n{host}{auth}"
    cases = [
        f"{post}Content-Length: {len(inner)}\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n{inner}",
        f"{post}Content-Length: 0\r\nContent-Length: {len(inner)}\r\n\r\n{inner}",
        f"{post}Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n\r\n0\r\n\r\n{inner}",
        f"{post}Content-Length : {len(inner)}\r\n\r\n{inner}",
        f"{post}Transfer-Encoding:\x0bchunked\r\n\r\n0\r\n\r\n{inner}",
        f"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n{inner}",
    ]
    for text in (case.replace(inner, last) for case in cases):
        statuses = _raw(server.port, text)
        assert len(statuses) <= 1 and not [s for s in statuses if s < 400], (text, statuses)
    good = f"{post}Content-Length: 0\r\n\r\n{last}"
    assert _raw(server.port, good) == [200, 200]  # control: two clear requests are two


def _raw(port: int, text: str) -> list[int]:
    with socket.create_connection(("127.0.0.1", port), 60) as raw:
        raw.sendall(text.encode("latin-1"))
        data = b""
        while piece := raw.recv(1 << 16):
            data += piece
    return [int(part[:3]) for part in data.decode("latin-1").split("HTTP/1.1 ")[1:]]


def test_it_does_not_serve_as_root_nor_where_others_listen(daemon: Daemon) -> None:
    done = daemon.ctl("serve", "--listen", "127.0.0.1:0")
    assert done.returncode == 125 and "as root" in done.stderr
    done = daemon.ctl("serve", "--listen", "0.0.0.0:0", uid=NOBODY)
    assert done.returncode == 125 and "without TLS" in done.stderr
    done = daemon.ctl("serve", "--tls-cert", "/etc/hostname", uid=NOBODY)
    assert done.returncode == 125 and "--tls-key" in done.stderr
    done = daemon.ctl(
        "serve", "--tls-cert", "/etc/hostname", "--tls-key", "/etc/hostname", uid=NOBODY
    )
    assert done.returncode == 125 and "PEM" in done.stderr


def test_a_port_that_is_taken_is_said(server: ApiServer) -> None:
    done = server.daemon.ctl("serve", "--listen", f"127.0.0.1:{server.port}", uid=NOBODY)
    assert done.returncode == 125 and "already" in done.stderr and "--listen" in done.stderr


def test_without_its_libraries_it_names_the_package(
    daemon: Daemon, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """A module of that name that is not there, in the place of the real one."""
    code = (
        "import sys; sys.modules['hypercorn'] = None\n"
        "from akiosctl.cli import run_command\n"
        "sys.exit(run_command(['serve', '--listen', '127.0.0.1:0']))"
    )
    done = subprocess.run(
        [sys.executable, "-I", "-c", code], **daemon.as_user(NOBODY), capture_output=True, text=True
    )
    assert done.returncode == 125, done.stderr
    assert "akios-api" in done.stderr and "hypercorn" in done.stderr
