"""Descriptors on messages: whole, with the first byte, close-on-exec, and never more than were
asked for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest
import trio
from akiosd.kernel.scm_rights import close_fds, receive, receive_blocking, send, send_blocking


@pytest.fixture
def pair() -> Iterator[tuple[socket.socket, socket.socket]]:
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_STREAM)
    with ours, theirs:
        yield ours, theirs


def count_fds() -> int:
    return len(os.listdir("/proc/self/fd"))


@pytest.mark.parametrize(("sent", "most"), [(0, 3), (1, 1), (2, 1), (3, 3), (5, 4)])
def test_as_many_come_as_were_asked_for(
    pair: tuple[socket.socket, socket.socket], sent: int, most: int
) -> None:
    before = count_fds()
    send_blocking(pair[0], b"text", [0] * sent)
    data, fds, truncated = receive_blocking(pair[1], 100, most)
    assert (data, len(fds), truncated) == (b"text", min(sent, most), sent > most)
    assert count_fds() == before + len(fds) and not any(map(os.get_inheritable, fds))
    close_fds(fds)
    assert fds == [] and count_fds() == before


async def test_all_is_sent_however_little_the_socket_takes(
    pair: tuple[socket.socket, socket.socket],
) -> None:
    text = bytes(range(256)) * 8192
    for sock in pair:
        sock.setblocking(False)
    ours, theirs = map(trio.socket.from_stdlib_socket, pair)
    heard, chunks, came = b"", 0, []
    async with trio.open_nursery() as nursery:
        nursery.start_soon(send, ours, text, [0, 1])
        while len(heard) < len(text):
            data, fds, truncated = await receive(theirs, 1 << 16, 2)
            assert not truncated
            came.append(len(fds))
            close_fds(fds)
            heard, chunks = heard + data, chunks + 1
    assert heard == text and chunks > 1, "the control: one call was not enough"
    assert came[0] == 2 and not any(came[1:]), "they come with the first byte and once"


def test_the_end_is_no_data(pair: tuple[socket.socket, socket.socket]) -> None:
    pair[0].close()
    assert receive_blocking(pair[1], 10, 1) == (b"", [], False)
    with pytest.raises(BrokenPipeError):  # and no SIGPIPE
        send_blocking(pair[1], b"x")
