"""How a run of a workflow is gone on with, in the words of the command line."""

from __future__ import annotations

import shlex
from collections.abc import Sequence

from akiosd.workflow.journal import Past
from akiosd.workflow.plan import Plan
from akiosd.workflow.undecided import find_undecided


def name_undecided(past: Past, plan: Plan | None) -> list[str]:
    """Steps that a resumption does only with ``--repeat``; without a plan those that may be so."""
    found = find_undecided(past, plan.steps if plan is not None else None)
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
