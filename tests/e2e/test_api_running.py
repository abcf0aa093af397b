"""Cages run by the REST API: begun, fed, listened to, paused and taken down, as by the verbs."""

from __future__ import annotations

import base64
import hashlib
import json
import os
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from akiosctl.api.endpoints import BASE
from tests.e2e.api_server import Answer, ApiServer, Follower
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.resources import wait_until

JSON = {"Content_Type": "application/json"}


@pytest.fixture(scope="module")
def server(daemon: Daemon) -> Iterator[ApiServer]:
    with ApiServer(daemon) as made:
        yield made


def begin(server: ApiServer, path: str = "/cages", token: str | None = None, **body: Any) -> Answer:
    headers = dict(JSON)
    if "key" in body:
        headers["Idempotency_Key"] = body.pop("key")
    data = json.dumps(body).encode()
    return server.ask(f"{BASE}{path}", "POST", token, data, **headers)


def run(server: ApiServer, *argv: str, **body: Any) -> dict[str, Any]:
    """The cage once it has ended."""
    begun = begin(server, argv=argv, **body)
    assert begun.status == 202, begun.body
    return wait_end(server, begun.json()["cage"])


def wait_end(server: ApiServer, cage: str) -> dict[str, Any]:
    while not (found := server.ask(f"{BASE}/cages/{cage}?wait=20").json())["ended_ns"]:
        pass
    answer: dict[str, Any] = found
    return answer


def output(server: ApiServer, cage: str, **headers: str) -> Answer:
    return server.ask(f"{BASE}/cages/{cage}/output", **headers)


def finish(server: ApiServer, begun: Answer) -> dict[str, Any]:
    assert begun.status == 202, begun.body
    where = f"{begun.headers['location']}?wait=20"
    while (job := server.ask(where).json())["state"] == "running":
        pass
    assert job["state"] == "done", job
    found: dict[str, Any] = job["result"]
    return found


def test_a_key_outlives_the_server_that_took_it(daemon: Daemon) -> None:
    """It is killed, as by an out-of-memory kill, and the client asks again."""
    with ApiServer(daemon, uid=OTHER) as first:
        token = first.token
        begun = begin(first, argv=["sleep", "20"], key="once", token=token)
        assert begun.status == 202, begun.body
        first.process.kill()
        first.process.wait(30)
    with ApiServer(daemon, uid=OTHER) as second:
        again = begin(second, argv=["sleep", "20"], key="once", token=token)
        assert again.status == 202 and again.json()["cage"] == begun.json()["cage"]
        # The control: another key begins another.
        other = begin(second, argv=["true"], key="twice", token=token)
        assert other.status == 202 and other.json()["cage"] != begun.json()["cage"]
        assert begin(second, argv=["true"], key="once", token=token).status == 422
    home = Path(daemon.as_user(OTHER)["env"]["HOME"])
    kept = home / ".local/state/akios/api-idempotency-keys"
    assert kept.stat().st_mode & 0o777 == 0o600 and kept.stat().st_uid == OTHER
    assert b"once" not in kept.read_bytes() and token.encode() not in kept.read_bytes()


def test_a_program_runs_with_what_the_request_says(server: ApiServer) -> None:
    begun = begin(
        server,
        argv=["sh", "-c", "cat; cat lib/a; ./tool; pwd; echo $WORD; exit 3"],
        files=[
            {"path": "lib/a", "text": "from a file\n"},
            {"path": "tool", "text": "#!/bin/sh\necho a tool\n", "executable": True},
        ],
        env={"WORD": "two words"},
        stdin="from the input\n",
        name="by-api",
        memory="64M",
    )
    assert begun.status == 202, begun.body
    cage = begun.json()["cage"]
    assert begun.headers["location"] == f"{BASE}/cages/{cage}" and begun.json()["name"] == "by-api"
    ended = wait_end(server, cage)
    assert (ended["exit_code"], ended["changes"]) == (3, False)
    lines = output(server, cage).body.decode().splitlines()
    assert lines[:3] == ["from the input", "from a file", "a tool"]
    assert lines[3:] == [ended["workspace"], "two words"]


def test_a_large_input_reaches_one_that_reads_late(server: ApiServer) -> None:
    given = base64.b64encode(bytes(range(256)) * 2000).decode()
    ended = run(server, "sh", "-c", "sleep 0.2; sha256sum | cut -c1-8", stdin_base64=given)
    assert ended["exit_code"] == 0
    wanted = hashlib.sha256(base64.b64decode(given)).hexdigest()[:8]
    assert output(server, ended["cage"]).body.decode().strip() == wanted
    # Control: without an input it is at its end at once.
    assert output(server, run(server, "wc", "-c")["cage"]).body == b"0\n"


def test_limits_and_policy_of_the_request_hold(server: ApiServer) -> None:
    text = "version: 1\nlimits: {memory: 32M}\n"
    eater = "x = bytearray(200 << 20)"
    ended = run(server, "/usr/bin/python3", "-c", eater, policy_text=text)
    assert ended["exit_code"] == 137 and "memory" in ended["reason"]
    assert run(server, "/usr/bin/python3", "-c", eater)["exit_code"] == 0  # control
    for bad in (
        {"policy_text": "version: 1\nwhat: 1\n"},
        {"memory": "much"},
        {"cwd": "../.."},
        {"memory": "100"},
    ):
        answer = begin(server, argv=["true"], **bad)
        assert answer.status == 409 and answer.json()["next"], answer.body
        assert "--" not in answer.json()["where"] + answer.json()["next"], answer.body


def test_a_workspace_of_the_users_is_shown_and_changed_by_a_commit(
    daemon: Daemon, server: ApiServer
) -> None:
    workspace = daemon.workspace(uid=NOBODY)
    (workspace / "sub").mkdir()
    os.chown(workspace / "sub", NOBODY, NOBODY)
    ended = run(server, "sh", "-c", "echo new > made", workspace=str(workspace), cwd="sub")
    assert ended["changes"] and not (workspace / "sub/made").exists()
    base = f"{BASE}/cages/{ended['cage']}"
    looked = server.ask(f"{base}/diff")
    assert looked.status == 200, looked.body
    tag = looked.headers["etag"]
    assert finish(server, server.ask(f"{base}/commit", "POST", If_Match=tag))["committed"]
    assert (workspace / "sub" / "made").read_text() == "new\n"
    script = "ln -s /etc/passwd /w/out".replace("/w", str(workspace))
    ended = run(server, "sh", "-c", script, workspace=str(workspace))
    base = f"{BASE}/cages/{ended['cage']}"
    job = server.ask(f"{base}/commit", "POST", If_Match="*").json()["id"]
    failed = server.ask(f"{BASE}/jobs/{job}?wait=25").json()
    assert (
        "skip_refused=true" in failed["error"]["next"]
        and f"GET {base}/diff" in (failed["error"]["next"])
    )
    assert "--" not in failed["error"]["next"] and "force" not in failed["error"]["next"]
    others = daemon.workspace(uid=OTHER)
    others.chmod(0o700)
    answer = begin(server, argv=["true"], workspace=str(others))
    assert answer.status == 409 and str(others) in answer.json()["detail"]


def test_a_retry_begins_no_second_cage(server: ApiServer) -> None:
    asked = {"argv": ["true"], "key": "once-only"}
    with ThreadPoolExecutor(4) as pool:
        cages = {a.json()["cage"] for a in pool.map(lambda _: begin(server, **asked), range(4))}
    assert len(cages) == 1
    assert begin(server, argv=["false"], key="once-only").status == 422
    assert begin(server, argv=["true"], key="another").json()["cage"] not in cages


def test_a_key_is_for_one_request_to_a_standing_cage(server: ApiServer) -> None:
    cage = begin(server, standing=True, name="keys").json()["cage"]
    path, long = f"/cages/{cage}/exec", "x" * 300
    asked: dict[str, Any] = {"argv": ["sh", "-c", "cat; echo $X", long], "stdin": "1\n", "key": "k"}
    jobs = [begin(server, path, **asked) for _ in range(2)]
    assert finish(server, jobs[0])["stdout"] == "1\n\n"
    assert jobs[0].json()["id"] == jobs[1].json()["id"]
    others: list[dict[str, Any]] = [
        {"stdin": "2\n"}, {"env": {"X": "1"}}, {"cwd": "/tmp"}, {"timeout_seconds": 1},
        {"argv": ["sh", "-c", "cat; echo $X", long + "y"]},
        {"argv": ["sh", "-c", f"cat; echo $X {long}"]},
    ]  # fmt: skip
    for other in others:
        assert begin(server, path, **{**asked, **other}).status == 422, other
    done = finish(server, begin(server, path, **{**asked, "stdin": "2\n", "key": "another"}))
    assert done["stdout"] == "2\n\n", "the control"
    down, key = f"{BASE}/cages/{cage}/down", {"Idempotency_Key": "down"}
    job = server.ask(f"{down}?fast=true", "POST", **key)
    assert server.ask(f"{down}?fast=true&discard=true", "POST", **key).status == 422
    assert finish(server, job)["name"] == "keys"


def test_a_commit_by_another_tag_is_another_request(daemon: Daemon, server: ApiServer) -> None:
    """The first did nothing, and so must not be the answer to the second."""
    workspace = daemon.workspace(uid=NOBODY)
    cage = run(server, "sh", "-c", "echo new > made", workspace=str(workspace))["cage"]
    base, key = f"{BASE}/cages/{cage}", {"Idempotency_Key": "commit"}
    wrong = server.ask(f"{base}/commit", "POST", If_Match=f'"{"0" * 32}"', **key).json()["id"]
    assert server.ask(f"{BASE}/jobs/{wrong}?wait=25").json()["state"] == "failed"
    tag = server.ask(f"{base}/diff").headers["etag"]
    for query, match in (("", tag), ("?force=true", f'"{"0" * 32}"')):
        got = server.ask(f"{base}/commit{query}", "POST", If_Match=match, **key)
        assert got.status == 422 and "new key" in got.json()["next"], got.body
    done = server.ask(f"{base}/commit", "POST", If_Match=tag, Idempotency_Key="commit-it")
    assert finish(server, done)["committed"] == 1 and (workspace / "made").exists()


def test_output_is_read_in_ranges_and_followed(server: ApiServer) -> None:
    ended = run(server, "sh", "-c", "printf 0123456789; sleep 0.3; printf abc >&2")
    cage = ended["cage"]
    whole = output(server, cage)
    assert (whole.status, whole.body) == (200, b"0123456789abc")
    part = output(server, cage, Range="bytes=2-4")
    assert (part.status, part.body) == (206, b"234")
    assert part.headers["content-range"] == "bytes 2-4/13"
    assert output(server, cage, Range="bytes=-3").body == b"abc"
    assert output(server, cage, Range="bytes=13-").status == 416
    with Follower(server, path=f"/cages/{cage}/output/follow") as follower:
        while follower.next()["event"] != "end":
            pass
    pages = server.ask(f"{BASE}/cages/{cage}/logs?offset=5").json()
    assert not pages["running"]
    assert "".join(piece["text"] for piece in pages["pieces"]) == "56789abc"
    assert pages["next"] == 13
    with Follower(server, path=f"/cages/{cage}/output/follow?offset=1") as follower:
        first = follower.next("output")
        assert first["data"]["text"].startswith("123456789")
    with Follower(server, path=f"/cages/{cage}/output/follow", Last_Event_ID="10") as follower:
        assert follower.next()["data"]["text"] == "abc"
        assert follower.next()["event"] == "end"


def test_output_is_followed_while_it_comes(server: ApiServer) -> None:
    words = "trap 'echo second; exit' TERM; echo first; while :; do sleep 0.05; done 2>&-"
    cage = begin(server, argv=["sh", "-c", words]).json()["cage"]
    with Follower(server, path=f"/cages/{cage}/output/follow") as follower:
        assert follower.next()["data"]["text"] == "first\n"
        assert server.ask(f"{BASE}/cages/{cage}/stop", "POST").status == 200
        told = ""
        while (event := follower.next())["event"] != "end":
            told += event["data"]["text"]
    assert "second\n" in told


def _down(server: ApiServer, cage: str, query: str = "") -> Answer:
    return server.ask(f"{BASE}/cages/{cage}/down?{query}", "POST")


def test_a_standing_cage_from_up_to_down(server: ApiServer) -> None:
    begun = begin(server, standing=True, name="stands", files=[{"path": "a", "text": "A\n"}])
    assert begun.status == 202, begun.body
    cage, workspace = begun.json()["cage"], Path(begun.json()["workspace"])
    assert workspace.is_dir()
    base = f"/cages/{cage}"
    done = finish(server, begin(server, f"{base}/exec", argv=["cat", "a", "-"], stdin="input\n"))
    assert (done["exit_code"], done["stdout"]) == (0, "A\ninput\n")
    put = server.ask(
        f"{BASE}{base}/files?path=b", "PUT", body=b"12345", Content_Type="application/octet-stream"
    )
    assert put.status == 200 and put.json()["bytes"] == 5, put.body
    server.ask(
        f"{BASE}{base}/files?path=b&offset=5", "PUT", body=b"678",
        Content_Type="application/octet-stream",
    )  # fmt: skip
    assert server.ask(f"{BASE}{base}/files?path=b").body == b"12345678"
    looked = server.ask(f"{BASE}{base}/diff")
    assert looked.status == 200 and looked.headers["etag"], looked.body
    assert [(one["path"], one["kind"]) for one in looked.json()["changes"]] == [("b", "added")]
    assert server.ask(f"{BASE}{base}/files?path=b&offset=6&limit=1").body == b"7"
    lost = server.ask(f"{BASE}{base}/files?path=nothing")
    assert lost.status == 404 and lost.json()["detail"] == "nothing cannot be read: it is not there"
    assert "ls -la" in lost.json()["next"]
    octets = {"Content_Type": "application/octet-stream"}
    deep = f"{BASE}{base}/files?path=new/dir/%C3%BC"
    assert server.ask(deep, "PUT", body=b"x", **octets).status == 200
    assert server.ask(deep).body == b"x"
    assert server.ask(f"{BASE}{base}/pause", "POST").status == 200
    assert server.ask(f"{BASE}{base}/status").json()["state"] == "paused"
    assert server.ask(f"{BASE}{base}/resume", "POST").status == 200
    assert server.ask(f"{BASE}{base}/status").json()["state"] == "up"
    slow = finish(server, begin(server, f"{base}/exec", argv=["sleep", "600"], timeout_seconds=0.3))
    assert (slow["exit_code"], slow["kind"]) == (137, "timeout")
    assert finish(server, _down(server, cage, "fast=true"))["name"] == "stands"
    assert server.ask(f"{BASE}{base}").status == 404 and not workspace.exists()


def test_much_output_of_a_program_is_cut_in_the_middle(server: ApiServer) -> None:
    cage = begin(server, standing=True, name="talks").json()["cage"]
    words = "echo begin; head -c 2000000 /dev/zero | tr '\\0' x; echo end; echo no >&2; exit 7"
    done = finish(server, begin(server, f"/cages/{cage}/exec", argv=["sh", "-c", words]))
    assert done["exit_code"] == 7 and done["stderr"] == "no\n" and done["left_out"] > 1_000_000
    assert done["stdout"].startswith("begin\n") and done["stdout"].endswith("xend\n")
    finish(server, _down(server, cage, "fast=true"))


def test_files_are_those_of_the_cage(daemon: Daemon, server: ApiServer) -> None:
    """What is the host's is not there, whatever path is named, and whatever a link says."""
    secret = daemon.workspace(uid=NOBODY) / "secret"
    secret.write_text("of the host\n")
    cage = begin(server, standing=True, name="inside").json()["cage"]
    base = f"{BASE}/cages/{cage}/files"
    exec_ = f"/cages/{cage}/exec"
    finish(server, begin(server, exec_, argv=["ln", "-s", str(secret), "link"]))
    finish(server, begin(server, exec_, argv=["mkfifo", "pipe"]))
    for path in (str(secret), "link", "/proc/1/root/etc/shadow", f"../../{secret}", "/etc/shadow"):
        got = server.ask(f"{base}?path={path}")
        assert got.status == 404, (path, got.body)
    for path in ("/etc/passwd2", "/usr/bin/x", "link"):
        got = server.ask(
            f"{base}?path={path}", "PUT", body=b"x", Content_Type="application/octet-stream"
        )
        assert got.status == 409, (path, got.body)
    assert secret.read_text() == "of the host\n"
    assert server.ask(f"{base}?path=/etc/passwd").status == 200  # control: the cage's own
    finish(server, _down(server, cage, "fast=true"))


def test_what_a_workflow_asks_is_answered(daemon: Daemon, server: ApiServer) -> None:
    project = daemon.workspace(uid=NOBODY)
    (project / "w.yml").write_text(
        "name: w\nsteps:\n- {name: agree, agent: approve, action: ask, config: {timeout: 60}, "
        "parameters: {message: so}}\n"
    )
    process = daemon.popen(
        "workflow", "run", "w.yml", "--json", uid=NOBODY, cwd=project, stdout=-1, stderr=-1
    )
    assert process.stderr is not None
    while b"waits for a person" not in (line := process.stderr.readline()):
        assert line
    asked = server.ask(f"{BASE}/approvals").json()["questions"]
    assert [(one["workflow"], one["message"]) for one in asked] == [("w", "so")]
    said = begin(server, f"/approvals/{asked[0]['id']}", yes=True, comment="by API")
    assert said.json() == {"id": asked[0]["id"], "state": "approved", "by": "nobody"}
    out, _ = process.communicate(timeout=90)
    assert process.returncode == 0 and json.loads(out)["status"] == "success"
    runs = server.ask(f"{BASE}/workflows/runs").json()["runs"]
    assert [one["status"] for one in runs if one["workspace"] == str(project)] == ["success"]
    assert begin(server, f"/approvals/{asked[0]['id']}", yes=True).status == 404


def test_followers_of_output_that_leave_at_once_leave_no_descriptor(server: ApiServer) -> None:
    cage = begin(server, argv=["sh", "-c", "echo said; sleep 1000"]).json()["cage"]
    asked = (
        f"GET {BASE}/cages/{cage}/output/follow HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n"
        f"Authorization: Bearer {server.token}\r\n\r\n"
    )

    def held() -> int:
        names = (os.readlink(fd) for fd in Path(f"/proc/{server.process.pid}/fd").iterdir())
        return sum(name.endswith("/output.log") for name in names)

    with Follower(server, path=f"/cages/{cage}/output/follow") as follower:
        follower.next("output")
        assert wait_until(lambda: held() > 0)  # the control
    for number in range(40):
        with socket.create_connection(("127.0.0.1", server.port)) as left:
            left.sendall(asked.encode())
            time.sleep(0.002 * number)  # at every moment of the answer
    assert wait_until(lambda: held() == 0), held()
    assert server.ask(f"{BASE}/cages/{cage}/stop", "POST").status == 200


MAPPED = """
import mmap, os
os.makedirs("d")
with open("d/run.sh", "w+b") as file:
    file.write(b"safe")
    file.flush()
    there = mmap.mmap(file.fileno(), 4)
there[:] = b"safe"
before = os.stat("d/run.sh")
open("/tmp/ready", "w").close()
open("/tmp/go").close()
if WORD != b"safe":
    there[:] = WORD
    os.utime("d/run.sh", ns=(before.st_atime_ns, before.st_mtime_ns))
open("/tmp/done", "w").close()
"""


@pytest.mark.parametrize("word", ["evil", "safe"])
def test_what_was_swapped_behind_the_diff_is_not_committed(
    word: str, daemon: Daemon, server: ApiServer
) -> None:
    """By a mapping that was written to before: the size stays, and so does the time.  Control: the
    tag of then commits what is as it was.
    """
    workspace = daemon.workspace(uid=NOBODY)
    cage = begin(server, standing=True, name=f"swaps-{word}", workspace=str(workspace)).json()
    base = f"/cages/{cage['cage']}"

    def execute(*argv: str) -> None:
        assert finish(server, begin(server, f"{base}/exec", argv=argv))["exit_code"] == 0

    execute("mkfifo", "/tmp/ready", "/tmp/go", "/tmp/done")
    code = MAPPED.replace("WORD", repr(word.encode()))
    swaps = begin(server, f"{base}/exec", argv=["python3", "-c", code])
    execute("cat", "/tmp/ready")
    tag = server.ask(f"{BASE}{base}/diff").headers["etag"]
    assert tag == server.ask(f"{BASE}{base}/diff").headers["etag"]
    execute("sh", "-c", ": > /tmp/go; cat /tmp/done")
    assert finish(server, swaps)["exit_code"] == 0
    assert server.ask(f"{BASE}{base}/stop?grace=0", "POST").status == 200
    wait_end(server, cage["cage"])
    job = server.ask(f"{BASE}{base}/commit", "POST", If_Match=tag).json()["id"]
    ended = server.ask(f"{BASE}/jobs/{job}?wait=25").json()
    if word == "safe":
        assert ended["state"] == "done" and (workspace / "d/run.sh").read_text() == "safe", ended
    else:
        assert ended["state"] == "failed" and "If-Match" in ended["error"]["what"], ended
        assert not (workspace / "d").exists()
        now = server.ask(f"{BASE}{base}/diff").headers["etag"]
        assert now != tag
        done = finish(server, server.ask(f"{BASE}{base}/commit", "POST", If_Match=now))
        assert done["committed"] and (workspace / "d/run.sh").read_text() == "evil"
