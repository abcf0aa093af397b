"""Workflows: checked, run, looked at, gone on with and stopped; and what they ask a person.

What a request says goes the way of ``akiosctl workflow run``.  Where the server acts for nobody,
only a text that came with the request is run, on files that came with it.
"""

from __future__ import annotations

import os
import time
from contextlib import ExitStack
from http import HTTPStatus
from typing import Annotated, Any

import msgspec
from fastapi import Path, Query, Request, Response

from akiosctl import workflow_files
from akiosctl.api.forms import (
    NewAnswer,
    NewResumption,
    NewWorkflowRun,
    WorkflowChecked,
    WorkflowNow,
)
from akiosctl.api.handlers.running import check_shown, conflicts, own_place
from akiosctl.api.params import KeptKey, RunId
from akiosctl.api.problems import Refusal
from akiosctl.api.service import Service, find_kept
from akiosctl.api.views.workflows import Known, cages_of, facts_of, mistake_of, show_run
from akiosctl.approvals import give_answer, list_waiting
from akiosctl.help.schemas import ExplainedWorkflow, Question
from akiosctl.journal_file import GoingOnError, Kept, is_going_on, list_kept, text_place
from akiosctl.locate import locate_workspace
from akiosctl.verbs.approvals import describe_question
from akiosctl.verbs.output import describe_outputs, describe_run
from akiosctl.workflow_start import (
    How,
    Place,
    Source,
    begin,
    go_on,
    kept_plan,
    plan_of,
    policy_of,
    read_source,
)
from akiosd.errors import AkiosError
from akiosd.workflow.check import make_plan
from akiosd.workflow.explain import explain_plan
from akiosd.workflow.schema import read_workflow

_TEXT = "the text"
_SEEN = "GET /api/v1/workflows/runs"
AtOnce = Annotated[int, Query(ge=1, le=8, description="How many steps may run at the same time.")]
QuestionId = Annotated[
    str, Path(pattern="^[A-Za-z0-9_.-]{1,200}$", description="The id of a question that waits.")
]


def check_text(service: Service, text: str) -> WorkflowChecked:
    """Whether a text is a workflow: every mistake with line and column; or what each step may do,
    with which policy and how much money, in a project without a policy of its own.  Nothing is run.
    """
    base = policy_of(service, str(service.scratch.base))
    try:
        read = read_workflow(text.encode(), _TEXT)
        plan = make_plan(read, base)
    except AkiosError as error:
        return WorkflowChecked(False, [mistake_of(error)], [], None, [])
    if plan is None:
        mistakes = [mistake_of(error) for error in read.places.errors]
        return WorkflowChecked(False, mistakes, read.notes, None, [])
    explained = msgspec.convert(explain_plan(plan), ExplainedWorkflow)
    return WorkflowChecked(True, [], read.notes, explained, [list(rank) for rank in plan.order])


def begin_run(
    service: Service,
    request: Request,
    response: Response,
    body: NewWorkflowRun,
    at_once: AtOnce = 4,
    key: KeptKey = "",
) -> WorkflowNow:
    """Run a workflow: each step in a cage of its own, by its policy.  The answer comes when the
    first may start; then ask for the run, or follow the events of its cages.  A request that comes
    again with its Idempotency-Key begins no second run, also when the server was restarted between
    them; one that it was at when it ended is refused, since it may have begun.  The run ends with
    this server; then it can be gone on with: for a day, where it has a directory of its own, and
    not after its token needed the room.
    """
    _check(service, body)
    asked = msgspec.json.encode((body, at_once))
    token = request.state.token.id
    run = service.once.do(token, key, asked, lambda: _begin(service, token, body, at_once), _SEEN)
    response.headers["Location"] = f"/api/v1/workflows/runs/{run}"
    return describe_now(service, run)


def _check(service: Service, body: NewWorkflowRun) -> None:
    if bool(body.text) == bool(body.file):
        what = "a run has the `text` of a workflow, or a `file`"
        raise Refusal(HTTPStatus.CONFLICT, what, "text", "give one of the two")
    if body.workspace and body.files:
        what = "files are for a run with a directory of its own"
        raise Refusal(HTTPStatus.CONFLICT, what, "files", "leave out one of workspace and files")
    if service.is_system and (body.workspace or body.file):
        raise Refusal(
            HTTPStatus.FORBIDDEN,
            "this server runs with --system: it acts for no user, and reads no file of this host",
            "workspace" if body.workspace else "file",
            "send text and files; or run your own server: akiosctl serve",
            rule="serve.system",
        )


def _begin(service: Service, owner: str, body: NewWorkflowRun, at_once: int) -> str:
    with conflicts(NewWorkflowRun), ExitStack() as held:
        held.enter_context(service.runs.take_place(owner))
        own = "" if body.workspace else held.enter_context(own_place(service, owner, body.files))
        place = _place(service, own or body.workspace, bool(own))
        source = Source(body.text.encode(), _TEXT)
        if body.file:
            source = _read(body.file, place.workspace)
        plan = plan_of(service, source, place.workspace)
        how = How(most=at_once, quiet=True)
        run = begin(service, plan, source, place, body.inputs, how)
        return service.runs.start(run, held.pop_all())


def _place(service: Service, workspace: str, is_own: bool) -> Place:
    """Where a run works; of a directory that is this server's its data does not outlive it."""
    found = locate_workspace("/", workspace, os.path.expanduser("~"))
    os.close(found.fd)
    if service.is_system:
        check_shown(service, found.path)
    return Place(found.path, data="project" if is_own else "", foreign=service.is_system)


def _read(file: str, workspace: str) -> Source:
    """A file of the project, else the template of that name."""
    there = os.path.join(workspace, file)
    return read_source(there if os.path.exists(there) else file)


def resume_run(
    service: Service,
    request: Request,
    response: Response,
    run: RunId,
    body: NewResumption,
    key: KeptKey = "",
) -> WorkflowNow:
    """Go on with a run that ended without success, or whose driver was killed: what is done is not
    done again.  A step of which nobody knows whether it was done, such as one that was running when
    the run was stopped, ends it anew, unless the body is `{"repeat": true}`: then it is done again,
    and may be done twice.  One that only reads, or asks a model, is done again without that.
    A request that comes again with its Idempotency-Key goes on with nothing, as with a new run.
    """
    asked = b"resume " + run.encode() + msgspec.json.encode(body)
    token = request.state.token.id
    seen = f"GET /api/v1/workflows/runs/{run}"
    service.once.do(token, key, asked, lambda: _resume(service, token, find_kept(run), body), seen)
    response.headers["Location"] = f"/api/v1/workflows/runs/{run}"
    return describe_now(service, run)


def _resume(service: Service, owner: str, kept: Kept, body: NewResumption) -> str:
    workspace = kept.begun.workspace
    is_own = service.scratch.has(workspace)
    if service.is_system and not is_own:
        what = "this server runs with --system: it acts for no user, and did not begin this run"
        raise Refusal(HTTPStatus.FORBIDDEN, what, kept.run, "begin a new one", rule="serve.system")
    with conflicts(NewResumption), ExitStack() as held:
        held.enter_context(service.runs.take_place(owner))
        if is_own:
            held.enter_context(service.scratch.keep(workspace))
        place = _place(service, workspace, is_own)
        plan = plan_of(service, _source_of(kept), place.workspace)
        how = How(body.from_step, body.repeat, quiet=True)
        try:
            run = go_on(service, plan, kept, place, {}, how)
        except GoingOnError as error:
            raise _goes_on(service, kept.run, error.what) from None
        return service.runs.start(run, held.pop_all())


def _goes_on(service: Service, run: str, what: str) -> Refusal:
    next = "wait for its end, or stop it where it was started (Ctrl-C)"
    if service.runs.has(run):
        next = f"wait for its end, or stop it: POST /api/v1/workflows/runs/{run}/stop"
    return Refusal(HTTPStatus.CONFLICT, what, run, next)


def _source_of(kept: Kept) -> Source:
    """The file of a run, which may have been mended meanwhile; without one the text of then."""
    if kept.begun.file and kept.begun.file != workflow_files.STDIN:
        return read_source(kept.begun.file)
    place = text_place(kept.run)
    return Source(workflow_files.read_file(str(place)), _TEXT)


def stop_run(service: Service, run: RunId) -> WorkflowNow:
    """Kill the steps of a run, and start no more: it has failed then, and can be gone on with; what
    was killed is a step of which nobody knows whether it was done.  The answer comes when the run
    has ended, at most 5 s later.  One that has ended already is no error.
    """
    kept = find_kept(run)
    if not service.runs.stop(run) and is_going_on(kept.run):
        what = "another process drives this run"
        next = "end it there (Ctrl-C), or stop its cages: POST /api/v1/cages/ID/stop"
        raise Refusal(HTTPStatus.CONFLICT, what, run, next)
    return describe_now(service, run)


def get_run(service: Service, run: RunId) -> WorkflowNow:
    """A run as it is: its steps with what they need, how far each is, what it cost, and what was
    denied and redacted in its cages.
    """
    return describe_now(service, run)


def get_outputs(service: Service, run: RunId) -> dict[str, Any]:
    """What the steps of a run brought so far, and what it was given."""
    return describe_outputs(find_kept(run))


def describe_now(service: Service, run: str) -> WorkflowNow:
    """A run as it is."""
    kept = find_kept(run)
    seen = service.watch.look(service.connect, kept.lines[-1].ts)
    cages = cages_of(run, seen.cages)
    with (
        service.connect() as client,
        service.tallies.read(client, [cage.cage for cage in cages]) as (found, complete),
    ):
        facts = facts_of(cages, seen, found)
    known = Known(
        going=is_going_on(run),
        here=service.runs.has(run),
        why=service.runs.why(run),
        cages=cages,
        facts=facts,
        complete=complete and len(found) == len(cages),
        questions=waiting_questions(),
    )
    return show_run(kept, kept_plan(kept), known, time.time_ns())


def waiting_questions() -> list[Question]:
    """What workflows of this user ask just now."""
    return [msgspec.convert(describe_question(one), Question) for one in list_waiting()]


def list_runs(service: Service) -> dict[str, Any]:
    """Runs of workflows of the user of this server, and how they are."""
    return {"runs": [describe_run(one) for one in list_kept()]}


def list_questions(service: Service) -> dict[str, Any]:
    """What workflows of the user of this server ask, and wait for."""
    return {"questions": [describe_question(one) for one in list_waiting()]}


def answer(service: Service, question: QuestionId, body: NewAnswer) -> dict[str, Any]:
    """Say yes or no to a question: its workflow goes on, or its step has failed."""
    if question not in {str(one["id"]) for one in list_waiting()}:
        what = "no such question waits for an answer"
        next = "see those that wait: GET /api/v1/approvals"
        raise Refusal(HTTPStatus.NOT_FOUND, what, question, next)
    said = give_answer(question, body.yes, body.comment)
    return {"id": question, "state": str(said.get("state")), "by": str(said.get("by", ""))}
