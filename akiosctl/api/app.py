"""The application: the table's routes, the pages, errors as problems, and the guard around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from http import HTTPStatus
from pathlib import Path
from typing import Any

from fastapi import FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError, WebSocketRequestValidationError
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.requests import HTTPConnection
from starlette.responses import FileResponse, HTMLResponse, JSONResponse
from starlette.websockets import WebSocket

from akiosctl.api.address import Names
from akiosctl.api.docs_page import make_page, page_policy
from akiosctl.api.endpoints import BASE, ENDPOINTS
from akiosctl.api.guard import Guard, Limits
from akiosctl.api.openapi import make_document
from akiosctl.api.plain_words import explain_parameter
from akiosctl.api.problems import Refusal, problem_response
from akiosctl.api.routes import add_routes
from akiosctl.api.service import Service
from akiosctl.render import escape

_PAGES = Path(__file__).parent / "pages"
_KINDS = {
    ".html": "text/html; charset=utf-8",
    ".js": "text/javascript; charset=utf-8",
    ".css": "text/css; charset=utf-8",
    ".svg": "image/svg+xml",
}
_VIEWS = ("/", "/cage", "/decisions", "/ledger", "/workflows", "/approvals")
"""Addresses of views: one page, whose script reads which it is."""
_SHOWN: dict[str, tuple[str, str]] = {
    **dict.fromkeys(_VIEWS, ("index.html", _KINDS[".html"])),
    **{
        f"/{file.name}": (file.name, _KINDS[file.suffix])
        for file in sorted(_PAGES.iterdir())
        if file.suffix in _KINDS and file.suffix != ".html"
    },
}
"""Path → file under pages/, and its media type."""
_PAGE_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; connect-src 'self'; img-src 'self';"
    " base-uri 'none'; form-action 'none'; frame-ancestors 'none';"
    " require-trusted-types-for 'script'; trusted-types 'none'"
)
"""No script makes HTML out of text: the browser refuses it where it knows trusted types."""


def make_app(service: Service, names: Names, limits: Limits | None = None) -> Guard:
    """The whole application, to be served."""
    app = FastAPI(docs_url=None, redoc_url=None, openapi_url=None, redirect_slashes=False)
    add_routes(app, service)
    _add_pages(app)
    _add_problems(app)
    public = {BASE + row.path for row in ENDPOINTS if not row.scope}
    public |= {"/openapi.json", "/docs", *_SHOWN}
    bounds = limits if limits is not None else Limits()
    return Guard(app, names, service.tokens, service.sessions, frozenset(public), bounds)


def _add_pages(app: FastAPI) -> None:
    def openapi() -> Response:
        return JSONResponse(make_document(app), headers={"Cache-Control": "no-cache"})

    def docs() -> Response:
        headers = {"Content-Security-Policy": page_policy()}
        return HTMLResponse(make_page(make_document(app)), headers=headers)

    app.add_api_route("/openapi.json", openapi, include_in_schema=False)
    app.add_api_route("/docs", docs, include_in_schema=False)
    for path, (file, kind) in _SHOWN.items():
        app.add_api_route(path, _make_page(file, kind), include_in_schema=False)


def _methods_of(app: FastAPI, path: str) -> list[str]:
    """Of all routes of this path: the framework names only those of the first."""
    routes = [route for route in app.routes if isinstance(route, APIRoute)]
    found = [route.methods or set() for route in routes if route.path_regex.match(path)]
    return sorted(set().union(*found))


def _make_page(file: str, kind: str) -> Callable[[], Response]:
    def page() -> Response:
        headers = {"Content-Security-Policy": _PAGE_POLICY, "Cache-Control": "no-cache"}
        return FileResponse(_PAGES / file, media_type=kind, headers=headers)

    return page


_IDS = {
    "cage": ("the id of a cage, such as c-0a1b2c3d4e5f", "/cages"),
    "run": ("the id of a run of a workflow, such as w-0a1b2c3d4e", "/workflows/runs"),
}


def _add_problems(app: FastAPI) -> None:
    def not_routed(request: Request, error: Exception) -> Response:
        status = HTTPStatus(getattr(error, "status_code", 500))
        what = {404: "there is nothing here", 405: "this method is not for this path"}
        headers = dict(getattr(error, "headers", None) or {})
        if status is HTTPStatus.METHOD_NOT_ALLOWED:
            headers["Allow"] = ", ".join(_methods_of(request.app, request.url.path))
        words = what.get(status, status.phrase)
        where = f"{request.method} {escape(request.url.path)}"
        return problem_response(
            Refusal(status, words, where, "see /docs of this server, in a browser", headers=headers)
        )

    def not_valid(request: Request, error: Exception) -> Response:
        assert isinstance(error, RequestValidationError)
        return problem_response(_not_valid(error.errors()[0], request))

    def failed(request: Request, error: Exception) -> Response:
        status, where = HTTPStatus.INTERNAL_SERVER_ERROR, escape(request.url.path)
        next = "see the server's log, and report it"
        return problem_response(Refusal(status, "the server failed", where, next))

    async def not_valid_there(socket: WebSocket, error: Exception) -> None:
        assert isinstance(error, WebSocketRequestValidationError)
        await socket.send_denial_response(problem_response(_not_valid(error.errors()[0], socket)))

    app.add_exception_handler(HTTPException, not_routed)
    app.add_exception_handler(WebSocketRequestValidationError, not_valid_there)
    app.add_exception_handler(RequestValidationError, not_valid)
    app.add_exception_handler(Exception, failed)


def _not_valid(error: Mapping[str, Any], request: HTTPConnection) -> Refusal:
    """Of what FastAPI says of a parameter, in plain words; an id that is none is told what it is,
    and what a parameter is for stands with it.
    """
    where = ".".join(str(part) for part in error["loc"])
    what, next = explain_parameter(error), "see /docs of this server, in a browser"
    parameter = error["loc"][1]
    about = _about(request, parameter)
    if about:
        meaning = about[:1].lower() + about[1:].rstrip(".")
        next = f"{parameter}: {meaning}; {next}"
    if error["loc"][0] == "path" and error["loc"][-1] in _IDS:
        kind, lists = _IDS[error["loc"][-1]]
        what, next = f"this is not {kind}", f"list them: GET {BASE}{lists}"
    return Refusal(HTTPStatus.UNPROCESSABLE_ENTITY, what, where, next)


def _about(request: HTTPConnection, name: str) -> str:
    """What the document says of a parameter of the route that was asked."""
    known = request.scope["route"].dependant
    fields = [*known.query_params, *known.header_params, *known.path_params]
    return next((one.field_info.description or "" for one in fields if one.alias == name), "")
