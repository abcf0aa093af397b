"""Streams to clients: the same items as Server-Sent Events or as messages of a WebSocket; how many
there are, and that each is closed however its client leaves.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import AsyncGenerator, Awaitable, Callable
from http import HTTPStatus
from typing import NamedTuple

import msgspec
import trio
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from akiosctl.api.problems import Refusal, problem_response
from akiosctl.api.service import Service
from akiosctl.api.tokens import Token
from akiosd.errors import AkiosError

BEAT_SECONDS = 15.0
MOST_STREAMS = 224
MOST_OF_ONE = 208
"""akiosd takes 256 connections of one user; the others are for requests and programs."""


class Item(NamedTuple):
    """An event; ``id`` says how to go on behind it, "" for one that moves nothing.  ``beat`` says
    only that the stream is alive.
    """

    event: str
    data: object = None
    id: str = ""


BEAT = Item("beat")
Items = AsyncGenerator[list[Item], None]


def is_valid(service: Service, token: Token) -> bool:
    """Whether the token of a stream still holds."""
    kept = service.tokens.read().get(token.id)
    return kept is not None and not kept.expired(time.time_ns())


ENDED = Item("end", {"what": "the token expired or was revoked"})


class Open:
    """A stream of a token, or a wait that holds a connection as one does: counted from before it
    asks akiosd for anything, so that many at once are not let in together.  To be used in ``with``,
    which raises :class:`Refusal` where there is no room; how many there are, by token.
    """

    by_token: Counter[str] = Counter()

    def __init__(self, token: str) -> None:
        self._token = token

    def __enter__(self) -> None:
        check_room(self._token)
        Open.by_token[self._token] += 1

    def __exit__(self, *_: object) -> None:
        Open.by_token[self._token] -= 1
        if not Open.by_token[self._token]:
            del Open.by_token[self._token]


def check_room(token: str) -> None:
    """Raises :class:`Refusal` where there are as many streams as there may be, or as one token may
    have.
    """
    for most, count, is_own in (
        (MOST_STREAMS, Open.by_token.total(), False),
        (MOST_OF_ONE, Open.by_token[token], True),
    ):
        if count < most:
            continue
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"{most} streams{' of this token' if is_own else ''} are open already",
            "streams",
            "close one; or follow several cages by one stream",
        )


async def _sse_bytes(items: Items) -> AsyncGenerator[bytes, None]:
    yield b"retry: 1000\n\n"
    async for batch in items:
        yield b"".join(map(_as_sse, batch)) or b": passed over\n\n"


def _as_sse(item: Item) -> bytes:
    """The HTML standard, 9.2."""
    if item == BEAT:
        return b": beat\n\n"
    name = f"id: {item.id}\n" if item.id else ""
    return f"{name}event: {item.event}\ndata: ".encode() + msgspec.json.encode(item.data) + b"\n\n"


class EventStream(StreamingResponse):
    """``items`` as Server-Sent Events.  ``close`` lets go of what they need: it is called once the
    stream is over, also where it is refused, and where its client left before the first item.
    """

    def __init__(self, items: Items, token: str, close: Callable[[], None] = lambda: None) -> None:
        try:
            check_room(token)
        except Refusal:
            close()
            raise
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(_sse_bytes(items), media_type="text/event-stream", headers=headers)
        self._items, self._token, self._close = items, token, close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            with Open(self._token):
                try:
                    await super().__call__(scope, receive, send)
                except AkiosError:
                    pass  # the stream ends; a client that comes again is told why
        except Refusal as refused:  # others came between this one's making and its start
            await problem_response(refused)(scope, receive, send)
        finally:
            with trio.CancelScope(shield=True):
                await self._items.aclose()
            self._close()


async def send_items(socket: WebSocket, items: Items) -> None:
    """``items`` as messages, until they end or the client leaves; what it says is not listened to.
    The socket was accepted, and is counted (:class:`Open`).
    """
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_leave, socket.receive, nursery.cancel_scope)
        try:
            async for batch in items:
                for item in batch:
                    await socket.send_text(_as_message(item))
            await socket.close()
        except (AkiosError, WebSocketDisconnect, RuntimeError):
            pass  # as above
        finally:
            with trio.CancelScope(shield=True):
                await items.aclose()
        nursery.cancel_scope.cancel()


async def wait_while_there(receive: Receive, wait: Callable[[], Awaitable[None]]) -> None:
    """``wait`` to its end, or until the client of a request leaves: nobody has its answer then."""
    failed: AkiosError | None = None
    async with trio.open_nursery() as nursery:
        nursery.start_soon(_wait_leave, receive, nursery.cancel_scope)
        try:
            await wait()
        except AkiosError as error:
            failed = error
        nursery.cancel_scope.cancel()
    if failed is not None:
        raise failed


async def _wait_leave(receive: Receive, scope: trio.CancelScope) -> None:
    while (await receive())["type"] not in ("http.disconnect", "websocket.disconnect"):
        pass
    scope.cancel()


def _as_message(item: Item) -> str:
    found: dict[str, object] = {"event": item.event}
    if item.id:
        found["id"] = item.id
    if item.data is not None:
        found["data"] = item.data
    return msgspec.json.encode(found).decode()
