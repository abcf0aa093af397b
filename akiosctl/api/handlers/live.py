"""The list of cages as it changes: Server-Sent Events (the HTML standard, 9.2).

Each event holds the whole page of the list, so who comes back has missed nothing.
"""

from __future__ import annotations

import anyio.to_thread
import msgspec
import trio
from fastapi import Request

from akiosctl.api.handlers.views import Limit, State, Words
from akiosctl.api.service import Service
from akiosctl.api.streams import BEAT, BEAT_SECONDS, ENDED, EventStream, Item, Items, is_valid
from akiosctl.api.tokens import Token
from akiosctl.api.view_forms import CagesView
from akiosctl.api.views.cages import show_page
from akiosd.errors import AkiosError

PAUSE_SECONDS = 1.0


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
    return EventStream(follow_pages(service, request.state.token, state, words, limit))


async def follow_pages(service: Service, token: Token, state: str, words: str, limit: int) -> Items:
    """Pages as they change, until the token is no longer valid."""
    away, before, said = False, b"", trio.current_time()
    while is_valid(service, token):
        items: list[Item] = []
        try:
            page = await anyio.to_thread.run_sync(_look, service, state, words, limit)
            items += [Item("back", {})] if away else []
            away = False
            # Where nothing runs nothing changes but the time.
            now = msgspec.json.encode(msgspec.structs.replace(page, at_ns=0))
            if now != before:
                before = now
                items.append(Item("cages", page))
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


def _look(service: Service, state: str, words: str, limit: int) -> CagesView:
    return show_page(service.watch.look(service.connect), state, words, 0, limit)
