"""What a cage changed in its workspace: seen, committed, discarded; and a cage ended.

As on the command line a commit is the user's own work: this server writes with the rights of the
user who runs it, so it settles that user's cages only.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import Header, Query, Request, Response

from akiosctl.api.diff_tag import tag_diff
from akiosctl.api.forms import CommitJob
from akiosctl.api.jobs import AnyJob
from akiosctl.api.params import CageId, Key
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service, find_cage
from akiosctl.api.tokens import Token
from akiosctl.cages import list_cages
from akiosctl.changes import Diff, Plan
from akiosctl.changes.render import to_json
from akiosctl.client import Client
from akiosctl.commit_cage import CageView, commit_cage, discard_cage, open_view
from akiosctl.progress import Progress
from akiosctl.verbs import commit, stop
from akiosctl.verbs.diff import tell_refused
from akiosd.errors import AkiosError
from akiosd.wire.messages import CageInfo

_MOST_GRACE = 20
"""Seconds: the answer comes when the cage has ended, and no request may take 30 s."""
Grace = Annotated[
    int, Query(ge=0, le=_MOST_GRACE, description="Seconds between SIGTERM and SIGKILL.")
]
Match = Annotated[
    str,
    Header(
        alias="If-Match",
        pattern=r'^(\*|"[0-9a-f]{32}")$',
        examples=["*"],
        description="The ETag of the diff that is meant; `*` for whatever it is now.",
    ),
]
Skip = Annotated[bool, Query(description="Commit without what is refused or in conflict.")]
Force = Annotated[bool, Query(description="Overwrite what changed since the cage started.")]


def end_cage(service: Service, cage: CageId, grace: Grace = 10) -> dict[str, object]:
    """End a cage: SIGTERM to its agent, then SIGKILL to all in it.  Ended already is no error."""
    with service.connect() as client:
        found = find_own(client, cage)
        if not found.ended_ns:
            stop.end(client, cage, grace * 10**9)
    return {"cages": [cage]}


def get_diff(service: Service, response: Response, cage: CageId) -> dict[str, Any]:
    """What a cage changed, and what of it a commit would refuse.  One that runs, as a standing cage
    does, stands still while it is compared.  The ETag is for If-Match of commit and discard: it
    covers the content of what changed, and holds beyond the end of the cage.  While the cage runs
    a diff of more than 1 GiB or 50,000 files has none.
    """
    with service.connect() as client:
        running = not find_own(client, cage).ended_ns
        if not running:
            _find_settled(client, cage)
        with open_view(client, cage, running=running, watched=False) as view:
            diff = view.compare()
            answer = _describe(cage, view, diff)
            tag = tag_diff(view, diff, answer, running=running)
            if running:
                list_cages(client)  # akiosd says first if the pause was over before the reading
    if tag:
        response.headers["ETag"] = tag
    return answer


def _describe(cage: str, view: CageView, diff: Diff) -> dict[str, Any]:
    changes = to_json(diff, tell_refused(view, diff))
    return {"cage": cage, "workspace": view.place, "changes": changes}


def begin_commit(
    service: Service,
    request: Request,
    response: Response,
    cage: CageId,
    match: Match,
    skip_refused: Skip = False,
    force: Force = False,
    key: Key = "",
) -> AnyJob:
    """Write what a cage changed to its workspace, while it is what the ETag of If-Match says.  All
    of it or nothing, unless `skip_refused`.
    """
    with service.connect() as client:
        _find_settled(client, cage)

    def work(progress: Progress) -> Mapping[str, object]:
        def agrees(view: CageView, plan: Plan) -> None:
            _check_match(match, cage, view)

        with service.connect() as client, _of_this_api(cage):
            plan, report, place = commit_cage(
                client, cage, skip_refused=skip_refused, force=force, agrees=agrees, watched=False
            )
        progress.advance(len(report.done))
        return commit.to_json(cage, place, plan, report)

    token: Token = request.state.token
    asked = msgspec.json.encode((match, skip_refused, force))
    job = service.jobs.begin(token.id, CommitJob, cage, key, asked, work)
    response.headers["Location"] = f"/api/v1/jobs/{job.id}"
    return job


@contextmanager
def _of_this_api(cage: str) -> Iterator[None]:
    """What helps is told of parameters and requests, not of a command line."""
    try:
        yield
    except AkiosError as error:
        told = error.next.replace("akiosctl diff", f"GET /api/v1/cages/{cage}/diff")
        for option, parameter in (("--skip-refused", "skip_refused"), ("--force", "force")):
            told = told.replace(option, f"{parameter}=true")
        error.next = told
        raise


def discard(service: Service, cage: CageId, match: Match) -> dict[str, object]:
    """Destroy what a cage changed, while it is what the ETag of If-Match says.  Its log stays."""
    with service.connect() as client:
        _find_settled(client, cage)
        if match != "*":
            with open_view(client, cage, watched=False) as view:
                _check_match(match, cage, view)
        said = discard_cage(client, cage)
    return {"cages": [cage], "notes": [said] if said else []}


def _check_match(match: str, cage: str, view: CageView) -> None:
    if match == "*":
        return
    diff = view.compare()
    if tag_diff(view, diff, _describe(cage, view, diff), running=False) != match:
        raise Refusal(
            HTTPStatus.PRECONDITION_FAILED,
            "the workspace or the cage's changes are not those that this If-Match was made for",
            "If-Match",
            f"look at them again: GET /api/v1/cages/{cage}/diff",
        )


def find_own(client: Client, cage: str) -> CageInfo:
    """A cage of the user of this server.  Raises :class:`Refusal`."""
    found = find_cage(client, cage)
    if found.uid != os.geteuid():
        what, next = f"this cage belongs to {found.user}", "ask them"
        raise Refusal(HTTPStatus.FORBIDDEN, what, cage, next, rule="cage.owner")
    return found


def _find_settled(client: Client, cage: str) -> CageInfo:
    found = find_own(client, cage)
    if found.ended_ns and found.changes:
        return found
    if not found.ended_ns:
        what, next = "the cage still runs", f"end it: POST /api/v1/cages/{cage}/stop"
    else:
        what, next = "the cage has no uncommitted changes", f"see GET /api/v1/cages/{cage}"
    raise Refusal(HTTPStatus.CONFLICT, what, cage, next)
