"""Connections that led nowhere, from records: what the cage or its gateway served is none."""

from __future__ import annotations

import socket
import struct
from collections.abc import Sequence

import msgspec
import pytest

from akiosctl.dead_ends import DeadEnds
from akiosd.daemon.cages.record_calls import count_dead_ends
from akiosd.values.policy import DEFAULT_POLICY
from akiosd.values.records import Syscall


def call(name: str, address: str, port: int) -> Syscall:
    if ":" in address:
        packed = socket.inet_pton(socket.AF_INET6, address)
        data = struct.pack("=H", 10) + struct.pack(">HI", port, 0) + packed + bytes(4)
    else:
        packed = socket.inet_pton(socket.AF_INET, address)
        data = struct.pack("=H", 2) + struct.pack(">H", port) + packed + bytes(8)
    return Syscall(ts=1, name=name, nr=42, pid=1, verdict="requested", address=data)


CASES: dict[str, tuple[Sequence[tuple[str, str, int]], list[str]]] = {
    "a port of the host's": ([("connect", "127.0.0.1", 5432), ("connect", "::1", 5432)], ["localhost:5432"]),
    "other spellings": ([("connect", "::ffff:127.0.0.9", 1), ("connect", "0.0.0.0", 1)], ["localhost:1"]),
    "served in the cage": ([("connect", "127.0.0.1", 8000), ("bind", "0.0.0.0", 8000)], []),
    "served on a port of the kernel's choice": ([("bind", "127.0.0.1", 0), ("connect", "127.0.0.1", 40000)], []),
    "not that one": ([("bind", "127.0.0.1", 0), ("connect", "127.0.0.1", 22)], ["localhost:22"]),
    "what the gateway serves": (
        [("connect", "127.0.0.1", port) for port in (53, 80, 443, 11434)] + [("connect", "198.18.0.1", 443)], [],
    ),
    "a name on another port": ([("connect", "198.18.0.1", 22), ("connect", "198.19.9.9", 22)], ["port 22"]),
    "addresses": ([("connect", "8.8.8.8", 53), ("connect", "2001:db8::1", 443)], ["8.8.8.8:53", "[2001:db8::1]:443"]),
    "no port": ([("connect", "8.8.8.8", 0), ("sendto", "8.8.8.8", 53)], []),
}  # fmt: skip


@pytest.mark.parametrize("name", CASES)
def test_what_leads_nowhere(name: str) -> None:
    calls, shown = CASES[name]
    ends = DeadEnds()
    for one in calls:
        ends.see(call(*one))
    assert [subject for subject, _, _ in ends.list_all(DEFAULT_POLICY)] == shown


@pytest.mark.parametrize(("address", "port", "counted"), [
    ("127.0.0.1", 5432, 1), ("::1", 5432, 1), ("198.18.0.1", 22, 1), ("8.8.8.8", 443, 1), ("198.20.0.1", 443, 1),
    ("127.0.0.1", 53, 0), ("198.18.0.1", 443, 0), ("198.19.0.1", 80, 0), ("127.0.0.1", 0, 0),
])  # fmt: skip
def test_a_glance_at_the_log(address: str, port: int, counted: int) -> None:
    """Whoever reads it whole finds no more than the glance has counted."""
    data = msgspec.msgpack.encode(call("connect", address, port))
    assert (
        count_dead_ends(data) == counted and count_dead_ends(memoryview(data + data)) == 2 * counted
    )


def test_many_are_bounded() -> None:
    ends = DeadEnds()
    for port in range(1, 3000):
        ends.see(call("connect", "192.0.2.1", port))
    assert len(list(ends.list_all(DEFAULT_POLICY))) == 500
