"""Denials are seen: at the end of a run, in its report, and by ``akiosctl why``; and what they say
helps.
"""

from __future__ import annotations

import http.server
import json
import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

PROBE = """
import os, socket
try: socket.getaddrinfo("api.openai.com", 443)
except OSError: print("no name")
else: print("a name")
try: os.chmod("probe.py", 0o755)
except OSError: print("no mode")
else: print("a mode")
"""
NARROW = "network: {providers: [anthropic]}\nsyscalls: {deny: [chmod]}\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    private = Daemon().start()
    yield private
    private.close()


@pytest.fixture
def project(daemon: Daemon) -> Path:
    path = daemon.workspace(uid=NOBODY)
    (path / "probe.py").write_text(PROBE)
    os.chown(path / "probe.py", NOBODY, NOBODY)
    (path / "akios.yaml").write_text(NARROW)
    return path


def test_a_run_ends_with_what_was_denied_and_the_file_that_allows_it(
    daemon: Daemon, project: Path
) -> None:
    done = daemon.run("python3", "probe.py", cwd=project, uid=NOBODY)
    lines = [line for line in done.stderr.splitlines() if "denied" in line]
    assert done.stdout == "no name\nno mode\n" and len(lines) == 2, done.stderr
    where = f"in {project}/akios.yaml, which you may change"
    assert (
        f"api.openai.com (2); set network: {{providers: [anthropic, openai]}} {where}" in lines[0]
    )
    assert "chmod probe.py (1); take chmod" in lines[1] and lines[1].endswith(
        f"out of syscalls.deny {where}"
    )
    # What was told is written, and the same program is let through: the control.
    (project / "akios.yaml").write_text(
        "network: {providers: [anthropic, openai]}\nsyscalls: {deny: []}\n"
    )
    done = daemon.run("python3", "probe.py", cwd=project, uid=NOBODY)
    assert done.stdout == "a name\na mode\n" and "denied" not in done.stderr


def test_quiet_says_nothing_and_json_has_a_field(daemon: Daemon, project: Path) -> None:
    done = daemon.run("python3", "probe.py", cwd=project, uid=NOBODY, flags=["--quiet"])
    assert done.stderr == ""
    found = daemon.report("python3", "probe.py", cwd=project, uid=NOBODY)
    assert [one["rule"] for one in found["denied"]] == ["network.allowed_domains", "files"]
    [setting] = [
        one["setting"] for one in found["denied"] if one["rule"] == "network.allowed_domains"
    ]
    assert setting == "network: {providers: [anthropic, openai]}"
    assert found["denied"][0]["files"] == [f"{project}/akios.yaml"]
    assert daemon.report("true", cwd=project, uid=NOBODY)["denied"] == []


def test_why_tells_it_again_and_says_when_the_policy_is_another(
    daemon: Daemon, project: Path
) -> None:
    daemon.run("python3", "probe.py", cwd=project, uid=NOBODY)
    done = daemon.ctl("why", cwd=project, uid=NOBODY)
    assert (
        done.returncode == 0 and "api.openai.com" in done.stdout and "chmod probe.py" in done.stdout
    )
    assert "had another policy" not in done.stdout
    found = json.loads(daemon.ctl("why", "--json", cwd=project, uid=NOBODY).stdout)
    assert found["same_policy"] and {one["rule"] for one in found["denied"]} == {
        "network.allowed_domains",
        "files",
    }
    (project / "akios.yaml").write_text("network: {providers: [anthropic, openai]}\n")
    done = daemon.ctl("why", found["cage"], cwd=project, uid=NOBODY)
    assert (
        "had another policy" in done.stdout and "the policy as it is now allows it" in done.stdout
    )
    daemon.run("true", cwd=project, uid=NOBODY)
    assert daemon.ctl("why", cwd=project, uid=NOBODY).stdout.endswith("was denied nothing\n")


def test_a_cage_knows_its_own_host_name(daemon: Daemon) -> None:
    ask = "import socket\nfor name in (socket.gethostname(), 'c-000000000000'):\n"
    ask += " try: print(socket.gethostbyname(name))\n except OSError: print('none')"
    assert daemon.run("python3", "-c", ask).stdout == "127.0.0.1\nnone\n"


def test_the_missing_interpreter_of_a_script_is_named(daemon: Daemon) -> None:
    path = daemon.workspace()
    (path / "tool").write_text("#!/opt/none/python3\n")
    (path / "tool").chmod(0o755)
    done = daemon.run("./tool", cwd=path)
    assert done.returncode == 127
    assert f"{path}/tool needs /opt/none/python3, which is not on this host" in done.stderr
    (path / "tool").write_text("#!/bin/sh\necho ran\n")
    assert daemon.run("./tool", cwd=path).stdout == "ran\n", "the control"


def test_shared_memory_that_is_full_is_named(daemon: Daemon) -> None:
    fill = "import mmap, os, sys\nfd = os.open('/dev/shm/x', os.O_RDWR | os.O_CREAT)\nsize = int(sys.argv[1]) << 20\n"
    fill += "os.ftruncate(fd, size)\nmmap.mmap(fd, size).write(bytes(size))"
    assert daemon.run("python3", "-c", fill, "80").returncode == 0, "the control"
    done = daemon.run("python3", "-c", fill, "80", flags=["--memory", "128M"])
    assert (
        done.returncode == 135
        and "/dev/shm may be full: it holds 64 MiB (limits.shm)" in done.stderr
    )


class Model(http.server.BaseHTTPRequestHandler):
    """Answers everything with an empty object."""

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("content-length", 0)))
        self.send_response(200)
        self.send_header("content-length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_message(self, format: str, *args: object) -> None:
        pass


@pytest.fixture
def model() -> Iterator[int]:
    """The port of a model of one's own."""
    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Model) as server:
        thread = threading.Thread(target=server.serve_forever, daemon=True)
        thread.start()
        yield server.server_port
        server.shutdown()


def test_models_that_are_reached_as_sites_are_told_at_the_end(model: int) -> None:
    """The control: a run that posts something else to the same site says nothing of it."""
    config = f"gateway:\n  hosts: {{llm.example: '127.0.0.1:{model}'}}\n"
    daemon = Daemon(config, "network: {allowed_domains: [llm.example]}\n")
    try:
        daemon.start()
        path = daemon.workspace(uid=NOBODY)

        def post(target: str) -> str:
            ask = f"curl -s --retry 5 --retry-all-errors -d '{{}}' http://llm.example{target}"
            done = daemon.run("sh", "-c", ask, cwd=path, uid=NOBODY)
            assert done.stdout == "{}", done.stderr
            return str(done.stderr)

        assert "mere sites" not in post("/docs")
        told = post("/v1/chat/completions")
        assert "mere sites: no budget holds them, and their key is inside: llm.example (1)" in told
        assert "gateway: {providers: {openai: {upstream: http://llm.example}}}" in told
        assert "llm.example" in daemon.ctl("why", cwd=path, uid=NOBODY).stdout
    finally:
        daemon.close()
