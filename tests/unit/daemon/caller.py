"""A client for tests of the sockets: the client's session over a Trio socket."""

from __future__ import annotations

import socket

import trio
from akiosd.daemon.sockets.serve_clients import send_with_fds
from akiosd.kernel.scm_rights import close_fds, receive
from akiosd.wire.frame import MAX_FDS
from akiosd.wire.messages import Hello, Message
from akiosd.wire.session import ClientSession, Received


class Caller:
    """One connection of a test's client."""

    def __init__(self, sock: trio.socket.SocketType) -> None:
        self.sock, self.session = sock, ClientSession()
        self.waiting: list[Received] = []

    async def send(self, message: Message, fds: list[int] | None = None) -> None:
        await send_with_fds(self.sock, self.session.send(message, fds or []), fds or [])

    async def receive(self) -> Received:
        while not self.waiting:
            data, fds, truncated = await receive(self.sock, 1 << 16, MAX_FDS + 1)
            if not data:
                raise EOFError
            self.waiting += self.session.receive(data, fds, truncated=truncated)
        return self.waiting.pop(0)

    def close(self) -> None:
        self.sock.close()
        close_fds([fd for received in self.waiting for fd in received.fds] + self.session.close())

    async def answer(self) -> Message:
        received = await self.receive()
        close_fds(received.fds)
        return received.message


async def connect(path: str, *, hello: bool = True) -> Caller:
    sock = trio.socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    await sock.connect(path)
    caller = Caller(sock)
    if hello:
        await caller.send(Hello(software="test"))
        assert isinstance(await caller.answer(), Hello)
    return caller
