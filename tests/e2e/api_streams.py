"""Many followers of events at once, in Trio: raw HTTP, so that one may also read nothing."""

from __future__ import annotations

import json
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import trio
import wsproto
from wsproto.events import AcceptConnection, RejectConnection, Request, TextMessage

from tests.e2e.api_server import ApiServer

_HEAD = "GET /api/v1{path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nAuthorization: Bearer {token}\r\n"


async def connect(port: int, buffer: int = 0) -> trio.SocketStream:
    """``buffer`` bytes the kernel holds of what is not read; 0 for as many as it likes."""
    raw = trio.socket.socket()
    if buffer:
        raw.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, buffer)
    await raw.connect(("127.0.0.1", port))
    return trio.SocketStream(raw)


class Followed:
    """A stream of events whose beginning has come; nothing more of it is read but by ``events``."""

    def __init__(self, stream: trio.SocketStream, rest: bytes) -> None:
        self._stream, self._rest = stream, rest

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        """As they come, until it ends."""
        data, self._rest = self._rest, b""
        while True:
            *whole, data = data.split(b"\n\n")
            for text in whole:
                found = _parse(text)
                if found:
                    yield found
            try:
                piece = await self._stream.receive_some(1 << 16)
            except trio.BrokenResourceError:
                return
            if not piece:
                return
            data += piece

    def is_held(self, server: ApiServer) -> bool:
        """Whether the server has its end open: proc_pid_net(5), whose state 1 is ESTABLISHED."""
        here = self._stream.socket.getsockname()[1]
        ends = f":{server.port:04X}", f":{here:04X}"
        with open("/proc/net/tcp") as file:
            rows = [line.split() for line in file][1:]
        return any((row[1][8:], row[2][8:], row[3]) == (*ends, "01") for row in rows)


@asynccontextmanager
async def follow(
    server: ApiServer, query: str = "", last_id: str = "", buffer: int = 0
) -> AsyncIterator[Followed]:
    """Ask for a stream of events, and wait until it was begun."""
    stream = await connect(server.port, buffer)
    async with stream:
        head = _HEAD.format(path=f"/events?{query}", port=server.port, token=server.token)
        head += f"Last-Event-ID: {last_id}\r\n" if last_id else ""
        await stream.send_all(f"{head}\r\n".encode())
        data = b""
        while b"retry:" not in data:
            piece = await stream.receive_some(1 << 12)
            assert piece, data
            data += piece
        head, _, rest = data.decode().partition("\r\n\r\n")
        assert " 200 " in head.splitlines()[0], head
        yield Followed(stream, rest.encode())


def _parse(text: bytes) -> dict[str, Any]:
    """Chunks' sizes stand between; an event is written whole into one or cut by them."""
    event: dict[str, Any] = {}
    for line in text.split(b"\n"):
        name, _, value = line.partition(b": ")
        if name in (b"id", b"event"):
            event[name.decode()] = value.decode()
        elif name == b"data":
            event["data"] = json.loads(value)
    return event if "event" in event else {}


class Conversation:
    """A WebSocket's events; to be iterated.  ``refused`` is the status where it was not opened."""

    def __init__(self, server: ApiServer, query: str = "", **headers: str) -> None:
        self._server, self._query = server, query
        given = {"Authorization": f"Bearer {server.token}", **headers}
        self._headers = [(name.encode(), value.encode()) for name, value in given.items() if value]
        self.refused = 0

    async def events(self) -> AsyncIterator[dict[str, Any]]:
        stream = await connect(self._server.port)
        socket = wsproto.WSConnection(wsproto.ConnectionType.CLIENT)
        host = f"127.0.0.1:{self._server.port}"
        target = f"/api/v1/events?{self._query}"
        request = Request(host=host, target=target, extra_headers=self._headers)
        async with stream:
            await stream.send_all(socket.send(request))
            text = ""
            while True:
                data = await stream.receive_some(1 << 16)
                socket.receive_data(data or None)
                for event in socket.events():
                    if isinstance(event, RejectConnection):
                        self.refused = event.status_code
                        return
                    if isinstance(event, TextMessage):
                        text += event.data
                        if event.message_finished:
                            yield json.loads(text)
                            text = ""
                    elif not isinstance(event, AcceptConnection):
                        return
                if not data:
                    return
