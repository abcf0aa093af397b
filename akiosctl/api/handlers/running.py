"""Cages made and ended: run, standing cages, pause, down, and programs in them.

What a request says becomes the options of ``akiosctl run`` or ``cage up``, and goes their way.
"""

from __future__ import annotations

import base64
import binascii
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from http import HTTPStatus
from typing import Any

import msgspec
from fastapi import Request, Response

from akiosctl.api.forms import DownJob, GivenFile, NewCage, NewProgram
from akiosctl.api.handlers.cages import describe_one
from akiosctl.api.handlers.changes import find_own
from akiosctl.api.jobs import AnyJob
from akiosctl.api.params import CageId, Discard, Fast, KeepOutput, KeptKey, Key
from akiosctl.api.plain_words import in_fields
from akiosctl.api.problems import Refusal
from akiosctl.api.scratch import File
from akiosctl.api.service import Service
from akiosctl.cage_down import Asked, take_one
from akiosctl.cage_status import status_to_json
from akiosctl.cage_up import cage_up
from akiosctl.client import Client, PlainClient
from akiosctl.given_policy import keep_policy
from akiosctl.help.schemas import Form
from akiosctl.progress import Progress
from akiosctl.run_detached import run_detached
from akiosctl.run_options import RunOptions, policy_flags
from akiosctl.run_policy import resolve_policy
from akiosctl.version_managers import is_below
from akiosd.errors import AkiosError, PolicyError
from akiosd.store.wipe import How
from akiosd.wire.messages import CageInfo, CageStatus, CageStatusReply, Ok, Pause

_SETTINGS = ("mode", "memory", "pids", "cpu", "disk", "budget", "timeout", "trace")


def begin_run(
    service: Service, request: Request, response: Response, body: NewCage, key: KeptKey = ""
) -> dict[str, object]:
    """Run a program in a new cage, or make a standing cage; the answer comes when it has started.
    What the program prints is kept: see `output` of the cage.  A request that comes again with its
    Idempotency-Key begins no second cage, also when the server was restarted between them; one
    that it was at when it ended is refused, since it may have begun.
    """
    _check(service, body)
    asked = msgspec.json.encode(body)
    owner = request.state.token.id
    cage = service.once.do(owner, key, asked, lambda: _begin(service, owner, body, input_of(body)))
    response.headers["Location"] = f"/api/v1/cages/{cage}"
    return describe_one(service, cage)


def _check(service: Service, body: NewCage) -> None:
    if body.standing == bool(body.argv):
        what = "a cage either runs `argv`, or is `standing` and starts empty"
        raise _unfit(what, "argv", "give one of the two")
    if body.standing and not body.name:
        raise _unfit("a standing cage has a name", "name", "give it one")
    if body.standing and (body.stdin or body.stdin_base64):
        raise _unfit("a standing cage reads no input", "stdin", "give it to a program: exec")
    if body.workspace and body.files:
        what = "files and workspace were both given"
        raise _unfit(what, "files", "leave out one of workspace and files")
    if body.policy and body.policy_text:
        raise _unfit("policy and policy_text were both given", "policy_text", "give one of them")
    if service.is_system and body.workspace:
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "this server runs with --system: it acts for no user, and shows no directory of this"
            " host",
            "workspace",
            "send files; or run your own server: akiosctl serve",
            rule="serve.system",
        )


def _unfit(what: str, where: str, next: str) -> Refusal:
    return Refusal(HTTPStatus.CONFLICT, what, where, next)


def input_of(body: NewCage | NewProgram) -> bytes | None:
    """What a request gives to a program's standard input; None for nothing."""
    if body.stdin and body.stdin_base64:
        raise _unfit(
            "the input was given twice: stdin and stdin_base64", "stdin_base64", "give one of them"
        )
    given = body.stdin.encode() or _decode(body.stdin_base64, "stdin_base64")
    return given or None


def _decode(text: str, where: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        raise _unfit("this is not base64", where, "see RFC 4648, section 4") from None


def _begin(service: Service, owner: str, body: NewCage, input: bytes | None) -> str:
    with _place(service, owner, body) as workspace, conflicts(NewCage):
        options = _options(service, body, workspace)
        here = os.path.normpath(os.path.join(workspace, body.cwd))
        if not is_below(here, os.path.normpath(workspace)):
            raise _unfit("it is not below the workspace", "cwd", "name a directory there")
        if body.standing:
            given = {name: options.values(name) for name in options.others(())}
            for name in ("detach", "discard", "name", "quiet"):
                given.pop(name, None)
            up = cage_up(given, body.name, service.socket, True, here, service.is_system)
            return up[0]
        return run_detached(options, service.socket, here, input, service.is_system)[0]


@contextmanager
def conflicts(form: type[Form]) -> Iterator[None]:
    """A policy that does not fit is none of the form of the request, whose fields are named where a
    command line has options.
    """
    try:
        yield
    except PolicyError as error:
        in_fields(error, form.__struct_fields__)
        raise _unfit(error.what, error.where, error.next) from None
    except Refusal:
        raise
    except AkiosError as error:
        in_fields(error, form.__struct_fields__)
        raise


@contextmanager
def _place(service: Service, owner: str, body: NewCage) -> Iterator[str]:
    if body.workspace:
        yield body.workspace
        return
    with own_place(service, owner, body.files) as place:
        yield place


@contextmanager
def own_place(service: Service, owner: str, files: Sequence[GivenFile]) -> Iterator[str]:
    """A directory of this server's own, with ``files``, for a token; see :class:`Scratch`."""
    with service.connect() as client:
        service.scratch.sweep(client, service.journals.places(), owner)
    with service.scratch.make(owner, [_file(one) for one in files]) as place:
        yield place


def _file(one: GivenFile) -> File:
    data = one.text.encode() or _decode(one.base64, f"files: {one.path}")
    return one.path, data, one.executable


def _options(service: Service, body: NewCage, workspace: str) -> RunOptions:
    given = {name: [getattr(body, name)] for name in _SETTINGS if getattr(body, name)}
    given |= {"workspace": [workspace], "quiet": [], "detach": []}
    if body.policy:
        given["policy"] = [body.policy]
    elif body.policy_text:
        given["policy"] = [keep_policy(body.policy_text)]
    if body.name:
        given["name"] = [body.name]
    if body.env:
        given["env"] = [f"{name}={value}" for name, value in body.env.items()]
    if body.allow_degraded:
        given["allow_degraded"] = []
    if body.discard or not body.workspace:
        given["discard"] = []
    options = RunOptions(list(body.argv), given)
    if service.is_system:
        check_shown(service, workspace, options.value("policy"), policy_flags(options))
    return options


def check_shown(
    service: Service,
    workspace: str,
    policy: str | None = None,
    flags: dict[str, dict[str, object]] = {},  # noqa: B006
) -> None:
    """Of this server's files and variables a cage sees what the administrator's policy shows, and
    nothing that a request names.
    """
    client = PlainClient(service.socket)
    try:
        # Not from the workspace: its akios.yaml came with the request.
        plain = resolve_policy(str(service.scratch.base), None, {}, client)
        asked = resolve_policy(workspace, policy, flags, client)
    finally:
        client.close()
    if asked.workspace_mode == "rw-direct":
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "this server runs with --system: it acts for no user, and no cage of it writes directly"
            " to a directory (rw-direct), because no disk limit holds for that",
            "filesystem.workspace",
            "have the policy say otherwise, in akios.yaml or policy_text: filesystem: {workspace:"
            " cow}",
            rule="serve.system",
        )
    files = sorted({*asked.read, *asked.write} - {*plain.read, *plain.write})
    variables = sorted({*asked.keep} - {*plain.keep})
    if files:
        raise _closed("shows no directory of this host", "filesystem of the policy", files[0])
    if variables:
        raise _closed("shows no variable of its own", "environment of the policy", variables[0])


def _closed(does: str, where: str, what: str) -> Refusal:
    return Refusal(
        HTTPStatus.FORBIDDEN,
        f"this server runs with --system: it acts for no user, and {does}",
        where,
        f"leave out {what}",
        rule="serve.system",
    )


def get_status(service: Service, cage: CageId) -> dict[str, Any]:
    """What a standing cage enforces, what it uses beside its limits, and its programs."""
    with service.connect() as client:
        found = find_standing(client, cage)
        if found.ended_ns:
            return status_to_json(found, None)
        reply, _ = client.call(CageStatus(cage=cage), CageStatusReply)
    return status_to_json(found, reply)


def pause(service: Service, cage: CageId) -> dict[str, object]:
    """Have everything in a standing cage stand still; nothing of it is lost."""
    return _pause(service, cage, True)


def resume(service: Service, cage: CageId) -> dict[str, object]:
    """Let a paused cage go on."""
    return _pause(service, cage, False)


def _pause(service: Service, cage: str, paused: bool) -> dict[str, object]:
    with service.connect() as client:
        find_standing(client, cage)
        client.call(Pause(cage=cage, paused=paused), Ok)
    return {"cages": [cage]}


def begin_down(
    service: Service,
    request: Request,
    response: Response,
    cage: CageId,
    discard: Discard = False,
    keep_output: KeepOutput = False,
    fast: Fast = False,
    key: Key = "",
) -> AnyJob:
    """Kill everything in a standing cage, and destroy its log, its disk and `data/output`; with
    `discard` also what it changed besides, which nobody committed.
    """
    with service.connect() as client:
        found = find_standing(client, cage)
    own = service.scratch.has(os.fsdecode(found.workspace))
    how = How(fast=fast)
    asked = Asked(how, keep=keep_output, discard=discard or own, dry_run=False, as_json=True)

    def work(progress: Progress) -> Mapping[str, object]:
        with service.connect() as client:
            done = take_one(client, find_standing(client, cage), asked)
            progress.advance(1)
            service.scratch.sweep(client, service.journals.places())
        return done

    wanted = msgspec.json.encode((discard, keep_output, fast))
    job = service.jobs.begin(request.state.token.id, DownJob, cage, key, wanted, work)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


def find_standing(client: Client, cage: str) -> CageInfo:
    """A standing cage of this user's.  Raises :class:`Refusal`."""
    found = find_own(client, cage)
    if not found.standing:
        what, next = "this is not a standing cage", 'make one: POST /api/v1/cages, "standing": true'
        raise Refusal(HTTPStatus.CONFLICT, what, cage, next)
    return found
