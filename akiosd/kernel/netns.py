"""Network namespaces of cages: loopback up, ``198.18.0.0/15`` local on it, no way out
(network_namespaces(7)).

The only user of pyroute2.  A namespace is made in a thread of its own that ends with it: a pooled
thread would keep the namespace and the next job would run in it.
"""

from __future__ import annotations

import errno
import functools
import os
import socket
import struct
import threading

import outcome
import trio
from pyroute2.netlink import NLM_F_ACK, NLM_F_CREATE, NLM_F_EXCL, NLM_F_REQUEST, NLMSG_ERROR
from pyroute2.netlink.rtnl import RTM_NEWLINK, RTM_NEWROUTE
from pyroute2.netlink.rtnl.ifinfmsg import IFF_UP, ifinfmsg
from pyroute2.netlink.rtnl.rtmsg import rtmsg

from akiosd.kernel import syscalls
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import CLONE_NEWNET

NAMES_RANGE = "198.18.0.0/15"
"""The benchmarking range of RFC 2544: no address of it is used on the internet."""

# include/uapi/linux/rtnetlink.h
_RTN_LOCAL = 2
_RT_TABLE_LOCAL = 255
_RT_SCOPE_HOST = 254
_RTPROT_STATIC = 4
# nlmsg_type, and error behind the whole header
_ACK = struct.Struct("=4xH10xi")


@functools.cache
def _requests() -> tuple[tuple[str, bytes], ...]:
    """Loopback up, and the range on it: the same bytes every time.  A library's socket for each
    costs 2 ms.
    """
    link = ifinfmsg()
    link["index"], link["flags"], link["change"] = 1, IFF_UP, IFF_UP
    link["header"] |= {
        "type": RTM_NEWLINK,
        "flags": NLM_F_REQUEST | NLM_F_ACK,
        "sequence_number": 1,
        "pid": 0,
    }
    link.encode()
    address, length = NAMES_RANGE.split("/")
    route = rtmsg()
    route["family"], route["dst_len"], route["table"] = socket.AF_INET, int(length), _RT_TABLE_LOCAL
    route["type"], route["scope"], route["proto"] = _RTN_LOCAL, _RT_SCOPE_HOST, _RTPROT_STATIC
    route["attrs"] = [("RTA_DST", address), ("RTA_OIF", 1)]
    flags = NLM_F_REQUEST | NLM_F_ACK | NLM_F_CREATE | NLM_F_EXCL
    route["header"] |= {"type": RTM_NEWROUTE, "flags": flags, "sequence_number": 2, "pid": 0}
    route.encode()
    return ("set lo up", bytes(link.data)), (f"route {NAMES_RANGE}", bytes(route.data))


def _check_answer(answer: bytes, what: str) -> None:
    """``struct nlmsghdr`` and ``struct nlmsgerr`` (netlink(7)); OSError with the kernel's errno."""
    kind, error = _ACK.unpack_from(answer) if len(answer) >= _ACK.size else (0, 0)
    if kind != NLMSG_ERROR or error:
        raise OSError(-error or errno.EPROTO, f"{what}: {os.strerror(-error or errno.EPROTO)}")


# What a socket may hold that no control group charges: packets that came before it was accepted,
# remains of closed connections, copies of packets sent with a wish for time stamps (that one is a
# namespace's own from 6.13 on).
_SYSCTLS = (
    ("net/ipv4/tcp_rmem", "4096 131072 262144"),
    ("net/ipv4/tcp_max_tw_buckets", "4096"),
    ("net/core/tstamp_allow_data", "0"),
)


def _bound_memory() -> None:
    """In the namespace of this thread, and only there: the kernel shows each thread its own.

    Left alone where /proc/sys is read-only or the kernel has no such number for a namespace: the
    number of sockets is bounded besides.
    """
    for name, value in _SYSCTLS:
        try:
            fd = os.open(f"/proc/sys/{name}", os.O_WRONLY | os.O_CLOEXEC)
        except OSError as error:
            if error.errno not in (errno.ENOENT, errno.EROFS, errno.EACCES, errno.EPERM):
                raise
            continue
        try:
            os.write(fd, value.encode())
        finally:
            os.close(fd)


def _make(count: int) -> list[Fd]:
    made: list[Fd] = []
    for _ in range(count):
        syscalls.unshare(CLONE_NEWNET)
        _bound_memory()
        with socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, socket.NETLINK_ROUTE
        ) as route:
            for what, request in _requests():
                route.send(request)
                _check_answer(route.recv(4096), what)
        made.append(Fd(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC)))
    return made


async def create(count: int = 1) -> list[Fd]:
    """``count`` new namespaces; the descriptors are the caller's.  OSError as the kernel says."""
    token = trio.lowlevel.current_trio_token()
    result: outcome.Outcome[list[Fd]] | None = None
    done = trio.Event()

    def work() -> None:
        nonlocal result
        result = outcome.capture(_make, count)
        token.run_sync_soon(done.set)

    threading.Thread(target=work, name="akios-netns", daemon=True).start()
    with trio.CancelScope(shield=True):
        await done.wait()
    assert result is not None
    return result.unwrap()
