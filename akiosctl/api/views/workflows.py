"""Runs of workflows as their journals and akiosd tell of them: a row for each, and one whole.

A journal is read again only where it has changed; the rest is functions over values.
"""

from __future__ import annotations

import os
import re
import threading
from collections.abc import Collection, Iterable, Mapping, Sequence
from typing import Any, Literal, NamedTuple

import msgspec

from akiosctl.api import forms
from akiosctl.api.view_forms import WorkflowCounts, WorkflowRow, WorkflowsView
from akiosctl.api.views.cages import Seen
from akiosctl.api.views.decisions import Tally
from akiosctl.help.schemas import KeptRun, Question
from akiosctl.journal_file import Kept, is_going_on, journal_identity, list_runs, read_kept
from akiosctl.render import escape
from akiosctl.step_cages import PROGRAM
from akiosctl.verbs.output import describe_run
from akiosctl.workflow_start import kept_plan
from akiosd.wire.messages import CageInfo
from akiosd.workflow.explain import DOES
from akiosd.workflow.journal import Intent, LeftOut, Past, Place, look_back
from akiosd.workflow.plan import Plan, PlannedStep, all_before
from akiosd.workflow.undecided import HARMLESS_NEXT, NEXT, WHAT, find_undecided

DAY_NS = 86_400 * 10**9
MOST = 1024
"""Journals whose summary is kept in memory."""
_PLACE = re.compile(r", line (\d+)(?:, column (\d+))?")
State = Literal["going on", "success", "failed", "unfinished"]


class Summary(NamedTuple):
    """What a journal says in short.  ``last_ns``: when its last line was written; ``held``: money
    in it that steps may spend, of which nothing was heard.
    """

    run: KeptRun
    last_ns: int
    steps: int
    failed: int
    held: int = 0


class Journals:
    """What is known of all journals; threads may ask."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._known: dict[str, tuple[tuple[int, int], Summary | None]] = {}

    def look(self) -> list[Summary]:
        """The runs of this user, the newest first."""
        with self._lock:
            found: dict[str, tuple[tuple[int, int], Summary | None]] = {}
            for run in list_runs():
                now, known = journal_identity(run), self._known.get(run)
                same = known is not None and known[0] == now
                found[run] = known if known is not None and same else (now, _summarise(run))
            self._known = dict(list(found.items())[-MOST:])
        rows = [one for _, one in found.values() if one is not None]
        return sorted(rows, key=lambda one: one.run.started_ns, reverse=True)

    def places(self) -> list[str]:
        """Directories of runs that may be gone on with: those of the last day without success."""
        rows = self.look()
        newest = max((one.last_ns for one in rows), default=0)
        return [
            one.run.workspace
            for one in rows
            if one.run.status != "success" and one.last_ns > newest - DAY_NS
        ]


def _summarise(run: str) -> Summary | None:
    kept = read_kept(run)
    if kept is None:
        return None
    plan, past = kept_plan(kept), look_back(kept.lines)
    failed = {name for (name, _), one in past.results.items() if one.status == "failed"}
    steps = len(plan.steps) if plan is not None else 0
    row = msgspec.convert(describe_run(kept), KeptRun)
    held = sum(intent.usd_micro for intent in past.unknown.values())
    return Summary(row, kept.lines[-1].ts, steps, len(failed), held)


def show_runs(
    found: Sequence[Summary],
    going: frozenset[str],
    questions: Sequence[Question],
    now_ns: int,
    state: str,
    before_ns: int,
    limit: int,
) -> WorkflowsView:
    """One page of ``found``, of which ``going`` go on: those that are ``state`` ("all" for any),
    begun before ``before_ns``, 0 for the newest.
    """
    rows = [_row(one, one.run.run in going, questions) for one in found]
    matching = [row for row in rows if state in ("all", row.state)]
    rest = [row for row in matching if not before_ns or row.started_ns < before_ns]
    counts = {
        name: sum(row.state == name.replace("_", " ") for row in rows)
        for name in ("going_on", "success", "failed", "unfinished")
    }
    page = rest[:limit]
    next = str(page[-1].started_ns) if len(rest) > limit else None
    return WorkflowsView(now_ns, WorkflowCounts(**counts), len(matching), page, next)


def who_goes_on(found: Iterable[Summary]) -> frozenset[str]:
    """Runs that a process drives just now."""
    names = (one.run.run for one in found if one.run.status == "unfinished")
    return frozenset(run for run in names if is_going_on(run))


def _row(one: Summary, going: bool, questions: Sequence[Question]) -> WorkflowRow:
    run = one.run
    return WorkflowRow(
        run=run.run,
        workflow=run.workflow,
        state=state_of(run.status, going),
        workspace=run.workspace,
        started_ns=run.started_ns,
        ended_ns=0 if going else one.last_ns,
        steps=one.steps,
        done=run.steps - one.failed,
        failed=one.failed,
        usd_micro=run.usd_micro - (one.held if going else 0),
        questions=sum(question.run == run.run for question in questions),
    )


def state_of(status: Literal["success", "failed", "unfinished"], going: bool) -> State:
    """A run whose journal says ``status``, and which somebody drives or not."""
    return "going on" if going else status


class Facts(NamedTuple):
    """What akiosd says of the cage of a step."""

    usd_micro: int = 0
    tokens: int = 0
    calls: int = 0
    denials: int = 0
    redactions: int = 0


class Known(NamedTuple):
    """What is known of a run besides its journal: ``cages`` are those of its steps, ``facts`` what
    akiosd says of them by id, ``complete`` whether that is all.
    """

    going: bool
    here: bool
    why: str
    cages: Sequence[CageInfo]
    facts: Mapping[str, Facts]
    complete: bool
    questions: Sequence[Question]


def cages_of(run: str, cages: Iterable[CageInfo]) -> list[CageInfo]:
    """Those that a run of this user's started for its steps: their arguments name it."""
    own, words = os.getuid(), (PROGRAM.encode(), run.encode())
    return [cage for cage in cages if cage.uid == own and cage.argv[3:5] == words]


def facts_of(
    cages: Iterable[CageInfo], seen: Seen, tallies: Mapping[str, Tally]
) -> dict[str, Facts]:
    """What of each is known: of one that runs what it used so far."""
    found = {}
    for cage in cages:
        use, tally = seen.uses.get(cage.cage), tallies.get(cage.cage)
        used = use.usage if use is not None and not cage.ended_ns else None
        found[cage.cage] = Facts(
            used.usd_micro if used is not None else cage.usd_micro,
            used.tokens if used is not None else 0,
            used.calls if used is not None else cage.calls,
            _count(tally, "denied"),
            _count(tally, "redacted"),
        )
    return found


def _count(tally: Tally | None, verdict: str) -> int:
    if tally is None:
        return 0
    return sum(cell.count for key, cells in tally if key[0] == verdict for cell in cells)


def show_run(kept: Kept, plan: Plan | None, known: Known, now_ns: int) -> forms.WorkflowNow:
    """A run as it is."""
    past = look_back(kept.lines)
    running = known.going
    known_steps = plan.steps if plan is not None else None
    undecided = set() if running else find_undecided(past, known_steps)
    spent = list(past.spent)
    ended = {cage.cage for cage in known.cages if cage.ended_ns}
    for intent in past.unknown.values():
        cage = _cage_of(intent, known.cages)
        fact = known.facts.get(cage)
        if not running and (fact is None or cage not in ended):
            continue
        # Counted whole while nothing was heard of it; here it is known what it spent so far.
        used = list((fact or Facts())[:3])
        if not running and used[2]:
            used[1] = intent.tokens  # of an ended cage they are not told
        for place, given in enumerate((intent.usd_micro, intent.tokens, intent.calls)):
            spent[place] += used[place] - given
    return forms.WorkflowNow(
        run=kept.run,
        workflow=escape(kept.begun.workflow),
        description=escape(plan.description) if plan is not None else "",
        state=state_of(kept.status, running),  # type: ignore[arg-type]
        here=known.here,
        why=escape(known.why or _why_not(undecided)),
        workspace=escape(kept.begun.workspace),
        at_ns=now_ns,
        started_ns=kept.begun.ts,
        ended_ns=0 if running else kept.lines[-1].ts,
        usd_micro=spent[0],
        tokens=spent[1],
        calls=spent[2],
        denials=sum(fact.denials for fact in known.facts.values()),
        redactions=sum(fact.redactions for fact in known.facts.values()),
        complete=known.complete,
        order=[list(rank) for rank in plan.order] if plan is not None else [],
        steps=_steps(kept, plan, past, known, undecided),
        questions=[one for one in known.questions if one.run == kept.run],
    )


def _why_not(undecided: Collection[Place]) -> str:
    """What keeps a run that nobody drives from being gone on with as it is."""
    if not undecided:
        return ""
    names = ", ".join(sorted({name for name, _ in undecided}))
    return (
        f"nobody knows whether {names} was done; a resume with"
        ' {"repeat": true} does it again, and then it may be done twice'
    )


def _steps(
    kept: Kept, plan: Plan | None, past: Past, known: Known, undecided: Collection[Place]
) -> list[forms.StepNow]:
    attempts: dict[tuple[str, int], Intent] = {
        (line.step, line.instance): line for line in kept.lines if isinstance(line, Intent)
    }
    begun = dict.fromkeys(name for name, _ in attempts)
    asked = {question.step for question in known.questions if question.run == kept.run}
    if plan is None:
        return [
            _step_of(name, None, _instances(name, attempts, past, known, undecided))
            for name in begun
        ]
    before = all_before({step.name: step.needs for step in plan.steps})
    passed = {earlier for name in begun for earlier in before[name]}
    passed |= {line.step for line in kept.lines if isinstance(line, LeftOut)}
    found = []
    for step in plan.steps:
        one = _step_of(step.name, step, _instances(step.name, attempts, past, known, undecided))
        if not one.instances:
            over = not known.going
            is_left_out = step.name in passed or (over and kept.status == "success")
            one.state = "left out" if is_left_out else "not begun" if over else "waiting"
        elif known.going:
            one.state = _state_while_going(one, step, step.name in asked)
        found.append(one)
    return found


def _state_while_going(one: forms.StepNow, step: PlannedStep, asks: bool) -> Any:
    if asks:
        return "asking"
    last = max(one.instances, key=lambda instance: instance.started_ns)
    if one.state == "failed" and last.attempt < step.attempts.most:
        return "trying again"
    return one.state


def _step_of(
    name: str, step: PlannedStep | None, instances: list[forms.InstanceNow]
) -> forms.StepNow:
    states = {one.state for one in instances}
    worst = next((s for s in ("running", "not heard of", "failed") if s in states), "done")
    return forms.StepNow(
        name=name,
        agent=step.agent if step is not None else "",
        action=step.action if step is not None else "",
        does=DOES.get(step.agent, "") if step is not None else "",
        needs=list(step.needs) if step is not None else [],
        line=step.line if step is not None else 0,
        condition=escape(str(step.condition))
        if step is not None and step.condition is not True
        else "",
        matrix=list(step.matrix) if step is not None else [],
        attempts=step.attempts.most if step is not None else 1,
        state=worst,  # type: ignore[arg-type]
        instances=instances,
    )


def _instances(
    name: str,
    attempts: Mapping[tuple[str, int], Intent],
    past: Past,
    known: Known,
    undecided: Collection[Place],
) -> list[forms.InstanceNow]:
    found = []
    for (step, number), last in sorted(attempts.items()):
        if step != name:
            continue
        intent, result = past.unknown.get((step, number)), past.results.get((step, number))
        if intent is not None or result is None:
            cage = _cage_of(last, known.cages)
            state = "running" if known.going else "not heard of"
            fact = known.facts.get(cage, Facts())
            seconds, why, next = 0.0, "", ""
            if not known.going:
                why, next = WHAT, NEXT if (name, number) in undecided else HARMLESS_NEXT
        else:
            cage, state = result.cage, "done" if result.status == "success" else "failed"
            own = known.facts.get(cage, Facts())
            used = (result.usd_micro, result.tokens, result.calls)
            fact = Facts(*used, own.denials, own.redactions)
            seconds, failure = result.seconds, result.failure
            why, next = (failure.what, failure.next) if failure is not None else ("", "")
            if (name, number) in undecided:
                next = NEXT
        one = forms.InstanceNow(
            instance=number,
            attempt=last.attempt,
            state=state,  # type: ignore[arg-type]
            cage=cage,
            started_ns=last.ts,
            seconds=seconds,
            why=escape(why),
            next=escape(next),
            **fact._asdict(),
        )
        found.append(one)
    return found


def _cage_of(intent: Intent, cages: Iterable[CageInfo]) -> str:
    word = f"{intent.step}.{intent.instance}.{intent.attempt}".encode()
    return next((cage.cage for cage in cages if cage.argv[5:6] == (word,)), "")


def mistake_of(error: Any) -> forms.WorkflowMistake:
    """A mistake with its place in numbers."""
    found = _PLACE.search(error.where)
    line, column = (int(group or 0) for group in found.groups()) if found else (0, 0)
    words = (escape(error.what), escape(error.where), escape(error.next))
    return forms.WorkflowMistake(*words, line=line, column=column)
