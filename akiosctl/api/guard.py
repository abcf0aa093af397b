"""What stands before every request: Host, Origin, framing, token, rate, size and time of a body.

It is an ASGI application around the API, so no endpoint can forget it: what is not in ``public``
needs a token.  ``check_headers`` is a function over values; the order is that of ``_admit``.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Sequence
from http import HTTPStatus
from typing import Any

import msgspec
import trio
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from akiosctl.api.address import Names
from akiosctl.api.problems import Refusal, problem_response
from akiosctl.api.rates import Rates
from akiosctl.api.sessions import Sessions
from akiosctl.api.tokens import Token, TokenFile, recognise
from akiosctl.render import escape
from akiosd.errors import AkiosError

Headers = Sequence[tuple[bytes, bytes]]
_ONCE = (b"host", b"origin", b"authorization", b"content-length", b"transfer-encoding")
_SAFE = ("GET", "HEAD")
_FIXED: tuple[tuple[bytes, bytes], ...] = (
    (b"x-content-type-options", b"nosniff"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cache-control", b"no-store"),
    (b"content-security-policy", b"default-src 'none'; frame-ancestors 'none'"),
)
"""What every answer has, unless it has a header of that name already."""
_STARTS = ("http.response.start", "websocket.http.response.start")


class Limits(msgspec.Struct, frozen=True):
    """Requests of one token, wrong tokens from one address, and requests that need none from one
    address, a second and at once; a body's bytes and seconds; requests at work, in all and of one
    token.
    """

    per_second: float = 50
    burst: float = 200
    wrong_per_second: float = 0.5
    wrong_burst: float = 10
    public_per_second: float = 10
    public_burst: float = 60
    body_bytes: int = 1 << 20
    body_seconds: float = 20
    at_once: int = 384
    at_once_of_one: int = 320


def check_headers(headers: Headers, version: str, names: Names) -> None:
    """Raises :class:`Refusal` for a request that two programs could read differently, for a name
    that is not this server's (DNS rebinding), and for a page of another origin.
    """
    if version not in ("1.0", "1.1"):
        what = f"this server speaks HTTP/1.1, not HTTP/{version}"
        raise Refusal(HTTPStatus.HTTP_VERSION_NOT_SUPPORTED, what, "request line", "use HTTP/1.1")
    seen = [name for name, _ in headers]
    twice = next((name for name in _ONCE if seen.count(name) > 1), None)
    if twice is not None:
        name = twice.decode()
        raise _unclear(f"the header {name} was sent twice", name, "send it once")
    if b"content-length" in seen and b"transfer-encoding" in seen:
        what = "Content-Length and Transfer-Encoding were both sent"
        raise _unclear(what, "content-length, transfer-encoding", "send one of the two")
    host = _get(headers, b"host").lower()
    if host not in names.hosts:
        raise Refusal(
            HTTPStatus.MISDIRECTED_REQUEST,
            f"the Host header names another server: {escape(host) or 'none'}",
            "Host",
            f"ask for {' or '.join(sorted(names.hosts))}, or give this server that name: akiosctl"
            " serve --origin",
            rule="serve.host",
        )
    if b"origin" in seen and _get(headers, b"origin").lower() not in names.origins:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"pages of {escape(_get(headers, b'origin'))} may not use this server",
            "Origin",
            "open this server's own page, or allow that origin: akiosctl serve --origin",
            rule="serve.origin",
        )


def _unclear(what: str, where: str, next: str) -> Refusal:
    headers = {"Connection": "close"}
    return Refusal(HTTPStatus.BAD_REQUEST, what, where, next, headers=headers)


def _get(headers: Headers, name: bytes) -> str:
    return next((value.decode("latin-1") for key, value in headers if key == name), "")


def _peer(scope: Scope) -> str:
    return str((scope.get("client") or ("unix",))[0])


class Guard:
    """``public``: paths that need no token."""

    def __init__(
        self,
        app: ASGIApp,
        names: Names,
        tokens: TokenFile,
        sessions: Sessions,
        public: frozenset[str],
        limits: Limits,
    ) -> None:
        self._app, self._names, self._tokens = app, names, tokens
        self._sessions, self._public, self._limits = sessions, public, limits
        self._rates = Rates(limits.per_second, limits.burst)
        self._wrong = Rates(limits.wrong_per_second, limits.wrong_burst)
        self._asked = Rates(limits.public_per_second, limits.public_burst)
        self._active = 0
        self._active_of: Counter[str] = Counter()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] not in ("http", "websocket"):
            return
        self._active += 1
        owner = ""
        try:
            try:
                token = scope["state"]["token"] = self._admit(scope)
                if token is not None and scope["path"] not in self._public:
                    self._enter(token.id)
                    owner = token.id
                if scope["type"] == "http":
                    receive = _replay(await self._read_body(scope, receive), receive)
            except AkiosError as error:
                await problem_response(error)(scope, receive, _with_headers(send))
                return
            await self._app(scope, receive, _with_headers(send))
        finally:
            self._active -= 1
            if owner:
                self._active_of[owner] -= 1
                self._active_of += Counter()  # forgets those that have none

    def _enter(self, owner: str) -> None:
        """One more is at work for a token, which leaves places to the others."""
        most = self._limits.at_once_of_one
        if self._active_of[owner] >= most:
            what = f"{most} requests of this token are at work already"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, what, "requests", "ask again")
        self._active_of[owner] += 1

    def _admit(self, scope: Scope) -> Token | None:
        headers: Headers = scope["headers"]
        check_headers(headers, scope["http_version"], self._names)
        if self._active > self._limits.at_once:
            what = f"{self._limits.at_once} requests are at work already"
            raise Refusal(HTTPStatus.SERVICE_UNAVAILABLE, what, "requests", "ask again in a second")
        if scope["path"] in self._public:
            return self._admit_anybody(scope)
        token = self._find_token(scope)
        if token is None:
            raise self._refuse_token(scope)
        self._take(self._rates, token.id, "more requests than one token may make")
        return token

    def _admit_anybody(self, scope: Scope) -> Token | None:
        """What needs no token takes no body: whoever sends one slowly would hold a place.  Who has
        one may be told more.
        """
        length = _get(scope["headers"], b"content-length")
        if length not in ("", "0") or _get(scope["headers"], b"transfer-encoding"):
            what = "a body was sent, and this address takes none"
            raise _unclear(what, scope["path"], "send the request without a body")
        token = self._find_known(scope)
        if token is not None:  # others at its address cannot lock it out
            self._take(self._rates, token.id, "more requests than one token may make")
        else:
            what = "more requests than one address may make without a token"
            self._take(self._asked, _peer(scope), what)
        return token

    def _find_known(self, scope: Scope) -> Token | None:
        """Who asks for what needs no token: a page of a session has many files."""
        if not _get(scope["headers"], b"authorization") and not _get(scope["headers"], b"cookie"):
            return None
        try:
            return self._find_token(scope)
        except Refusal:  # a link on another page led here: that one is nobody we know
            return None

    def _find_token(self, scope: Scope) -> Token | None:
        """By the Authorization header, else by the page's cookie.  A cookie comes by itself, so it
        counts only where the browser says that a page of this server asks; for what changes
        something and for a WebSocket by its Origin.
        """
        headers: Headers = scope["headers"]
        tokens, now_ns = self._tokens.read(), time.time_ns()
        given = _get(headers, b"authorization")
        if given:
            kind, _, text = given.partition(" ")
            return recognise(text.strip(), tokens, now_ns) if kind.lower() == "bearer" else None
        token = self._sessions.recognise(_get(headers, b"cookie"), tokens, now_ns)
        if token is None:
            return None
        site = _get(headers, b"sec-fetch-site")
        own = site in ("", "same-origin", "none")
        if not own or (scope.get("method") not in _SAFE and not _get(headers, b"origin")):
            raise Refusal(
                HTTPStatus.FORBIDDEN,
                "a page of another server sent this request with the cookie of this server",
                "Origin, Sec-Fetch-Site",
                "send the token: Authorization: Bearer akt_…",
                rule="serve.origin",
            )
        return token

    def _refuse_token(self, scope: Scope) -> Refusal:
        """A wrong token costs.  Who has a right one never comes here: others cannot lock it out."""
        if _get(scope["headers"], b"authorization"):
            self._take(self._wrong, _peer(scope), "too many requests with a wrong token")
        return Refusal(
            HTTPStatus.UNAUTHORIZED,
            "a valid token is needed: none was given, or it is wrong, expired or revoked",
            "Authorization",
            "make one with akiosctl token create --scope SCOPE, and send it as"
            " Authorization: Bearer akt_…",
            rule="token",
            headers={"WWW-Authenticate": 'Bearer realm="akios"'},
        )

    def _take(self, rates: Rates, name: str, what: str) -> None:
        wait = rates.take(name, time.monotonic())
        if wait:
            seconds = max(1, round(wait))
            raise Refusal(
                HTTPStatus.TOO_MANY_REQUESTS,
                what,
                "requests",
                f"ask again in {seconds} s",
                rule="serve.rate",
                headers={"Retry-After": str(seconds)},
            )

    async def _read_body(self, scope: Scope, receive: Receive) -> bytes:
        """All of it, within its bounds."""
        most, data = self._limits.body_bytes, bytearray()
        length = _get(scope["headers"], b"content-length")
        if length.isdigit() and int(length) > most:
            raise _too_large(most)
        with trio.move_on_after(self._limits.body_seconds):
            while True:
                message = await receive()
                if message["type"] != "http.request":
                    break
                data += message.get("body", b"")
                if len(data) > most:
                    raise _too_large(most)
                if not message.get("more_body", False):
                    return bytes(data)
        raise Refusal(
            HTTPStatus.REQUEST_TIMEOUT,
            f"the body did not come within {self._limits.body_seconds:.0f} s",
            "body",
            "send it faster, or less of it",
            headers={"Connection": "close"},
        )


def _too_large(most: int) -> Refusal:
    what = f"the body is larger than {most} bytes"
    headers = {"Connection": "close"}
    status = HTTPStatus.REQUEST_ENTITY_TOO_LARGE
    return Refusal(status, what, "body", "send less at once", headers=headers)


def _replay(body: bytes, receive: Receive) -> Receive:
    """``body`` first, then whatever comes."""
    left = [body]

    async def replayed() -> Message:
        if left:
            return {"type": "http.request", "body": left.pop(), "more_body": False}
        return await receive()

    return replayed


def _with_headers(send: Send) -> Send:
    async def sent(message: Message) -> None:
        if message["type"] in _STARTS:
            given: list[Any] = list(message.get("headers", ()))
            names = {bytes(name).lower() for name, _ in given}
            more = [pair for pair in _FIXED if pair[0] not in names]
            message = {**message, "headers": [*given, *more]}
        await send(message)

    return sent
