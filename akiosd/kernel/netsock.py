"""Sockets made in another network namespace, by one native call, so that no Python thread ever
enters that namespace.
"""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Sequence
from typing import NamedTuple

from akiosd.errors import KernelError
from akiosd.kernel._shim import ffi, lib


class SocketSpec(NamedTuple):
    """One socket to make; ``address``: bytes of a struct sockaddr (empty: not bound), ``backlog`` <
    0: no listen.
    """

    domain: int
    type: int
    protocol: int = 0
    address: bytes = b""
    backlog: int = -1
    reuse_address: bool = True


def encode_inet_address(host: str, port: int) -> bytes:
    """struct sockaddr_in (ip(7)) or, for an IPv6 literal, sockaddr_in6 (ipv6(7))."""
    if ":" in host:
        return struct.pack(
            "=H2sI16sI",
            socket.AF_INET6,
            port.to_bytes(2, "big"),
            0,
            socket.inet_pton(socket.AF_INET6, host),
            0,
        )
    return struct.pack(
        "=H2s4s8x", socket.AF_INET, port.to_bytes(2, "big"), socket.inet_pton(socket.AF_INET, host)
    )


def open_sockets(netns_fd: int, specs: Sequence[SocketSpec]) -> list[int]:
    """Make the sockets in the namespace ``netns_fd``: non-blocking, close-on-exec, the caller's to
    close.  All or none.

    Raises KernelError naming the socket that failed, or setns.
    """
    raw = ffi.new("struct akios_socket_spec[]", max(len(specs), 1))
    for into, spec in zip(raw, specs, strict=False):
        if len(spec.address) > ffi.sizeof(into.address):
            raise ValueError(
                f"an address of {len(spec.address)} bytes is longer than any socket address"
            )
        into.domain, into.type, into.protocol, into.backlog = (
            spec.domain,
            spec.type,
            spec.protocol,
            spec.backlog,
        )
        into.reuse_address, into.address_len = spec.reuse_address, len(spec.address)
        ffi.memmove(into.address, spec.address, len(spec.address))
    fds = ffi.new("int[]", max(len(specs), 1))
    failed = ffi.new("size_t *")
    result: int = lib.akios_netns_sockets(netns_fd, raw, len(specs), fds, failed)
    if result < 0:
        where = str(specs[failed[0]]) if failed[0] < len(specs) else "setns"
        message = f"a socket in the cage's network cannot be made: {os.strerror(-result)}"
        raise KernelError(message, where=where, errno=-result)
    return list(fds[0 : len(specs)])
