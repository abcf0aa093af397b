"""Runs of workflows as their journals tell of them: the state of each step, and what it cost."""

from __future__ import annotations

import os
import re
from typing import Any

import msgspec
import pytest

from akiosctl.api.views.cages import Seen
from akiosctl.api.views.workflows import (
    Facts,
    Known,
    Summary,
    cages_of,
    facts_of,
    mistake_of,
    show_run,
    show_runs,
)
from akiosctl.help.schemas import KeptRun, Question
from akiosctl.journal_file import Kept
from akiosctl.step_cages import PROGRAM
from akiosd.errors import AkiosError
from akiosd.values.step_call import StepFailure
from akiosd.values.usage import Usage
from akiosd.wire.messages import CageInfo, CageUse
from akiosd.workflow.check import make_plan
from akiosd.workflow.journal import Begun, Finished, Intent, LeftOut, Line, Result
from akiosd.workflow.plan import Plan
from akiosd.workflow.schema import read_workflow

RUN = "w-0123456789"
FILE = b"""
name: w
steps:
- {name: a, agent: tool, action: run, config: {allow: [[true]]}, parameters: {argv: ['true']}}
- {name: b, agent: approve, action: ask, parameters: {message: so}}
- {name: c, agent: tool, action: run, needs: a, retry: {attempts: 2, delay: 1s},
   config: {allow: [['true']]}, parameters: {argv: ['true']}}
- {name: d, agent: tool, action: run, needs: [b, c], if: 'false',
   config: {allow: [['true']]}, parameters: {argv: ['true']}}
"""


def plan_of() -> Plan:
    read = read_workflow(FILE.replace(b"[[true]]", b"[['true']]"), "w.yml")
    plan = make_plan(read, None)
    assert plan is not None, read.places.errors
    return plan


def intent(step: str, attempt: int = 1, ts: int = 5, **more: Any) -> Intent:
    return Intent(step=step, instance=0, attempt=attempt, key="", ts=ts, **more)


def result(step: str, status: Any = "success", **more: Any) -> Result:
    return Result(step=step, instance=0, attempt=1, key="", status=status, ts=9, **more)


def kept(*lines: Line) -> Kept:
    begun = Begun(run=RUN, workflow="w", file="", workspace="/w", digest="", ts=1)
    return Kept(RUN, begun, (begun, *lines), "")


def cage(name: str, *words: str, uid: int | None = None, **more: Any) -> CageInfo:
    argv = tuple(word.encode() for word in ("python", "-I", "-m", PROGRAM, *words))
    own = os.getuid() if uid is None else uid
    given: dict[str, Any] = {"state": "running", "workspace": b"/w", "started_ns": 1, **more}
    return CageInfo(cage=name, uid=own, user="ada", argv=argv, **given)


def known(going: bool = True, **more: Any) -> Known:
    given: dict[str, Any] = {"going": going, "here": going, "why": "", "complete": True}
    given |= {"cages": (), "facts": {}, "questions": (), **more}
    return Known(**given)


def states(lines: tuple[Line, ...], of: Known) -> dict[str, str]:
    return {one.name: one.state for one in show_run(kept(*lines), plan_of(), of, 20).steps}


ASKS = Question("q", RUN, "w", "b", "so", 1, 2)
A, B = result("a"), intent("b")
FAILED = result("c", "failed", failure=StepFailure("no", "step c", "mend it"))


@pytest.mark.parametrize(("lines", "of", "wanted"), [
    ((), known(), "a:waiting b:waiting c:waiting d:waiting"),
    ((intent("a"),), known(), "a:running b:waiting c:waiting d:waiting"),
    ((intent("a"),), known(False), "a:not heard of b:not begun c:not begun d:not begun"),
    ((intent("a"), A, B), known(questions=[ASKS]), "a:done b:asking c:waiting d:waiting"),
    ((intent("a"), A, B), known(), "a:done b:running c:waiting d:waiting"),
    ((intent("a"), A, intent("c"), FAILED), known(),
     "a:done b:waiting c:trying again d:waiting"),
    ((intent("a"), A, intent("c", 2), FAILED), known(), "a:done b:waiting c:failed d:waiting"),
    ((intent("a"), A, intent("c", 2), FAILED, Finished(status="failed")), known(False),
     "a:done b:not begun c:failed d:not begun"),
    ((intent("a"), A, LeftOut(step="c")), known(), "a:done b:waiting c:left out d:waiting"),
    ((intent("a"), A, Finished(status="success")), known(False),
     "a:done b:left out c:left out d:left out"),
    ((intent("d"),), known(), "a:left out b:left out c:left out d:running"),
])  # fmt: skip
def test_each_step_has_the_state_that_the_journal_tells(
    lines: tuple[Line, ...], of: Known, wanted: str
) -> None:
    told = dict(part.split(":") for part in re.split(r" (?=\w:)", wanted))
    assert states(lines, of) == told


OPEN = StepFailure("no answer came in time", "step c", "ask it", may_be_done=True)


def test_what_a_dead_step_spent_is_what_akiosd_says_of_its_cage() -> None:
    """The control: of a cage that is not known it counts as all that it might have spent."""
    lines = (intent("a", usd_micro=10, tokens=8, calls=7),)
    unknown = show_run(kept(*lines), plan_of(), known(False), 20)
    assert (unknown.usd_micro, unknown.tokens, unknown.calls) == (10, 8, 7)
    over = cage("c-1", RUN, "a.0.1", state="ended", ended_ns=9)
    for fact, tokens in ((Facts(), 0), (Facts(2, 0, 1), 8)):
        of = known(False, cages=[over], facts={"c-1": fact})
        told = show_run(kept(*lines), plan_of(), of, 20)
        assert (told.usd_micro, told.tokens, told.calls) == (fact.usd_micro, tokens, fact.calls)


def test_what_nobody_knows_of_says_how_to_go_on() -> None:
    """One that only reads is the control: it is done again without a word."""
    runs = show_run(kept(intent("a")), plan_of(), known(False), 20)
    (a,) = runs.steps[0].instances
    assert "nobody knows whether this step was done" in a.why and '{"repeat": true}' in a.next
    assert "may be done twice" in a.next and '{"repeat": true}' in runs.why and " a " in runs.why
    asks = show_run(kept(intent("a"), A, intent("b")), plan_of(), known(False), 20)
    (b,) = asks.steps[1].instances
    assert b.state == "not heard of" and "does no harm" in b.next and asks.why == ""
    going = show_run(kept(intent("a")), plan_of(), known(), 20)
    assert (going.why, going.steps[0].instances[0].next) == ("", "")
    lines = (intent("c"), result("c", "failed", failure=OPEN), Finished(status="failed"))
    plan = plan_of()
    slack = msgspec.structs.replace(plan.steps[2], agent="webhook", config={"service": "slack"})
    plan = msgspec.structs.replace(plan, steps=(*plan.steps[:2], slack, plan.steps[3]))
    failed = show_run(kept(*lines), plan, known(False), 20)
    (c,) = failed.steps[2].instances
    assert c.why == OPEN.what and '{"repeat": true}' in c.next and " c " in failed.why
    mended = result("c", "failed", failure=StepFailure("no", "step c", "mend it"))
    (c,) = show_run(kept(intent("c"), mended), plan, known(False), 20).steps[2].instances
    assert c.next == "mend it"
    # Without its text nobody can say that it does no harm.
    assert '{"repeat": true}' in show_run(kept(intent("b")), None, known(False), 20).why


def test_what_runs_counts_as_what_it_spent_so_far() -> None:
    done = result("a", usd_micro=100, tokens=10, calls=1, cage="c-1", seconds=1.5)
    lines = (intent("a"), done, intent("c", usd_micro=900, tokens=90, calls=9))
    cages = [cage("c-2", RUN, "c.0.1"), cage("c-1", RUN, "a.0.1")]
    facts = {"c-1": Facts(100, 10, 1, 2, 3), "c-2": Facts(40, 4, 1, 1, 0)}
    now = show_run(kept(*lines), plan_of(), known(cages=cages, facts=facts), 20)
    assert (now.usd_micro, now.tokens, now.calls) == (140, 14, 2)
    assert (now.denials, now.redactions, now.ended_ns) == (3, 3, 0)
    a, c = (one.instances[0] for one in now.steps if one.instances)
    assert (a.cage, a.usd_micro, a.denials, a.seconds) == ("c-1", 100, 2, 1.5)
    assert (c.cage, c.usd_micro, c.state) == ("c-2", 40, "running")
    # Of what nobody heard of it counts as all that it might have spent.
    over = show_run(kept(*lines), plan_of(), known(False, cages=cages, facts=facts), 20)
    assert over.usd_micro == 1000 and over.state == "unfinished" and over.ended_ns == 5


def test_without_its_text_only_what_was_begun_is_told() -> None:
    now = show_run(kept(intent("a"), A), None, known(), 20)
    assert [(one.name, one.state) for one in now.steps] == [("a", "done")] and now.order == []


def test_only_this_users_cages_are_those_of_its_run() -> None:
    own, other = cage("c-1", RUN, "a.0.1"), cage("c-2", RUN, "a.0.1", uid=os.getuid() + 1)
    named = msgspec.structs.replace(own, cage="c-3", argv=(b"echo", RUN.encode()))
    found = cages_of(RUN, (other, named, own, cage("c-4", "w-9876543210", "a.0.1")))
    assert [one.cage for one in found] == ["c-1"]
    uses = {"c-1": CageUse("c-1", "running", usage=Usage(usd_micro=7, tokens=3, calls=1))}
    assert facts_of(found, Seen(1, (own,), uses), {})["c-1"] == Facts(7, 3, 1, 0, 0)


def test_runs_come_in_pages_and_by_state() -> None:
    def row(number: int, status: Any) -> Summary:
        run = KeptRun(f"w-{number:010}", "w", status, "/w", number, 2, 5)
        return Summary(run, number + 1, 3, 1)

    found = [row(4, "unfinished"), row(3, "failed"), row(2, "unfinished"), row(1, "success")]
    going = frozenset({"w-0000000004"})
    first = show_runs(found, going, [], 9, "all", 0, 2)
    assert [one.state for one in first.runs] == ["going on", "failed"] and first.matched == 4
    assert (first.runs[0].ended_ns, first.runs[1].ended_ns, first.runs[1].done) == (0, 4, 1)
    rest = show_runs(found, going, [], 9, "all", int(first.next or 0), 2)
    assert [one.state for one in rest.runs] == ["unfinished", "success"] and rest.next is None
    assert [one.run for one in show_runs(found, going, [], 9, "success", 0, 2).runs] == [
        "w-0000000001"
    ]
    counts = msgspec.structs.asdict(first.counts)
    assert counts == {"going_on": 1, "failed": 1, "unfinished": 1, "success": 1}


@pytest.mark.parametrize(("where", "place"), [
    ("the text, line 7, column 3", (7, 3)), ("the text, line 2", (2, 0)), ("the text", (0, 0)),
])  # fmt: skip
def test_a_mistake_has_its_place_in_numbers(where: str, place: tuple[int, int]) -> None:
    found = mistake_of(AkiosError("what\x1b", where, "next"))
    assert (found.line, found.column) == place and found.next == "next" and "\x1b" not in found.what
