"""Two ends of one connection, for a process that may not connect by itself and one that serves it.

Nobody else can get either end: nothing goes on listening.
"""

from __future__ import annotations

import socket

_PATIENCE_S = 1.0
_BACKLOG = 16
_LOOPBACK = "127.0.0.1"


def tcp_pair() -> tuple[socket.socket, socket.socket]:
    """(the connecting end, the accepted end) of a TCP connection over the loopback interface: to
    programs it looks like any other.  OSError.
    """
    with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as listener:
        listener.bind((_LOOPBACK, 0))
        listener.listen(_BACKLOG)
        listener.settimeout(_PATIENCE_S)
        client = socket.socket(socket.AF_INET, socket.SOCK_STREAM)
        try:
            client.settimeout(_PATIENCE_S)
            client.connect(listener.getsockname())
            server = _accept(listener, client.getsockname())
        except BaseException:
            client.close()
            raise
    for end in (client, server):
        end.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        end.setblocking(False)
    return client, server


def _accept(listener: socket.socket, peer: tuple[str, int]) -> socket.socket:
    """The connection of ``peer``; others that came in between are closed."""
    while True:
        found, address = listener.accept()
        if address == peer:
            return found
        found.close()


def packet_pair() -> tuple[socket.socket, socket.socket]:
    """Two ends that keep the borders of messages and ignore every address (unix(7),
    SOCK_SEQPACKET).
    """
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    ours.setblocking(False)
    theirs.setblocking(False)
    return ours, theirs
