"""The tools of ``mcp_server.py`` over HTTP, behind the guard of the REST API, for several clients.

    client ─▶ api/connections.py ─▶ api/guard.py (Host, Origin, token, rate, body)
           ─▶ Door (path, scope, whose session) ─▶ mcp (the library) ─▶ a tool ─▶ Conversations

Each conversation has a cage of its own.  With a protocol that has sessions it is the client's
session, which none but the token that began it can use; the newest protocol has none, and there
it is all that comes with one token.  A conversation ends when its session does, when its token
does, when nobody called for a while, and with the server; its cage ends with it.
"""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from http import HTTPStatus
from typing import Any, NamedTuple

import anyio
import anyio.to_thread
from mcp.server.auth.middleware.bearer_auth import AuthenticatedUser
from mcp.server.auth.provider import AccessToken
from mcp.server.mcpserver import Context
from mcp.server.transport_security import TransportSecuritySettings
from mcp_types.version import MODERN_PROTOCOL_VERSIONS
from starlette.requests import Request
from starlette.types import Receive, Scope, Send

from akiosctl.api.address import Names
from akiosctl.api.guard import Guard, Limits
from akiosctl.api.problems import Refusal, problem_response
from akiosctl.api.sessions import Sessions
from akiosctl.api.tokens import Token, TokenFile
from akiosctl.library.values import CageError
from akiosctl.mcp_server import MOST_THREADS, Session, make_server
from akiosctl.render import escape, note
from akiosd.errors import AkiosError

PATH = "/mcp"
SCOPES = {
    "run": "run",
    "read": "output",
    "write": "output",
    "diff": "changes",
    "commit": "changes",
    "discard": "changes",
}
"""Tool → what a token must have besides ``run``, by which the cage is made."""
IDLE_SECONDS = 1800.0
"""So long a conversation stands in which nobody calls."""
LIMITS = Limits(body_bytes=4 << 20, at_once=64)
_MOST_CAGES = 16
_MOST_CALLS = MOST_THREADS // _MOST_CAGES - 2
"""At work at once in one conversation; what is left of the threads ends conversations."""
_MOST_SESSIONS = 64
_LOOK_SECONDS = 1.0
_AFTER_SESSION_SECONDS = 60.0
"""The library forgets a session first: its client begins a new one, and knows what it lost."""
_SESSION_HEADER = "mcp-session-id"


class Key(NamedTuple):
    """Whose conversation: the id of a token, and of a session, "" where there are none."""

    token: str
    session: str


class _Conversation:
    def __init__(self, session: Session, now: float) -> None:
        self.session, self.calls, self.since = session, 0, now


class Conversations:
    """``options`` are those of a cage; ``idle_s`` as ``IDLE_SECONDS``."""

    def __init__(
        self,
        workspace: str | None,
        options: dict[str, Any],
        tokens: TokenFile,
        idle_s: float = IDLE_SECONDS,
    ) -> None:
        self._workspace, self._options, self._tokens = workspace, options, tokens
        self._idle_s = idle_s
        self._open: dict[Key, _Conversation] = {}
        self._lost: dict[Key, str] = {}

    @contextmanager
    def use(self, ctx: Context[Any, Any], tool: str) -> Iterator[Session]:
        """As ``mcp_server.Find``."""
        request = ctx.request_context.request
        assert isinstance(request, Request)
        token: Token = request.state.token
        has_sessions = ctx.protocol_version not in MODERN_PROTOCOL_VERSIONS
        _check_scope(token, SCOPES[tool])
        key = Key(token.id, request.headers[_SESSION_HEADER] if has_sessions else "")
        conversation = self._find(key)
        conversation.calls += 1
        try:
            yield conversation.session
        finally:
            conversation.calls -= 1
            conversation.since = time.monotonic()

    def _find(self, key: Key) -> _Conversation:
        lost = self._lost.pop(key, "")
        if lost:
            raise CageError(lost, PATH, "call again: the next call gets a new cage")
        found = self._open.get(key)
        if found is None:
            if len(self._open) >= _MOST_CAGES:
                what = f"{_MOST_CAGES} conversations have a cage already"
                raise CageError(what, PATH, "end one of them, or ask again later")
            found = _Conversation(Session(self._workspace, self._options), time.monotonic())
            self._open[key] = found
        if found.calls >= _MOST_CALLS:
            what = f"{_MOST_CALLS} calls of this conversation are at work already"
            raise CageError(what, PATH, "call again when one of them is done")
        return found

    async def end(self, key: Key, lost: str = "") -> None:
        """End that one, if there is one; ``lost`` tells the client's next call why."""
        found = self._open.pop(key, None)
        if found is None:
            return
        with anyio.CancelScope(shield=True):
            try:
                had_cage = await anyio.to_thread.run_sync(found.session.end)
            except AkiosError as error:  # akiosd is gone, and says at its start what it left
                note(str(error))
                return
        if lost and had_cage and not key.session:  # of a session nobody comes back
            self._lost[key] = lost

    async def watch(self) -> None:
        """End those whose token or time is over, for ever."""
        while True:
            await anyio.sleep(_LOOK_SECONDS)
            valid = self._valid_tokens()
            self._lost = {key: lost for key, lost in self._lost.items() if key.token in valid}
            for key, one in list(self._open.items()):
                quiet_s = 0.0 if one.calls else time.monotonic() - one.since
                if key.token not in valid:
                    await self.end(key)
                elif quiet_s > self._idle_s + (_AFTER_SESSION_SECONDS if key.session else 0):
                    await self.end(
                        key,
                        f"nobody called for {self._idle_s:.0f} s, and the cage was destroyed with"
                        " what was not committed",
                    )

    def _valid_tokens(self) -> frozenset[str]:
        try:
            tokens = self._tokens.read()
        except AkiosError:  # nobody can show one either
            return frozenset()
        now_ns = time.time_ns()
        return frozenset(name for name, token in tokens.items() if not token.expired(now_ns))

    async def end_all(self) -> None:
        """End all, at once."""
        async with anyio.create_task_group() as group:
            for key in list(self._open):
                group.start_soon(self.end, key)


def _check_scope(token: Token, scope: str) -> None:
    if scope not in token.scopes:
        wanted = sorted({"run", scope})
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"this token lacks the scope '{scope}'",
            "Authorization",
            f"make one that has it: akiosctl token create --scope {' --scope '.join(wanted)}",
            rule="token.scope",
        )


class Door:
    """The ASGI application behind the guard."""

    def __init__(self, conversations: Conversations, idle_s: float = IDLE_SECONDS) -> None:
        self._conversations = conversations
        server = make_server(conversations.use)
        # The guard has looked at Host and Origin, by the names of this server.
        checked = TransportSecuritySettings(enable_dns_rebinding_protection=False)
        server.streamable_http_app(
            transport_security=checked,
            max_request_body_size=LIMITS.body_bytes,
            max_sessions=_MOST_SESSIONS,
            session_idle_timeout=idle_s,
        )
        self._manager = server.session_manager

    @asynccontextmanager
    async def running(self) -> AsyncIterator[None]:
        """To be entered around its use; at the end no cage is left."""
        try:
            async with self._manager.run(), anyio.create_task_group() as group:
                group.start_soon(self._conversations.watch)
                yield
                group.cancel_scope.cancel()
        finally:
            with anyio.CancelScope(shield=True):
                await self._conversations.end_all()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        try:
            token = _admit(scope)
        except Refusal as refusal:
            await problem_response(refusal)(scope, receive, send)
            return
        # The library compares who began a session with who uses it.
        known = AccessToken(token="", client_id=token.id, scopes=list(token.scopes))
        scope["user"] = AuthenticatedUser(known)
        await self._manager.handle_request(scope, receive, send)
        session = Request(scope).headers.get(_SESSION_HEADER, "")
        if scope["method"] == "DELETE" and session:
            await self._conversations.end(Key(token.id, session))


def _admit(scope: Scope) -> Token:
    if scope["type"] != "http" or scope["path"] != PATH:
        where = escape(scope["path"])
        raise Refusal(HTTPStatus.NOT_FOUND, "there is nothing here", where, f"the tools: {PATH}")
    if scope["method"] not in ("POST", "DELETE"):
        # A stream of what the server says by itself: it says nothing, and nobody holds one open.
        raise Refusal(
            HTTPStatus.METHOD_NOT_ALLOWED,
            "this method is not for this path",
            f"{escape(scope['method'])} {PATH}",
            "POST a message of the protocol",
            headers={"Allow": "POST, DELETE"},
        )
    token: Token = scope["state"]["token"]
    _check_scope(token, "run")
    return token


def make_app(door: Door, names: Names, tokens: TokenFile, limits: Limits = LIMITS) -> Guard:
    """The whole application, to be served."""
    return Guard(door, names, tokens, Sessions(), frozenset(), limits)
