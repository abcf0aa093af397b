"""Events as they become durable: Server-Sent Events (the HTML standard, 9.2).

``id`` says how to go on (``akiosctl.api.positions``): a browser sends the last one back by itself.
What was left out is said by a ``gap``.  While akiosd is away the stream goes on, says so, and
takes up where it stopped.
"""

from __future__ import annotations

import time
from collections.abc import AsyncGenerator
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
import msgspec
import trio
from fastapi import Header, Query, Request
from starlette.responses import StreamingResponse
from starlette.types import Receive, Scope, Send

from akiosctl.api.daemon_stream import greet, subscribe
from akiosctl.api.positions import PATTERN, Positions, parse_id
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.api.tokens import Token
from akiosctl.api.views.timeline import is_notable
from akiosctl.cages import list_cages
from akiosctl.client import Client, DaemonError, GoneError
from akiosctl.record_forms import Form
from akiosctl.records_text import kinds
from akiosctl.verbs.events import time_of
from akiosd.errors import AkiosError
from akiosd.values.ids import HOST_LOG
from akiosd.wire.messages import LogEntries, ReadLog, Records, Subscribe

BEAT_SECONDS = 15.0
_RETRY_SECONDS = 0.5
_MOST_STREAMS = 216
"""akiosd takes 256 connections of one user; the others are for requests."""

Cages = Annotated[
    list[Annotated[str, Query(pattern="^(c-[0-9a-z]{12}|host)$")]],
    Query(max_length=16, description="Only these logs; by default all that may be seen."),
]
Kinds = Annotated[
    list[str],
    Query(
        max_length=32,
        description="Only records of these kinds (akios-events(5)).",
        json_schema_extra={"items": {"type": "string", "enum": list(kinds())}},
    ),
]
Id = f"^({PATTERN})?$"
After = Annotated[
    str, Query(pattern=Id, max_length=2000, description="Go on behind the event of this id.")
]
LastId = Annotated[
    str,
    Header(alias="Last-Event-ID", pattern=Id, max_length=2000, description="The same."),
]
Notable = Annotated[
    bool, Query(description="Without the calls and files that nobody denied: they are many.")
]
Replay = Annotated[bool, Query(description="Begin with what was recorded so far.")]


class Follow(msgspec.Struct):
    """What a stream has to send: ``cages`` empty is all of them.  Of logs in ``floors`` nothing
    older than that (ns).
    """

    cages: tuple[str, ...]
    kinds: tuple[str, ...]
    positions: Positions
    floors: dict[str, int] = {}
    last_ns: int = 0
    notable: bool = False


async def stream(
    service: Service,
    request: Request,
    cage: Cages = [],  # noqa: B006
    kind: Kinds = [],  # noqa: B006
    after: After = "",
    replay: Replay = False,
    notable: Notable = False,
    last_event_id: LastId = "",
) -> StreamingResponse:
    """Follow events: `record` (as `akiosctl events --json` prints it), `gap` (records that were not
    sent: read them from the log), `away` and `back` (of akiosd), `end` (the token is no longer
    valid).
    """
    check_kinds(kind)
    begin = _Begin(service, tuple(cage), tuple(kind), last_event_id or after, replay)
    follow = await anyio.to_thread.run_sync(begin.find)
    follow.notable = notable
    token: Token = request.state.token
    return EventStream(service, send_all(service, token, follow))


def check_kinds(names: list[str]) -> None:
    """Raises for a kind that no record has: a typing error must not look like silence."""
    unknown = next((name for name in names if name not in kinds()), None)
    if unknown is not None:
        raise Refusal(
            HTTPStatus.UNPROCESSABLE_ENTITY,
            f"there is no kind {unknown!r}",
            "kind",
            f"the kinds are {', '.join(kinds())}",
        )


class _Begin:
    """Where a stream begins; asks akiosd."""

    def __init__(
        self,
        service: Service,
        cages: tuple[str, ...],
        kinds: tuple[str, ...],
        after: str,
        replay: bool,
    ) -> None:
        self._service, self._cages, self._kinds = service, cages, kinds
        self._after, self._replay = parse_id(after), replay

    def find(self) -> Follow:
        with self._service.connect() as client:
            for name in self._cages:
                read_entry(client, name, 0)
            if self._after is not None:
                return self._behind(client, *self._after)
            names: tuple[str, ...] = ()
            if self._replay:
                names = self._cages or tuple(c.cage for c in list_cages(client, everyone=True))
        follow = Follow(self._cages, self._kinds, Positions(dict.fromkeys(names, 0)))
        follow.last_ns = time.time_ns()
        return follow

    def _behind(self, client: Client, log: str, index: int, wanted: dict[str, int]) -> Follow:
        if self._cages:
            wanted = {name: wanted.get(name, 0) for name in self._cages}
            return Follow(self._cages, self._kinds, Positions(wanted), {}, time.time_ns())
        entry = read_entry(client, log, index)
        follow = Follow((), self._kinds, Positions(wanted))
        follow.last_ns = time_of(entry) if entry is not None else time.time_ns()
        _take_up(client, follow)
        return follow


def read_entry(client: Client, log: str, index: int) -> bytes | None:
    """A record of a log; None where there is none.  A 404 for a log that may not be read."""
    cage = "" if log == HOST_LOG else log
    try:
        request = ReadLog(cage=cage, start=index, stop=index + 1)
        reply, _ = client.call(request, LogEntries)
    except DaemonError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, error.what, log, error.next) from None
    return reply.entries[0] if reply.entries else None


def _take_up(client: Client, follow: Follow) -> None:
    """Logs of which nothing was sent may have spoken meanwhile: from their beginning, without what
    is older.
    """
    known = follow.positions.as_dict()
    for cage in list_cages(client, everyone=True):
        late = not cage.ended_ns or cage.ended_ns >= follow.last_ns
        if cage.cage not in known and late:
            follow.floors[cage.cage] = follow.last_ns
            follow.positions.move(cage.cage, 0)


async def send_all(
    service: Service, token: Token, follow: Follow, beat: float = BEAT_SECONDS
) -> AsyncGenerator[bytes, None]:
    """The stream's bytes, until the token is no longer valid."""
    yield b"retry: 1000\n\n"
    form, away = Form(as_json=True), False
    while True:
        try:
            if away:
                await _wait_back(service, follow)
                away = False
                yield b"event: back\ndata: {}\n\n"
            request = _ask(follow)
            async with aclosing(subscribe(service.events, request, beat)) as messages:
                async for message in messages:
                    if not is_valid(service, token):
                        yield write_event("end", {"what": "the token expired or was revoked"})
                        return
                    yield b": beat\n\n" if message is None else _write(form, follow, message)
        except GoneError as error:
            away = True
            yield write_event("away", {"what": error.what, "next": error.next})


def _ask(follow: Follow) -> Subscribe:
    cursors = follow.positions.as_dict()
    return Subscribe(kinds=follow.kinds, cages=follow.cages, cursors=cursors)


def is_valid(service: Service, token: Token) -> bool:
    """Whether a token that opened a stream is still one: not revoked, not expired."""
    kept = service.tokens.read().get(token.id)
    return kept is not None and not kept.expired(time.time_ns())


async def _wait_back(service: Service, follow: Follow) -> None:
    """Until akiosd says hello again.  Cancelled when the client leaves."""
    while True:
        await trio.sleep(_RETRY_SECONDS)
        try:
            await greet(service.socket)
            if not follow.cages:
                await anyio.to_thread.run_sync(_take_up_anew, service, follow)
            return
        except GoneError:
            continue


def _take_up_anew(service: Service, follow: Follow) -> None:
    with service.connect() as client:
        _take_up(client, follow)


def _write(form: Form, follow: Follow, message: object) -> bytes:
    """One or more events."""
    if isinstance(message, Records):
        floor = follow.floors.get(message.log, 0)
        parts = []
        lines = form.lines(message.log, message.start, message.entries)
        for number, line in enumerate(lines, message.start):
            name = follow.positions.move(message.log, number + 1)
            entry = message.entries[number - message.start]
            late = not floor or time_of(entry) >= floor
            if late and (not follow.notable or is_notable(entry)):
                parts.append(f"id: {name}\nevent: record\ndata: {line}\n\n")
        follow.last_ns = max(follow.last_ns, time_of(message.entries[-1]))
        return "".join(parts).encode() or b": older\n\n"
    log, start, stop = message.log, message.start, message.stop  # type: ignore[attr-defined]
    name = follow.positions.move(log, stop)
    return f"id: {name}\n".encode() + write_event("gap", {"log": log, "gap": [start, stop]})


def write_event(kind: str, data: object) -> bytes:
    """One event without an id."""
    return f"event: {kind}\ndata: ".encode() + msgspec.json.encode(data) + b"\n\n"


class EventStream(StreamingResponse):
    """Counts the streams that are open, and closes ``body`` however the client leaves."""

    open = 0

    def __init__(self, service: Service, body: AsyncGenerator[bytes, None]) -> None:
        if EventStream.open >= _MOST_STREAMS:
            raise Refusal(
                HTTPStatus.SERVICE_UNAVAILABLE,
                f"{_MOST_STREAMS} streams are open already",
                "events",
                "close one; or follow several cages by one stream",
            )
        headers = {"Cache-Control": "no-store", "X-Accel-Buffering": "no"}
        super().__init__(body, media_type="text/event-stream", headers=headers)
        self._body = body

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        EventStream.open += 1
        try:
            await super().__call__(scope, receive, send)
        except AkiosError:
            pass  # the stream ends; a client that comes again is told why
        finally:
            EventStream.open -= 1
            with trio.CancelScope(shield=True):
                await self._body.aclose()
