"""Checks what the structs of a workflow cannot say, and makes its plan.

Names, order, references, conditions, the fields of each agent, policies that only narrow: every
mistake is told at its place in the file, before anything is run.
"""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any, NamedTuple

import msgspec
from msgspec import UNSET

from akiosd.errors import AkiosError
from akiosd.policy import schema as policy_schema
from akiosd.policy.merge import Layer, Merged, narrow
from akiosd.policy.refusals import LayerName
from akiosd.values.units import parse_duration_ns
from akiosd.values.workflow import MAX_STEPS, Retry, Step, Workflow
from akiosd.workflow.check_step import StepChecker
from akiosd.workflow.inputs import check_input, has_default
from akiosd.workflow.plan import Attempts, Plan, PlannedStep, all_before, digest_of, rank_steps
from akiosd.workflow.references import Known, Path
from akiosd.workflow.schema import Places, Read
from akiosd.workflow.sure_denials import find_denials


class Placed(NamedTuple):
    """A step with its name, where it stands, and the parallel group it is in."""

    name: str
    step: Step
    path: Path
    group: str


def make_plan(read: Read, base: Merged | None, *, foresees: bool = False) -> Plan | None:
    """The plan of a workflow; None where ``read.places`` has errors.

    ``base`` is the policy of a run here, None where no policy is asked for.  With ``foresees`` what
    it will deny for certain is a mistake.
    """
    if read.workflow is None or read.places.errors:
        return None
    return _Planner(read.workflow, read.places, base, foresees).plan()


class _Planner:
    def __init__(
        self, workflow: Workflow, places: Places, base: Merged | None, foresees: bool
    ) -> None:
        self._workflow, self._places, self._base = workflow, places, base
        self._foresees = foresees
        self._placed = list(place_steps(workflow.steps))
        self._groups: dict[str, tuple[str, ...]] = {}
        self._numbers = {
            int(one.path[1]) + 1: one.name for one in self._placed if len(one.path) == 2
        }
        for one in self._placed:
            if one.group:
                self._groups[one.group] = (*self._groups.get(one.group, ()), one.name)

    def plan(self) -> Plan | None:
        self._check_names()
        self._check_inputs()
        needs = self._needs()
        ranks = rank_steps(needs)
        if isinstance(ranks, list):
            if len(needs) < len(self._placed):
                return None  # steps with one name: what waits for what is not known
            first = next(one for one in self._placed if one.name == ranks[0])
            what = f"steps wait for each other: {' needs '.join(ranks)}"
            self._places.add((*first.path, "needs"), what, "break the circle")
            return None
        top = self._narrowed(self._base, self._workflow.policy, ("policy",), "workflow")
        before = all_before(needs)
        planned = {
            one.name: self._planned(one, needs[one.name], before[one.name], top)
            for one in self._placed
        }
        if self._places.errors:
            return None
        steps = tuple(planned[name] for rank in ranks for name in rank)
        workflow = self._workflow
        return Plan(
            name=workflow.name,
            description=workflow.description,
            inputs=workflow.inputs,
            variables=workflow.env,
            numbers=self._numbers,
            steps=steps,
            order=tuple(tuple(rank) for rank in ranks),
            policy=top.policy if top else None,
            digest=digest_of(workflow.name, workflow.inputs, [step.digest for step in steps]),
        )

    def _check_names(self) -> None:
        seen: dict[str, Placed] = {}
        for one in self._placed:
            if one.name in seen or one.name in self._groups:
                what = f"two steps have the name {one.name}"
                self._places.add((*one.path, "name"), what, "give each its own")
            seen[one.name] = one
        if len(self._placed) > MAX_STEPS:
            self._places.add(("steps",), f"there are more than {MAX_STEPS} steps", "use a matrix")
        for index, step in enumerate(self._workflow.steps):
            self._check_group(step, ("steps", index))

    def _check_group(self, step: Step, path: Path) -> None:
        """A group has a name and needs; all else belongs to the steps in it."""
        if not step.parallel:
            return
        for key in ("agent", "action", "config", "parameters", "if", "matrix", "retry", "timeout"):
            field = "condition" if key == "if" else key
            if getattr(step, field) not in (UNSET, "", {}, ()):
                self._places.add(
                    (*path, key), f"{key} stands beside parallel", "move it into its steps"
                )
        for index, inner in enumerate(step.parallel):
            for key in ("needs", "parallel"):
                if getattr(inner, key) not in (UNSET, ()):
                    what = f"{key} stands in a step of a parallel group"
                    self._places.add(
                        (*path, "parallel", index, key), what, "move it out of the group"
                    )

    def _check_inputs(self) -> None:
        for name, form in self._workflow.inputs.items():
            if not has_default(form):
                continue
            try:
                check_input(name, form, form.default)
            except AkiosError as error:
                self._places.add(("inputs", name, "default"), error.what, error.next)

    def _needs(self) -> dict[str, tuple[str, ...]]:
        found: dict[str, tuple[str, ...]] = {}
        last: tuple[str, ...] = ()
        for index, step in enumerate(self._workflow.steps):
            own = [one for one in self._placed if one.path[:2] == ("steps", index)]
            needs = (
                last if step.needs is UNSET else self._named(step.needs, ("steps", index, "needs"))
            )
            found |= {one.name: needs for one in own}
            last = tuple(one.name for one in own)
        return found

    def _named(self, needs: Any, path: Path) -> tuple[str, ...]:
        names = (needs,) if isinstance(needs, str) else tuple(needs)
        known = {one.name: (one.name,) for one in self._placed} | self._groups
        found: list[str] = []
        for place, name in enumerate(names):
            if name in known:
                found += known[name]
                continue
            near = difflib.get_close_matches(name, known, 1)
            hint = f"did you mean {near[0]}?" if near else f"there is {', '.join(list(known)[:10])}"
            where = path if isinstance(needs, str) else (*path, place)
            self._places.add(where, f"there is no step {name!r}", hint)
        return tuple(dict.fromkeys(found))

    def _planned(
        self, one: Placed, needs: tuple[str, ...], before: frozenset[str], top: Merged | None
    ) -> PlannedStep:
        step, path = one.step, one.path
        known = Known(
            inputs=frozenset(self._workflow.inputs),
            steps=before,
            later=frozenset(other.name for other in self._placed) - before,
            matrix=frozenset(step.matrix),
            numbers=self._numbers,
            previous=needs[0] if len(needs) == 1 else "",
            own=one.name,
        )
        StepChecker(step, path, known, frozenset(self._workflow.env), self._places).check()
        policy = self._narrowed(top, step.policy, (*path, "policy"), "step")
        if policy is not None and self._foresees:
            for denial in find_denials(step, policy.policy):
                self._places.add((*path, *denial.path), denial.what, denial.next)
        planned = PlannedStep(
            name=one.name,
            agent="" if step.agent is UNSET else str(step.agent),
            action=step.action,
            config=step.config,
            parameters=step.parameters,
            needs=needs,
            previous=known.previous,
            condition=True if step.condition is UNSET else step.condition,
            matrix=step.matrix,
            group=one.group,
            attempts=self._attempts(step.retry, (*path, "retry")),
            timeout_ns=self._duration(step.timeout, (*path, "timeout")),
            continue_on_error=step.continue_on_error,
            outputs=step.outputs,
            policy=policy.policy if policy else None,
            own_policy=bool(step.policy),
            path=path,
            line=self._places.line(path),
        )
        own = (planned.agent, planned.action, step.config, step.parameters, step.matrix)
        rest = (planned.condition, planned.timeout_ns, step.outputs, planned.policy)
        digest = digest_of(one.name, *own, *rest)
        return msgspec.structs.replace(planned, digest=digest)

    def _attempts(self, retry: Any, path: Path) -> Attempts:
        if not isinstance(retry, Retry):
            return Attempts()
        delay_ns = self._duration(retry.delay, (*path, "delay"))
        return Attempts(retry.attempts, delay_ns, retry.backoff == "exponential", retry.jitter)

    def _duration(self, written: Any, path: Path) -> int:
        if written is UNSET:
            return 0
        try:
            return parse_duration_ns(written)
        except (AkiosError, ValueError, OverflowError) as error:
            next = error.next if isinstance(error, AkiosError) else "write a time, as in 90s or 5m"
            self._places.add(path, f"{written!r} is no time", next)
            return 0

    def _narrowed(
        self, base: Merged | None, own: dict[str, Any], path: Path, name: LayerName
    ) -> Merged | None:
        """``base`` without what ``own`` takes away; mistakes are told, and ``base`` returned."""
        lines = self._places.below(path)
        file = self._places.name
        mistakes = policy_schema.find_errors(own, lines, name=file)
        for error in mistakes:
            self._places.add_at(path, error)
        if base is None or not own or mistakes:
            return base
        layer = Layer(name, policy_schema.load(own, lines, name=file), file)
        try:
            return narrow(base, layer)
        except AkiosError as error:
            self._places.add_at(path, error)
            return base


def place_steps(steps: Sequence[Step]) -> list[Placed]:
    """Every step with its name: ``step_N`` where the file gives none."""
    found: list[Placed] = []
    for index, step in enumerate(steps):
        name, path = step.name or f"step_{index + 1}", ("steps", index)
        if not step.parallel:
            found.append(Placed(name, step, path, ""))
        for number, inner in enumerate(step.parallel):
            own = inner.name or f"{name}_{number + 1}"
            found.append(Placed(own, inner, (*path, "parallel", number), name))
    return found
