"""What akiosd tells the service manager at which time; the manager is a socket of the test's."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
import trio

from akiosd.daemon.base import service as module
from akiosd.daemon.base.service import LONGEST_START_S, Service
from akiosd.values.service_manager import EXTENSION_S, ServiceFacts

PERIOD = 60.0


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    monkeypatch.chdir(tmp_path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind("notify")
        manager.setblocking(False)
        monkeypatch.setenv("NOTIFY_SOCKET", "notify")
        yield manager


def serving(service: Service, writing_since: float | None = None) -> Service:
    service.serving(lambda: ServiceFacts(cages=2), lambda: writing_since)
    return service


async def test_a_start_asks_for_more_time_while_it_lasts_and_not_for_ever() -> None:
    service, now = Service(), trio.current_time()
    service.starting("Reading the ledger")
    first = service.messages(now)
    assert first == [f"EXTEND_TIMEOUT_USEC={EXTENSION_S * 10**6}\nSTATUS=Reading the ledger"]
    assert service.messages(now + 1) == []
    assert service.messages(now + EXTENSION_S / 3 + 1) == first
    assert service.messages(now + LONGEST_START_S + 60) == []


async def test_the_watchdog_is_served_at_half_its_period() -> None:
    service, now = serving(Service(PERIOD)), trio.current_time()
    beats = [service.messages(now + step).count("WATCHDOG=1") for step in (0, 15, 29, 31, 45)]
    assert beats == [1, 0, 0, 1, 0]
    assert "WATCHDOG=1" not in serving(Service()).messages(now), "nobody waits for it"


async def test_a_part_that_hangs_is_left_to_the_watchdog(monkeypatch: pytest.MonkeyPatch) -> None:
    now = trio.current_time()
    for disk, beats in ((False, 0), (True, 1)):
        monkeypatch.setattr(module, "waits_for_disk", lambda disk=disk: disk)
        service = serving(Service(PERIOD), writing_since=now - 2 * PERIOD)
        assert service.messages(now).count("WATCHDOG=1") == beats
    # Nothing came back from a thread since the daemon began to serve.
    assert "WATCHDOG=1" not in serving(Service(PERIOD)).messages(now + PERIOD + 1)


async def test_the_status_is_sent_when_it_changes(told: socket.socket) -> None:
    service, now = serving(Service()), trio.current_time()
    assert told.recv(4096) == b"READY=1\nSTATUS=2 cages run"
    assert service.messages(now) == []
    service.refused = "akiosd.yaml, line 3"
    [line] = service.messages(now)
    assert line.endswith("akiosd.yaml, line 3 is not taken")
    service.stopping(lambda: "Stopping")
    assert told.recv(4096) == b"STOPPING=1\nSTATUS=Stopping"


async def test_the_loop_itself_serves_it(told: socket.socket) -> None:
    service = Service(period_s=0.2)
    async with trio.open_nursery() as nursery:
        nursery.start_soon(service.run)
        serving(service)
        seen = 0
        while seen < 3:
            await trio.lowlevel.wait_readable(told)
            seen += told.recv(4096) == b"WATCHDOG=1"
        nursery.cancel_scope.cancel()
