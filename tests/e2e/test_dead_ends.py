"""Connections that no rule denied and that led nowhere are told, with what really leads there."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator

import pytest

from akiosd.values.policy import Network
from tests.e2e.caged import caged
from tests.e2e.daemon import NOBODY, Daemon

ASK = """
import socket, sys
for place in sys.argv[1:]:
    host, _, port = place.rpartition(":")
    try: print(socket.create_connection((host, int(port)), 5).recv(9).decode())
    except OSError as error: print(type(error).__name__)
"""
SERVE = "import socket\ns = socket.create_server(('127.0.0.1', 5432))\n"


@pytest.fixture(scope="module")
def port() -> Iterator[int]:
    """A server on the host's own loopback."""
    server = socket.create_server(("127.0.0.1", 0))

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                connection.sendall(b"the host")

    threading.Thread(target=serve, daemon=True).start()
    yield server.getsockname()[1]
    server.close()


@pytest.fixture(scope="module")
def named(port: int) -> Iterator[Daemon]:
    """A daemon whose administrator gave the host's server a name, as the hint says."""
    hosts = f"gateway: {{hosts: {{'host.internal': '127.0.0.1:{port}'}}}}\n"
    own = Daemon(hosts, "allow_widening: true\n").start()
    yield own
    own.close()


def test_the_hosts_port_is_told_and_what_reaches_it_does(
    daemon: Daemon, named: Daemon, port: int
) -> None:
    where = daemon.workspace(uid=NOBODY)
    done = daemon.run("python3", "-c", ASK, f"localhost:{port}", cwd=where, uid=NOBODY)
    (line,) = [line for line in done.stderr.splitlines() if "failed" in line]
    assert done.stdout == "ConnectionRefusedError\n" and f"localhost:{port} (" in line
    assert f"set network: {{allowed_domains: [host.internal:{port}]}} in /" in line, line
    assert (
        f"gateway: {{hosts: {{'host.internal': '127.0.0.1:{port}'}}}} in {daemon.config}, which"
        in line
    )
    told = daemon.ctl("why", cwd=where, uid=NOBODY).stdout
    assert f"in {daemon.config}, which" in told
    assert f"localhost:{port}" in told and "the host's are not the cage's" in told
    # What was told is written, and the same server answers: the control.
    with caged(named, Network(allowed_domains=(f"host.internal:{port}",))) as agent:
        answer = agent.do(f"connect('host.internal', {port})")
    assert answer == ["connected", "the host"]


def test_what_the_cage_serves_itself_is_no_news(daemon: Daemon) -> None:
    done = daemon.run("python3", "-c", SERVE + ASK.replace(".recv(9)", "").replace(".decode()", ""),
                      "localhost:5432", "127.0.0.1:443")  # fmt: skip
    assert "Error" not in done.stdout and "failed" not in done.stderr, done.stderr


@pytest.mark.parametrize(("place", "shown", "advice"), [
    ("192.0.2.7:443", "192.0.2.7:443 (1)", "ask for the host by its name"),
    ("2001:db8::7:443", "[2001:db8::7]:443 (1)", "ask for the host by its name"),
    ("api.openai.com:22", "port 22 (1)", "network: {allowed_domains: ['NAME:22']}"),
])  # fmt: skip
def test_addresses_and_ports_that_lead_nowhere(
    daemon: Daemon, place: str, shown: str, advice: str
) -> None:
    done = daemon.run("python3", "-c", ASK, place)
    (line,) = [line for line in done.stderr.splitlines() if "failed" in line]
    assert "Error" in done.stdout and shown in line and advice in line, done.stderr
