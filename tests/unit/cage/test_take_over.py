"""What a socket call gets in a cage without a network namespace."""

from __future__ import annotations

import errno
import socket
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.cage.take_over import (
    Join,
    Kind,
    Local,
    Refuse,
    StandIn,
    Verdict,
    Ways,
    decide_connect,
    decide_socket,
)

WAYS = Ways(frozenset((80, 443)), frozenset((11434,)))
KINDS: tuple[Kind, ...] = ("tcp", "dns", "taken", "other", "none")


def inet(address: str, port: int) -> bytes:
    return struct.pack("=H", socket.AF_INET) + struct.pack(
        ">H4s8x", port, socket.inet_aton(address)
    )


def inet6(address: str, port: int) -> bytes:
    packed = socket.inet_pton(socket.AF_INET6, address)
    return struct.pack("=H", socket.AF_INET6) + struct.pack(">HI16sI", port, 0, packed, 0)


def unix(path: bytes) -> bytes:
    return struct.pack("=H", socket.AF_UNIX) + path


@pytest.mark.parametrize(
    ("kind", "address", "verdict"),
    [
        ("tcp", inet("198.18.0.7", 443), Join("capture", "198.18.0.7", 443)),
        ("tcp", inet("198.19.255.255", 80), Join("capture", "198.19.255.255", 80)),
        ("tcp", inet6("::ffff:198.18.0.7", 443), Join("capture", "198.18.0.7", 443)),
        ("tcp", inet("198.18.0.7", 22), Refuse(errno.ECONNREFUSED)),
        ("tcp", inet("198.17.255.255", 443), Refuse(errno.ENETUNREACH)),
        ("tcp", inet("198.20.0.0", 443), Refuse(errno.ENETUNREACH)),
        ("tcp", inet("93.184.216.34", 443), Refuse(errno.ENETUNREACH)),
        ("tcp", inet6("2001:db8::1", 443), Refuse(errno.ENETUNREACH)),
        ("tcp", inet("127.0.0.1", 11434), Join("local", "127.0.0.1", 11434)),
        ("tcp", inet6("::1", 11434), Join("local", "127.0.0.1", 11434)),
        ("tcp", inet("127.0.0.1", 22), Refuse(errno.ECONNREFUSED)),
        ("tcp", inet("127.9.9.9", 443), Refuse(errno.ECONNREFUSED)),
        ("tcp", inet("10.0.0.1", 53), Join("dns-tcp")),
        ("dns", inet("10.0.0.1", 53), Join("dns")),
        ("dns", inet6("fe80::1", 53), Join("dns")),
        ("dns", inet("198.18.0.7", 443), Refuse(errno.ENETUNREACH)),
        ("dns", inet("198.18.0.7", 0), Refuse(errno.ENETUNREACH, told=False)),
        ("taken", inet("198.18.0.7", 443), Refuse(errno.EISCONN, told=False)),
        ("other", inet("198.18.0.7", 443), Refuse(errno.EAFNOSUPPORT, told=False)),
        ("none", inet("198.18.0.7", 443), Refuse(errno.ENOTSOCK, told=False)),
        ("tcp", inet("198.18.0.7", 443)[:15], Refuse(errno.EINVAL, told=False)),
        ("tcp", inet6("::1", 443)[:27], Refuse(errno.EINVAL, told=False)),
        ("tcp", b"\2", Refuse(errno.EINVAL, told=False)),
        ("tcp", struct.pack("=H14x", socket.AF_UNSPEC), Refuse(errno.EAFNOSUPPORT, told=False)),
        ("other", unix(b"/work/s\0rest"), Local(b"/work/s")),
        ("other", unix(b"s"), Local(b"s")),
        ("other", unix(b"\0name"), Refuse(errno.EPERM)),
        ("other", unix(b""), Refuse(errno.EPERM)),
        ("tcp", unix(b"/work/s"), Refuse(errno.EAFNOSUPPORT, told=False)),
    ],
)
def test_connections(kind: Kind, address: bytes, verdict: Verdict) -> None:
    assert decide_connect(kind, address, WAYS) == verdict


@given(st.sampled_from(KINDS), st.binary(max_size=128))
def test_whatever_an_agent_writes_leads_to_the_gateway_or_nowhere(
    kind: Kind, address: bytes
) -> None:
    found = decide_connect(kind, address, WAYS)
    if isinstance(found, Join) and found.way == "capture":
        assert found.address.startswith(("198.18.", "198.19.")) and found.port in (80, 443)
    if isinstance(found, Join) and found.way == "local":
        assert found.address.startswith("127.") and found.port == 11434
    if isinstance(found, Local):
        assert kind == "other" and found.path and b"\0" not in found.path


def test_sockets_keep_what_was_asked_for() -> None:
    flags = socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC
    assert decide_socket(socket.SOCK_STREAM) == StandIn("tcp", False, False)
    assert decide_socket(socket.SOCK_DGRAM | flags) == StandIn("dns", True, True)
