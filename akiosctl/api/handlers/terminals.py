"""Terminals by WebSockets: of a cage that was left running, and of a program in a standing cage."""

from __future__ import annotations

import os
from functools import partial
from typing import Annotated

import anyio.to_thread
from fastapi import Query
from starlette.websockets import WebSocket

from akiosctl.api.handlers.changes import find_own
from akiosctl.api.handlers.running import find_standing
from akiosctl.api.params import CageId
from akiosctl.api.service import Service
from akiosctl.api.streams import Open, is_valid
from akiosctl.api.terminals import Size, Terminal
from akiosctl.programs import program_request

Rows = Annotated[int, Query(ge=1, le=1000, description="Of the terminal.")]
Columns = Annotated[int, Query(ge=1, le=1000, description="Of the terminal.")]
Words = Annotated[
    list[Annotated[str, Query(pattern="^[^\\x00]*$", max_length=4096)]],
    Query(min_length=1, max_length=256, description="The command, a parameter for each word."),
]
Term = Annotated[
    str, Query(pattern="^[A-Za-z0-9._+-]{1,64}$", description="What the client's terminal is.")
]
Tty = Annotated[bool, Query(description="Give it a terminal; else pipes.")]
Cwd = Annotated[str, Query(pattern="^[^\\x00]*$", max_length=4096, description="Where it starts.")]


async def attach(
    service: Service, socket: WebSocket, cage: CageId, rows: Rows = 24, columns: Columns = 80
) -> None:
    """Take over the terminal, or the output, of a cage that was left running.  Whatever ends the
    WebSocket leaves it running: to end it, stop it.  Binary
    messages are bytes both ways; text messages are JSON: `{"resize": [rows, columns]}` and
    `{"leave": true}` from the client, `{"event": "started"|"away"|"back"|"end"|"left", "data": …}`
    from the server.
    """
    make = partial(_attach, service, cage)
    await _serve(service, socket, make, Size(rows, columns))


def _attach(service: Service, cage: str) -> Terminal:
    with service.connect() as client:
        find_own(client, cage)
    return Terminal(service.socket, "attach", {"cage": cage}, leaves=True)


async def execute(
    service: Service,
    socket: WebSocket,
    cage: CageId,
    argv: Words,
    tty: Tty = True,
    cwd: Cwd = "",
    term: Term = "xterm-256color",
    rows: Rows = 24,
    columns: Columns = 80,
) -> None:
    """Start a program in a standing cage, with a terminal.  It ends with the WebSocket, as with the
    terminal of `akiosctl exec`.  The messages are those of `attach`, and `{"end": true}`: no more
    input comes.
    """
    size = Size(rows, columns)
    make = partial(_execute, service, cage, argv, tty, cwd, term, size)
    await _serve(service, socket, make, size)


def _execute(
    service: Service, cage: str, argv: list[str], tty: bool, cwd: str, term: str, size: Size
) -> Terminal:
    with service.connect() as client:
        found = find_standing(client, cage)
    place = os.fsdecode(found.workspace)
    inside = os.path.normpath(os.path.join(place, cwd))
    env = {b"TERM": term.encode()} if tty else {}
    fields = program_request(cage, place, argv, inside, env, service.is_system)
    if tty:
        fields["tty"] = {"rows": size.rows, "columns": size.columns}
    return Terminal(service.socket, "program", fields, leaves=False)


async def _serve(service: Service, socket: WebSocket, make: partial[Terminal], size: Size) -> None:
    with Open(socket.state.token.id):
        terminal = await anyio.to_thread.run_sync(make)
        await terminal.serve(socket, size, partial(is_valid, service, socket.state.token))
