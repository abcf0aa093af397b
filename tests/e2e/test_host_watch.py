"""The watch over the host sees what it is there for: each thing planted outside is told, by name,
and goes again.
"""

from __future__ import annotations

import fcntl
import os
import socket
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager

import pytest

from tests.e2e import host_watch
from tests.e2e.daemon import Daemon

MIB = 1 << 20
F_SETPIPE_SZ = 1031


@contextmanager
def kernel_memory() -> Iterator[None]:
    """Pipes full of pages that are nobody's."""
    ends: list[int] = []
    try:
        for _ in range(300):
            ends += os.pipe()
            fcntl.fcntl(ends[-1], F_SETPIPE_SZ, MIB)
            os.write(ends[-1], bytes(MIB))
        yield
    finally:
        for end in ends:
            os.close(end)


@contextmanager
def sockets() -> Iterator[None]:
    with ExitStack() as stack:
        for _ in range(host_watch.SLACK["sockets"] // 2 + 600):
            for end in socket.socketpair():
                stack.enter_context(end)
        yield


@contextmanager
def files() -> Iterator[None]:
    ends: list[int] = []
    try:
        for _ in range(host_watch.SLACK["open files"] // 2 + 2000):
            ends += os.pipe()
        yield
    finally:
        for end in ends:
            os.close(end)


@contextmanager
def locks() -> Iterator[None]:
    with tempfile.TemporaryFile() as file:
        for number in range(host_watch.SLACK["record locks"] + 1000):
            fcntl.lockf(file, fcntl.LOCK_EX, 1, 2 * number)
        yield


PLANTS: dict[str, Callable[[], object]] = {
    "kernel memory, KiB": kernel_memory,
    "sockets": sockets,
    "open files": files,
    "record locks": locks,
}


@pytest.mark.parametrize("name", PLANTS)
def test_what_is_planted_on_the_host_is_told(daemon: Daemon, name: str) -> None:
    before = host_watch.read(daemon)
    with PLANTS[name]():  # type: ignore[attr-defined]
        told = host_watch.grown(before, host_watch.read(daemon))
        assert any(line.startswith(name) for line in told), told
    assert not [
        line
        for line in host_watch.grown_when_settled(before, lambda: host_watch.read(daemon))
        if line.startswith(name)
    ]


def test_a_cage_that_lives_on_is_told(daemon: Daemon) -> None:
    before = host_watch.read(daemon)
    with daemon.popen(
        "run",
        "--workspace",
        daemon.workspace(),
        "--",
        "sh",
        "-c",
        "for n in $(seq 80); do sleep 1000 & done; echo up; read line; kill 0",
        cwd=daemon.base,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
    ) as client:
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        told = host_watch.grown(before, host_watch.read(daemon))
        assert {line.split(":")[0] for line in told} >= {"processes in cages"}, told
        client.communicate(b"\n", timeout=60)
    assert host_watch.grown_when_settled(before, lambda: host_watch.read(daemon)) == []


@pytest.mark.parametrize("name", host_watch.SLACK)
def test_every_number_is_compared(daemon: Daemon, name: str) -> None:
    now = host_watch.read(daemon)
    slack = host_watch.SLACK[name]
    assert host_watch.grown(now, {**now, name: now[name] + slack}) == []
    assert host_watch.grown(now, {**now, name: now[name] + slack + 1})[0].startswith(name)
    fewer = host_watch.grown(now, {**now, name: now[name] - slack - 1})
    assert bool(fewer) == name.startswith(("wall clock", "host name"))


def test_the_wait_ends_with_what_stays(daemon: Daemon) -> None:
    before = host_watch.read(daemon)
    more = {**before, "open files": before["open files"] + 100_000}
    readings = iter([more, more, before])
    assert host_watch.grown_when_settled(before, lambda: next(readings)) == []
    assert len(host_watch.grown_when_settled(before, lambda: more, 0.1)) == 1
