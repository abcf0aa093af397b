"""Asks an ASGI application as a server would, without a socket."""

from __future__ import annotations

import json
import time
from functools import cache
from pathlib import Path
from typing import Any, NamedTuple

import trio

from akiosctl.api.address import Address, find_names
from akiosctl.api.guard import Guard, Limits
from akiosctl.api.service import Service
from akiosctl.api.tokens import SCOPES, Token, TokenFile, make_token

NAMES = find_names(Address("127.0.0.1", 8470), False, ())
HOST = ("host", "127.0.0.1:8470")


class Answer(NamedTuple):
    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        return json.loads(self.body)


async def ask(
    app: Any,
    path: str,
    method: str = "GET",
    headers: tuple[tuple[str, str], ...] = (),
    pieces: tuple[bytes, ...] = (b"",),
    version: str = "1.1",
    host: bool = True,
) -> Answer:
    """``pieces`` of the body; after them nothing comes unless the last is all."""
    left = [*pieces]
    name, _, query = path.partition("?")
    all_headers = [*((HOST,) if host else ()), *headers]
    scope = {
        "type": "http", "asgi": {"version": "3.0", "spec_version": "2.1"}, "http_version": version,
        "method": method, "scheme": "http", "path": name, "raw_path": name.encode(),
        "query_string": query.encode(), "root_path": "", "client": ("127.0.0.1", 1),
        "server": ("127.0.0.1", 8470), "state": {}, "extensions": {},
        "headers": [(key.encode(), value.encode()) for key, value in all_headers],
    }  # fmt: skip
    sent: list[dict[str, Any]] = []
    if method == "WS":
        scope |= {"type": "websocket", "scheme": "ws", "subprotocols": []}
        del scope["method"]
        scope["extensions"] = {"websocket.http.response": {}}
        left = []

    async def receive() -> dict[str, Any]:
        if method == "WS":
            return {"type": "websocket.connect"}
        if not left:
            await trio.sleep_forever()
        piece = left.pop(0)
        return {"type": "http.request", "body": piece, "more_body": bool(left) or piece == b"..."}

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    await app(scope, receive, send)
    if sent[0]["type"] == "websocket.accept":
        return Answer(101, {}, b"")
    start, *bodies = sent
    found = {key.decode().lower(): value.decode() for key, value in start["headers"]}
    return Answer(start["status"], found, b"".join(m.get("body", b"") for m in bodies))


def bearer(text: str) -> tuple[tuple[str, str], ...]:
    return (("authorization", f"Bearer {text}"),)


def new_token(file: TokenFile, *scopes: str, expires_ns: int = 0) -> tuple[str, Token]:
    text, token = make_token(scopes or tuple(SCOPES), time.time_ns(), expires_ns)
    file.add(token)
    return text, token


@cache
def _build() -> tuple[Guard, Service]:
    """Once for all tests: the framework takes long to make its routes."""
    from akiosctl.api.app import make_app

    service = Service("/nonexistent/akios.sock", TokenFile(Path("/nonexistent/tokens.json")))
    return make_app(service, NAMES), service


def make_guard(tmp_path: Path, limits: Limits | None = None) -> tuple[Guard, TokenFile, Service]:
    """The whole application, over an akiosd that is not there."""
    built, service = _build()
    tokens = TokenFile(tmp_path / "tokens.json")
    inner, public, bounds = built._app, built._public, limits or Limits()
    return Guard(inner, NAMES, tokens, service.sessions, public, bounds), tokens, service
