"""A WebSocket has to pass what every other request has to pass."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest
import trio
import trio.testing

from akiosctl.api import streams
from akiosctl.api.guard import Limits
from akiosd.errors import AkiosError
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


CAGE = "c-0123456789ab"
SOCKETS = (
    f"{EVENTS}?cage={CAGE}",
    f"/api/v1/cages/{CAGE}/exec?argv=true",
    f"/api/v1/cages/{CAGE}/attach",
)


@pytest.mark.parametrize("path", SOCKETS)
async def test_many_at_once_are_counted_before_they_wait_for_akiosd(
    path: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(streams, "MOST_OF_ONE", 2)
    app, tokens, service = make_guard(tmp_path)
    monkeypatch.setattr(service, "socket", str(tmp_path / "control.sock"))
    token, other = (bearer(new_token(tokens)[0]) for _ in range(2))
    refused: list[str] = []
    asked = trio.Event()

    async def one(headers: tuple[tuple[str, str], ...]) -> None:
        answer = await ask(app, path, "WS", headers)
        refused.append(answer.json()["detail"])
        if len(refused) == 3:
            asked.set()

    with socket.socket(socket.AF_UNIX) as silent:
        silent.bind(service.socket)
        silent.listen()
        async with trio.open_nursery() as nursery:
            for _ in range(5):
                nursery.start_soon(one, token)
            try:
                with trio.fail_after(10):
                    await asked.wait()
                assert refused == ["2 streams of this token are open already"] * 3
                nursery.start_soon(one, other)
                await trio.testing.wait_all_tasks_blocked(0.1)
                assert len(refused) == 3 and streams.Open.by_token.total() == 3, "the control"
            finally:
                silent.close()  # those that wait are told that akiosd is gone
    assert streams.Open.by_token.total() == 0
    assert len(refused) == 6 and refused.count(refused[0]) == 3


async def test_a_wait_ends_with_its_client() -> None:
    left, ended = trio.Event(), []

    async def receive() -> dict[str, object]:
        await left.wait()
        return {"type": "http.disconnect"}

    async def wait() -> None:
        left.set()
        await trio.sleep_forever()

    with trio.fail_after(10):
        await streams.wait_while_there(receive, wait)

    async def quick() -> None:
        ended.append("")

    left = trio.Event()
    await streams.wait_while_there(receive, quick)
    assert ended, "the control"

    async def failing() -> None:
        raise AkiosError("akiosd closed the connection")

    with pytest.raises(AkiosError, match="closed"):
        await streams.wait_while_there(receive, failing)
