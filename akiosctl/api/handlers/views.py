"""The pages' views: each is one request."""

from __future__ import annotations

import time
from typing import Annotated, Any, Literal

import msgspec
from fastapi import Query, Request

from akiosctl.api.handlers.events import Notable
from akiosctl.api.handlers.ledger import LogName
from akiosctl.api.handlers.workflows import waiting_questions
from akiosctl.api.params import CageId
from akiosctl.api.service import Service, find_cage
from akiosctl.api.view_forms import (
    ApprovalsView,
    CagesView,
    DecisionsView,
    Money,
    Use,
    WorkflowsView,
)
from akiosctl.api.views import cages, decisions, timeline
from akiosctl.api.views.workflows import show_runs, who_goes_on
from akiosctl.approvals import list_waiting
from akiosctl.client import Client, DaemonError
from akiosctl.help.schemas import ModelUse, Question
from akiosctl.render import escape
from akiosctl.verbs import approvals
from akiosd.wire.messages import BudgetInfo, BudgetReply, CageInfo, Measure, Measured

State = Annotated[
    Literal["running", "standing", "ended", "waiting", "all"],
    Query(
        description="`running`, `ended`; `standing`: made by cage up; `waiting`: ended, with"
        " changes that wait; or `all`."
    ),
]
RunState = Annotated[
    Literal["all", "going on", "success", "failed", "unfinished"],
    Query(description="Only runs that are so."),
]
Words = Annotated[
    str, Query(max_length=100, description="Words in the id, name, user, state or command.")
]
Cursor = Annotated[str, Query(pattern="^([0-9]{1,15})?$", description="`next` of the page before.")]
Limit = Annotated[int, Query(ge=1, le=200, description="How many at most.")]
Before = Annotated[
    int, Query(ge=0, le=1 << 53, description="Records in front of this number; 0 for the last.")
]
CageNames = Annotated[
    list[Annotated[str, Query(pattern="^c-[0-9a-z]{12}$")]],
    Query(max_length=16, description="Of these cages; by default of the newest in that time."),
]
Verdict = Annotated[
    Literal["", "allowed", "denied", "requested", "redacted"], Query(description="Only these.")
]
Sort = Annotated[
    Literal["", "name", "file", "call", "model", "data"], Query(description="Only about these.")
]
Rule = Annotated[str, Query(max_length=100, description="Only by this rule.")]
Text = Annotated[str, Query(max_length=200, description="Only subjects with this text.")]
Without = Annotated[
    list[Annotated[str, Query(max_length=500)]],
    Query(max_length=32, description="Subjects and rules that are not wanted."),
]
Time = Annotated[int, Query(ge=0, le=1 << 62, description="Unix time in ns; 0 is no bound.")]
Order = Annotated[Literal["last", "count"], Query(description="What comes first.")]
Start = Annotated[int, Query(ge=0, le=1 << 31, description="`next` of the page before.")]


def list_cages(
    service: Service,
    state: State = "running",
    words: Words = "",
    cursor: Cursor = "",
    limit: Limit = 50,
) -> CagesView:
    """Cages with what they use beside their limits, the newest first."""
    seen = service.watch.look(service.connect)
    return cages.show_page(seen, state, words, int(cursor or 0), limit)


def show_cage(
    service: Service, cage: CageId, before: Before = 0, notable: Notable = True, limit: Limit = 100
) -> dict[str, Any]:
    """One cage: what it uses, its posture, its money, and what happened last."""
    with service.connect() as client:
        found = find_cage(client, cage)
        _, size = timeline.read_state(client, cage)
        page = _read_page(client, cage, before or size, notable, limit)
        birth = timeline.find_birth(client, cage)
        use = None if found.ended_ns else _measure(client, cage)
        money = _read_money(client, found)
    layers = [] if birth is None else [msgspec.to_builtins(one) for one in birth.posture]
    return {
        "at_ns": time.time_ns(),
        "cage": cages.row_of(found),
        "use": use,
        "money": money,
        "posture": layers,
        "degraded": birth is not None and birth.degraded,
        "size": size,
        "records": page.records,
        "next": page.next,
    }


def _measure(client: Client, cage: str) -> Use | None:
    reply, _ = client.call(Measure(everyone=True, after=cage[:-1]), Measured)
    return cages.use_of(next((one for one in reply.cages if one.cage == cage), None))


def _read_money(client: Client, cage: CageInfo) -> Money:
    if cage.ended_ns:
        return Money(cage.usd_micro, cage.calls)
    reply, _ = client.call(BudgetInfo(cage=cage.cage), BudgetReply)
    return Money(
        usd_micro=reply.usd_micro,
        calls=reply.calls,
        shared_usd_micro=reply.shared_usd_micro,
        shared_calls=reply.shared_calls,
        reserved_usd_micro=reply.reserved_usd_micro,
        limit_usd_micro=reply.limits.usd_micro,
        limit_calls=reply.limits.calls,
        input_tokens=reply.input_tokens,
        output_tokens=reply.output_tokens,
        refused=reply.refused,
        models=[
            ModelUse(escape(m.model), m.calls, m.usd_micro, m.input_tokens, m.output_tokens)
            for m in reply.models
        ],
        ending=reply.ending,
    )


def _read_page(client: Client, log: str, before: int, notable: bool, limit: int) -> timeline.Page:
    wanted = timeline.is_notable if notable else bool
    return timeline.read_back(client, log, before, limit, wanted)


def show_log(
    service: Service, log: LogName, before: Before = 0, limit: Limit = 50
) -> dict[str, Any]:
    """A log: its signed checkpoint and its last records.  The page checks them by itself, by the
    files under /ledger/{log}/tlog.
    """
    with service.connect() as client:
        reply, size = timeline.read_state(client, log)
        try:
            page = _read_page(client, log, min(before or size, size), False, limit)
        except DaemonError:
            page = timeline.Page([], None)  # damaged: its checkpoint and files tell how
    return {
        "log": log,
        "origin": reply.origin,
        "size": size,
        "checkpoint": reply.checkpoint.decode("utf-8", "replace"),
        "vkey": reply.vkey,
        "records": page.records,
        "next": page.next,
    }


def show_decisions(
    service: Service,
    cage: CageNames = [],  # noqa: B006
    verdict: Verdict = "",
    sort: Sort = "",
    rule: Rule = "",
    words: Text = "",
    without: Without = [],  # noqa: B006
    from_ns: Time = 0,
    to_ns: Time = 0,
    order: Order = "last",
    start: Start = 0,
    limit: Limit = 100,
) -> DecisionsView:
    """What was allowed, denied, requested and redacted: alike decisions together, with how often,
    and when first and last.
    """
    wanted = decisions.Filter(verdict, sort, rule, words, frozenset(without), from_ns, to_ns)
    with service.connect() as client:
        logs = [find_cage(client, name).cage for name in cage]
        if not logs:
            seen = service.watch.look(service.connect).cages
            logs = [one.cage for one in seen if _was_there(one, from_ns, to_ns)]
        with service.tallies.read(client, logs) as (found, complete):
            return decisions.show(found, wanted, order, start, limit, complete)


def _was_there(cage: CageInfo, from_ns: int, to_ns: int) -> bool:
    begun = not to_ns or cage.started_ns < to_ns
    return begun and (not cage.ended_ns or cage.ended_ns >= from_ns)


def list_workflows(
    service: Service, state: RunState = "all", before_ns: Time = 0, limit: Limit = 50
) -> WorkflowsView:
    """Runs of workflows, the newest first."""
    found = service.journals.look()
    questions = waiting_questions()
    going = who_goes_on(found)
    return show_runs(found, going, questions, time.time_ns(), state, before_ns, limit)


def list_questions(service: Service, request: Request) -> ApprovalsView:
    """The questions of this user's workflows that wait for an answer."""
    questions = [approvals.describe_question(one) for one in list_waiting()]
    may_answer = "approve" in request.state.token.scopes
    return ApprovalsView([msgspec.convert(one, Question) for one in questions], may_answer)
