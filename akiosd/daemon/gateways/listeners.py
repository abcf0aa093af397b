"""The sockets that a gateway serves: made by akiosd in the cage's network namespace, before there
is a gateway.
"""

from __future__ import annotations

import socket
from collections.abc import Iterable
from typing import NamedTuple

from akiosd.gateway.net.names import LOCAL_PORTS, WEB_PORTS, capture_ports, local_ports
from akiosd.kernel.fds import Fd
from akiosd.kernel.netsock import SocketSpec, encode_inet_address, open_sockets
from akiosd.values.policy import Network
from akiosd.wire.gateway import Listener

_BACKLOG = 128
_DNS_PORT = 53


class Bound(NamedTuple):
    """A listening socket, and what it is for."""

    listener: Listener
    fd: Fd


_BASE = (
    Listener("dns", _DNS_PORT),
    Listener("dns-tcp", _DNS_PORT),
    *(Listener("local", port) for port in LOCAL_PORTS),
    *(Listener("capture", port) for port in WEB_PORTS),
)


def open_base(network: Fd) -> list[Bound]:
    """The sockets that nearly every cage needs, made in advance; they are the caller's.  Raises
    KernelError.
    """
    return _open(network, _BASE)


def fit(bound: list[Bound], network: Fd, policy: Network) -> None:
    """Change ``bound`` in place to what ``policy`` needs.  Raises PolicyError, KernelError."""
    served = local_ports(policy)
    # A provider's program that the agent starts itself may have the port.
    for found in [
        one for one in bound if one.listener.kind == "local" and one.listener.port not in served
    ]:
        bound.remove(found)
        found.fd.close()
    wanted = (Listener("capture", port) for port in capture_ports(policy) if port not in WEB_PORTS)
    bound += _open(network, wanted)


def _open(network: Fd, listeners: Iterable[Listener]) -> list[Bound]:
    wanted = list(listeners)
    if not wanted:
        return []
    numbers = open_sockets(network.fileno(), [_spec(listener) for listener in wanted])
    return [Bound(listener, Fd(number)) for listener, number in zip(wanted, numbers, strict=True)]


def _spec(listener: Listener) -> SocketSpec:
    # What is captured may have been sent to any address of the range; the rest to this machine
    # alone.
    host = "0.0.0.0" if listener.kind == "capture" else "127.0.0.1"
    if listener.kind == "dns":
        return SocketSpec(
            socket.AF_INET, socket.SOCK_DGRAM, 0, encode_inet_address(host, listener.port)
        )
    return SocketSpec(
        socket.AF_INET, socket.SOCK_STREAM, 0, encode_inet_address(host, listener.port), _BACKLOG
    )
