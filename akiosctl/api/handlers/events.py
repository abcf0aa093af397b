"""Events as they become durable, by Server-Sent Events or by a WebSocket.

``id`` says how to go on (``akiosctl.api.positions``): a browser sends the last one back by itself.
What was left out is said by a ``gap``.  While akiosd is away the stream goes on, says so, and
takes up where it stopped.
"""

from __future__ import annotations

import time
from contextlib import aclosing
from http import HTTPStatus
from typing import Annotated

import anyio.to_thread
import msgspec
from fastapi import Header, Query, Request
from starlette.websockets import WebSocket

from akiosctl.api.daemon_stream import subscribe, wait_back
from akiosctl.api.positions import PATTERN, Positions, parse_id
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service, find_kept
from akiosctl.api.streams import (
    BEAT,
    BEAT_SECONDS,
    ENDED,
    EventStream,
    Item,
    Items,
    Open,
    is_valid,
    send_items,
)
from akiosctl.api.tokens import Token
from akiosctl.api.views.timeline import is_notable
from akiosctl.api.views.workflows import cages_of
from akiosctl.cages import list_cages
from akiosctl.client import Client, DaemonError, GoneError
from akiosctl.entry_time import time_of
from akiosctl.record_forms import Form
from akiosctl.records_text import kinds
from akiosd.values.ids import HOST_LOG
from akiosd.wire.messages import Gap, LogEntries, ReadLog, Records, Subscribe

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
OfRun = Annotated[
    str,
    Query(
        pattern="^(w-[0-9a-f]{10})?$",
        description="Only the cages of this run of a workflow, those that it starts later, too.",
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
    """What a stream has to send: ``cages`` empty is all of them, or those of ``run``.  Of logs in
    ``floors`` nothing older than that (ns).
    """

    cages: tuple[str, ...]
    kinds: tuple[str, ...]
    positions: Positions
    floors: dict[str, int] = {}
    last_ns: int = 0
    notable: bool = False
    run: str = ""
    own: dict[str, bool] = {}
    """Log → whether it is that of a cage of ``run``."""


async def stream(
    service: Service,
    request: Request,
    cage: Cages = [],  # noqa: B006
    kind: Kinds = [],  # noqa: B006
    after: After = "",
    replay: Replay = False,
    notable: Notable = False,
    run: OfRun = "",
    last_event_id: LastId = "",
) -> EventStream:
    """Follow events: `record` (as `akiosctl events --json` prints it), `gap` (records that were not
    sent: read them from the log), `away` and `back` (of akiosd), `end` (the token is no longer
    valid).  Lines that begin with a colon are comments, which clients of such streams leave out:
    `: beat` where it is quiet, `: passed over` where records came that were not asked for.
    Whoever asks here for a WebSocket gets the same as its messages.
    """
    follow = await _begin(service, cage, kind, last_event_id or after, replay, notable, run)
    token: Token = request.state.token
    return EventStream(follow_items(service, token, follow), token.id)


async def converse(
    service: Service,
    socket: WebSocket,
    cage: Cages = [],  # noqa: B006
    kind: Kinds = [],  # noqa: B006
    after: After = "",
    replay: Replay = False,
    notable: Notable = False,
    run: OfRun = "",
) -> None:
    """Follow events by a WebSocket: each message is `{"event": …, "id": …, "data": …}`, as the
    events of the other way; a `beat` comes when it is quiet.
    """
    with Open(socket.state.token.id):
        follow = await _begin(service, cage, kind, after, replay, notable, run)
        await socket.accept()
        await send_items(socket, follow_items(service, socket.state.token, follow))


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


async def _begin(
    service: Service,
    cages: list[str],
    kinds: list[str],
    after: str,
    replay: bool,
    notable: bool,
    run: str,
) -> Follow:
    check_kinds(kinds)
    if run and cages:
        status = HTTPStatus.CONFLICT
        raise Refusal(status, "a run has its own cages", "cage", "leave out one of cage and run")
    if run:
        await anyio.to_thread.run_sync(find_kept, run)
    begin = _Begin(service, tuple(cages), tuple(kinds), after, replay, run)
    follow = await anyio.to_thread.run_sync(begin.find)
    follow.notable, follow.run = notable, run
    return follow


class _Begin:
    """Where a stream begins; asks akiosd."""

    def __init__(
        self,
        service: Service,
        cages: tuple[str, ...],
        kinds: tuple[str, ...],
        after: str,
        replay: bool,
        run: str,
    ) -> None:
        self._service, self._cages, self._kinds, self._run = service, cages, kinds, run
        self._after, self._replay = parse_id(after), replay

    def find(self) -> Follow:
        with self._service.connect() as client:
            for name in self._cages:
                read_entry(client, name, 0)
            if self._after is not None:
                return self._behind(client, *self._after)
            names: tuple[str, ...] = ()
            if self._replay:
                cages = list_cages(client, everyone=True)
                of = cages_of(self._run, cages) if self._run else cages
                names = self._cages or tuple(cage.cage for cage in of)
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


async def follow_items(
    service: Service, token: Token, follow: Follow, beat: float = BEAT_SECONDS
) -> Items:
    """What happens, until the token is no longer valid."""
    form, away = Form(as_json=True), False
    while True:
        try:
            if away:
                await wait_back(service.socket)
                if not follow.cages:
                    await anyio.to_thread.run_sync(_take_up_anew, service, follow)
                away = False
                yield [Item("back", {})]
            request = _ask(follow)
            async with aclosing(subscribe(service.events, request, beat)) as messages:
                async for message in messages:
                    if not is_valid(service, token):
                        yield [ENDED]
                        return
                    if message is not None and not await _is_wanted(service, follow, message.log):
                        continue
                    yield [BEAT] if message is None else _items_of(form, follow, message)
        except GoneError as error:
            if not away:
                yield [Item("away", {"what": error.what, "next": error.next})]
            away = True


async def _is_wanted(service: Service, follow: Follow, log: str) -> bool:
    """Of a run are the logs whose cages it started."""
    if not follow.run:
        return True
    if log not in follow.own:
        found = await anyio.to_thread.run_sync(_list_known, service, follow.run)
        follow.own = {HOST_LOG: False, **found}
    return follow.own.get(log, False)


def _list_known(service: Service, run: str) -> dict[str, bool]:
    """Each cage that may be seen, and whether the run started it."""
    with service.connect() as client:
        cages = list_cages(client, everyone=True)
    own = {cage.cage for cage in cages_of(run, cages)}
    return {cage.cage: cage.cage in own for cage in cages}


def _ask(follow: Follow) -> Subscribe:
    cursors = follow.positions.as_dict()
    return Subscribe(kinds=follow.kinds, cages=follow.cages, cursors=cursors)


def _take_up_anew(service: Service, follow: Follow) -> None:
    with service.connect() as client:
        _take_up(client, follow)


def _items_of(form: Form, follow: Follow, message: Records | Gap) -> list[Item]:
    if isinstance(message, Gap):
        name = follow.positions.move(message.log, message.stop)
        gap = {"log": message.log, "gap": [message.start, message.stop]}
        return [Item("gap", gap, name)]
    floor = follow.floors.get(message.log, 0)
    found = []
    lines = form.lines(message.log, message.start, message.entries)
    for number, line in enumerate(lines, message.start):
        name = follow.positions.move(message.log, number + 1)
        entry = message.entries[number - message.start]
        late = not floor or time_of(entry) >= floor
        if late and (not follow.notable or is_notable(entry)):
            found.append(Item("record", msgspec.Raw(line.encode()), name))
    follow.last_ns = max(follow.last_ns, time_of(message.entries[-1]))
    return found
