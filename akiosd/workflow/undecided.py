"""Which steps of a run a resumption does only where it is told to repeat, and what is said of them:
nobody knows whether they were done, and doing them twice may do harm.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from akiosd.values.step_call import StepFailure
from akiosd.workflow.journal import Past, Place
from akiosd.workflow.plan import PlannedStep
from akiosd.workflow.repeats import is_harmless, may_retry

WHAT = "nobody knows whether this step was done: it was started, and its result was not heard"
NEXT = (
    'look whether it was done; --resume --repeat (over HTTP a resume with {"repeat": true}) does it'
    " again, and then it may be done twice"
)
_UNLIKE = (
    "this step was done before AKIOS was updated, and by another policy, or with other values: the"
    " journal of then does not tell which"
)
_UNLIKE_NEXT = (
    "where only the policy was changed, go on once with that of before: then it stays done;"
    ' --resume --repeat (over HTTP a resume with {"repeat": true}) does it again'
)
HARMLESS_NEXT = "going on does it again, which does no harm"


def is_settled(
    step: PlannedStep,
    config: Mapping[str, Any],
    parameters: Mapping[str, Any],
    failure: StepFailure,
) -> bool:
    """Whether this failure leaves the step to be done again without a word of anybody."""
    return not failure.may_be_done or may_retry(step.agent, step.action, config, parameters)


def find_undecided(past: Past, steps: Iterable[PlannedStep] | None) -> set[Place]:
    """Those that have to be repeated by name; where ``steps`` are not known any more, those that
    may have to be.  Of a step that is not among ``steps`` any more a resumption says so, and goes
    on.
    """
    if steps is None:
        return set(past.unknown)
    planned = {step.name: step for step in steps}
    found = {
        place
        for place in past.unknown
        if (step := planned.get(place[0])) is not None
        and not is_harmless(step.agent, step.action, step.config)
    }
    for place, result in past.results.items():
        step, failure = planned.get(place[0]), result.failure
        if step is None or failure is None or step.continue_on_error:
            continue
        if not is_settled(step, step.config, step.parameters, failure):
            found.add(place)
    return found


def unknown(step: str, failure: StepFailure | None = None) -> StepFailure:
    """What is said of one: why nobody knows, and what may be done."""
    what = failure.what if failure is not None else WHAT
    may_be_done = failure.may_be_done if failure is not None else False
    return StepFailure(what, f"step {step}", NEXT, may_be_done)


def unlike(step: str) -> StepFailure:
    """Of one that is done in an old journal, perhaps as something else."""
    return StepFailure(_UNLIKE, f"step {step}", _UNLIKE_NEXT)
