"""What stands before every request lets in what it should, and nothing else."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
import trio
import trio.testing

from akiosctl.api.guard import Limits
from akiosctl.api.sessions import COOKIE
from tests.unit.api.asgi import ask, bearer, make_guard, new_token

VERSION = "/api/v1/version"
Headers = tuple[tuple[str, str], ...]

# What differs from a good request → the status that it gets.
FRAMING: dict[str, tuple[Headers, dict[str, Any], int]] = {
    "another name": ((("host", "evil.example"),), {"host": False}, 421),
    "its name on another port": ((("host", "127.0.0.1:80"),), {"host": False}, 421),
    "a name that begins like it": ((("host", "127.0.0.1:8470.evil"),), {"host": False}, 421),
    "no name": ((), {"host": False}, 421),
    "two names": ((("host", "evil.example"),), {}, 400),
    "two tokens": ((("authorization", "Bearer x"),), {}, 400),
    "two lengths": ((("content-length", "0"), ("content-length", "1")), {}, 400),
    "a length and chunks": ((("content-length", "0"), ("transfer-encoding", "chunked")), {}, 400),
    "another origin": ((("origin", "http://evil.example"),), {}, 403),
    "no origin at all": ((("origin", "null"),), {}, 403),
    "the origin with another port": ((("origin", "http://127.0.0.1:1"),), {}, 403),
    "HTTP/2": ((), {"version": "2"}, 505),
}


@pytest.mark.parametrize("how", FRAMING)
async def test_a_request_of_doubtful_form_is_refused(how: str, tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    text, _ = new_token(tokens)
    headers, more, status = FRAMING[how]
    answer = await ask(app, VERSION, headers=(*bearer(text), *headers), **more)
    assert answer.status == status, answer.body
    found = answer.json()
    assert found["detail"] and found["where"] and found["next"]
    own = (("origin", "http://127.0.0.1:8470"),)
    assert (await ask(app, VERSION, headers=(*bearer(text), *own))).status == 200


async def test_without_a_valid_token_nothing_is_told(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    text, token = new_token(tokens)
    old, _ = new_token(tokens, expires_ns=time.time_ns() + 10**9)
    wrong = text[:-2] + "xx"
    for headers in ((), bearer(wrong), (("authorization", f"Basic {text}"),), bearer("")):
        answer = await ask(app, VERSION, headers=headers)
        assert answer.status == 401 and answer.headers["www-authenticate"]
        assert (await ask(app, "/api/v1/no-such-thing", headers=headers)).status == 401
    assert (await ask(app, VERSION, headers=bearer(old))).status == 200
    assert (await ask(app, VERSION, headers=bearer(text))).status == 200
    tokens.remove((token.id,))
    assert (await ask(app, VERSION, headers=bearer(text))).status == 401


async def test_wrong_tokens_are_counted_and_lock_nobody_out(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path, Limits(wrong_per_second=0.001, wrong_burst=3))
    text, _ = new_token(tokens)
    wrong = bearer(text[:-2] + "xx")
    found = [(await ask(app, VERSION, headers=wrong)).status for _ in range(5)]
    assert found == [401, 401, 401, 429, 429]
    assert (await ask(app, VERSION, headers=bearer(text))).status == 200


async def test_one_token_may_ask_so_often(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path, Limits(per_second=0.001, burst=2))
    first, second = (new_token(tokens)[0] for _ in range(2))
    answers = [await ask(app, VERSION, headers=bearer(first)) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) >= 1
    assert (await ask(app, VERSION, headers=bearer(second))).status == 200


async def test_one_token_has_so_many_requests_at_work(tmp_path: Path) -> None:
    """With bodies that do not come it would hold every place of the server."""
    app, tokens, _ = make_guard(tmp_path, Limits(at_once=6, at_once_of_one=4, burst=100))
    greedy, other = new_token(tokens)[0], new_token(tokens)[0]
    post = ("/api/v1/policies/check", "POST")
    with trio.fail_after(30):
        async with trio.open_nursery() as nursery:
            for _ in range(4):
                nursery.start_soon(ask, app, *post, bearer(greedy), (b"...",))
            await trio.testing.wait_all_tasks_blocked(0.01)
            full = await ask(app, VERSION, headers=bearer(greedy))
            assert full.status == 503 and "of this token" in full.json()["detail"]
            assert (await ask(app, VERSION, headers=bearer(other))).status == 200
            nursery.cancel_scope.cancel()
    assert (await ask(app, VERSION, headers=bearer(greedy))).status == 200


async def sign_in(app: Any, text: str) -> tuple[str, str]:
    answer = await ask(app, "/api/v1/session", "POST", bearer(text))
    assert answer.status == 200
    cookie = answer.headers["set-cookie"]
    assert "HttpOnly" in cookie and "SameSite=Strict" in cookie and text not in cookie
    return "cookie", cookie.partition(";")[0]


async def test_a_cookie_opens_what_its_token_opens_as_long_as_that_holds(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    text, token = new_token(tokens, "redact")
    cookie = await sign_in(app, text)
    assert (await ask(app, VERSION, headers=(cookie,))).status == 200
    assert (await ask(app, "/api/v1/cages", headers=(cookie,))).status == 403  # not its scope
    forged = cookie[1][:-1] + ("0" if cookie[1][-1] != "0" else "1")
    for value in (forged, f"{COOKIE}={text}", f"{COOKIE}=", "other=1"):
        assert (await ask(app, VERSION, headers=(("cookie", value),))).status == 401
    tokens.remove((token.id,))
    assert (await ask(app, VERSION, headers=(cookie,))).status == 401


async def test_a_session_that_was_ended_opens_nothing(tmp_path: Path) -> None:
    """Somebody may have kept its cookie.  Control: another session of the token goes on."""
    app, tokens, _ = make_guard(tmp_path)
    text, _ = new_token(tokens)
    first, second = await sign_in(app, text), await sign_in(app, text)
    assert first != second
    own = ("origin", "http://127.0.0.1:8470")
    assert (await ask(app, VERSION, headers=(first,))).status == 200
    ended = await ask(app, "/api/v1/session", "DELETE", headers=(first, own))
    assert ended.status == 200 and "Max-Age=0" in ended.headers["set-cookie"]
    assert (await ask(app, VERSION, headers=(first,))).status == 401
    assert (await ask(app, VERSION, headers=(second,))).status == 200


async def test_a_session_does_not_renew_itself(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    text, _ = new_token(tokens)
    cookie, own = await sign_in(app, text), ("origin", "http://127.0.0.1:8470")
    answer = await ask(app, "/api/v1/session", "POST", (cookie, own))
    assert answer.status == 403 and "set-cookie" not in answer.headers
    assert (await ask(app, VERSION, headers=(cookie,))).status == 200  # the control: it holds
    assert (await ask(app, "/api/v1/session", "POST", (cookie, own, *bearer(text)))).status == 200


HEALTH = "/docs"
"""Of what needs no token, the one that asks nobody else."""


async def test_what_needs_no_token_may_be_asked_so_often(tmp_path: Path) -> None:
    limits = Limits(public_per_second=0.001, public_burst=2)
    app, tokens, _ = make_guard(tmp_path, limits)
    token = bearer(new_token(tokens)[0])
    answers = [await ask(app, HEALTH) for _ in range(3)]
    assert [answer.status for answer in answers] == [200, 200, 429]
    assert int(answers[2].headers["retry-after"]) >= 1
    assert (await ask(app, "/api/v1/health")).status == 429
    assert (await ask(app, HEALTH, headers=bearer("wrong"))).status == 429
    for path in (HEALTH, VERSION):  # who has a token is not locked out by others
        assert (await ask(app, path, headers=token)).status == 200


async def test_the_files_of_a_session_s_page_count_as_its_tokens(tmp_path: Path) -> None:
    """They are many, and others at its address cannot keep it from them."""
    limits = Limits(public_per_second=0.001, public_burst=2)
    app, tokens, _ = make_guard(tmp_path, limits)
    cookie = await sign_in(app, new_token(tokens)[0])
    assert [(await ask(app, "/")).status for _ in range(3)] == [200, 200, 429]
    for path in ("/", "/app.js", "/page.css"):
        assert (await ask(app, path, headers=(cookie,))).status == 200
    forged = ("cookie", cookie[1][:-4] + "0000")
    elsewhere = ("sec-fetch-site", "cross-site")
    for headers in ((forged,), (cookie, elsewhere)):  # nobody that is known
        assert (await ask(app, "/", headers=headers)).status == 429


async def test_a_body_where_none_is_taken_holds_no_place(tmp_path: Path) -> None:
    """Nor is a clock needed: it is not waited for."""
    app, _, _ = make_guard(tmp_path)
    for said in (("content-length", "5"), ("transfer-encoding", "chunked")):
        answer = await ask(app, HEALTH, "GET", (said,), (b"...",))
        assert answer.status == 400 and answer.headers["connection"] == "close"
    assert (await ask(app, HEALTH, "GET", (("content-length", "0"),))).status == 200


async def test_another_page_cannot_use_the_cookie(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    cookie = await sign_in(app, new_token(tokens)[0])
    end, own = "/api/v1/session", ("origin", "http://127.0.0.1:8470")
    assert (await ask(app, end, "DELETE", (cookie,))).status == 403  # no page said who asks
    for site in ("cross-site", "same-site"):  # another port is the same site
        answer = await ask(app, VERSION, headers=(cookie, ("sec-fetch-site", site)))
        assert answer.status == 403 and answer.json()["rule"] == "serve.origin"
    assert (await ask(app, end, "DELETE", (cookie, own))).status == 200


async def test_a_body_has_a_size(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path, Limits(body_bytes=10))
    text, path = (("content-type", "text/plain"),), "/api/v1/redaction/scan"
    token = bearer(new_token(tokens)[0])
    said = (("content-length", "11"),)
    assert (await ask(app, path, "POST", (*token, *text, *said))).status == 413
    assert (await ask(app, path, "POST", (*token, *text), (b"x" * 6, b"x" * 5))).status == 413
    assert (await ask(app, path, "POST", (*token, *text), (b"x" * 6, b"x" * 4))).status == 200


async def test_a_body_has_a_time(tmp_path: Path, autojump_clock: object) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token = bearer(new_token(tokens)[0])
    headers = (*token, ("content-type", "text/plain"))
    assert (await ask(app, "/api/v1/redaction/scan", "POST", headers, (b"...",))).status == 408


async def test_every_answer_has_the_headers_that_browsers_obey(tmp_path: Path) -> None:
    app, tokens, _ = make_guard(tmp_path)
    token = bearer(new_token(tokens)[0])
    for path in ("/", "/docs", "/openapi.json", VERSION, "/api/v1/nothing", "/app.js"):
        headers = (await ask(app, path, headers=token)).headers
        assert headers["x-content-type-options"] == "nosniff", path
        assert "default-src 'none'" in headers["content-security-policy"], path
        assert "'unsafe" not in headers["content-security-policy"], path
        assert not [name for name in headers if name.startswith("access-control")], path
