"""Cages: list, one, its budget, and what it was denied."""

from __future__ import annotations

import os
from contextlib import aclosing
from functools import partial
from typing import Annotated, Any, Literal

import anyio.to_thread
import trio
from fastapi import Query, Request

from akiosctl.api.daemon_stream import subscribe
from akiosctl.api.params import CageId, Wait
from akiosctl.api.service import Service, find_cage
from akiosctl.api.streams import Open, wait_while_there
from akiosctl.verbs import budget, ps, why
from akiosd.wire.messages import BudgetInfo, BudgetReply, CageInfo, Cages, List, Records, Subscribe

Cursor = Annotated[
    str, Query(pattern="^(c-[0-9a-z]{12})?$", description="`next` of the page before.")
]
Limit = Annotated[int, Query(ge=1, le=500, description="How many at most.")]
State = Annotated[
    Literal["all", "running", "ended", "waiting"],
    Query(description="`running`, `ended`; `waiting`: ended, with changes that wait; or `all`."),
]


def list_page(
    service: Service, cursor: Cursor = "", limit: Limit = 100, state: State = "all"
) -> dict[str, Any]:
    """One page of the cages that the user of this server may see, in the order of their ids."""
    found: list[CageInfo] = []
    after, more = cursor, True
    with service.connect() as client:
        while more and len(found) <= limit:
            reply, _ = client.call(List(everyone=True, after=after), Cages)
            found += [cage for cage in reply.cages if _is(cage, state)]
            more = reply.more and bool(reply.cages)
            after = reply.cages[-1].cage if reply.cages else after
    page = found[:limit]
    next = page[-1].cage if len(found) > limit else None
    return {"cages": [ps.to_json(cage) for cage in page], "next": next}


def _is(cage: CageInfo, state: str) -> bool:
    ended = cage.ended_ns != 0
    kinds = {"running": not ended, "ended": ended, "waiting": ended and cage.changes}
    return kinds.get(state, True)


async def get_one(
    service: Service, request: Request, cage: CageId, wait: Wait = 0
) -> dict[str, object]:
    """One cage; with `wait` the answer comes when it has ended, or after so many seconds.  One that
    waits is counted with the streams of its token.
    """
    found = await anyio.to_thread.run_sync(describe_one, service, cage)
    if wait and not found["ended_ns"]:
        with Open(request.state.token.id), trio.move_on_after(wait):
            await wait_while_there(request.receive, partial(_wait_end, service, cage))
        found = await anyio.to_thread.run_sync(describe_one, service, cage)
    return found


def describe_one(service: Service, cage: str) -> dict[str, object]:
    """As ``akiosctl ps --json`` prints it."""
    with service.connect() as client:
        return ps.to_json(find_cage(client, cage))


async def _wait_end(service: Service, cage: str) -> None:
    request = Subscribe(kinds=("end",), cages=(cage,), cursors={cage: 0})
    async with aclosing(subscribe(service.events, request)) as messages:
        async for message in messages:
            if isinstance(message, Records):
                return


def get_budget(service: Service, cage: CageId) -> dict[str, object]:
    """What its calls to models cost, and what is left; of an ended cage what it spent."""
    with service.connect() as client:
        found = find_cage(client, cage)
        if found.ended_ns:
            return budget.ended_json(found)
        reply, _ = client.call(BudgetInfo(cage=cage), BudgetReply)
    return budget.to_json(reply)


def get_why(service: Service, cage: CageId) -> dict[str, object]:
    """What it was denied, by rule, each with the setting that would allow it."""
    with service.connect() as client:
        found = find_cage(client, cage)
        workspace = os.fsdecode(found.workspace)
        with service.readings.take(cage) as reading:
            told, same = why.tell_why(client, cage, workspace, reading=reading)
    return why.to_json(cage, told, same)
