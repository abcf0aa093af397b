"""Sockets of another network namespace: they work there, and no thread of ours stays there."""

from __future__ import annotations

import contextlib
import ctypes
import errno
import fcntl
import os
import socket
import struct
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.errors import KernelError
from akiosd.kernel.netsock import SocketSpec, encode_inet_address, open_sockets
from tests.kernel.pump_harness import needs_root

CLONE_NEWNET = 0x40000000
SIOCGIFFLAGS, SIOCSIFFLAGS, IFF_UP = 0x8913, 0x8914, 1


def read_namespaces() -> set[str]:
    """Of every thread of this process."""
    found = set()
    for path in Path("/proc/self/task").glob("*/ns/net"):
        with contextlib.suppress(OSError):
            found.add(os.readlink(path))
    return found


def wait_only_own_namespace() -> None:
    """A joined thread is listed for a moment longer; one that stays runs into the test's time
    limit.
    """
    while read_namespaces() != {os.readlink("/proc/self/ns/net")}:
        time.sleep(0.001)


@pytest.fixture
def netns() -> Iterator[int]:
    """A new network namespace with ``lo`` up, made by a thread that ends; nothing is left but the
    descriptor.
    """
    made: list[int] = []

    def make() -> None:
        libc = ctypes.CDLL(None, use_errno=True)
        assert libc.unshare(CLONE_NEWNET) == 0, os.strerror(ctypes.get_errno())
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
            request = struct.pack("16sH14x", b"lo", 0)
            (flags,) = struct.unpack_from("H", fcntl.ioctl(control, SIOCGIFFLAGS, request), 16)
            fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", b"lo", flags | IFF_UP))
        made.append(os.open("/proc/thread-self/ns/net", os.O_RDONLY | os.O_CLOEXEC))

    maker = threading.Thread(target=make)
    maker.start()
    maker.join()
    yield made[0]
    os.close(made[0])


def adopt(fds: list[int]) -> list[socket.socket]:
    return [socket.socket(fileno=fd) for fd in fds]


@needs_root
def test_sockets_live_in_the_other_namespace(netns: int) -> None:
    with socket.socket() as here:
        here.bind(("127.0.0.1", 0))
        here.listen()
        port = here.getsockname()[1]
        # The same port is free over there, and what is sent to it there does not come here.
        specs = [
            SocketSpec(
                socket.AF_INET, socket.SOCK_STREAM, 0, encode_inet_address("127.0.0.1", port), 16
            ),
            SocketSpec(socket.AF_INET, socket.SOCK_DGRAM, 0, encode_inet_address("0.0.0.0", 53)),
            SocketSpec(socket.AF_INET6, socket.SOCK_STREAM, 0, encode_inet_address("::1", 443), 1),
            SocketSpec(socket.AF_INET, socket.SOCK_STREAM),
        ]
        stream, dns, six, client = sockets = adopt(open_sockets(netns, specs))
        try:
            assert stream.getsockname() == ("127.0.0.1", port)
            assert dns.getsockname() == ("0.0.0.0", 53)
            assert six.getsockname()[:2] == ("::1", 443)
            assert not any(
                os.get_blocking(each.fileno()) or each.get_inheritable() for each in sockets
            )
            client.setblocking(True)
            client.connect(("127.0.0.1", port))
            accepted, _ = stream.accept()
            accepted.close()
            here.setblocking(False)
            with pytest.raises(BlockingIOError):
                here.accept()
        finally:
            for each in sockets:
                each.close()
    wait_only_own_namespace()


@needs_root
def test_all_or_none(netns: int) -> None:
    taken = SocketSpec(
        socket.AF_INET, socket.SOCK_STREAM, 0, encode_inet_address("127.0.0.1", 80), 1
    )
    fds = set(os.listdir("/proc/self/fd"))
    with pytest.raises(KernelError) as caught:
        open_sockets(netns, [taken, taken])
    assert caught.value.errno == errno.EADDRINUSE
    assert "SocketSpec" in caught.value.where
    assert set(os.listdir("/proc/self/fd")) == fds


@needs_root
def test_a_descriptor_that_is_no_namespace(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    with pytest.raises(KernelError) as caught:
        open_sockets(fd, [SocketSpec(socket.AF_INET, socket.SOCK_STREAM)])
    os.close(fd)
    assert (caught.value.errno, caught.value.where) == (errno.EINVAL, "setns")


@needs_root
def test_no_sockets_are_fine_and_an_address_has_a_length(netns: int) -> None:
    assert open_sockets(netns, []) == []
    with pytest.raises(ValueError, match="longer"):
        open_sockets(netns, [SocketSpec(socket.AF_INET, socket.SOCK_STREAM, 0, bytes(129))])
