"""Makes a route of each row of the table: checks the scope, reads the text, runs the handler in a
thread within its time, and turns what it returns or raises into an answer.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from typing import Any
from weakref import WeakValueDictionary

import msgspec
import trio
from fastapi import FastAPI, Request, Response
from starlette.requests import HTTPConnection
from starlette.websockets import WebSocket

from akiosctl.api.endpoints import ANY, BASE, ENDPOINTS, Endpoint
from akiosctl.api.openapi import describe_route
from akiosctl.api.plain_words import explain_decoding
from akiosctl.api.problems import Refusal, problem_response
from akiosctl.api.service import Service
from akiosd.errors import AkiosError

SECONDS = 30.0
"""How long a handler may take: akiosd answers within a second where it runs."""
_THREADS = 24
_OF_ONE = 16
"""So many of them at most work for one token: what waits in them keeps no other token waiting."""
_BUSY_THREADS, _BUSY_OF_ONE = 2, 1
"""And of those that keep a processor at work, which are others."""


def add_routes(app: FastAPI, service: Service) -> None:
    """All of the table."""
    threads, busy = Shares(_THREADS, _OF_ONE), Shares(_BUSY_THREADS, _BUSY_OF_ONE)
    for row in ENDPOINTS:
        if row.method == "WS":
            app.add_api_websocket_route(BASE + row.path, _make_conversation(row, service))
            continue
        route = _make_route(row, service, busy if row.busy else threads)
        app.add_api_route(
            BASE + row.path,
            route,
            methods=[row.method],
            status_code=row.status,
            response_model=None,
            response_class=Response,
            **describe_route(row),
        )
        if row.also:
            app.add_api_route(row.also, route, methods=[row.method], include_in_schema=False)


class Shares:
    """Threads, of which nobody has more than ``of_one``: also those that still work for a request
    that was answered already.
    """

    def __init__(self, most: int, of_one: int) -> None:
        self._all, self._of_one = trio.CapacityLimiter(most), of_one
        self._own: WeakValueDictionary[str, trio.CapacityLimiter] = WeakValueDictionary()

    async def run(self, owner: str, work: Callable[[], Any]) -> Any:
        """What ``work`` returns; left to itself where the caller is cancelled."""
        own = self._own.get(owner)
        if own is None:
            own = self._own[owner] = trio.CapacityLimiter(self._of_one)
        limiter: Any = _Share(own, self._all)
        return await trio.to_thread.run_sync(work, abandon_on_cancel=True, limiter=limiter)


class _Share:
    """A thread of somebody's, and of all; what trio asks of a limiter."""

    def __init__(self, own: trio.CapacityLimiter, all: trio.CapacityLimiter) -> None:
        self._own, self._all = own, all

    async def acquire_on_behalf_of(self, borrower: object) -> None:
        await self._own.acquire_on_behalf_of(borrower)
        try:
            await self._all.acquire_on_behalf_of(borrower)
        except BaseException:
            self._own.release_on_behalf_of(borrower)
            raise

    def release_on_behalf_of(self, borrower: object) -> None:
        self._all.release_on_behalf_of(borrower)
        self._own.release_on_behalf_of(borrower)


def _make_route(row: Endpoint, service: Service, threads: Shares) -> Callable[..., Any]:
    """A function with the parameters of the handler that a request brings, and the two that the
    framework gives.
    """
    signature = inspect.signature(row.handler, eval_str=True)
    wanted = frozenset(signature.parameters)
    own = {"service", "text", "body", "data", "request", "response"}
    given = [param for name, param in signature.parameters.items() if name not in own]
    framework = [
        inspect.Parameter("request", inspect.Parameter.KEYWORD_ONLY, annotation=Request),
        inspect.Parameter("response", inspect.Parameter.KEYWORD_ONLY, annotation=Response),
    ]

    async def route(*, request: Request, response: Response, **values: Any) -> Response:
        try:
            _check_scope(row, request, service)
            _check_query(request)
            values |= {"request": request, "response": response}
            if row.takes:
                values |= _read_body(row, request, await request.body())
            found = {name: value for name, value in values.items() if name in wanted}
            owner = request.state.token.id if request.state.token is not None else ""
            answer = await _call(row, partial(row.handler, service, **found), threads, owner)
        except AkiosError as error:
            return problem_response(error)
        if isinstance(answer, Response):
            return answer
        headers = {k: v for k, v in response.headers.items() if k != "content-length"}
        body = msgspec.json.encode(answer)
        return Response(body, row.status, headers, media_type="application/json")

    keywords = [param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in given]
    route.__signature__ = inspect.Signature([*keywords, *framework])  # type: ignore[attr-defined]
    route.__name__, route.__doc__ = row.handler.__name__, row.handler.__doc__
    return route


def _make_conversation(row: Endpoint, service: Service) -> Callable[..., Any]:
    signature = inspect.signature(row.handler, eval_str=True)
    given = [param for name, param in signature.parameters.items() if name != "service"]

    async def conversation(*, socket: WebSocket, **values: Any) -> None:
        try:
            _check_scope(row, socket, service)
            _check_query(socket)
            await row.handler(service, socket=socket, **values)
        except AkiosError as error:
            await socket.send_denial_response(problem_response(error))

    keywords = [param.replace(kind=inspect.Parameter.KEYWORD_ONLY) for param in given]
    conversation.__signature__ = inspect.Signature(keywords)  # type: ignore[attr-defined]
    return conversation


async def _call(row: Endpoint, handler: Callable[[], Any], threads: Shares, owner: str) -> Any:
    if inspect.iscoroutinefunction(row.handler):
        return await handler()
    with trio.move_on_after(SECONDS):
        return await threads.run(owner, handler)
    if row.busy:
        raise Refusal(
            HTTPStatus.SERVICE_UNAVAILABLE,
            f"this was not done within {SECONDS:.0f} s: the server has too much to calculate",
            row.path,
            "ask for one thing at a time, or send less at once",
        )
    raise Refusal(
        HTTPStatus.GATEWAY_TIMEOUT,
        f"akiosd did not answer within {SECONDS:.0f} s",
        row.path,
        "see whether it is busy: akiosctl doctor",
    )


def _check_scope(row: Endpoint, request: HTTPConnection, service: Service) -> None:
    if row.personal and service.is_system:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "this server runs with --system: it acts for no user, and has no workspace",
            row.path,
            "run your own server: akiosctl serve",
            rule="serve.system",
        )
    token = request.state.token
    wanted = [scope for scope in (row.scope, row.besides) if scope not in ("", ANY)]
    has = token.scopes if token is not None else ()
    lacks = [scope for scope in wanted if scope not in has]
    if lacks or (row.scope and token is None):
        missing = "' and '".join(lacks) or row.scope
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            f"this token lacks the scope '{missing}'",
            "Authorization",
            f"make one that has it: akiosctl token create --scope {' --scope '.join(wanted)}",
            rule="token.scope",
        )


def _check_query(request: HTTPConnection) -> None:
    """A parameter that is not there may be one that was misspelt: it must not be without effect."""
    found = request.scope["route"].dependant.query_params
    known = sorted(field.alias for field in found)
    unknown = next((name for name in request.query_params if name not in known), None)
    if unknown is not None:
        next_words = f"the parameters are {', '.join(known)}" if known else "leave it out"
        what = f"there is no parameter {unknown!r}"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, what, "query", next_words)


def _read_body(row: Endpoint, request: Request, body: bytes) -> dict[str, Any]:
    """The parameter of the handler that the body is."""
    wanted = row.takes if isinstance(row.takes, str) else "application/json"
    given = request.headers.get("content-type", "")
    if not given and not body:
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        raise Refusal(status, "the body is missing", "body", f"send {wanted}")
    kind = (given or wanted).partition(";")[0].strip().lower()
    if kind != wanted:
        what = f"Content-Type says that the body is {kind}"
        status = HTTPStatus.UNSUPPORTED_MEDIA_TYPE
        raise Refusal(status, what, "Content-Type", f"send {wanted}")
    if not isinstance(row.takes, str):
        return {"body": _decode(body, row.takes)}
    if wanted == "application/octet-stream":
        return {"data": body}
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError as error:
        what = f"the text is not UTF-8: byte {error.start} is wrong"
        raise Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, what, "body", "send UTF-8") from None


def _decode(body: bytes, form: Any) -> Any:
    try:
        return msgspec.json.decode(body, type=form)
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        what, where = explain_decoding(str(error), form)
        status = HTTPStatus.UNPROCESSABLE_ENTITY
        raise Refusal(
            status, what, where or "body", "its form is in GET /docs of this server"
        ) from None
