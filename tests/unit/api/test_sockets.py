"""A WebSocket has to pass what every other request has to pass."""

from __future__ import annotations

from pathlib import Path

import pytest

from akiosctl.api.guard import Limits
from tests.unit.api.asgi import ask, bearer, make_guard, new_token
from tests.unit.api.test_guard import FRAMING, sign_in

EVENTS = "/api/v1/events"
AWAY = 503
"""What one is told that passed: akiosd is not there."""
ORIGIN = (("origin", "http://127.0.0.1:8470"),)


@pytest.mark.parametrize("how", FRAMING)
async def test_one_of_doubtful_form_is_refused(how: str, tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token = bearer(new_token(tokens)[0])
    headers, more, status = FRAMING[how]
    answer = await ask(app, EVENTS, "WS", (*token, *headers), **more)
    assert answer.status == status and answer.json()["next"], answer.body
    assert (await ask(app, EVENTS, "WS", (*token, *ORIGIN))).status == AWAY


async def test_it_needs_a_token_that_holds(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path, Limits(per_second=0.001, burst=2))
    text, token = new_token(tokens)
    for headers in ((), bearer(text[:-2] + "xx"), bearer("")):
        assert (await ask(app, EVENTS, "WS", headers)).status == 401
    statuses = [(await ask(app, EVENTS, "WS", bearer(text))).status for _ in range(3)]
    assert statuses == [AWAY, AWAY, 429]
    tokens.remove((token.id,))
    assert (await ask(app, EVENTS, "WS", bearer(text))).status == 401


async def test_another_page_cannot_use_the_cookie(tmp_path: Path) -> None:
    """Browsers send cookies with WebSockets of any page, and ask nobody first."""
    app, tokens, _ = make_guard(tmp_path)
    cookie = await sign_in(app, new_token(tokens)[0])
    for origin in ("http://evil.example", "http://127.0.0.1:8471", "null"):
        assert (await ask(app, EVENTS, "WS", (cookie, ("origin", origin)))).status == 403
    assert (await ask(app, EVENTS, "WS", (cookie,))).status == 403  # no page said who asks
    assert (await ask(app, EVENTS, "WS", (cookie, *ORIGIN))).status == AWAY


async def test_what_it_asks_for_is_checked(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token = bearer(new_token(tokens)[0])
    for query in ("kind=nothing", "cage=nothing", "after=x", "what=1"):
        answer = await ask(app, f"{EVENTS}?{query}", "WS", token)
        assert answer.status == 422 and answer.json()["where"], (query, answer.body)
