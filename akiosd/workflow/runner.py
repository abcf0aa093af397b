"""Runs a plan: says which steps are to be started now, and takes what became of them.

A state machine over values: no clock, no randomness, no files, no cages.  Who drives it
(``akiosctl workflow run``) starts what :meth:`Runner.ready` says and brings each outcome to
:meth:`Runner.take`.

| state of an instance | next |
|---|---|
| waiting (for its time, or a free place) | running |
| running | success, failed, waiting (another attempt), unknown (nothing was heard of it) |
| success, failed, skipped, unknown | – |

A step is settled when all of its instances are.  One that failed without ``continue_on_error``, or
that is unknown, ends the run: nothing is started any more, and what runs is waited for.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.step_call import StepFailure, StepRequest
from akiosd.workflow.condition import names_in, parse_condition
from akiosd.workflow.evaluate import holds
from akiosd.workflow.interpolate import fill
from akiosd.workflow.journal import NOTHING, Past
from akiosd.workflow.plan import (
    Plan,
    PlannedStep,
    all_before,
    digest_of,
    instances,
    is_old_key,
    key_of,
    old_key_of,
)
from akiosd.workflow.references import Done, Scope
from akiosd.workflow.repeats import is_harmless
from akiosd.workflow.shell_traps import check_filled
from akiosd.workflow.undecided import is_settled, unknown, unlike

State = Literal["waiting", "running", "success", "failed", "skipped", "unknown"]
_OPEN = ("waiting", "running")


class Start(NamedTuple):
    """Start an attempt at an instance of a step; ``key`` is for the journal."""

    step: PlannedStep
    instance: int
    attempt: int
    key: str
    request: StepRequest


class Outcome(NamedTuple):
    """What became of an attempt.  ``lost``: nothing was heard of it, so it may be done."""

    outputs: Mapping[str, Any] = {}
    failure: StepFailure | None = None
    lost: bool = False


class Told(NamedTuple):
    """Something for people; ``what`` is ``taken over``, ``again``, or the state that was reached.

    ``delay_ns``: how long is waited before it is tried again.  ``other_policy``: what was taken
    over was done by another policy than the step has now.
    """

    step: str
    instance: int
    what: str
    failure: StepFailure | None = None
    delay_ns: int = 0
    other_policy: bool = False


class _Instance:
    def __init__(self, number: int, matrix: Mapping[str, Any]) -> None:
        self.number, self.matrix = number, matrix
        self.state: State = "waiting"
        self.attempt, self.due_ns = 1, 0
        self.key = ""
        self.request: StepRequest | None = None
        self.outputs: Mapping[str, Any] = {}
        self.failure: StepFailure | None = None


class Runner:
    """One run of a plan."""

    def __init__(
        self,
        plan: Plan,
        inputs: Mapping[str, Any],
        variables: Mapping[str, str],
        *,
        run: str,
        root: str,
        most: int,
        past: Past = NOTHING,
        from_step: str = "",
        repeat: bool = False,
    ) -> None:
        """``run`` names this run, ``root`` its workspace; at most ``most`` steps run at a time.

        What ``past`` says is done is taken over, but for ``from_step`` and what needs it.  With
        ``repeat`` steps that may be done are done again.  Raises AkiosError for no such step.
        """
        self.plan, self._past, self._repeat = plan, past, repeat
        self._run, self._root, self._most = run, root, most
        self._scope = Scope(inputs=inputs, variables=variables, numbers=plan.numbers)
        self._redo = _after(plan, from_step)
        self._steps: dict[str, list[_Instance]] = {}
        self.done: dict[str, Done] = {}
        """Every settled step."""
        self.told: list[Told] = []
        """What happened, in order; whoever tells people empties it."""
        self._stopped = False

    # ---- what is to be done ----------------------------------------------------------------------

    def ready(self, now_ns: int) -> list[Start]:
        """What is to be started now; each counts as running from here on."""
        self._open_steps()
        starts: list[Start] = []
        for step, one in self._waiting():
            if self.running >= self._most:
                break
            if one.due_ns <= now_ns and one.request is not None:
                one.state = "running"
                starts.append(Start(step, one.number, one.attempt, one.key, one.request))
        return starts

    def wake_ns(self) -> int | None:
        """When :meth:`ready` is to be asked again, though nothing ends before; None for never."""
        if self.running >= self._most:
            return None
        return min((one.due_ns for _, one in self._waiting()), default=None)

    def stop(self) -> None:
        """Nothing is started any more; the run has failed when what runs has ended."""
        self._stopped = True

    @property
    def running(self) -> int:
        """How many instances run."""
        return sum(one.state == "running" for all_ in self._steps.values() for one in all_)

    def status(self) -> Literal["", "success", "failed"]:
        """How the run ended; "" while it has not."""
        if self.running or (not self._stopped and len(self.done) < len(self.plan.steps)):
            return ""
        return "failed" if self._stopped else "success"

    def unknown(self) -> list[tuple[str, int]]:
        """Instances of steps of which nobody knows whether they were done."""
        return [
            (name, one.number)
            for name, all_ in self._steps.items()
            for one in all_
            if one.state == "unknown"
        ]

    def report(self, name: str) -> dict[str, Any]:
        """A step as plain data: how it ended, what it brought, why it failed."""
        all_ = self._steps.get(name, [])
        done = self.done.get(name)
        states = [one.state for one in all_]
        status = done.status if done else "unknown" if "unknown" in states else "not finished"
        why = [one.failure for one in all_ if one.failure is not None]
        return {
            "name": name,
            "status": status,
            "outputs": dict(done.outputs) if done else {},
            "failure": msgspec.to_builtins(why[0]) if why else None,
        }

    def _waiting(self) -> list[tuple[PlannedStep, _Instance]]:
        if self._stopped:
            return []
        return [
            (step, one)
            for step in self.plan.steps
            for one in self._steps.get(step.name, ())
            if one.state == "waiting"
        ]

    # ---- opening a step --------------------------------------------------------------------------

    def _open_steps(self) -> None:
        # In the order of the plan each comes after what it needs: one pass finds all.
        for step in self.plan.steps:
            is_due = step.name not in self._steps and all(one in self.done for one in step.needs)
            if is_due and not self._stopped:
                self._open(step)

    def _open(self, step: PlannedStep) -> None:
        scope = self._scope._replace(steps=dict(self.done), previous=step.previous)
        found = self._steps[step.name] = []
        try:
            own = _asks_matrix(step.condition)
            rows = instances(step, scope) if own or _is_true(step.condition, scope) else []
        except AkiosError as error:
            found.append(_Instance(0, {}))
            self._settle(step, found[0], "failed", failure=_failure(error, step))
            return
        found += [_Instance(number, row) for number, row in enumerate(rows)]
        for one in found:
            try:
                self._prepare(step, one, scope._replace(matrix=one.matrix), own)
            except AkiosError as error:
                self._settle(step, one, "failed", failure=_failure(error, step))
        if not found:
            self.told.append(Told(step.name, 0, "skipped"))
            self.done[step.name] = Done("skipped", {})

    def _prepare(self, step: PlannedStep, one: _Instance, scope: Scope, own: bool) -> None:
        if own and not _is_true(step.condition, scope):
            self._settle(step, one, "skipped")
            return
        config, parameters = fill(step.config, scope), fill(step.parameters, scope)
        check_filled(step.agent, "config", step.config, config)
        check_filled(step.agent, "parameters", step.parameters, parameters)
        one.key = key_of(step, (config, parameters), self._root)
        known = self._known_key(step, one, (config, parameters))
        one.request = StepRequest(
            kind=step.agent,
            action=step.action,
            config=config,
            parameters=parameters,
            idempotency_key=digest_of(self._run, step.name, one.number, known or one.key),
        )
        self._look_back(step, one, known)

    def _known_key(self, step: PlannedStep, one: _Instance, values: Any) -> str | None:
        """The key that the journal has for this very step if it has one; None where its key is an
        old one, of which is not known whether it is of this step under another policy.
        """
        place = step.name, one.number
        line = self._past.unknown.get(place) or self._past.results.get(place)
        if line is None or not is_old_key(line.key):
            return one.key
        return line.key if line.key == old_key_of(step, values, self._root) else None

    def _look_back(self, step: PlannedStep, one: _Instance, known: str | None) -> None:
        """Take over what is done; refuse what may be done and may not be done twice."""
        place, request = (step.name, one.number), one.request
        assert request is not None
        # A webhook does no harm twice where its message has the key of the first time.
        is_keyless = known is None and step.agent == "webhook"
        if place in self._past.unknown:
            harmless = is_harmless(step.agent, step.action, request.config) and not is_keyless
            if not self._repeat and not harmless:
                self._settle(step, one, "unknown", failure=unknown(step.name))
            else:
                self.told.append(Told(*place, "may be done"))
            return
        result = self._past.results.get(place)
        if result is None or step.name in self._redo:
            return
        failure = result.failure
        is_open = failure is not None and (
            not _may_be_tried(step, request, failure) or (is_keyless and failure.may_be_done)
        )
        if is_open and not self._repeat and not step.continue_on_error:
            self._settle(step, one, "unknown", failure=unknown(step.name, failure))
            return
        if result.status != "success" and not step.continue_on_error:
            return
        if result.key == known:
            other = result.policy not in ("", digest_of(step.policy))
            self.told.append(Told(*place, "taken over", other_policy=other))
            self._settle(
                step, one, result.status, outputs=result.outputs, failure=result.failure, tell=False
            )
        elif known is None and not self._repeat:
            self._settle(step, one, "unknown", failure=unlike(step.name))

    # ---- what became of it -----------------------------------------------------------------------

    def take(self, start: Start, outcome: Outcome, now_ns: int, draw: float) -> None:
        """An attempt has ended.  ``draw``: a random number from 0 to 1, for jitter."""
        step, one = start.step, self._steps[start.step.name][start.instance]
        if outcome.lost and not is_harmless(step.agent, step.action, start.request.config):
            self._settle(step, one, "unknown", failure=unknown(step.name, outcome.failure))
        elif outcome.failure is None:
            self._settle(step, one, "success", outputs=outcome.outputs)
        elif (
            one.attempt < step.attempts.most
            and not self._stopped
            and _may_be_tried(step, start.request, outcome.failure)
        ):
            delay_ns = step.attempts.delays_ns()[one.attempt - 1]
            if step.attempts.has_jitter:
                delay_ns = int(delay_ns * draw)
            one.state, one.due_ns = "waiting", now_ns + delay_ns
            one.attempt += 1
            self.told.append(Told(step.name, one.number, "again", outcome.failure, delay_ns))
        else:
            self._settle(step, one, "failed", outputs=outcome.outputs, failure=outcome.failure)

    def _settle(
        self,
        step: PlannedStep,
        one: _Instance,
        state: State,
        *,
        outputs: Mapping[str, Any] = {},
        failure: StepFailure | None = None,
        tell: bool = True,
    ) -> None:
        if state == "success":
            try:
                outputs = {**outputs, **self._named_outputs(step, one, outputs)}
            except AkiosError as error:
                state, failure = "failed", _failure(error, step)
        one.state, one.outputs, one.failure = state, outputs, failure
        if tell:
            self.told.append(Told(step.name, one.number, state, failure))
        if state == "unknown" or (state == "failed" and not step.continue_on_error):
            self._stopped = True
        all_ = self._steps[step.name]
        if not any(other.state in (*_OPEN, "unknown") for other in all_):
            self.done[step.name] = _together(step, all_)

    def _named_outputs(
        self, step: PlannedStep, one: _Instance, outputs: Mapping[str, Any]
    ) -> dict[str, Any]:
        scope = self._scope._replace(
            steps=dict(self.done), previous=step.previous, matrix=one.matrix, own=outputs
        )
        return {name: fill(value, scope) for name, value in step.outputs.items()}


def _after(plan: Plan, name: str) -> frozenset[str]:
    """``name`` and every step that needs it, directly or not; none for ""."""
    if not name:
        return frozenset()
    before = all_before({step.name: step.needs for step in plan.steps})
    if name not in before:
        known = ", ".join(before)
        raise AkiosError(f"there is no step {name!r}", "--from", f"the steps are {known}")
    return frozenset(other for other, needs in before.items() if other == name or name in needs)


def _asks_matrix(condition: str | bool) -> bool:
    """Whether each instance is asked by itself."""
    if isinstance(condition, bool):
        return False
    return any(path[0] == "matrix" for path in names_in(parse_condition(condition)))


def _is_true(condition: str | bool, scope: Scope) -> bool:
    return condition if isinstance(condition, bool) else holds(parse_condition(condition), scope)


def _together(step: PlannedStep, all_: list[_Instance]) -> Done:
    states = {one.state for one in all_}
    status = "failed" if "failed" in states else "success" if "success" in states else "skipped"
    if not step.matrix:
        return Done(status, all_[0].outputs)
    names = dict.fromkeys(name for one in all_ for name in one.outputs)
    return Done(status, {name: [one.outputs.get(name) for one in all_] for name in names})


def _failure(error: AkiosError, step: PlannedStep) -> StepFailure:
    where = f"step {step.name}" + (f": {error.where}" if error.where else "")
    return StepFailure(error.what, where, error.next)


def _may_be_tried(step: PlannedStep, request: StepRequest, failure: StepFailure) -> bool:
    """Again, after this failure."""
    return is_settled(step, request.config, request.parameters, failure)
