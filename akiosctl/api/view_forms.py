"""The forms of what the pages are answered: one for each view."""

from __future__ import annotations

from typing import Any, Literal

from akiosctl.help.schemas import Cage, Form, Layer, ModelUse, Question


class Use(Form):
    """What a running cage uses beside its limits, 0 for none.  ``cpu_ns`` is of all the time since
    its start, ``cpu_percent`` a limit: 100 is one whole CPU.  ``denials`` are of the kernel and the
    network, ``redactions`` pieces of personal data that did not leave.
    """

    memory: int
    memory_limit: int
    cpu_ns: int
    cpu_percent: int
    pids: int
    pids_limit: int
    disk: int
    disk_limit: int
    wall_ns: int
    budget_usd_micro: int
    reserved_usd_micro: int
    tokens: int
    denials: int
    redactions: int


class CageRow(Form):
    """``use`` is null for a cage that does not run."""

    cage: Cage
    use: Use | None


class CageCounts(Form):
    """How many cages there are of each kind; ``waiting`` have changes that wait."""

    running: int
    standing: int
    ended: int
    waiting: int


class Totals(Form):
    """Of all cages that run."""

    usd_micro: int
    denials: int
    redactions: int


class CagesView(Form):
    """``matched``: how many the filters leave.  ``next``: the cursor of the next page; None on the
    last.  ``at_ns``: when akiosd was asked.
    """

    at_ns: int
    counts: CageCounts
    totals: Totals
    matched: int
    cages: list[CageRow]
    next: str | None


class Money(Form):
    """What calls to models cost.  Of an ended cage only ``usd_micro`` and ``calls`` are known; a
    limit of 0 is none.  ``shared_*`` is what workflows for a standing cage spent of its budget,
    beside the rest.  ``ending``: why the cage is about to end.
    """

    usd_micro: int
    calls: int
    shared_usd_micro: int = 0
    shared_calls: int = 0
    reserved_usd_micro: int = 0
    limit_usd_micro: int = 0
    limit_calls: int = 0
    input_tokens: int = 0
    output_tokens: int = 0
    refused: int = 0
    models: list[ModelUse] = []
    ending: str = ""


class CageView(Form):
    """``records`` are the newest first; ``next`` is ``before`` of the next page, None where the log
    begins.  ``size``: how many there are.  ``posture`` is what was read back before the agent
    started.
    """

    at_ns: int
    cage: Cage
    use: Use | None
    money: Money
    posture: list[Layer]
    degraded: bool
    size: int
    records: list[Any]
    next: int | None


class LogView(Form):
    """As :class:`CageView` has them.  ``checkpoint`` is the signed note, and ``vkey`` the key that
    signs it; nothing of them was checked.
    """

    log: str
    origin: str
    size: int
    checkpoint: str
    vkey: str
    records: list[Any]
    next: int | None


class Decision(Form):
    """Alike ones together.  ``requested``: the kernel was asked; what it answered is not known."""

    verdict: Literal["allowed", "denied", "requested", "redacted"]
    sort: Literal["name", "file", "call", "model", "data"]
    subject: str
    rule: str
    count: int
    first_ns: int
    last_ns: int
    cages: list[str]


class RuleCount(Form):
    verdict: str
    rule: str
    count: int


class DecisionsView(Form):
    """``complete``: all of the logs was read; if not, ask again, and more will be.  ``left_out``:
    decisions that were too many to be told apart.  ``rules``: over all that the filters leave.
    """

    decisions: list[Decision]
    matched: int
    rules: list[RuleCount]
    next: int | None
    complete: bool
    records: int
    logs: int
    left_out: int


class WorkflowRow(Form):
    """A run in the list.  ``steps``: how many the workflow has, 0 where that is not known;
    ``questions``: how many of them wait for a person.  ``ended_ns`` is 0 while it goes on.
    """

    run: str
    workflow: str
    state: Literal["going on", "success", "failed", "unfinished"]
    workspace: str
    started_ns: int
    ended_ns: int
    steps: int
    done: int
    failed: int
    usd_micro: int
    questions: int


class WorkflowCounts(Form):
    """How many runs there are of each state."""

    going_on: int
    success: int
    failed: int
    unfinished: int


class WorkflowsView(Form):
    """Runs, the newest first; ``matched`` and ``next`` as in :class:`CagesView`."""

    at_ns: int
    counts: WorkflowCounts
    matched: int
    runs: list[WorkflowRow]
    next: str | None


class ApprovalsView(Form):
    """Questions of workflows that wait for a person, the oldest first.

    ``may_answer``: whoever asks may, by the scopes of their token.
    """

    questions: list[Question]
    may_answer: bool
