"""A client of the control socket without akiosctl: it says what a test wants said, and leaves when
the test wants it to.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Iterator

import msgspec

from akiosd.wire.messages import PROTOCOL, Message
from tests.e2e.daemon import Daemon

HELLO = {"m": "hello", "protocol": PROTOCOL, "software": "a test"}


def frame(message: object) -> bytes:
    data = message if isinstance(message, bytes) else msgspec.msgpack.encode(message)
    return struct.pack(">I", len(data)) + data


@contextlib.contextmanager
def greeted(daemon: Daemon) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(20)
        client.connect(str(daemon.socket))
        client.sendall(frame(HELLO))
        yield client


def leave_at_once(daemon: Daemon, message: Message) -> None:
    """Ask, and be gone before the answer; hello and request arrive together."""
    with socket.socket(socket.AF_UNIX) as client:
        client.connect(str(daemon.socket))
        client.sendall(frame(HELLO) + frame(message))


def read_until(client: socket.socket, kinds: set[str]) -> dict[str, object]:
    data = b""
    while part := client.recv(65536):
        data += part
        while len(data) >= 4 and len(data) >= 4 + int.from_bytes(data[:4], "big"):
            size = int.from_bytes(data[:4], "big")
            message: dict[str, object] = msgspec.msgpack.decode(data[4 : 4 + size])
            data = data[4 + size :]
            if message["m"] in kinds:
                return message
    raise AssertionError("the daemon left without a word")
