"""What a cage does to its network leaves another cage's alone: its requests, beside each attack, as
a printed ratio.

No time is asserted on: what is asserted is that every request of the other is answered, and that
the attack was real.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Iterator

import pytest
from akiosd.values.policy import Network

from tests.e2e.caged import Caged, caged
from tests.e2e.daemon import Daemon
from tests.e2e.upstreams import Upstream, answer

NAME = "site.example"
NETWORK = Network(allowed_domains=(NAME, "*.wild.example"), requests_per_minute=0)
REQUESTS = 60

ATTACKS = {
    "none": "",
    "a full processor": "spin()",
    "the same DNS question": "flood_dns(lambda n: 'denied.example')",
    "other DNS questions": "flood_dns(lambda n: f'{n}.denied.example')",
    "DNS questions of a wildcard": "flood_dns(lambda n: f'{n}.wild.example')",
    "connections": f"flood_connections(look({NAME!r})[0], 80)",
    "connections to no name": "flood_connections('198.19.{}.{}', 80)",
    "smuggled requests": f"flood_requests({NAME!r}, 'GET / HTTP/1.1\\r\\n\\r\\n')",
    "allowed requests": f"flood_requests({NAME!r}, 'GET / HTTP/1.1\\r\\nHost: {NAME}\\r\\n\\r\\n')",
    "bombs": f"flood_bombs({NAME!r})",
}


@pytest.fixture(scope="module")
def site() -> Iterator[Daemon]:
    with Upstream(lambda seen: answer()) as up:
        hosts = f"{{{NAME}: '127.0.0.1:{up.port}'}}"
        daemon = Daemon(f"gateway:\n  hosts: {hosts}\n", "allow_widening: true\n")
        try:
            yield daemon.start()
        finally:
            daemon.close()


@pytest.fixture(scope="module")
def neighbour(site: Daemon) -> Iterator[Caged]:
    with caged(site, NETWORK) as one:
        one.do(f"times('http://{NAME}/', 10)")
        yield one


@pytest.fixture(scope="module")
def idle(neighbour: Caged) -> float:
    return statistics.median(neighbour.do(f"times('http://{NAME}/', {REQUESTS})"))


@pytest.mark.parametrize("attack", ATTACKS)
def test_another_cage_goes_on(site: Daemon, neighbour: Caged, idle: float, attack: str) -> None:
    with caged(site, NETWORK) as agent:
        if ATTACKS[attack]:
            assert agent.do(f"start(lambda: {ATTACKS[attack]})") is None
            assert agent.do("wait_flooded(5)")
        begin = time.monotonic()
        found = neighbour.do(f"times('http://{NAME}/', {REQUESTS})")
        took = time.monotonic() - begin
        done = agent.do("flooded[0]")
        assert done >= 5 or not ATTACKS[attack], "the attack was one"
    busy = statistics.median(found)
    print(
        f"{attack:<28} {busy:6.1f} ms a request, {busy / idle:4.1f} times of idle; {done / took:7.0f} a second of it"
    )
    assert len(found) == REQUESTS
