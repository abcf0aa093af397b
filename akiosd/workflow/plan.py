"""A workflow as it will be run: every step with its name, what it needs, its bounds, its policy.

The plan is made before the run, from the file alone; it is all that steps may do.  What a step
brings can fill in values, and never adds a step, a name, an agent or a right.
"""

from __future__ import annotations

import hashlib
import itertools
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from akiosd.errors import AkiosError
from akiosd.values.policy import Policy
from akiosd.values.workflow import MAX_INSTANCES, Input
from akiosd.workflow.interpolate import fill
from akiosd.workflow.references import Path, Scope


class Attempts(msgspec.Struct, frozen=True):
    """How often a step is tried in all, and how long is waited before each further attempt."""

    most: int = 1
    delay_ns: int = 0
    is_exponential: bool = False
    has_jitter: bool = False

    def delays_ns(self) -> tuple[int, ...]:
        """The wait before the second attempt, the third, …; with jitter the longest."""
        factor = 2 if self.is_exponential else 1
        return tuple(self.delay_ns * factor**n for n in range(self.most - 1))


class PlannedStep(msgspec.Struct, frozen=True, kw_only=True):
    """One step.  ``config`` and ``parameters`` have their references still.

    ``previous`` is the step whose output is ``{previous_output}``, "" where several or none come
    before.  ``path`` is where it stands in the file, ``line`` its line.  ``timeout_ns`` is 0 for
    none.  ``digest`` is of all that the file says of it, and of its policy.
    """

    name: str
    agent: str
    action: str
    config: dict[str, Any]
    parameters: dict[str, Any]
    needs: tuple[str, ...]
    previous: str
    condition: str | bool
    matrix: dict[str, Any]
    group: str
    attempts: Attempts
    timeout_ns: int
    continue_on_error: bool
    outputs: dict[str, str]
    policy: Policy | None
    own_policy: bool
    path: Path
    line: int
    digest: str = ""


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """``steps`` in an order in which each comes after all that it needs; ``order`` the same as
    ranks: the steps of one rank may be done at the same time.
    """

    name: str
    description: str
    inputs: dict[str, Input]
    variables: tuple[str, ...]
    numbers: dict[int, str]
    steps: tuple[PlannedStep, ...]
    order: tuple[tuple[str, ...], ...]
    policy: Policy | None
    digest: str


def digest_of(*parts: Any) -> str:
    """SHA-256 of plain data and structs; the order of keys does not count."""
    return hashlib.sha256(msgspec.json.encode(parts, order="sorted")).hexdigest()


def rank_steps(needs: Mapping[str, Sequence[str]]) -> tuple[tuple[str, ...], ...] | list[str]:
    """The steps in ranks, each after all that it needs; or a circle of steps that need each
    other.  Every name in ``needs`` must be one of its keys.
    """
    waiting = {name: set(before) for name, before in needs.items()}
    ranks: list[tuple[str, ...]] = []
    while waiting:
        ready = tuple(name for name, before in waiting.items() if not before)
        if not ready:
            return _circle(waiting)
        ranks.append(ready)
        for name in ready:
            del waiting[name]
        for before in waiting.values():
            before.difference_update(ready)
    return tuple(ranks)


def _circle(waiting: Mapping[str, set[str]]) -> list[str]:
    """Whoever waits has a step before it that waits too; following those ends in a circle."""
    seen: list[str] = []
    name = next(iter(waiting))
    while name not in seen:
        seen.append(name)
        name = min(waiting[name])
    return [*seen[seen.index(name) :], name]


def all_before(needs: Mapping[str, Sequence[str]]) -> dict[str, frozenset[str]]:
    """Step → everything that is done before it, not only what it names."""
    found: dict[str, frozenset[str]] = {}
    ranks = rank_steps(needs)
    for name in itertools.chain.from_iterable(ranks):
        own = needs[name]
        found[name] = frozenset(own).union(*(found.get(one, frozenset()) for one in own))
    return found


def instances(step: PlannedStep, scope: Scope) -> list[dict[str, Any]]:
    """What ``{matrix.NAME}`` stands for in each instance of a step, in order; one empty one
    without a matrix.  Raises :class:`AkiosError`.
    """
    lists: dict[str, list[Any]] = {}
    for name, value in step.matrix.items():
        values = fill(value, scope)
        if not isinstance(values, list | tuple):
            raise AkiosError(
                f"matrix.{name} is not a list",
                f"step {step.name}",
                "give it a list, or a reference to one",
            )
        lists[name] = list(values)
    count = 1
    for values in lists.values():
        count *= len(values)
        if count > MAX_INSTANCES:
            raise AkiosError(
                f"the matrix has more than {MAX_INSTANCES} combinations",
                f"step {step.name}",
                "make its lists shorter",
            )
    rows = itertools.product(*lists.values())
    return [dict(zip(lists, row, strict=True)) for row in rows]


_FORM = "2-"


def key_of(step: PlannedStep, values: Any, root: str) -> str:
    """By which the journal knows a step that was done: what it does, with which values (filled in),
    below which root.

    Not under which policy, within which time, or on which condition: what is done stays done when
    a budget is raised afterwards.
    """
    return _FORM + digest_of(step.name, step.agent, step.action, values, root)


def old_key_of(step: PlannedStep, values: Any, root: str) -> str:
    """The key of the same step in a journal of an AKIOS whose keys were of the policy, too."""
    return digest_of(step.digest, values, step.policy, root)


def is_old_key(key: str) -> bool:
    """Whether it is of such a journal."""
    return bool(key) and not key.startswith(_FORM)
