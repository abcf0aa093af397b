"""The gateway's socket stream keeps the rules of trio's, but for yielding where nothing has to be
waited for.
"""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import trio
import trio.testing
from akiosd.gateway.net.eager_stream import PromptStream


@contextmanager
def pair(
    first: bytes = b"", send_seconds: float = 60
) -> Iterator[tuple[PromptStream, socket.socket]]:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, theirs:
        stream = trio.SocketStream(trio.socket.from_stdlib_socket(ours))
        yield PromptStream(stream, first, send_seconds=send_seconds), theirs


async def test_what_was_read_already_comes_first() -> None:
    with pair(b"hello") as (stream, peer):
        peer.sendall(b" world")
        assert [
            await stream.receive_some(2),
            await stream.receive_some(),
            await stream.receive_some(3),
        ] == [
            b"he",
            b"llo",
            b" wo",
        ]
        peer.shutdown(socket.SHUT_WR)
        assert [await stream.receive_some(), await stream.receive_some()] == [b"rld", b""]


async def test_it_waits_for_what_is_not_there_yet() -> None:
    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:

            async def later() -> None:
                await trio.testing.wait_all_tasks_blocked()
                peer.sendall(b"x")

            nursery.start_soon(later)
            assert await stream.receive_some() == b"x"


async def test_who_sends_faster_than_it_is_read_does_not_keep_others_out() -> None:
    with pair() as (stream, peer):
        peer.sendall(bytes(64))
        turns = 0

        async def other() -> None:
            nonlocal turns
            while True:
                turns += 1
                await trio.lowlevel.checkpoint()

        async with trio.open_nursery() as nursery:
            nursery.start_soon(other)
            with trio.CancelScope() as scope:
                for count in range(64):
                    assert await stream.receive_some(1) == b"\0"
                    if count == 40:
                        scope.deadline = trio.current_time()
            nursery.cancel_scope.cancel()
        assert turns >= 8 and scope.cancelled_caught, "nor a deadline out"


async def test_what_does_not_fit_is_sent_as_the_other_side_reads() -> None:
    data = os.urandom(4 << 20)
    with pair() as (stream, peer):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(stream.send_all, data)
            received = bytearray()
            while len(received) < len(data):
                received += await trio.to_thread.run_sync(peer.recv, 1 << 20)
    assert bytes(received) == data


async def test_who_does_not_read_is_given_up() -> None:
    with pair(send_seconds=0.01) as (stream, _):
        with pytest.raises(trio.TooSlowError):
            await stream.send_all(bytes(8 << 20))


async def test_a_cancelled_task_neither_reads_nor_writes() -> None:
    with pair() as (stream, peer):
        peer.sendall(b"x")
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.receive_some()
        assert scope.cancelled_caught
        with trio.CancelScope() as scope:
            scope.cancel()
            await stream.send_all(b"y")
        assert scope.cancelled_caught
        assert await stream.receive_some() == b"x"
        peer.setblocking(False)
        with pytest.raises(BlockingIOError):
            peer.recv(1)


async def test_broken_is_not_closed() -> None:
    with pair() as (stream, peer):
        peer.close()
        with pytest.raises(trio.BrokenResourceError):
            await stream.send_all(b"x")
    with pair() as (stream, _):
        await stream.aclose()
        with pytest.raises(trio.ClosedResourceError):
            await stream.send_all(b"x")
        with pytest.raises(trio.ClosedResourceError):
            await stream.receive_some()


async def test_a_number_that_is_anothers_by_now_is_not_read() -> None:
    """A closed socket's number goes to the next one that is opened."""
    with pair() as (stream, _):
        number = stream.socket.fileno()
        await stream.aclose()
        read, write = os.pipe()
        try:
            os.dup2(read, number)
            os.write(write, b"another's")
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
            assert os.read(number, 20) == b"another's", "control: there was something to read"
        finally:
            for fd in {read, write, number}:
                os.close(fd)


async def test_closing_wakes_who_reads() -> None:
    with pair() as (stream, _):
        async with trio.open_nursery() as nursery:

            async def close() -> None:
                await trio.testing.wait_all_tasks_blocked()
                await stream.aclose()

            nursery.start_soon(close)
            with pytest.raises(trio.ClosedResourceError):
                await stream.receive_some()
