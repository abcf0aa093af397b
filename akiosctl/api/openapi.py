"""The OpenAPI 3.1 document, made from the table of endpoints and the forms of its answers."""

from __future__ import annotations

import inspect
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import FastAPI
from fastapi.openapi.utils import get_openapi
from pydantic import TypeAdapter

from akiosctl.api import problems
from akiosctl.api.endpoints import ANY, BASE, ENDPOINTS, Endpoint
from akiosctl.api.tokens import SCOPES
from akiosd import __version__

_REF = "#/components/schemas/{name}"
_ALWAYS = (400, 408, 413, 421, 422, 500)
_WITH_TOKEN = (401, 403, 409, 429, 502, 503, 504)
_EVENT = {
    "type": "object",
    "description": "One event of the stream; `data` is JSON.",
    "properties": {name: {"type": "string"} for name in ("event", "id", "data")},
}
_OWN = ("service", "socket")
"""Parameters of the handlers of WebSockets that no request brings."""
_ABOUT = (
    "What runs in AKIOS's cages and what became of it.  Every request needs a token, which"
    " `akiosctl token create` makes: `Authorization: Bearer akt_…`.  Errors are RFC 9457 problems"
    " that say what happened, where, and what to do next.  Times are nanoseconds since 1970, money"
    " is in millionths of a dollar, sizes are in bytes."
)


def describe_route(row: Endpoint) -> dict[str, Any]:
    """What FastAPI is told about one route besides its parameters."""
    statuses = [*_ALWAYS, *(_WITH_TOKEN if row.scope else ()), *row.refusals]
    statuses += [415] if row.takes else []
    problem = {problems.MEDIA_TYPE: {"schema": {"$ref": _REF.format(name="Problem")}}}
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": HTTPStatus(status).phrase, "content": problem}
        for status in sorted(set(statuses))
    }
    responses[row.status] = {
        "description": HTTPStatus(row.status).phrase,
        "content": _answer_content(row),
    }
    more: dict[str, Any] = {"security": [{"token": []}] if row.scope else []}
    if row.takes:
        more["requestBody"] = {"required": True, "content": _body_content(row.takes)}
    return {
        "responses": responses,
        "openapi_extra": more,
        "tags": [row.path.split("/")[1]],
        "operation_id": _name_of(row),
        "summary": _summary(row),
        "description": _description(row),
    }


def _summary(row: Endpoint) -> str:
    text = " ".join((row.handler.__doc__ or "").split())
    return text.partition(". ")[0].rstrip(".")


def _description(row: Endpoint) -> str:
    need = {"": "Needs no token.", ANY: "Needs a token."}.get(
        row.scope, f"Needs a token with the scope `{row.scope}`."
    )
    need += f"  It needs the scope `{row.besides}`, too." if row.besides else ""
    text = " ".join((row.handler.__doc__ or "").split()).replace("Needs no token.", "").strip()
    return f"{text}  {need}"


def _answer_content(row: Endpoint) -> dict[str, Any]:
    if row.answer == "text/event-stream":
        return {row.answer: {"schema": _EVENT}}
    if isinstance(row.answer, str):
        return {row.answer.partition(";")[0]: {"schema": {"type": "string"}}}
    schemas, _ = msgspec.json.schema_components(_types(row), ref_template=_REF)
    one = schemas[0] if len(schemas) == 1 else {"anyOf": list(schemas)}
    return {"application/json": {"schema": one}}


def _body_content(takes: Any) -> dict[str, Any]:
    if isinstance(takes, str):
        # Any text will do: what is wrong with it, the answer says.
        return {takes: {"schema": {}}}
    schemas, _ = msgspec.json.schema_components([takes], ref_template=_REF)
    return {"application/json": {"schema": schemas[0]}}


def _types(row: Endpoint) -> tuple[Any, ...]:
    return row.answer if isinstance(row.answer, tuple) else (row.answer,)


def make_document(app: FastAPI) -> dict[str, Any]:
    """The whole document, made once."""
    if app.openapi_schema is None:
        document = get_openapi(
            title="AKIOS", version=__version__, description=_ABOUT, routes=app.routes
        )
        types = [
            kind for row in ENDPOINTS if not isinstance(row.answer, str) for kind in _types(row)
        ]
        types += [row.takes for row in ENDPOINTS if not isinstance(row.takes, str)]
        _, parts = msgspec.json.schema_components([*types, problems.Problem], ref_template=_REF)
        for part in parts.values():
            _use_const(part)
        scopes = "; ".join(f"`{name}`: {does}" for name, does in SCOPES.items())
        document["components"] = {
            "schemas": parts,
            "securitySchemes": {
                "token": {"type": "http", "scheme": "bearer", "description": f"Scopes: {scopes}."}
            },
        }
        document["x-websockets"] = {
            f"{BASE}{row.path}": _describe_socket(row) for row in ENDPOINTS if row.method == "WS"
        }
        app.openapi_schema = document
    return app.openapi_schema


def _describe_socket(row: Endpoint) -> dict[str, Any]:
    """OpenAPI knows no WebSockets: what is asked there, in the place of extensions."""
    signature = inspect.signature(row.handler, eval_str=True)
    given = [param for name, param in signature.parameters.items() if name not in _OWN]
    return {
        "operationId": _name_of(row),
        "summary": _summary(row),
        "description": _description(row),
        "parameters": [_describe_parameter(param, row.path) for param in given],
    }


def _describe_parameter(param: inspect.Parameter, path: str) -> dict[str, Any]:
    """As OpenAPI describes those of requests."""
    schema = TypeAdapter(param.annotation).json_schema()
    required = param.default is inspect.Parameter.empty
    described = {
        "name": param.name,
        "in": "path" if f"{{{param.name}}}" in path else "query",
        "required": required,
        "description": schema.pop("description", ""),
        "schema": schema,
    }
    if not required:
        schema["default"] = param.default
    return described


def _name_of(row: Endpoint) -> str:
    return row.handler.__module__.rpartition(".")[2] + "_" + row.handler.__name__


def _use_const(part: Any) -> None:
    """Of what is always true or always false: generators of clients know ``const`` there, and take
    an ``enum`` for one of words.
    """
    if isinstance(part, dict):
        if part.get("enum") in ([True], [False]):
            part.update({"type": "boolean", "const": part.pop("enum")[0]})
        for value in part.values():
            _use_const(value)
    elif isinstance(part, list):
        for value in part:
            _use_const(value)
