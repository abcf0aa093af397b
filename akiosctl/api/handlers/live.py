"""The list of cages as it changes: Server-Sent Events (the HTML standard, 9.2).

Each event holds the whole page of the list, so who comes back has missed nothing.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator

import anyio.to_thread
import msgspec
import trio
from fastapi import Request
from starlette.responses import StreamingResponse

from akiosctl.api.handlers.events import BEAT_SECONDS, EventStream, is_valid, write_event
from akiosctl.api.handlers.views import Limit, State, Words
from akiosctl.api.service import Service
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
) -> StreamingResponse:
    """Follow the first page of cages: `cages` whenever it changed, at most once a second; `away`
    and `back` (of akiosd), `end` (the token is no longer valid).
    """
    token: Token = request.state.token
    return EventStream(service, send_pages(service, token, state, words, limit))


async def send_pages(
    service: Service, token: Token, state: str, words: str, limit: int
) -> AsyncGenerator[bytes, None]:
    """The stream's bytes, until the token is no longer valid."""
    yield b"retry: 1000\n\n"
    away, before, said = False, b"", trio.current_time()
    while is_valid(service, token):
        event = b""
        try:
            page = await anyio.to_thread.run_sync(_look, service, state, words, limit)
            if away:
                away = False
                yield write_event("back", {})
            # Where nothing runs nothing changes but the time.
            now = msgspec.json.encode(msgspec.structs.replace(page, at_ns=0))
            if now != before:
                before, event = now, write_event("cages", page)
        except AkiosError as error:
            if not away:
                event = write_event("away", {"what": error.what, "next": error.next})
            away, before = True, b""
        if not event and trio.current_time() - said >= BEAT_SECONDS:
            event = b": beat\n\n"
        if event:
            said = trio.current_time()
            yield event
        await trio.sleep(PAUSE_SECONDS)
    yield write_event("end", {"what": "the token expired or was revoked"})


def _look(service: Service, state: str, words: str, limit: int) -> CagesView:
    return show_page(service.watch.look(service.connect), state, words, 0, limit)
