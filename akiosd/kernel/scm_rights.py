"""Descriptors that ride on a message of a unix socket: SCM_RIGHTS of unix(7), cmsg(3).

``receive`` and ``send`` are for Trio's sockets, ``receive_blocking`` and ``send_blocking`` for
plain ones.  Descriptors that were sent stay the sender's; those that were received are the
caller's, and close-on-exec.

Like :mod:`akiosd.kernel.syscalls` this module imports nothing of AKIOS, and nothing that is slow to
import, because a run of the client begins with it.
"""

from __future__ import annotations

import array
import os
import socket
from collections.abc import Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import trio

_Ancillary = list[tuple[int, int, bytes]]
_FD_BYTES = array.array("i").itemsize


class Chunk(NamedTuple):
    """What one recvmsg(2) returned: no ``data`` at the end of file.  ``truncated``: more
    descriptors came than were asked for, and the kernel dropped them.
    """

    data: bytes
    fds: list[int]
    truncated: bool


async def receive(sock: trio.socket.SocketType, size: int, most_fds: int) -> Chunk:
    """At most ``size`` bytes and ``most_fds`` descriptors.  Raises OSError."""
    data, ancillary, flags, _ = await sock.recvmsg(size, _room(most_fds), socket.MSG_CMSG_CLOEXEC)
    return Chunk(data, _unpack(ancillary), bool(flags & socket.MSG_CTRUNC))


def receive_blocking(sock: socket.socket, size: int, most_fds: int) -> Chunk:
    """The same, of a plain socket."""
    data, ancillary, flags, _ = sock.recvmsg(size, _room(most_fds), socket.MSG_CMSG_CLOEXEC)
    return Chunk(data, _unpack(ancillary), bool(flags & socket.MSG_CTRUNC))


async def send(sock: trio.socket.SocketType, data: bytes, fds: Sequence[int] = ()) -> None:
    """All of ``data``, the descriptors with its first byte.  Raises OSError; some of it may be out
    by then.
    """
    view, ancillary = memoryview(data), _pack(fds)
    while view:
        view = view[await sock.sendmsg([view], ancillary, socket.MSG_NOSIGNAL) :]
        ancillary = []


def send_blocking(sock: socket.socket, data: bytes, fds: Sequence[int] = ()) -> None:
    """The same, on a plain socket."""
    view, ancillary = memoryview(data), _pack(fds)
    while view:
        view = view[sock.sendmsg([view], ancillary, socket.MSG_NOSIGNAL) :]
        ancillary = []


def close_fds(fds: list[int]) -> None:
    """Close and forget every descriptor in the list."""
    while fds:
        os.close(fds.pop())


def _room(most_fds: int) -> int:
    # CMSG_SPACE would round up, and the kernel fill what is left with descriptors that nobody asked
    # for.
    return socket.CMSG_LEN(_FD_BYTES * most_fds)


def _pack(fds: Sequence[int]) -> _Ancillary:
    return [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array.array("i", fds).tobytes())] if fds else []


def _unpack(ancillary: _Ancillary) -> list[int]:
    fds = array.array("i")
    for level, kind, data in ancillary:
        if level == socket.SOL_SOCKET and kind == socket.SCM_RIGHTS:
            fds.frombytes(data[: len(data) - len(data) % _FD_BYTES])
    return list(fds)
