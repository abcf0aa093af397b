"""How a run of a workflow is gone on with, in the words of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Sequence

from akiosd.workflow.journal import Line, look_back
from akiosd.workflow.plan import Plan
from akiosd.workflow.undecided import find_undecided


def name_undecided(lines: Iterable[Line], plan: Plan | None) -> list[str]:
    """Steps that a resumption does only with ``--repeat``; without a plan those that may be so."""
    past = look_back(lines)
    found = past.unknown.keys() if plan is None else find_undecided(past, plan.steps)
    return sorted({name for name, _ in found})


def say_how(file: str, undecided: Sequence[str]) -> list[str]:
    """The command that goes on with the run of ``file``, and what it means."""
    again = f"go on with it: akiosctl workflow run {shlex.quote(file)} --resume"
    if not undecided:
        return [again]
    they, were, are = ("it", "was", "is") if len(undecided) == 1 else ("they", "were", "are")
    names = ", ".join(undecided)
    return [
        f"{again} --repeat",
        f"  --repeat does {names} again: nobody knows whether {they} {were} done, so {they} may be"
        f" done twice; without it the run ends where {they} {are}",
    ]
