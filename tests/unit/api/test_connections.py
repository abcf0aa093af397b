"""Connections end: those that read nothing, ask nothing, or are too many; nobody else waits."""

from __future__ import annotations

import math
import socket
import struct
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager, suppress
from typing import Any

import pytest
import trio
import trio.testing
import wsproto
from wsproto.events import AcceptConnection, BytesMessage, CloseConnection, Request
from wsproto.extensions import PerMessageDeflate

from akiosctl.api.connections import Connections, Patience, PatientStream

GET = b"GET / HTTP/1.1\r\nHost: x\r\n\r\n"


class Endless:
    """Answers with data that never ends; tells when a client has gone."""

    def __init__(self) -> None:
        self.begun, self.gone = trio.Event(), trio.Event()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Any) -> None:
        await receive()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        self.begun.set()
        async with trio.open_nursery() as nursery:
            nursery.start_soon(self._send, send)
            while (await receive())["type"] != "http.disconnect":
                pass
            self.gone.set()
            nursery.cancel_scope.cancel()

    async def _send(self, send: Any) -> None:
        while True:
            await send({"type": "http.response.body", "body": b"x" * 65536, "more_body": True})


async def empty(scope: Any, receive: Callable[[], Any], send: Any) -> None:
    await send({"type": "http.response.start", "status": 204, "headers": []})
    await send({"type": "http.response.body", "body": b""})


@asynccontextmanager
async def serving(app: Any, patience: Patience, most: int = 100) -> AsyncIterator[int]:
    made = socket.create_server(("127.0.0.1", 0))
    made.setblocking(False)
    listener = trio.SocketListener(trio.socket.from_stdlib_socket(made))
    stop = trio.Event()
    connections = Connections(app, patience=patience, most=most)
    with trio.fail_after(60):
        async with trio.open_nursery() as nursery:
            nursery.start_soon(connections.serve, listener, stop)
            yield made.getsockname()[1]
            stop.set()
            nursery.cancel_scope.cancel()
    made.close()


async def test_a_client_that_never_reads_is_cut_off_and_another_is_served() -> None:
    app = Endless()
    async with serving(app, Patience(write=0.05)) as port:
        stalled = await trio.open_tcp_stream("127.0.0.1", port)
        await stalled.send_all(GET)
        await app.begun.wait()
        reader = await trio.open_tcp_stream("127.0.0.1", port)
        await reader.send_all(GET)
        seen = 0
        while not app.gone.is_set() or seen < 1 << 20:
            seen += len(await reader.receive_some())
        await stalled.aclose()
        await reader.aclose()


async def test_it_is_the_limit_that_cuts_it_off() -> None:
    """Control: without one it would wait for ever, and so would the end of the server."""
    app = Endless()
    async with serving(app, Patience(write=math.inf)) as port:
        stalled = await trio.open_tcp_stream("127.0.0.1", port)
        await stalled.send_all(GET)
        await app.begun.wait()
        with trio.move_on_after(0.5):
            await app.gone.wait()
        assert not app.gone.is_set()
        await stalled.aclose()
        await app.gone.wait()


UPGRADE = (
    b"GET / HTTP/1.1\r\nHost: x\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
    b"HTTP2-Settings: AAMAAABkAAQAAP__\r\n\r\n"
)
HTTP2 = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"


@pytest.mark.parametrize("cut", [3, 0], ids=["in two", "whole"])
@pytest.mark.parametrize("begin", [b"", b"GET / HT", HTTP2, UPGRADE], ids=["", "half", "2", "up"])
async def test_who_asks_nothing_is_cut_off(begin: bytes, cut: int) -> None:
    async with serving(empty, Patience(idle=0.05)) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(begin[:cut])
        await trio.testing.wait_all_tasks_blocked(0.01)
        await stream.send_all(begin[cut:])
        await _read_to_end(stream)
        await stream.aclose()


PING = b"\0\0\x08\6\0\0\0\0\0" + bytes(8)
SETTINGS = b"\0\0\0\4\0\0\0\0\0"


@pytest.mark.parametrize("idle", [0.05, 30.0])
async def test_who_says_much_and_asks_nothing_is_cut_off(idle: float) -> None:
    """Control: within its time it is not."""
    async with serving(empty, Patience(idle=idle)) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(UPGRADE)
        assert b"101" in await stream.receive_some()
        await stream.send_all(HTTP2 + SETTINGS)
        cut = False
        with trio.move_on_after(0.6):
            try:
                while True:
                    await stream.send_all(PING)
                    await trio.sleep(0.01)
            except trio.BrokenResourceError:
                cut = True
        assert cut == (idle < 1)
        await trio.aclose_forcefully(stream)


async def test_http2_taken_for_granted_is_not_spoken_however_it_comes() -> None:
    async with serving(empty, Patience()) as port:
        for begin in (HTTP2, *((HTTP2[:cut], HTTP2[cut:]) for cut in (1, 2, 13))):
            stream = await trio.open_tcp_stream("127.0.0.1", port)
            for piece in (begin,) if isinstance(begin, bytes) else begin:
                await stream.send_all(piece)
                await trio.testing.wait_all_tasks_blocked(0.01)
            assert await _read_to_end(stream) == b"", begin
            await stream.aclose()
        stream = await trio.open_tcp_stream("127.0.0.1", port)  # control: a method that begins so
        for piece in (b"P", b"ROPFIND / HTTP/1.1\r\nHost: x\r\n\r\n"):
            await stream.send_all(piece)
            await trio.testing.wait_all_tasks_blocked(0.01)
        assert b"204" in await stream.receive_some()
        await stream.aclose()


async def test_a_stream_closed_while_an_answer_begins_is_no_fault() -> None:
    near, far = trio.socket.socketpair()
    stream = PatientStream(trio.SocketStream(near), Patience(), lambda: False)
    raised: list[type[Exception]] = []

    async def close() -> None:
        with suppress(trio.BusyResourceError):  # hypercorn expects that of this one
            await stream.send_eof()

    async def send() -> None:
        try:
            await stream.send_all(b"late")
        except trio.ClosedResourceError as error:
            raised.append(type(error))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(close)
        nursery.start_soon(send)
    assert raised in ([], [trio.ClosedResourceError])  # never BusyResourceError
    assert await far.recv(10) == (b"late" if not raised else b"")
    await trio.aclose_forcefully(stream)
    far.close()


async def test_a_request_at_work_is_not_idle() -> None:
    app = Endless()
    async with serving(app, Patience(idle=0.01)) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        await stream.send_all(GET)
        seen = 0
        while seen < 20 << 20:
            seen += len(await stream.receive_some())
        assert not app.gone.is_set()
        await stream.aclose()


async def test_one_connection_too_many_is_closed() -> None:
    app = Endless()
    async with serving(app, Patience(), most=1) as port:
        first = await trio.open_tcp_stream("127.0.0.1", port)
        await first.send_all(GET)
        await app.begun.wait()
        second = await trio.open_tcp_stream("127.0.0.1", port)
        assert await _read_to_end(second) == b""
        assert await first.receive_some()
        await first.aclose()


async def test_those_that_ask_nothing_keep_nobody_out() -> None:
    app, patience = Endless(), Patience()
    async with serving(app, patience, most=4) as port:
        busy = await trio.open_tcp_stream("127.0.0.1", port)
        await busy.send_all(GET)
        await app.begun.wait()
        silent = [await trio.open_tcp_stream("127.0.0.1", port) for _ in range(2)]
        half = await trio.open_tcp_stream("127.0.0.1", port)
        await half.send_all(GET[:-3])
        for _ in range(3):
            one = await trio.open_tcp_stream("127.0.0.1", port)
            await one.send_all(GET)
            assert (await one.receive_some()).startswith(b"HTTP/1.1 200")
        for stream in (*silent, half):  # the room they had
            assert await _read_to_end(stream) == b""
        assert await busy.receive_some()  # control: what is at work goes on
        late = await trio.open_tcp_stream("127.0.0.1", port)
        assert await _read_to_end(late) == b""  # control: four are at work


async def _read_to_end(stream: trio.SocketStream) -> bytes:
    data = b""
    try:
        while piece := await stream.receive_some():
            data += bytes(piece)
    except trio.BrokenResourceError:
        pass  # it was closed with something unread
    return data


class Talk:
    """A WebSocket that is accepted, and what it gets."""

    def __init__(self) -> None:
        self.got: list[dict[str, Any]] = []
        self.over = trio.Event()

    async def __call__(self, scope: Any, receive: Callable[[], Any], send: Any) -> None:
        await send({"type": "websocket.accept"})
        while not self.got or self.got[-1]["type"] != "websocket.disconnect":
            self.got.append(await receive())
        self.over.set()


@pytest.mark.parametrize("compressed", [True, False])
async def test_a_message_that_grows_when_it_is_inflated_is_not_taken(compressed: bool) -> None:
    app, deflate = Talk(), PerMessageDeflate()
    async with serving(app, Patience()) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        offered = [deflate] if compressed else []
        await stream.send_all(client.send(Request("x", "/", extensions=offered)))
        client.receive_data(await stream.receive_some())
        (accepted,) = client.events()
        assert isinstance(accepted, AcceptConnection) and not accepted.extensions
        assert compressed or not deflate.enabled()
        if compressed:  # as one who does not ask
            packer = zlib.compressobj(9, wbits=-15)
            bomb = packer.compress(bytes(1 << 26)) + packer.flush(zlib.Z_SYNC_FLUSH)
            head = struct.pack("!BBQI", 0xC2, 0xFF, len(bomb) - 4, 0)
            with suppress(trio.BrokenResourceError):
                await stream.send_all(head + bomb[:-4])
        else:
            await stream.send_all(
                client.send(BytesMessage(b"one")) + client.send(CloseConnection(1000))
            )
        await app.over.wait()
        texts = [bytes(one["bytes"]) for one in app.got if one["type"] == "websocket.receive"]
        assert texts == ([] if compressed else [b"one"])
        while await stream.receive_some():
            pass
        await stream.aclose()


async def test_what_comes_after_a_message_is_too_large_is_not_kept() -> None:
    app, head = Talk(), struct.pack("!BBQI", 0x02, 0xFF, 1 << 40, 0)
    async with serving(app, Patience()) as port:
        stream = await trio.open_tcp_stream("127.0.0.1", port)
        client = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        await stream.send_all(client.send(Request("x", "/")))
        client.receive_data(await stream.receive_some())
        small = client.send(BytesMessage(bytes(1 << 16)))
        tracemalloc.start()
        await stream.send_all(small + head)
        for _ in range(256):
            await stream.send_all(bytes(1 << 18))
        grown, _ = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        client.receive_data(await stream.receive_some())
        assert [event.code for event in client.events() if isinstance(event, CloseConnection)] == [
            1009
        ]
        texts = [one["bytes"] for one in app.got if one["type"] == "websocket.receive"]
        assert texts == [bytes(1 << 16)]  # control: as large as it may be
        assert grown < 1 << 23, grown
        await stream.aclose()
