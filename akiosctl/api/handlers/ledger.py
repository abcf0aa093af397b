"""Logs: records, proofs, verification, and the tree as tlog-tiles has it (c2sp.org/tlog-tiles)."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

import trio
from fastapi import Path, Query, Request, Response

from akiosctl.api.forms import Consistency, VerifyJob
from akiosctl.api.handlers.events import Kinds, check_kinds
from akiosctl.api.jobs import AnyJob
from akiosctl.api.params import Key, Wait
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.api.streams import wait_while_there
from akiosctl.api.tokens import Token
from akiosctl.client import Client, DaemonError
from akiosctl.ledger_source import LogSource, open_from_daemon
from akiosctl.progress import Progress
from akiosctl.record_forms import Form
from akiosctl.verbs.ledger_proofs import proof_json, prove_record
from akiosctl.verbs.ledger_read import checkpoint_json, read_checkpoint
from akiosctl.verbs.ledger_verify import verify_opened
from akiosd.errors import LedgerError
from akiosd.ledger.note import MAX_NOTE_BYTES
from akiosd.ledger.report import LogReader, describe, read_tile
from akiosd.ledger.tiles import parse_path
from akiosd.store.proofs_and_tiles import prove_consistency_from
from akiosd.values.ids import HOST_LOG
from akiosd.wire.messages import LogEntries, ReadLog

_MOST_LOOKED_AT = 20_000
"""Records of other kinds that one request passes over."""
_LOOK_SECONDS = 0.05
_FOR_EVER = "private, max-age=31536000, immutable"

LogName = Annotated[
    str, Path(pattern="^(c-[0-9a-z]{12}|host)$", description="The id of a cage, or `host`.")
]
Cursor = Annotated[int, Query(ge=0, le=1 << 53, description="The number of the first record.")]
Limit = Annotated[int, Query(ge=1, le=1000, description="How many at most.")]
Index = Annotated[int, Path(ge=0, le=1 << 53, description="The number of a record.")]
OldSize = Annotated[int, Query(alias="from", ge=1, le=1 << 53, description="The earlier size.")]
TilePath = Annotated[str, Path(max_length=120, description="As in tile/0/000 or tile/entries/000.")]


@contextmanager
def open_log(service: Service, log: str) -> Iterator[tuple[LogSource, LogReader]]:
    """A log and its files; a 404 for one that is not there or may not be read."""
    with service.connect() as client, _look_up(log):
        with open_from_daemon(client, _cage_of(log)) as source, source.reader() as reader:
            yield source, reader


def _cage_of(log: str) -> str:
    return "" if log == HOST_LOG else log


@contextmanager
def _look_up(log: str) -> Iterator[None]:
    try:
        yield
    except DaemonError as error:
        raise Refusal(HTTPStatus.NOT_FOUND, error.what, log, error.next) from None
    except FileNotFoundError:
        what = "nothing of this log is written yet"
        raise Refusal(HTTPStatus.NOT_FOUND, what, log, "ask again in a second") from None


def list_records(
    service: Service,
    log: LogName,
    cursor: Cursor = 0,
    limit: Limit = 100,
    kind: Kinds = [],  # noqa: B006
) -> Response:
    """A page of records, in order."""
    check_kinds(kind)
    form, lines, looked_at = Form(True, frozenset(kind)), list[str](), 0
    next, ended = cursor, False
    with service.connect() as client, _look_up(log):
        while not ended and len(lines) < limit and looked_at < _MOST_LOOKED_AT:
            stop = next + (limit - len(lines) if not kind else limit)
            entries = _read(client, log, next, stop)
            ended = not entries
            for entry in entries:
                lines += form.lines(log, next, [entry])
                next, looked_at = next + 1, looked_at + 1
                if len(lines) == limit:
                    break
    cursor_text = "null" if ended else f'"{next}"'
    text = f'{{"log": "{log}", "records": [{", ".join(lines)}], "next": {cursor_text}}}'
    return Response(text, media_type="application/json")


def _read(client: Client, log: str, start: int, stop: int) -> tuple[bytes, ...]:
    request = ReadLog(cage=_cage_of(log), start=start, stop=stop)
    reply, _ = client.call(request, LogEntries)
    if reply.entries and reply.start > start:
        what = f"the records before {reply.start} were pruned"
        next = f"begin with cursor={reply.start}"
        raise Refusal(HTTPStatus.GONE, what, log, next)
    return reply.entries


def get_checkpoint(service: Service, log: LogName) -> dict[str, Any]:
    """The signed checkpoint, and the key that signs it."""
    with open_log(service, log) as (source, reader):
        found, note = read_checkpoint(source, reader)
        return checkpoint_json(source, found, note)


def prove_inclusion(service: Service, log: LogName, index: Index) -> dict[str, Any]:
    """That a record is in the log (c2sp.org/tlog-proof@v1)."""
    with open_log(service, log) as (source, reader):
        size = read_checkpoint(source, reader)[0].size
        if index >= size:
            what = f"this is not signed yet: the checkpoint covers {size} records"
            raise Refusal(HTTPStatus.NOT_FOUND, what, f"record {index}", "ask again in a second")
        proof, _ = prove_record(source, reader, index)
        return proof_json(source, index, proof)


def prove_consistency(service: Service, log: LogName, old_size: OldSize) -> Consistency:
    """That the log of an earlier size is the beginning of the log of now."""
    with open_log(service, log) as (source, reader):
        found, note = read_checkpoint(source, reader)
        if old_size > found.size:
            what = f"this is not signed yet: the checkpoint covers {found.size} records"
            where = f"from={old_size}"
            raise Refusal(HTTPStatus.NOT_FOUND, what, where, "ask again in a second")
        path = prove_consistency_from(reader, old_size, found)
        return Consistency(
            origin=found.origin,
            old_size=old_size,
            size=found.size,
            root=found.root.hex(),
            path=[node.hex() for node in path],
            checkpoint=note.decode(),
            vkey=str(source.vkey),
        )


def begin_verify(
    service: Service, request: Request, response: Response, log: LogName, key: Key = ""
) -> AnyJob:
    """Recompute a log, and compare it with everything that is known of it.  Answers at once; the
    job says how far it is and what was found.
    """
    with service.connect() as client, _look_up(log):
        _read(client, log, 0, 0)

    def work(progress: Progress) -> Mapping[str, object]:
        return describe(verify_opened(lambda: _watched(service, log, progress), log))

    token: Token = request.state.token
    job = service.jobs.begin(token.id, VerifyJob, log, key, b"", work)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@contextmanager
def _watched(service: Service, log: str, progress: Progress) -> Iterator[LogSource]:
    with service.connect() as client, open_from_daemon(client, _cage_of(log)) as source:
        source.watch = progress
        yield source


async def get_job(
    service: Service,
    request: Request,
    job: Annotated[str, Path(pattern="^[0-9a-f]{16}$")],
    wait: Wait = 0,
) -> AnyJob:
    """How far a job is, and what came of it; with `wait` the answer comes when it has ended, or
    after so many seconds.  Results of a token are kept up to 32 MiB; of a job whose result went for
    later ones the answer is a 410.
    """
    token: Token = request.state.token

    async def look() -> None:
        while service.jobs.find(token.id, job).state == "running":
            await trio.sleep(_LOOK_SECONDS)

    with trio.move_on_after(wait):
        await wait_while_there(request.receive, look)
    return service.jobs.find(token.id, job)


def get_note(service: Service, log: LogName) -> Response:
    """The checkpoint as it is on disk, for tools that read tlog-tiles."""
    with open_log(service, log) as (_, reader):
        note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        what = "the log was not signed yet (it has no checkpoint)"
        raise Refusal(HTTPStatus.NOT_FOUND, what, log, "ask again in a second")
    headers = {"Cache-Control": "no-cache"}
    return Response(note, media_type="text/plain; charset=utf-8", headers=headers)


def get_tile(service: Service, log: LogName, path: TilePath) -> Response:
    """A tile or a bundle of entries, which never changes."""
    try:
        tile = parse_path(path)
    except LedgerError as error:
        next = "write the path as c2sp.org/tlog-tiles does"
        raise Refusal(HTTPStatus.NOT_FOUND, error.what, path, next) from None
    with open_log(service, log) as (_, reader):
        data = read_tile(reader, tile)
    if data is None:
        raise Refusal(
            HTTPStatus.NOT_FOUND,
            "the log has no such file of hashes (tile)",
            path,
            "see how far the log goes: its checkpoint",
        )
    headers = {"Cache-Control": _FOR_EVER, "ETag": f'"{hashlib.sha256(data).hexdigest()[:32]}"'}
    return Response(data, media_type="application/octet-stream", headers=headers)
