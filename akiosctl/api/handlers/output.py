"""What a cage printed: its bytes, its pieces with their times, and both as they come.

akiosd keeps the first and the last of it; offsets count all of it, kept or not.
"""

from __future__ import annotations

import base64
from collections.abc import Iterator, Sequence
from http import HTTPStatus
from typing import Annotated, Any

import anyio.to_thread
import trio
from fastapi import Header, Query, Request, Response

from akiosctl.api.daemon_stream import wait_back, wait_output
from akiosctl.api.handlers.changes import find_own
from akiosctl.api.params import CageId, Offset
from akiosctl.api.problems import Refusal
from akiosctl.api.ranges import parse_range
from akiosctl.api.service import Service
from akiosctl.api.streams import (
    BEAT,
    BEAT_SECONDS,
    ENDED,
    EventStream,
    Item,
    Items,
    is_valid,
)
from akiosctl.api.tokens import Token
from akiosctl.client import GoneError
from akiosctl.kept_output import KeptOutput
from akiosd.wire.output import Frame, behind

_PAUSE_SECONDS = 0.1
_MOST_PAGE = 1 << 20
Range = Annotated[
    str, Header(alias="Range", description="One range of bytes, as in `bytes=0-999`, `bytes=-500`.")
]
LastOffset = Annotated[
    str,
    Header(alias="Last-Event-ID", pattern="^([0-9]{1,15})?$", description="Go on behind this id."),
]
Limit = Annotated[
    int, Query(ge=1, le=_MOST_PAGE, description="How many bytes at most, or little more.")
]


def open_output(service: Service, cage: str) -> KeptOutput:
    """What is kept of the output of a cage of this user's; to be closed."""
    with service.connect() as client:
        find_own(client, cage)
        return KeptOutput(client, cage)


def _read(service: Service, cage: str) -> tuple[list[Frame], KeptOutput]:
    kept = open_output(service, cage)
    try:
        return kept.read(), kept
    finally:
        kept.close()


def get_output(service: Service, cage: CageId, bytes_range: Range = "") -> Response:
    """The bytes that it printed, standard output and error together, as far as they are kept.
    Where the middle is missing, `Akios-Missing` names it, and a range ends before it; one that
    begins in it is not there.
    """
    frames, kept = _read(service, cage)
    holes = list(_holes(frames))
    size = kept.end
    headers = {"Accept-Ranges": "bytes"}
    if holes:
        headers["Akios-Missing"] = ", ".join(f"{start}-{stop - 1}" for start, stop in holes)
    wanted = parse_range(bytes_range, size) if bytes_range else None
    if wanted is None:
        data = b"".join(frame.data for frame in frames)
        return Response(data, headers=headers, media_type="application/octet-stream")
    start, stop = wanted
    data = _contiguous(frames, start, stop)
    if not data:
        raise _no_range(start, size, holes)
    headers["Content-Range"] = f"bytes {start}-{start + len(data) - 1}/{size}"
    return Response(data, 206, headers, media_type="application/octet-stream")


def _no_range(start: int, size: int, holes: Sequence[tuple[int, int]]) -> Refusal:
    hole = next((one for one in holes if one[0] <= start < one[1]), None)
    what = (
        "the range begins behind the end of the output"
        if hole is None
        else "these bytes were not kept"
    )
    return Refusal(
        HTTPStatus.REQUESTED_RANGE_NOT_SATISFIABLE,
        what,
        "Range",
        f"ask from byte {hole[1]} on: from there on the output was kept"
        if hole
        else f"begin it before byte {size}, or ask without a Range",
        headers={"Content-Range": f"bytes */{size}"},
    )


def _holes(frames: Sequence[Frame]) -> list[tuple[int, int]]:
    found, at = [], 0
    for frame in frames:
        if frame.offset > at:
            found.append((at, frame.offset))
        at = frame.offset + len(frame.data)
    return found


def _contiguous(frames: Sequence[Frame], start: int, stop: int) -> bytes:
    """What is kept from ``start`` on, up to ``stop`` or to where something is missing."""
    data = bytearray()
    for frame in behind(frames, start):
        if frame.offset != start + len(data) or len(data) >= stop - start:
            break
        data += frame.data
    return bytes(data[: stop - start])


def list_pieces(
    service: Service, cage: CageId, offset: Offset = 0, limit: Limit = 1 << 16
) -> dict[str, Any]:
    """The pieces of what it printed, from `offset` on, each with its time."""
    frames, kept = _read(service, cage)
    page: list[Frame] = []
    room = limit
    for frame in behind(frames, offset):
        if room <= 0:
            break
        page.append(frame)
        room -= len(frame.data)
    end = page[-1].offset + len(page[-1].data) if page else max(offset, 0)
    return {
        "cage": cage,
        "pieces": [describe_piece(frame) for frame in page],
        "next": end,
        "running": kept.running or end < kept.end,
    }


def describe_piece(frame: Frame) -> dict[str, object]:
    """As ``akiosctl logs --json`` prints it."""
    return {
        "time_ns": frame.time_ns,
        "offset": frame.offset,
        "text": frame.data.decode("utf-8", "backslashreplace"),
        "text_base64": base64.b64encode(frame.data).decode("ascii"),
    }


async def follow(
    service: Service,
    request: Request,
    cage: CageId,
    offset: Offset = 0,
    last_event_id: LastOffset = "",
) -> Response:
    """Follow what it prints: `output` (a piece, as `logs` has it; its id is the offset behind it),
    `missing` (bytes that were not kept), `away` and `back` (of akiosd), `end` (no more will come).
    """
    start = int(last_event_id) if last_event_id else offset
    token: Token = request.state.token
    kept = await anyio.to_thread.run_sync(open_output, service, cage)
    # The response closes it: a generator that never began does not run its `finally`.
    return EventStream(_follow(service, token, kept, cage, start), token.id, kept.close)


async def _follow(service: Service, token: Token, kept: KeptOutput, cage: str, next: int) -> Items:
    while True:
        if not is_valid(service, token):  # it may have been revoked while nothing came
            yield [ENDED]
            return
        frames = behind(await anyio.to_thread.run_sync(kept.read), next)
        yield list(_items_of(frames, next))
        next = max([next, *(frame.offset + len(frame.data) for frame in frames)])
        if not kept.running:
            yield [Item("end", {"cage": cage})]
            return
        await trio.sleep(_PAUSE_SECONDS)
        async for items in _wait(service, kept, cage):
            yield items


def _items_of(frames: Sequence[Frame], next: int) -> Iterator[Item]:
    for frame in frames:
        if frame.offset > next:
            gap = {"missing": frame.offset - next, "offset": next}
            yield Item("missing", gap, str(frame.offset))
        next = frame.offset + len(frame.data)
        yield Item("output", describe_piece(frame), str(next))


async def _wait(service: Service, kept: KeptOutput, cage: str) -> Items:
    """Until there is more, or no more will come; also over a restart of akiosd."""
    try:
        with trio.move_on_after(BEAT_SECONDS) as beat:
            kept.take(await wait_output(service.socket, cage, kept.written))
        if beat.cancelled_caught:
            yield [BEAT]
        elif not kept.opened:
            await anyio.to_thread.run_sync(_reopen, service, kept)
    except GoneError as error:
        yield [Item("away", {"what": error.what, "next": error.next})]
        await wait_back(service.socket)
        await anyio.to_thread.run_sync(_reopen, service, kept)
        yield [Item("back", {})]


def _reopen(service: Service, kept: KeptOutput) -> None:
    with service.connect() as client:
        kept.ask(client)
