"""What a socket call gets in a cage without a network namespace: bytes and numbers in, a value out.

akiosd has copied the address out of the agent's memory, and acts on that copy: what the agent makes
of its memory meanwhile changes nothing.  Pure.
"""

from __future__ import annotations

import errno
import ipaddress
import struct
from typing import Literal

import msgspec

from akiosd.values.syscalls import AF_INET, AF_INET6, AF_UNIX, SOCK_DGRAM, SOCK_TYPE_MASK

SOCK_NONBLOCK, SOCK_CLOEXEC = 0o4000, 0o2000000
DNS_PORT = 53
_RANGE = ipaddress.IPv4Network("198.18.0.0/15")
_LOOPBACK = ipaddress.IPv4Network("127.0.0.0/8")

Kind = Literal["tcp", "dns", "taken", "other", "none"]
"""What the agent's descriptor is: a stand-in for a connection or for the resolver's datagrams, a
connection that it was given, another socket, no socket.
"""
Way = Literal["capture", "local", "dns", "dns-tcp"]


class StandIn(msgspec.Struct, frozen=True):
    """The agent gets a closed socket, which :class:`Join` may replace."""

    kind: Literal["tcp", "dns"]
    nonblocking: bool
    cloexec: bool


class Join(msgspec.Struct, frozen=True):
    """A connection to the agent's own gateway takes the stand-in's place."""

    way: Way
    address: str = ""
    port: int = DNS_PORT


class Local(msgspec.Struct, frozen=True):
    """The unix socket at ``path``, if that lies where the agent may write."""

    path: bytes


class Refuse(msgspec.Struct, frozen=True):
    """The call fails with ``errno``; ``told``: that is a denial, for the log."""

    errno: int
    told: bool = True


Verdict = StandIn | Join | Local | Refuse


class Ways(msgspec.Struct, frozen=True):
    """Which ports lead to the gateway: of names, and of this machine."""

    captured: frozenset[int]
    local: frozenset[int]


def decide_socket(type_: int) -> StandIn:
    """For a call that the table has let through: a stream, or datagrams, of the internet."""
    datagrams = type_ & SOCK_TYPE_MASK == SOCK_DGRAM
    return StandIn(
        "dns" if datagrams else "tcp", bool(type_ & SOCK_NONBLOCK), bool(type_ & SOCK_CLOEXEC)
    )


def decide_connect(kind: Kind, address: bytes, ways: Ways) -> Verdict:
    """``address`` is a struct sockaddr (unix(7), ip(7), ipv6(7)) as it was copied."""
    if kind == "none":
        return Refuse(errno.ENOTSOCK, told=False)
    if len(address) < 2:
        return Refuse(errno.EINVAL, told=False)
    family = struct.unpack_from("=H", address)[0]
    if family == AF_UNIX:
        return _local(kind, address[2:])
    if kind == "taken":
        return Refuse(errno.EISCONN, told=False)
    if family not in (AF_INET, AF_INET6) or kind == "other":
        return Refuse(errno.EAFNOSUPPORT, told=False)
    found = _internet(family, address)
    if found is None:
        return Refuse(errno.EINVAL, told=False)
    host, port = found
    return _datagrams(port) if kind == "dns" else _stream(host, port, ways)


def _local(kind: Kind, path: bytes) -> Verdict:
    if kind != "other":
        return Refuse(errno.EAFNOSUPPORT, told=False)
    # An abstract name is everybody's; akiosd, which would connect, is under no scope.
    if not path.startswith(b"/") and path[:1] in (b"", b"\0"):
        return Refuse(errno.EPERM)
    return Local(path.split(b"\0", 1)[0])


def _internet(family: int, address: bytes) -> tuple[ipaddress.IPv4Address | None, int] | None:
    """(address, port); the address is None where it is none of IPv4."""
    if len(address) < (16 if family == AF_INET else 28):
        return None
    port = int.from_bytes(address[2:4], "big")
    if family == AF_INET:
        return ipaddress.IPv4Address(address[4:8]), port
    six = ipaddress.IPv6Address(address[8:24])
    if six == ipaddress.IPv6Address("::1"):
        return ipaddress.IPv4Address("127.0.0.1"), port
    return six.ipv4_mapped, port


def _datagrams(port: int) -> Verdict:
    # glibc's resolver also connects to what it found, to see from which address that would be: it
    # takes this for "not from any".
    return Join("dns") if port == DNS_PORT else Refuse(errno.ENETUNREACH, told=port not in (0, 9))


def _stream(host: ipaddress.IPv4Address | None, port: int, ways: Ways) -> Verdict:
    if port == DNS_PORT:
        return Join("dns-tcp")
    if host is not None and host in _LOOPBACK:
        return Join("local", str(host), port) if port in ways.local else Refuse(errno.ECONNREFUSED)
    if host is None or host not in _RANGE:
        return Refuse(errno.ENETUNREACH)
    if port not in ways.captured:
        return Refuse(errno.ECONNREFUSED)
    return Join("capture", str(host), port)
