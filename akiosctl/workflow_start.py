"""Begins a run of a workflow, or goes on with one: everything is read and checked before a step is
started.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from akiosctl import policy_files, workflow_files
from akiosctl.client import PlainClient
from akiosctl.journal_file import JournalFile, Kept, list_kept
from akiosctl.locate import locate_workspace
from akiosctl.lost_steps import find_lost
from akiosctl.programs import find_standing
from akiosctl.purse import Purse, Sum, limits_of
from akiosctl.render import note
from akiosctl.results_tree import write_tree
from akiosctl.step_cages import StepCages
from akiosctl.system_policy import find_system
from akiosctl.verbs.templates import find_template
from akiosctl.workflow_run import Drive, report_of
from akiosd.errors import AkiosError
from akiosd.policy.merge import Merged, merge_explained
from akiosd.wire.messages import BudgetInfo, BudgetReply
from akiosd.workflow.inputs import read_given, settle_inputs
from akiosd.workflow.journal import Begun, Resumed, look_back
from akiosd.workflow.plan import Plan
from akiosd.workflow.runner import Runner

if TYPE_CHECKING:
    from akiosctl.commands import Globals

MOST = 4
"""Steps at the same time, where nothing else is said."""


class Asked(NamedTuple):
    """The command line; ``from_step`` and ``repeat`` go on with a run, as ``resume`` does."""

    file: str
    words: tuple[str, ...] = ()
    cage: str = ""
    resume: bool = False
    from_step: str = ""
    repeat: bool = False
    most: int = MOST
    quiet: bool = False


def run_workflow(globals_: Globals, asked: Asked) -> dict[str, Any]:
    """Run it to its end; returns its report.  Raises AkiosError where it was not begun."""
    workspace, left, data = _workspace(globals_, asked)
    base = policy_of(globals_, workspace)
    plan = workflow_files.load_good(file_of(asked.file), base)
    goes_on = asked.resume or bool(asked.from_step) or asked.repeat
    kept = find_run(plan, workspace) if goes_on else None
    inputs = _inputs(asked, plan, kept)
    if kept is None:
        begun = Begun(
            run=f"w-{secrets.token_hex(5)}",
            workflow=plan.name,
            file=os.path.abspath(asked.file) if os.path.exists(asked.file) else asked.file,
            workspace=workspace,
            digest=plan.digest,
            inputs=inputs,
        )
        journal = JournalFile.create(begun)
    else:
        journal = JournalFile.open(kept.run)
    try:
        if kept is not None:
            with globals_.connect() as client:
                find_lost(client, journal)
            journal.append(Resumed(from_step=asked.from_step, repeat=asked.repeat))
        return _drive(globals_, asked, plan, inputs, journal, workspace, left, data)
    finally:
        journal.close()


def _drive(
    globals_: Globals,
    asked: Asked,
    plan: Plan,
    inputs: Mapping[str, Any],
    journal: JournalFile,
    workspace: str,
    left: Sum | None,
    data: str,
) -> dict[str, Any]:
    past = look_back(journal.lines)
    for name in sorted({name for name, _ in past.unknown} - {step.name for step in plan.steps}):
        note(f"{name}: UNKNOWN whether it was done, and the file has no such step any more")
    variables = {name: os.environ[name] for name in plan.variables if name in os.environ}
    runner = Runner(
        plan,
        inputs,
        variables,
        run=journal.run,
        root=workspace,
        most=asked.most,
        past=past,
        from_step=asked.from_step,
        repeat=asked.repeat,
    )
    spent = Sum(*past.spent)
    purse = Purse(_limits(plan, left, spent), spent)
    if not asked.quiet:
        note(f"{plan.name}: run {journal.run}")
    with StepCages(globals_.path, workspace, data) as cages:
        status = Drive(runner, journal, cages, purse, globals_.path, asked.quiet).run()
        base = "" if cages.base == cages.workspace else f"{cages.base}/"
        report = report_of(runner, journal, purse, status, base)
        write_tree(cages.output_fd, journal.run, report)
    return report


def file_of(word: str) -> str:
    """A workflow file, or the file of a template of this name.  Raises AkiosError for neither."""
    is_file = os.path.exists(word) or set(word) & set("./") or word == workflow_files.STDIN
    return word if is_file else str(find_template(word))


def policy_of(globals_: Globals, workspace: str) -> Merged:
    """The policy of a run in ``workspace``."""
    system = find_system(globals_)
    return merge_explained(policy_files.find_layers(Path(workspace), system=system))


def find_run(plan: Plan, workspace: str) -> Kept:
    """The last run of this workflow here.  Raises AkiosError."""
    found = [
        one
        for one in list_kept()
        if (one.begun.workflow, one.begun.workspace) == (plan.name, workspace)
    ]
    if not found:
        raise AkiosError(
            f"no run of {plan.name} here can be gone on with",
            "--resume",
            "start one: akiosctl workflow run FILE",
        )
    return found[-1]


def _workspace(globals_: Globals, asked: Asked) -> tuple[str, Sum | None, str]:
    """The project, what the named standing cage has left of its budget, and where its data is."""
    if not asked.cage:
        found = locate_workspace(os.getcwd(), None, os.path.expanduser("~"))
        os.close(found.fd)
        return found.path, None, ""
    client = PlainClient(globals_.path)
    try:
        cage = find_standing(client, asked.cage)
    finally:
        client.close()
    with globals_.connect() as typed:
        budget, _ = typed.call(BudgetInfo(cage=str(cage["cage"])), BudgetReply)
    limits = limits_of(budget.limits)
    used = (budget.usd_micro, budget.input_tokens + budget.output_tokens, budget.calls)
    # A part that is spent altogether is not one without a limit.
    left = [max(limit - gone, 1) if limit else 0 for limit, gone in zip(limits, used, strict=True)]
    return os.fsdecode(cage["workspace"]), Sum(*left), str(cage.get("data", "project"))


def _limits(plan: Plan, left: Sum | None, spent: Sum) -> Sum:
    """What all steps together may spend, over all that this run was gone on with."""
    assert plan.policy is not None
    own = limits_of(plan.policy.budget)
    if left is None:
        return own
    pairs = zip(own, left, spent, strict=True)
    return Sum(*(min(a, b + gone) if a and b else a or (b and b + gone) for a, b, gone in pairs))


def _inputs(asked: Asked, plan: Plan, kept: Kept | None) -> dict[str, Any]:
    given = read_given(workflow_files.pairs(asked.words), plan.inputs)
    if kept is not None:
        known = {name: one for name, one in kept.begun.inputs.items() if name in plan.inputs}
        given = known | given
    return settle_inputs(given, plan.inputs)
