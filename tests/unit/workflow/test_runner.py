"""The runner and its journal as values: order, retries, matrices, and runs that are killed."""

from __future__ import annotations

import contextlib
from collections import Counter
from typing import Any

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.errors import AkiosError
from akiosd.policy.merge import merge_explained
from akiosd.values.step_call import StepFailure
from akiosd.workflow.check import make_plan
from akiosd.workflow.journal import (
    NOTHING,
    Begun,
    Finished,
    Intent,
    Lost,
    Past,
    Result,
    encode_line,
    look_back,
    read_journal,
)
from akiosd.workflow.plan import Plan, digest_of, old_key_of
from akiosd.workflow.references import Done
from akiosd.workflow.runner import Outcome, Runner, Start
from akiosd.workflow.schema import read_workflow
from akiosd.workflow.undecided import find_undecided

FAILED = StepFailure("it does not work")
READ = "agent: filesystem, action: read, parameters: {path: x}"
ASK = "agent: llm, action: complete, config: {provider: openai, model: gpt-4o}"
SEND = "agent: webhook, action: send, config: {url: 'https://h.example', service: slack}"
SIGNED = "agent: webhook, action: send, config: {url: 'https://h.example', service: generic}"
WRITE = "agent: filesystem, action: write"


def plan_of(*rows: str, top: str = "") -> Plan:
    text = f"name: x\n{top}\nsteps:\n" + "".join(f"- {{{row}}}\n" for row in rows)
    read = read_workflow(text.encode(), "w.yml")
    made = make_plan(read, merge_explained([]))
    assert made is not None, [str(error) for error in read.places.errors]
    return made


def runner_of(plan: Plan, past: Past = NOTHING, **more: Any) -> Runner:
    most = more.pop("most", 4)
    return Runner(plan, {}, {}, run="r", root="/w", most=most, past=past, **more)


def run(runner: Runner, outcomes: dict[str, list[Outcome]]) -> list[str]:
    """Drive to the end; every step brings the next of its outcomes, else its name as text."""
    started, now = [], 0
    while not runner.status():
        starts = runner.ready(now)
        assert starts or runner.status() or runner.wake_ns() is not None, "it stands still"
        now = max(now, runner.wake_ns() or 0) if not starts else now
        for start in starts:
            started.append(start.step.name)
            left = outcomes.get(start.step.name)
            outcome = left.pop(0) if left else Outcome({"text": start.step.name})
            runner.take(start, outcome, now, 0.5)
    return started


def test_values_go_from_step_to_step_and_are_data() -> None:
    plan = plan_of(
        f"name: a, {READ}, outputs: {{kept: '{{outputs.text}}!'}}",
        f"name: b, {ASK}, parameters: {{prompt: 'say {{steps.a.outputs.kept}}'}}",
    )
    runner = runner_of(plan)
    (first,) = runner.ready(0)
    runner.take(first, Outcome({"text": "{inputs.x} ${HOME} {steps.b.outputs.text}"}), 0, 0)
    (second,) = runner.ready(0)
    assert second.request.parameters == {"prompt": "say {inputs.x} ${HOME} {steps.b.outputs.text}!"}
    runner.take(second, Outcome({"text": "x"}), 0, 0)
    assert runner.status() == "success"


def test_a_condition_leaves_out_and_its_error_is_one_of_the_step() -> None:
    plan = plan_of(
        f"name: a, {READ}",
        f"name: b, if: steps.a.outputs.text == 'no', {READ}",
        f"name: c, {READ}",
    )
    runner = runner_of(plan)
    assert run(runner, {}) == ["a", "c"] and runner.done["b"] == Done("skipped", {})
    runner = runner_of(plan)
    assert run(runner, {"a": [Outcome({"text": 3})]}) == ["a"]
    assert runner.status() == "failed" and "never equal" in str(runner.report("b")["failure"])


def test_a_matrix_is_done_for_each_and_keeps_its_order() -> None:
    plan = plan_of(
        f"name: a, matrix: {{n: [1, 2, 3]}}, if: matrix.n != 2, {ASK}, "
        "parameters: {prompt: 'n {matrix.n}'}"
    )
    runner = runner_of(plan, most=1)
    (first,) = runner.ready(0)
    assert runner.ready(0) == [] and runner.wake_ns() is None, "one at a time"
    runner.take(first, Outcome({"text": "one"}), 0, 0)
    (third,) = runner.ready(0)
    assert third.request.parameters == {"prompt": "n 3"}
    runner.take(third, Outcome({"text": "three"}), 0, 0)
    assert runner.done["a"] == Done("success", {"text": ["one", None, "three"]})


def test_it_is_tried_again_after_its_delay() -> None:
    retry = "retry: {attempts: 3, delay: 2s, backoff: exponential, jitter: true}"
    runner = runner_of(plan_of(f"name: a, {retry}, {READ}"))
    times = []
    for attempt in (1, 2, 3):
        now = runner.wake_ns() or 0
        assert runner.ready(now - 1) == [] if attempt > 1 else True
        (start,) = runner.ready(now)
        times.append(now)
        assert start.attempt == attempt
        runner.take(start, Outcome(failure=FAILED), now, 0.5)
    assert times == [0, 10**9, 3 * 10**9] and runner.status() == "failed"


def test_what_failed_ends_the_run_unless_it_may_go_on() -> None:
    rows = [f"name: a, {READ}", f"name: b, needs: [], {READ}", f"name: c, needs: [a, b], {READ}"]
    failing = {"a": [Outcome(failure=FAILED)]}
    runner = runner_of(plan_of(*rows))
    assert sorted(run(runner, dict(failing))) == ["a", "b"] and runner.status() == "failed"
    rows[0] = f"name: a, continue_on_error: true, {READ}"
    runner = runner_of(plan_of(*rows))
    failing = {"a": [Outcome(failure=FAILED)]}
    assert run(runner, failing)[-1] == "c" and runner.done["a"].status == "failed"


UNCLEAR = StepFailure("no answer came in time", may_be_done=True)
DATABASE = "agent: database, action: execute, parameters: {query: x}, config: {database: d, "
HTTP = "agent: http, parameters: {url: 'https://h.example/'}, action: "


@pytest.mark.parametrize(
    ("row", "again"),
    [
        (f"{SEND}, parameters: {{text: t}}", False),
        (f"{SIGNED}, parameters: {{text: t}}", True),
        (f"{HTTP}post", False),
        (f"{HTTP}patch", False),
        (f"{HTTP}put", True),
        (f"{HTTP}get", True),
        (HTTP.replace("'}", "', headers: {idempotency-key: '7'}}") + "post", True),
        (DATABASE + "allow_write: true}", False),
        ("agent: filesystem, action: append, parameters: {path: q, content: c}", False),
        (f"{WRITE}, parameters: {{path: q, content: c}}", True),
        ("agent: tool, action: run, config: {allow: [a]}, parameters: {argv: [a]}", True),
        (f"{ASK}, parameters: {{prompt: p}}", True),
    ],
)
def test_a_failure_that_leaves_open_what_was_done_is_not_tried_again(row: str, again: bool) -> None:
    """The control: a failure that says that nothing was done.  Who resumes has to ask for it."""
    plan = plan_of(f"name: a, retry: {{attempts: 3, delay: 0}}, {row}")
    runner = runner_of(plan)
    assert run(runner, {"a": [Outcome(failure=FAILED)] * 3}) == ["a"] * 3
    runner = runner_of(plan)
    (start,) = runner.ready(0)
    runner.take(start, Outcome(failure=UNCLEAR), 0, 0)
    assert [one.attempt for one in runner.ready(0)] == ([2] if again else [])
    assert runner.status() == ("" if again else "failed")
    place: Any = {"step": "a", "instance": 0, "attempt": 1, "key": start.key}
    begun = Begun(run="r", workflow="x", file="", workspace="/w", digest="")
    result = Result(**place, status="failed", failure=UNCLEAR)
    past = look_back([begun, Intent(**place), result])
    resumed = runner_of(plan, past)
    assert len(resumed.ready(0)) == again and (resumed.unknown() == []) is again
    assert find_undecided(past, plan.steps) == set(resumed.unknown())
    assert again or "--resume --repeat" in resumed.report("a")["failure"]["next"]
    for more in ({"repeat": True}, {"from_step": "a"}):
        assert len(runner_of(plan, past, **more).ready(0)) == 1


@pytest.mark.parametrize(
    ("row", "again"),
    [(SEND, False), (WRITE, False), (SIGNED, True), (ASK, True), (READ, True)],
    ids=["slack", "write", "generic", "llm", "read"],
)
def test_what_was_not_heard_of_is_done_again_only_without_harm(row: str, again: bool) -> None:
    lost = {"a": [Outcome(failure=FAILED, lost=True)]}
    needed = (
        "" if "parameters" in row else ", parameters: {text: t, prompt: p, path: q, content: c}"
    )
    wanted = {SEND: "text: t", SIGNED: "text: t", ASK: "prompt: p", WRITE: "path: q, content: c"}
    if needed:
        needed = f", parameters: {{{wanted[row]}}}"
    plan = plan_of(f"name: a, retry: {{attempts: 2, delay: 0}}, {row}{needed}")
    runner = runner_of(plan)
    assert run(runner, lost) == (["a", "a"] if again else ["a"])
    assert runner.unknown() == ([] if again else [("a", 0)])
    assert again or "--resume --repeat" in runner.report("a")["failure"]["next"]
    place: Any = {"step": "a", "instance": 0, "attempt": 1, "key": ""}
    begun = Begun(run="r", workflow="x", file="", workspace="/w", digest="")
    past = look_back([begun, Intent(**place)])
    resumed = runner_of(plan, past)
    resumed.ready(0)
    assert find_undecided(past, plan.steps) == set(resumed.unknown())


def test_from_does_again_what_needs_the_step_and_nothing_else() -> None:
    plan = plan_of(f"name: a, {READ}", f"name: b, {READ}", f"name: c, needs: [a], {READ}")
    results = {
        (start.step.name, 0): Result(
            step=start.step.name, instance=0, attempt=1, key=start.key, status="success",
            outputs={"text": start.step.name},
        )
        for start in _all_starts(plan)
    }  # fmt: skip
    past = Past(results, {}, (0, 0, 0))
    assert run(runner_of(plan, past), {}) == []
    assert run(runner_of(plan, past, from_step="b"), {}) == ["b"]
    assert run(runner_of(plan, past, from_step="a"), {}) == ["a", "b", "c"]
    with pytest.raises(AkiosError, match="no step 'z'"):
        runner_of(plan, past, from_step="z")
    other = plan_of(f"name: a, {READ}".replace("x", "y"), f"name: b, {READ}")
    assert run(runner_of(other, past), {}) == ["a"], "another step of the same name is not done"


def _all_starts(plan: Plan) -> list[Start]:
    runner, found = runner_of(plan), []
    while starts := runner.ready(0):
        for start in starts:
            found.append(start)
            runner.take(start, Outcome({"text": start.step.name}), 0, 0)
    return found


# ---- runs that are killed ------------------------------------------------------------------------


class Killed(Exception):
    pass


ROWS = (
    f"name: read, {READ}",
    f"name: ask, matrix: {{n: [1, 2]}}, retry: {{attempts: 2, delay: 0}}, {ASK}, "
    "parameters: {prompt: '{matrix.n} {steps.read.outputs.text}'}",
    f"name: tell, {SEND}, parameters: {{text: '{{steps.ask.outputs.text}}'}}",
    f"name: sign, needs: [read], continue_on_error: true, {SIGNED}, parameters: {{text: t}}",
    f"name: write, needs: [tell, sign], {WRITE}, parameters: {{path: p, content: c}}",
)
PLAN = plan_of(*ROWS)
HARMFUL = ("tell", "write")


class World:
    """What steps did, and a journal that survives; it dies when ``left`` is 0."""

    def __init__(self, draw: Any) -> None:
        self.draw, self.journal = draw, b""
        self.did: Counter[tuple[str, int]] = Counter()
        self.left, self.reliable = -1, False

    def tick(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def write(self, line: Any) -> None:
        head = read_journal(self.journal, "j").head
        data, _ = encode_line(line, head)
        if self.left == 0:  # it dies while it writes
            self.journal += data[: self.draw(st.integers(0, len(data) - 1))]
        self.tick()
        self.journal += data

    def go(self, repeat: bool) -> Runner:
        """From the journal on, to the end or to its death."""
        found = read_journal(self.journal, "j")
        self.journal = self.journal[: found.size]
        runner = runner_of(PLAN, look_back(found.lines), repeat=repeat)
        if not found.lines:
            self.write(Begun(run="r", workflow="x", file="", workspace="/w", digest=""))
        running: list[Start] = []
        while not runner.status():
            for start in runner.ready(0):
                self.write(_intent(start))
                self.tick()
                self.did[start.step.name, start.instance] += 1
                running.append(start)
            if runner.status():
                break
            start = running.pop(self.draw(st.integers(0, len(running) - 1)))
            good = self.reliable or self.draw(st.integers(0, 3)) < 3
            outputs = {"text": f"{start.step.name} {start.instance}"}
            self.write(_result(start, good, outputs))
            self.tick()
            runner.take(start, Outcome(outputs, None if good else FAILED), 0, 0.0)
        self.write(Finished(status="success"))
        return runner


def _intent(start: Start) -> Intent:
    place = {"step": start.step.name, "instance": start.instance}
    return Intent(**place, attempt=start.attempt, key=start.key, usd_micro=7)  # type: ignore[arg-type]


def _result(start: Start, good: bool, outputs: dict[str, Any]) -> Result:
    return Result(
        step=start.step.name, instance=start.instance, attempt=start.attempt, key=start.key,
        status="success" if good else "failed", outputs=outputs,
        failure=None if good else FAILED, usd_micro=3,
    )  # fmt: skip


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_a_run_that_is_killed_anywhere_repeats_nothing_that_is_done(data: st.DataObject) -> None:
    world = World(data.draw)
    for _ in range(4):
        before = look_back(read_journal(world.journal, "j").lines)
        finished = {place for place, one in before.results.items() if one.status == "success"}
        did = Counter(world.did)
        world.left = data.draw(st.integers(0, 30))
        with contextlib.suppress(Killed):
            world.go(repeat=False)
        for place in finished:
            assert world.did[place] == did[place], f"{place} was done already"
        for place in before.unknown:
            if place[0] in HARMFUL:
                assert world.did[place] == did[place], f"{place} may be done already"
    world.left = -1
    before = look_back(read_journal(world.journal, "j").lines)
    harmful = {place for place in before.unknown if place[0] in HARMFUL}
    world.reliable = True
    if harmful:
        assert set(world.go(repeat=False).unknown()) >= harmful
    assert world.go(repeat=True).status() == "success"
    assert all(world.did[name, 0] for name in ("read", "ask", "tell", "write"))


def test_a_journal_that_was_changed_is_refused() -> None:
    world = World(lambda _: 0)
    world.reliable = True
    world.go(repeat=False)
    lines = world.journal.splitlines(keepends=True)
    assert len(read_journal(world.journal, "j").lines) == len(lines) > 8
    for changed in (
        world.journal.replace(b"read 0", b"read 1", 1),
        b"".join(lines[:2] + lines[3:]),
        b"".join(lines[1:]),
        b"".join([*lines, lines[0]]),
        world.journal + b"{}\n",
    ):
        with pytest.raises(AkiosError, match="of the journal"):
            read_journal(changed, "j")
    torn = read_journal(world.journal[:-5], "j")
    assert len(torn.lines) == len(lines) - 1 and torn.size < len(world.journal) - 5


def test_what_was_begun_and_not_heard_of_counts_as_all_that_it_might_have_spent() -> None:
    (start, *_) = runner_of(PLAN).ready(0)
    assert look_back([_intent(start)]).spent == (7, 0, 0)
    assert look_back([_intent(start), _result(start, True, {})]).spent == (3, 0, 0)
    assert look_back([_intent(start), _intent(start)]).spent == (14, 0, 0)
    lost = Lost(step=start.step.name, instance=start.instance, cage="c-1", usd_micro=2, calls=1)
    past = look_back([_intent(start), lost])
    assert not past.at_most and look_back([_intent(start)]).at_most
    assert look_back([_intent(start), lost, _intent(start)]).at_most
    assert look_back([_intent(start), _intent(start), _result(start, True, {})]).at_most
    assert not look_back([_intent(start), _result(start, True, {})]).at_most
    free = msgspec.structs.replace(_intent(start), usd_micro=0)
    assert not look_back([free]).at_most, "it asks no model"
    assert past.spent == (2, 0, 1) and list(past.unknown) == [(start.step.name, start.instance)]


# ---- what is done stays done ---------------------------------------------------------------------

APPEND = "agent: filesystem, action: append, parameters: {path: data/output/q, content: c}"


def limited(plan: Plan, usd_micro: int) -> Plan:
    """The same under a policy with another budget."""
    steps = []
    for step in plan.steps:
        assert step.policy is not None
        budget = msgspec.structs.replace(step.policy.budget, usd_micro=usd_micro)
        policy = msgspec.structs.replace(step.policy, budget=budget)
        changed = msgspec.structs.replace(step, policy=policy)
        steps.append(msgspec.structs.replace(changed, digest=digest_of(step.digest, policy)))
    return msgspec.structs.replace(plan, steps=tuple(steps))


def past_of(plan: Plan, *, old: bool = False, **more: Any) -> Past:
    """Of a run of ``plan`` in which ``a`` is done; ``old``: with the keys of an AKIOS before."""
    (start, *_) = runner_of(plan).ready(0)
    values = start.request.config, start.request.parameters
    key = old_key_of(start.step, values, "/w") if old else start.key
    about: dict[str, Any] = {"status": "success", "outputs": {"text": "a"}} | more
    if not old:
        about["policy"] = digest_of(start.step.policy)
    return look_back([Result(step="a", instance=0, attempt=1, key=key, **about)])


def test_what_is_done_stays_done_whatever_became_of_its_policy_and_bounds() -> None:
    """The control: with another value it is another step, and is done."""
    plan = limited(plan_of(f"name: a, {APPEND}", f"name: b, {READ}"), 5)
    bounded = plan_of(f"name: a, timeout: 9s, if: 'true', retry: {{attempts: 2}}, {APPEND}")
    past = past_of(plan)
    for other in (plan, limited(plan, 7), bounded):
        runner = runner_of(other, past)
        assert "a" not in [start.step.name for start in runner.ready(0)]
        assert runner.told[0][:3] == ("a", 0, "taken over")
        assert runner.told[0].other_policy is (other is not plan)
    changed = plan_of(f"name: a, {APPEND.replace('content: c', 'content: d')}")
    assert run(runner_of(changed, past), {}) == ["a"]


def test_a_step_of_an_old_journal_is_done_or_named_and_never_silently_repeated() -> None:
    plan = limited(plan_of(f"name: a, {APPEND}"), 5)
    past = past_of(plan, old=True)
    assert run(runner_of(plan, past), {}) == [], "by the same policy it is known"
    runner = runner_of(limited(plan, 7), past)
    assert run(runner, {}) == [] and runner.unknown() == [("a", 0)]
    assert "--resume --repeat" in runner.report("a")["failure"]["next"]
    for more in ({"repeat": True}, {"from_step": "a"}):
        assert run(runner_of(limited(plan, 7), past, **more), {}) == ["a"]


def test_a_webhook_keeps_its_key_when_the_policy_changed() -> None:
    """So that who gets it twice knows it; one of an old journal, whose key is lost, is named."""
    plan = limited(plan_of(f"name: a, {SIGNED}, parameters: {{text: t}}"), 5)
    unclear: dict[str, Any] = {"status": "failed", "failure": UNCLEAR, "outputs": {}}
    (first,) = runner_of(plan).ready(0)
    (again,) = runner_of(limited(plan, 7), past_of(plan, **unclear)).ready(0)
    assert again.request.idempotency_key == first.request.idempotency_key
    old = past_of(plan, old=True, **unclear)
    (same,) = runner_of(plan, old).ready(0)
    (line,) = old.results.values()
    assert same.request.idempotency_key == digest_of("r", "a", 0, line.key)
    intent = Intent(step="a", instance=0, attempt=1, key=line.key)
    for past in (old, look_back([intent])):
        runner = runner_of(limited(plan, 7), past)
        assert runner.ready(0) == [] and runner.unknown() == [("a", 0)]
        assert len(runner_of(limited(plan, 7), past, repeat=True).ready(0)) == 1
