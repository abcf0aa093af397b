"""The events socket read as it comes, in Trio: what is not read waits in akiosd, within its bounds.

So each reader has one bounded queue, akiosd's; one that is too slow gets a gap that says so.
"""

from __future__ import annotations

import math
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager

import msgspec
import trio

from akiosctl.client import DaemonError, GoneError, explain_connect
from akiosd import __version__
from akiosd.errors import AkiosError, ProtocolError
from akiosd.wire.messages import (
    Error,
    Gap,
    Hello,
    Message,
    Output,
    OutputReply,
    Records,
    Subscribe,
)
from akiosd.wire.session import ClientSession

_READ = 1 << 16
_RETRY_SECONDS = 0.5


class _Stream:
    """A connection without descriptors: this side sends none, and the events socket none either."""

    def __init__(self, path: str, stream: trio.SocketStream) -> None:
        self.path, self._stream = path, stream
        self.session = ClientSession()

    async def send(self, message: Message) -> None:
        try:
            await self._stream.send_all(self.session.send(message))
        except trio.BrokenResourceError:
            raise self._gone() from None

    async def receive(self) -> list[Message]:
        """The next messages, the hello left out; never an ``Error``, which is raised."""
        try:
            data = await self._stream.receive_some(_READ)
        except trio.BrokenResourceError:
            data = b""
        if not data:
            raise self._gone()
        found = [received.message for received in self.session.receive(bytes(data))]
        for message in found:
            if isinstance(message, Error):
                raise DaemonError(message.what, message.where, message.next, message.code)
        return [message for message in found if not isinstance(message, Hello)]

    def _gone(self) -> GoneError:
        return GoneError(
            "akiosd closed the connection",
            self.path,
            "see its log: journalctl -u akiosd; of akiosd --detach, akiosd.log beside this socket",
        )


@asynccontextmanager
async def _open(path: str) -> AsyncIterator[_Stream]:
    try:
        stream = await trio.open_unix_socket(path)
    except OSError as error:
        raise explain_connect(path, error) from None
    async with stream:
        found = _Stream(path, stream)
        await found.send(Hello(software=f"akios-api {__version__}"))
        yield found


async def greet(path: str) -> None:
    """Returns when akiosd has said hello.  Raises :class:`AkiosError`."""
    async with _open(path) as stream:
        while stream.session.peer_software is None:
            await stream.receive()


async def wait_back(path: str, passing: type[AkiosError] = GoneError) -> None:
    """Until akiosd says hello again; ``passing`` are the errors after which it is asked anew."""
    while True:
        # Also before the first try: one that stops takes connections for a moment longer.
        await trio.sleep(_RETRY_SECONDS)
        try:
            await greet(path)
        except passing:
            continue
        return


async def wait_output(path: str, cage: str, after: int) -> OutputReply:
    """How a cage's output is, once there is more than ``after`` bytes or no more will come.

    Raises as :func:`subscribe`.
    """
    async with _open(path) as stream:
        number = stream.session.next_id()
        await stream.send(Output(id=number, cage=cage, after=after, wait=True))
        while True:
            for message in await stream.receive():
                if isinstance(message, OutputReply):
                    return message


async def subscribe(
    path: str, request: Subscribe, beat_seconds: float = math.inf
) -> AsyncGenerator[Records | Gap | None, None]:
    """What the events socket sends; None whenever it was quiet for ``beat_seconds``.

    Raises :class:`GoneError` when akiosd is gone and :class:`DaemonError` when it refuses.
    """
    async with _open(path) as stream:
        await stream.send(msgspec.structs.replace(request, id=stream.session.next_id()))
        while True:
            found: list[Message] | None = None
            with trio.move_on_after(beat_seconds):
                found = await stream.receive()
            if found is None:
                yield None
                continue
            for message in found:
                if not isinstance(message, Records | Gap):
                    name = type(message).__name__
                    raise ProtocolError(f"akiosd sent {name} instead of records", path)
                yield message
