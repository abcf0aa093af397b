"""Programs in standing cages, and files there."""

from __future__ import annotations

import base64
import errno
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus

import msgspec
from fastapi import Request, Response

from akiosctl.api.forms import ExecJob, NewProgram, Written
from akiosctl.api.handlers.running import find_standing, input_of
from akiosctl.api.jobs import AnyJob
from akiosctl.api.params import CageId, Inside, Key, Offset, Piece
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service
from akiosctl.library.files import Place, place_of, read_piece, write_piece
from akiosctl.library.kept import Kept
from akiosctl.library.program import Program
from akiosctl.library.values import CageFileError, ProgramTimeout
from akiosctl.programs import program_request
from akiosctl.progress import Progress
from akiosctl.render import escape
from akiosd.wire.messages import CageInfo

_KEPT = 256 << 10
"""Bytes of each output that an answer holds: the first half of that, and the last."""


def begin_exec(
    service: Service,
    request: Request,
    response: Response,
    cage: CageId,
    body: NewProgram,
    key: Key = "",
) -> AnyJob:
    """Start a program in a standing cage; the job's result says how it ended and what it printed.
    It ends with this server.
    """
    input = input_of(body)
    with service.connect() as client:
        found = find_standing(client, cage)
    place = os.fsdecode(found.workspace)
    env = {os.fsencode(name): os.fsencode(value) for name, value in body.env.items()}
    asked = program_request(cage, place, body.argv, body.cwd, env, service.is_system)

    def work(progress: Progress) -> Mapping[str, object]:
        program = Program(service.socket, asked, body.argv[0])
        return _collect(program, body, input, progress)

    token = request.state.token.id
    whole = msgspec.json.encode(body)
    job = service.jobs.begin(token, ExecJob, f"{cage}: {_words(body)}", key, whole, work)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


def _words(body: NewProgram) -> str:
    return escape(" ".join(body.argv))[:200]


def _collect(
    program: Program, body: NewProgram, input: bytes | None, progress: Progress
) -> dict[str, object]:
    """All that it prints goes by; what is kept of it is bounded."""
    kept = {"stdout": Kept(_KEPT), "stderr": Kept(_KEPT)}
    program.give(input or b"")
    try:
        for name, data in program.pieces(body.timeout_seconds):
            kept[name].take(data)
            progress.advance(len(data))
        ended = program.finish()
    except ProgramTimeout as slow:
        ended = {"exit_code": slow.done.exit_code, "kind": "timeout", "reason": slow.what}
    out, err = kept["stdout"].join(), kept["stderr"].join()
    return {
        "exit_code": int(ended.get("exit_code", 0)),
        "kind": str(ended.get("kind", "exited")),
        "reason": str(ended.get("reason", "")),
        "stdout": out.decode("utf-8", "backslashreplace"),
        "stdout_base64": base64.b64encode(out).decode(),
        "stderr": err.decode("utf-8", "backslashreplace"),
        "stderr_base64": base64.b64encode(err).decode(),
        "left_out": kept["stdout"].left_out + kept["stderr"].left_out,
    }


def read_file(
    service: Service, cage: CageId, path: Inside, offset: Offset = 0, limit: Piece = 1 << 20
) -> Response:
    """Bytes of a file in a standing cage, from `offset` on; fewer than `limit` where it ends."""
    place = _place(service, cage, path)
    with _refused(HTTPStatus.NOT_FOUND):
        data = read_piece(service.socket, cage, place, limit, offset)
    return Response(data, media_type="application/octet-stream")


def write_file(
    service: Service, cage: CageId, path: Inside, data: bytes, offset: Offset = 0
) -> Written:
    """Write the body into a file in a standing cage; at `offset` 0 what was in it goes, and missing
    directories are made.  A large file is sent in pieces.
    """
    place = _place(service, cage, path)
    with _refused():
        write_piece(service.socket, cage, place, data, offset)
    return Written(escape(place.place), len(data))


def _place(service: Service, cage: str, path: str) -> Place:
    with service.connect() as client:
        found: CageInfo = find_standing(client, cage)
    return place_of(os.fsdecode(found.workspace), path)


@contextmanager
def _refused(missing: HTTPStatus = HTTPStatus.CONFLICT) -> Iterator[None]:
    """What failed for a file has the status that says so."""
    try:
        yield
    except CageFileError as error:
        status = missing if error.errno == errno.ENOENT else HTTPStatus.CONFLICT
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            status = HTTPStatus.INSUFFICIENT_STORAGE
        raise Refusal(status, error.what, error.where, error.next) from None
