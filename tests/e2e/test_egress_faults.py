"""Gateways that are killed, daemons that are restarted, upstreams that hang or break off, in the
middle of an answer.

Each time the agent sees an error and no answer that looks whole, nothing is let through in between,
and nothing stays behind: no process, no connection, no descriptor.  The control is the same
transfer undisturbed.
"""

from __future__ import annotations

import os
import signal
import socket
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosd.values.policy import Network
from tests.e2e import resources
from tests.e2e.caged import Caged, caged
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until
from tests.e2e.test_gateway_process import alive, gateways
from tests.e2e.upstreams import Authority, Seen, Upstream, answer

NAME, BROKEN = "stream.example", "broken.example"
NETWORK = Network(allowed_domains=(NAME, BROKEN), requests_per_minute=0)
PIECE = b"a piece of the answer\n"


class Streaming:
    """``/stream`` gives a first piece, and the others when ``go`` is set; ``/whole`` everything;
    else ``ok``.
    """

    def __init__(self) -> None:
        self.go = threading.Event()

    def handle(self, seen: Seen) -> bytes | Iterator[bytes]:
        if seen.target == "/whole":
            return answer(200, PIECE * 3)
        return self._stream() if seen.target == "/stream" else answer()

    def _stream(self) -> Iterator[bytes]:
        yield b"HTTP/1.1 200 OK\r\nContent-Length: %d\r\n\r\n" % (3 * len(PIECE)) + PIECE
        self.go.wait(60)
        yield PIECE
        yield PIECE


class Place:
    """A daemon, an upstream that streams, and one that says ``data`` and closes."""

    def __init__(self, daemon: Daemon, up: Upstream) -> None:
        self.daemon, self.up = daemon, up
        self.streaming = Streaming()
        self.data = b""

    def speak(self, connection: socket.socket) -> None:
        connection.recv(1 << 16)
        connection.sendall(self.data)


@pytest.fixture(scope="module")
def running(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Place]:
    authority = Authority()
    roots = Path(tmp_path_factory.mktemp("roots")) / "roots.pem"
    roots.write_bytes(authority.pem)
    with Upstream(authority=authority, names=(NAME,)) as up, Upstream() as broken:
        hosts = f"{{{NAME}: '127.0.0.1:{up.port}', {BROKEN}: '127.0.0.1:{broken.port}'}}"
        daemon = Daemon(f"gateway:\n  roots: {roots}\n  hosts: {hosts}\n", "allow_widening: true\n")
        place = Place(daemon, up)
        broken.raw = place.speak
        try:
            daemon.start()
            yield place
        finally:
            daemon.close()


@pytest.fixture
def place(running: Place) -> Iterator[Place]:
    running.streaming = Streaming()
    running.up.handler = running.streaming.handle
    yield running
    running.streaming.go.set()
    running.up.hang_up()


def begin(agent: Caged, path: str = "/stream") -> None:
    """Ask, and read until the first piece is there."""
    assert agent.do(f"begin('https://{NAME}{path}')") == PIECE.decode()


def test_the_control(place: Place) -> None:
    with caged(place.daemon, NETWORK) as agent:
        begin(agent)
        place.streaming.go.set()
        assert agent.do("rest()") == [PIECE.decode() * 2, "end"]


def test_a_gateway_that_is_killed_in_the_middle_of_an_answer(place: Place) -> None:
    assert place.daemon.process is not None
    with caged(place.daemon, NETWORK) as agent:
        begin(agent)
        pid = gateways(place.daemon)[agent.cage]
        address = agent.do(f"look({NAME!r})")
        os.kill(pid, signal.SIGKILL)
        text, how = agent.do("rest()")
        assert (text, how != "end") == ("", True), "an error, not an end"
        assert not connections_to(pid, place.up.port)
        assert agent.do(f"get('https://{NAME}/')") == [200, "ok"], "another serves"
        assert agent.do(f"look({NAME!r})") == address
        again = gateways(place.daemon)[agent.cage]
        assert again != pid and not alive(pid)
        agent.end()
        assert [record["what"] for record in agent.records("gateway_failed")] == [
            "it was killed by signal 9"
        ]
        assert agent.records()[-1]["kind"] == "end"
    assert wait_until(lambda: not alive(again) and not gateways(place.daemon))


def test_a_gateway_that_is_killed_again_and_again(place: Place) -> None:
    """It is made anew, later each time; in between connections wait or fail, and not one is let
    through unseen.
    """
    with caged(place.daemon, NETWORK) as agent:
        for _ in range(3):
            assert agent.do(f"get('https://{NAME}/')") == [200, "ok"]
            before = gateways(place.daemon)[agent.cage]
            os.kill(before, signal.SIGKILL)
            assert wait_until(lambda before=before: not alive(before))
        assert agent.do(f"get('https://{NAME}/')") == [200, "ok"]
        agent.end()
        assert len(agent.records("gateway_failed")) == 3


def test_a_daemon_that_is_restarted_in_the_middle_of_an_answer(place: Place) -> None:
    """Its cages go on, and so do their gateways; stopped, both are gone."""
    assert place.daemon.process is not None
    with caged(place.daemon, NETWORK) as agent:
        begin(agent)
        cage, pid = agent.cage, gateways(place.daemon)[agent.cage]
        agents = resources.caged_processes_of(place.daemon)
        place.daemon.stop(signal.SIGKILL)
        place.daemon.start()
        assert alive(pid) and agents <= set(resources.processes())
        assert place.daemon.ctl("stop", "--kill", cage).returncode == 0
        assert wait_until(lambda: not alive(pid)), "the gateway ends with its cage"
        assert wait_until(lambda: not agents & set(resources.processes())), "and the agent"
    assert wait_until(lambda: not gateways(place.daemon))
    done = place.daemon.ctl("ledger", "verify", cage)
    assert done.returncode == 0, done.stdout + done.stderr
    with caged(place.daemon, NETWORK) as agent:
        assert agent.do(f"get('https://{NAME}/')") == [200, "ok"]


def test_an_agent_that_leaves_in_the_middle_of_an_answer(place: Place) -> None:
    """The upstream is not asked for the rest."""
    with caged(place.daemon, NETWORK) as agent:
        begin(agent)
        agent.do("leave()")
        assert wait_until(lambda: bool(agent.records("net_request")))
        assert agent.records("net_request")[-1]["error"] == "the agent went away"
        assert not connections_to(gateways(place.daemon)[agent.cage], place.up.port)


def connections_to(pid: int, port: int) -> int:
    """TCP connections of a process to this port of loopback; none of one that is dead."""
    inodes = set()
    if not alive(pid):
        return 0
    for fd in os.listdir(f"/proc/{pid}/fd"):
        link = os.readlink(f"/proc/{pid}/fd/{fd}")
        if link.startswith("socket:["):
            inodes.add(link[8:-1])
    lines = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return sum(
        words[9] in inodes and int(words[2].partition(":")[2], 16) == port for words in lines
    )


BREAKS: dict[str, bytes] = {
    "before a word": b"",
    "in the middle of the status": b"HTTP/1.1 20",
    "in the middle of the head": b"HTTP/1.1 200 OK\r\nContent-Le",
    "no HTTP": b"SSH-2.0-OpenSSH_9.2\r\n\r\n",
    "a head of megabytes": b"HTTP/1.1 200 OK\r\nX: " + b"x" * (4 << 20),
    "another protocol": b"HTTP/1.1 101 Switching\r\nUpgrade: x\r\nConnection: upgrade\r\n\r\nanything",
    "two lengths": b"HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab",
}
LATER: dict[str, bytes] = {
    "in the middle of a body": b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n" + PIECE,
    "in the middle of a chunk": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n50\r\n"
    + PIECE,
    "between chunks": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n"
    + PIECE
    + b"\r\n",
    "a chunk that is none": b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n16\r\n"
    + PIECE
    + b"\r\nzz\r\n",
}


@pytest.mark.parametrize("case", [*BREAKS, *LATER])
def test_an_upstream_that_closes_early(place: Place, case: str) -> None:
    place.data = (BREAKS | LATER)[case]
    with caged(place.daemon, NETWORK) as agent:
        request = f"GET / HTTP/1.1\r\nHost: {BROKEN}\r\nConnection: close\r\n\r\n"
        text, how, _ms = agent.do(f"talk({BROKEN!r}, {request!r})")
        if case in BREAKS or (case == "a chunk that is none" and "502" in text):
            # Nothing of the answer was sent yet when it turned out to be none.
            assert text.startswith("HTTP/1.1 502") and "akios_failed" in text and how == "end", (
                text,
                how,
            )
        else:
            assert text.startswith("HTTP/1.1 200") and how == "ConnectionResetError", (
                "it cannot look whole"
            )
            assert not text.endswith("0\r\n\r\n")
        assert agent.do(f"get('https://{NAME}/')") == [200, "ok"]
        agent.end()
        [record] = [one for one in agent.records("net_request") if one["host"] == BROKEN]
        assert record["error"]
        assert not agent.records("gateway_failed")


def test_an_upstream_that_hangs(place: Place) -> None:
    """Others go on; when the agent gives up, the upstream's connection is closed, and the record
    says who left.
    """
    with caged(place.daemon, NETWORK) as agent:
        begin(agent)
        assert agent.do(f"get('https://{NAME}/')") == [200, "ok"], "beside it"
        assert agent.do(f"get('https://{NAME}/stream', timeout=1)")[1].startswith("TimeoutError")
        agent.do("leave()")
        assert wait_until(lambda: len(agent.records("net_request")) == 3)
        pid = gateways(place.daemon)[agent.cage]
        assert wait_until(lambda: connections_to(pid, place.up.port) <= 1), "the pool's"
        agent.end()
        errors = sorted(record.get("error", "") for record in agent.records("net_request"))
        assert errors == ["", "the agent went away", "the agent went away"]
