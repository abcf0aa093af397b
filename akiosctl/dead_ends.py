"""Connections that nothing can answer, from a cage's log: no rule denied them, they led nowhere.

A cage has a loopback of its own and no route out (ip(7): ECONNREFUSED, ENETUNREACH).  A record
shows what was asked for, never how it ended, so what the cage itself may have served is left out:
ports that something in it was bound to.  Pure.
"""

from __future__ import annotations

import ipaddress
import sys
from collections.abc import Iterator

from akiosd.gateway.net.remedies import Asked, served_ports
from akiosd.values.policy import Policy
from akiosd.values.records import Syscall

HERE, PORT, ADDRESS = "localhost", "network.port", "network.address"
_AF_INET, _AF_INET6 = 2, 10
_NAMES = ipaddress.IPv4Network("198.18.0.0/15")
_FIRST_EPHEMERAL = 32768  # ip(7), ip_local_port_range
_MAX = 500


class DeadEnds:
    """Connections and the ports that were served; what is left of the former is told."""

    def __init__(self) -> None:
        self._asked: dict[tuple[str, str, int], int] = {}
        self._bound: set[int] = set()

    def see(self, record: Syscall) -> None:
        """Count a ``connect``, note a ``bind``; anything else says nothing here."""
        place = parse_address(record.address) if record.address is not None else None
        if place is None:
            return
        address, port = place
        if record.name == "bind":
            self._bound.add(port)
        elif record.name == "connect" and port:
            kind, subject = _kind(address, port)
            key = (kind, subject, port)
            if key in self._asked or len(self._asked) < _MAX:
                self._asked[key] = self._asked.get(key, 0) + record.count

    def list_all(self, policy: Policy) -> Iterator[tuple[str, int, Asked]]:
        """Subject, count and what was asked for, of what the cage of this policy did not serve."""
        gateway, local = served_ports(policy)
        for (kind, subject, port), count in self._asked.items():
            if kind == PORT and port in gateway:
                continue
            if kind == HERE and (port in local or self._is_served(port)):
                continue
            yield subject, count, Asked(kind, subject.rpartition(":")[0], port)

    def _is_served(self, port: int) -> bool:
        return port in self._bound or (0 in self._bound and port >= _FIRST_EPHEMERAL)


def parse_address(data: bytes) -> tuple[ipaddress.IPv4Address | ipaddress.IPv6Address, int] | None:
    """Address and port of a struct sockaddr (ip(7), ipv6(7)); None for another family."""
    family, port = int.from_bytes(data[:2], sys.byteorder), int.from_bytes(data[2:4], "big")
    if family == _AF_INET and len(data) >= 8:
        return ipaddress.IPv4Address(data[4:8]), port
    if family == _AF_INET6 and len(data) >= 24:
        address = ipaddress.IPv6Address(data[8:24])
        return address.ipv4_mapped or address, port
    return None


def _kind(address: ipaddress.IPv4Address | ipaddress.IPv6Address, port: int) -> tuple[str, str]:
    if address.is_loopback or address.is_unspecified:
        return HERE, f"localhost:{port}"
    if address.version == 4 and address in _NAMES:
        return PORT, f"port {port}"
    return ADDRESS, f"[{address}]:{port}" if address.version == 6 else f"{address}:{port}"
