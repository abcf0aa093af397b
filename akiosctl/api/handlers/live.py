"""Lists and runs of workflows as they change: Server-Sent Events (the HTML standard, 9.2).

Each event holds the whole view, so who comes back has missed nothing.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import anyio.to_thread
import msgspec
import trio
from fastapi import Request

from akiosctl.api.forms import WorkflowNow
from akiosctl.api.handlers.views import Limit, RunState, State, Words, list_workflows
from akiosctl.api.handlers.workflows import describe_now
from akiosctl.api.params import RunId
from akiosctl.api.service import Service, find_kept
from akiosctl.api.streams import BEAT, BEAT_SECONDS, ENDED, EventStream, Item, Items, is_valid
from akiosctl.api.tokens import Token
from akiosctl.api.view_forms import CagesView, WorkflowsView
from akiosctl.api.views.cages import show_page
from akiosd.errors import AkiosError

PAUSE_SECONDS = 1.0
View = CagesView | WorkflowsView | WorkflowNow


async def stream(
    service: Service,
    request: Request,
    state: State = "running",
    words: Words = "",
    limit: Limit = 50,
) -> EventStream:
    """Follow the first page of cages: `cages` whenever it changed, at most once a second; `away`
    and `back` (of akiosd), `end` (the token is no longer valid).
    """

    def look() -> CagesView:
        return show_page(service.watch.look(service.connect), state, words, 0, limit)

    return _stream_view(service, request, "cages", look)


async def stream_workflows(
    service: Service, request: Request, state: RunState = "all", limit: Limit = 50
) -> EventStream:
    """Follow the first page of runs of workflows: `runs` whenever it changed, at most once a
    second; and `end` (the token is no longer valid).
    """

    def look() -> WorkflowsView:
        return list_workflows(service, state, 0, limit)

    return _stream_view(service, request, "runs", look)


async def stream_workflow(service: Service, request: Request, run: RunId) -> EventStream:
    """Follow a run of a workflow: `run` whenever something of it changed, at most once a second;
    `away` and `back` (of akiosd), `end` (the token is no longer valid).
    """
    find_kept(run)
    look = partial(describe_now, service, run)
    return _stream_view(service, request, "run", look)


def _stream_view(
    service: Service, request: Request, kind: str, look: Callable[[], View]
) -> EventStream:
    token: Token = request.state.token
    return EventStream(follow_view(service, token, kind, look), token.id)


async def follow_view(service: Service, token: Token, kind: str, look: Callable[[], View]) -> Items:
    """What ``look`` returns as it changes, as items of this ``kind``, until the token is no longer
    valid.
    """
    away, before, said = False, b"", trio.current_time()
    while is_valid(service, token):
        items: list[Item] = []
        try:
            view = await anyio.to_thread.run_sync(look)
            items += [Item("back", {})] if away else []
            away = False
            # Where nothing happens nothing changes but the time.
            now = msgspec.json.encode(msgspec.structs.replace(view, at_ns=0))
            if now != before:
                before = now
                items.append(Item(kind, view))
        except AkiosError as error:
            if not away:
                items.append(Item("away", {"what": error.what, "next": error.next}))
            away, before = True, b""
        if not items and trio.current_time() - said >= BEAT_SECONDS:
            items.append(BEAT)
        if items:
            said = trio.current_time()
            yield items
        await trio.sleep(PAUSE_SECONDS)
    yield [ENDED]
