"""The OpenAPI document for people: a page of plain HTML, without a script or anything from
elsewhere.
"""

from __future__ import annotations

import base64
import hashlib
import html
import json
from collections.abc import Iterator, Sequence
from typing import Any

from akiosctl.api.plain_words import PATTERNS

_ADDRESS = "http://127.0.0.1:8470"
_STYLE = (
    "body{font:16px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;padding:0 1rem}"
    "code{background:#8882;padding:.1em .3em;border-radius:.2em;overflow-wrap:anywhere}"
    "h2{margin-top:2.5rem}table{border-collapse:collapse}"
    "td,th{text-align:left;vertical-align:top;padding:.2em 1em .2em 0}"
    ":root{color-scheme:light dark}"
)

Schema = dict[str, Any]


def make_page(document: Schema) -> str:
    """The whole page."""
    schemas = document["components"]["schemas"]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8><title>AKIOS API</title>",
        '<meta name=viewport content="width=device-width">',
        f"<style>{_STYLE}</style><h1>AKIOS API</h1><p>{_code(document['info']['description'])}</p>",
        "<p>For programs: <a href=/openapi.json>/openapi.json</a></p>",
    ]
    for path, methods in document["paths"].items():
        for method, route in methods.items():
            parts += _show_route(method.upper(), path, route, schemas)
    for path, socket in document["x-websockets"].items():
        parts += [
            f"<h2 id={socket['operationId']}><code>WebSocket {html.escape(path)}</code></h2>",
            f"<p>{_code(socket['description'])}</p>",
            *_show_parameters(socket["parameters"]),
        ]
    return "".join(parts)


def page_policy() -> str:
    """The Content-Security-Policy of the page."""
    digest = base64.b64encode(hashlib.sha256(_STYLE.encode()).digest()).decode()
    return f"default-src 'none'; style-src 'sha256-{digest}'; frame-ancestors 'none'"


def _code(text: str) -> str:
    """``x`` in backquotes as code; in two of them, as docstrings have it, too."""
    parts = html.escape(text.replace("``", "`")).split("`")
    return "".join(f"<code>{p}</code>" if i % 2 else p for i, p in enumerate(parts))


def _show_route(method: str, path: str, route: Schema, schemas: dict[str, Schema]) -> Iterator[str]:
    yield f"<h2 id={route['operationId']}><code>{method} {html.escape(path)}</code></h2>"
    yield f"<p>{_code(route['description'])}</p>"
    params = route.get("parameters", ())
    yield from _show_parameters(params)
    body = route.get("requestBody", {}).get("content", {})
    for kind, content in body.items():
        yield f"<p>The body is <code>{html.escape(kind)}</code>.</p>"
        for name in _forms(content["schema"], schemas):
            yield from _show_form(name, schemas[name])
    answers = ", ".join(
        f"{status} {answer['description']}" for status, answer in route["responses"].items()
    )
    yield f"<details><summary>Answers</summary><p>{html.escape(answers)}</p></details>"
    yield f"<p><code>{html.escape(_example(method, path, params, body, schemas))}</code></p>"


def _show_parameters(params: Sequence[Schema]) -> Iterator[str]:
    if not params:
        return
    yield "<table><tr><th>parameter<th>in<th>kind<th>where it is left out<th>what"
    for param in params:
        name, schema = html.escape(param["name"]), param["schema"]
        default = "required" if param.get("required") else json.dumps(schema.get("default"))
        yield (
            f"<tr><td><code>{name}</code><td>{param['in']}<td>{html.escape(_kind(schema))}"
            f"<td>{html.escape(default)}<td>{_code(param.get('description', ''))}"
        )
    yield "</table>"


def _forms(schema: Schema, schemas: dict[str, Schema]) -> list[str]:
    """The names of the forms of a body, the outermost first."""
    found: list[str] = []
    todo = [schema]
    while todo:
        one = todo.pop(0)
        name = one.get("$ref", "").rpartition("/")[2]
        if name and name not in found:
            found.append(name)
            one = schemas[name]
            todo += one.get("properties", {}).values()
        todo += [
            one[key] for key in ("items", "additionalProperties") if isinstance(one.get(key), dict)
        ]
        todo += one.get("anyOf", [])
    return found


def _show_form(name: str, schema: Schema) -> Iterator[str]:
    yield f"<h3>{html.escape(name)}</h3><p>{_code(schema.get('description', ''))}</p>"
    yield "<table><tr><th>field<th>kind<th>where it is left out"
    for field, kind in schema.get("properties", {}).items():
        default = (
            "required" if field in schema.get("required", ()) else json.dumps(kind.get("default"))
        )
        yield (
            f"<tr><td><code>{html.escape(field)}</code><td>{html.escape(_kind(kind))}"
            f"<td>{html.escape(default)}"
        )
    yield "</table>"


def _kind(schema: Schema) -> str:
    """A type in words, with its bounds."""
    least, most = (schema.get(key) for key in ("minimum", "maximum"))
    more = "above " + str(schema["exclusiveMinimum"]) if "exclusiveMinimum" in schema else ""
    more = f"{least} to {most}" if least is not None and most is not None else more
    if schema.get("pattern") in PATTERNS:
        return PATTERNS[schema["pattern"]]
    longest = schema.get("maxLength", schema.get("maxItems"))
    more = (
        f"at most {longest} {'long' if 'maxLength' in schema else 'of them'}" if longest else more
    )
    return f"{_plain_kind(schema)}, {more}" if more else _plain_kind(schema)


def _plain_kind(schema: Schema) -> str:
    if "enum" in schema:
        return " or ".join(json.dumps(one) for one in schema["enum"])
    if "$ref" in schema:
        return str(schema["$ref"]).rpartition("/")[2]
    if "anyOf" in schema:
        return " or ".join(_kind(one) for one in schema["anyOf"])
    match schema.get("type"):
        case "array":
            return f"list of {_kind(schema.get('items', {}))}"
        case "object":
            return f"values by name, each {_kind(schema.get('additionalProperties') or {})}"
        case "string":
            return "text"
        case "boolean":
            return "true or false"
        case "integer":
            return "whole number"
        case "number" | "null" as plain:
            return str(plain)
        case _:
            return "anything"


def _example(
    method: str, path: str, params: Sequence[Schema], body: Schema, schemas: dict[str, Schema]
) -> str:
    words = ["curl", "-H 'Authorization: Bearer akt_…'"]
    given = [(one["in"], one["name"], _sample_of(one)) for one in params if one.get("required")]
    words += [f"-H '{name}: {value}'" for where, name, value in given if where == "header"]
    query = "&".join(f"{name}={value}" for where, name, value in given if where == "query")
    path = f"{path}?{query}" if query else path
    for kind, content in body.items():
        if kind == "application/json":
            words.append(
                f"--json '{json.dumps(_sample(content['schema'], schemas), ensure_ascii=False)}'"
            )
        else:
            words.append(f"-H 'Content-Type: {kind}' --data-binary @FILE")
    if method != ("POST" if body else "GET"):
        words.append(f"-X {method}")
    return " ".join([*words, f"'{_ADDRESS}{path}'" if set(path) & set("{?") else _ADDRESS + path])


def _sample_of(param: Schema) -> str:
    examples = param["schema"].get("examples")
    return str(examples[0] if examples else _SAMPLES.get(str(param["schema"].get("type")), "…"))


def _sample(schema: Schema, schemas: dict[str, Schema]) -> Any:
    """What is required of a body, and what most who send it give."""
    name = schema.get("$ref", "").rpartition("/")[2]
    if not name:
        return _SAMPLES.get(str(schema.get("type")), "…")
    properties = schemas[name].get("properties", {})
    wanted = [*schemas[name].get("required", ()), *_USUAL.get(name, ())]
    return {field: _GIVEN.get(field) or _sample(properties[field], schemas) for field in wanted}


_USUAL = {"NewCage": ("argv",), "NewWorkflowRun": ("file", "workspace")}
_GIVEN = {"file": "w.yml", "workspace": "/home/ada/project"}
_SAMPLES: dict[str, Any] = {
    "array": ["true"],
    "boolean": True,
    "integer": 1,
    "number": 1,
    "object": {},
    "string": "…",
}
