"""Begins a run of a workflow, or goes on with one: everything is read and checked before a step is
started.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from akiosctl import policy_files, workflow_files
from akiosctl.client import Client, PlainClient
from akiosctl.journal_file import JournalFile, Kept, list_kept, text_place
from akiosctl.locate import locate_workspace
from akiosctl.lost_steps import find_lost
from akiosctl.programs import find_standing
from akiosctl.purse import Purse, Sum, limits_of, rates_of
from akiosctl.render import note
from akiosctl.results_tree import write_tree
from akiosctl.step_cages import StepCages
from akiosctl.system_policy import find_system
from akiosctl.verbs.templates import find_template
from akiosctl.workflow_again import name_undecided, say_how
from akiosctl.workflow_run import Drive, report_of
from akiosd.errors import AkiosError
from akiosd.policy.merge import Merged, merge_explained
from akiosd.wire.messages import BudgetInfo, BudgetReply
from akiosd.workflow.inputs import read_given, settle_inputs
from akiosd.workflow.journal import Begun, Intent, Resumed, look_back
from akiosd.workflow.plan import Plan
from akiosd.workflow.runner import Runner

if TYPE_CHECKING:
    from akiosctl.commands import Globals

MOST = 4
"""Steps at the same time, where nothing else is said."""


class Daemon(Protocol):
    """Where akiosd is: its control socket, and a connection to it, to be used in ``with``."""

    @property
    def path(self) -> str: ...

    def connect(self) -> Client: ...


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


class Source(NamedTuple):
    """A workflow's text.  ``shown`` is what errors call it, ``file`` where a resumption finds it,
    "" for the copy beside the journal.
    """

    data: bytes
    shown: str
    file: str = ""


class Place(NamedTuple):
    """Where a run works.  ``left`` is what the standing ``cage`` (its id) has left of its budget,
    after all runs for it; akiosd holds them to it.  ``data`` and ``foreign`` as for
    :class:`StepCages`: then no variable of this process is read either.
    """

    workspace: str
    left: Sum | None = None
    cage: str = ""
    data: str = ""
    foreign: bool = False


class How(NamedTuple):
    """As :class:`Asked` has them."""

    from_step: str = ""
    repeat: bool = False
    most: int = MOST
    quiet: bool = False


def run_workflow(globals_: Globals, asked: Asked) -> dict[str, Any]:
    """Run it to its end; returns its report.  Raises AkiosError where it was not begun."""
    place = _place(globals_, asked.cage)
    source = read_source(asked.file)
    plan = plan_of(globals_, source, place.workspace)
    how = How(asked.from_step, asked.repeat, asked.most, asked.quiet)
    given = read_given(workflow_files.pairs(asked.words), plan.inputs)
    if asked.resume or asked.from_step or asked.repeat:
        kept = find_run(plan, place.workspace)
        place = place if place.cage else _place_of(globals_, kept, place)
        run = go_on(globals_, plan, kept, place, given, how)
    else:
        run = begin(globals_, plan, source, place, given, how)
    try:
        return run.drive()
    except KeyboardInterrupt:
        lines = say_how(asked.file, run.undecided())
        note(f"stopped, with what ran; {lines[0]}")
        for line in lines[1:]:
            note(line)
        raise
    finally:
        run.close()


def begin(
    daemon: Daemon, plan: Plan, source: Source, place: Place, given: Mapping[str, Any], how: How
) -> Run:
    """A new run, to be driven.  Raises AkiosError."""
    inputs = settle_inputs(given, plan.inputs)
    cages = _open_cages(daemon, place, plan)
    try:
        begun = Begun(
            run=f"w-{secrets.token_hex(5)}",
            workflow=plan.name,
            file=source.file,
            workspace=cages.workspace,
            digest=plan.digest,
            inputs=inputs,
            cage=place.cage,
        )
        journal = JournalFile.create(begun, source.data)
        return _make(daemon, plan, inputs, journal, cages, place, how)
    except BaseException:
        cages.close()
        raise


def go_on(
    daemon: Daemon, plan: Plan, kept: Kept, place: Place, given: Mapping[str, Any], how: How
) -> Run:
    """A run that was begun before, to be driven again.  Raises AkiosError."""
    known = {name: one for name, one in kept.begun.inputs.items() if name in plan.inputs}
    inputs = settle_inputs(known | dict(given), plan.inputs)
    cages = _open_cages(daemon, place, plan)
    try:
        journal = JournalFile.open(kept.run)
        try:
            with daemon.connect() as client:
                find_lost(client, journal)
            run = _make(daemon, plan, inputs, journal, cages, place, how)
            journal.append(Resumed(from_step=how.from_step, repeat=how.repeat))
        except BaseException:
            journal.close()
            raise
        return run
    except BaseException:
        cages.close()
        raise


def _open_cages(daemon: Daemon, place: Place, plan: Plan) -> StepCages:
    disks = [step.policy.limits.disk for step in plan.steps if step.policy is not None]
    most = max(disks, default=0)
    where = place.workspace, place.data, place.foreign
    return StepCages(daemon.path, *where, shares=place.cage, most=most)


def _make(
    daemon: Daemon,
    plan: Plan,
    inputs: Mapping[str, Any],
    journal: JournalFile,
    cages: StepCages,
    place: Place,
    how: How,
) -> Run:
    past = look_back(journal.lines)
    for name in sorted({name for name, _ in past.unknown} - {step.name for step in plan.steps}):
        note(f"{name}: UNKNOWN whether it was done, and the file has no such step any more")
    variables = {} if place.foreign else os.environ
    runner = Runner(
        plan,
        inputs,
        {name: variables[name] for name in plan.variables if name in variables},
        run=journal.run,
        root=cages.workspace,
        most=how.most,
        past=past,
        from_step=how.from_step,
        repeat=how.repeat,
    )
    spent = Sum(*past.spent)
    assert plan.policy is not None
    is_counted = isinstance(first := journal.lines[0], Begun) and first.cage == place.cage
    limits = _limits(plan, place.left, spent if is_counted else Sum(0, 0, 0))
    purse = Purse(limits, spent, rates_of(plan.policy.budget))
    if not how.quiet:
        note(f"{plan.name}: run {journal.run}")
    return Run(
        runner, journal, cages, purse, Drive(runner, journal, cages, purse, daemon.path, how.quiet)
    )


class Run:
    """One that was begun, and that nobody else drives.  Owns its journal and its cages: to be
    closed.
    """

    def __init__(
        self, runner: Runner, journal: JournalFile, cages: StepCages, purse: Purse, drive: Drive
    ) -> None:
        self.name = journal.run
        self._runner, self._journal, self._cages, self._purse = runner, journal, cages, purse
        self._drive = drive

    def drive(self) -> dict[str, Any]:
        """To its end; returns its report, which is then in data/output, too.  Raises AkiosError."""
        status = self._drive.run()
        cages = self._cages
        base = "" if cages.base == cages.workspace else f"{cages.base}/"
        report = report_of(self._runner, self._journal, self._purse, status, base)
        write_tree(cages.output_fd, self.name, report)
        return report

    def undecided(self) -> list[str]:
        """Steps that are done again only where somebody says so."""
        return name_undecided(look_back(self._journal.lines), self._runner.plan)

    def stop(self) -> None:
        """Have :meth:`drive` come to its end now; any thread may."""
        self._drive.stop()

    def close(self) -> None:
        """Let another process have it."""
        self._journal.close()
        self._cages.close()


def read_source(word: str) -> Source:
    """A workflow file, or the template of this name.  Raises AkiosError."""
    name = file_of(word)
    path = "" if name == workflow_files.STDIN else os.path.abspath(name)
    return Source(workflow_files.read_file(name), name, path)


def plan_of(daemon: Daemon, source: Source, workspace: str) -> Plan:
    """The plan of a run in ``workspace``.  Raises AkiosError for the first mistake."""
    return workflow_files.good_plan(source.data, source.shown, policy_of(daemon, workspace))


def file_of(word: str) -> str:
    """A workflow file, or the file of a template of this name.  Raises AkiosError for neither."""
    is_file = os.path.exists(word) or set(word) & set("./") or word == workflow_files.STDIN
    if is_file:
        return word
    try:
        return str(find_template(word))
    except AkiosError as error:
        what = f"there is no file and no template {word!r}"
        directory = os.getcwd()
        raise AkiosError(what, directory, error.next) from None


def policy_of(daemon: Daemon, workspace: str) -> Merged:
    """The policy of a run in ``workspace``."""
    system = find_system(daemon)
    return merge_explained(policy_files.find_layers(Path(workspace), system=system))


def kept_plan(kept: Kept) -> Plan | None:
    """The plan of a run without its policies, from the copy of its text; of one that has no copy
    from its file, if that has all of its steps still.
    """
    place = text_place(kept.run)
    try:
        name = str(place) if place.exists() else file_of(kept.begun.file)
        plan = None if name == workflow_files.STDIN else workflow_files.load_good(name, None)
    except AkiosError:
        return None
    ran = {line.step for line in kept.lines if isinstance(line, Intent)}
    return plan if plan is not None and ran <= {step.name for step in plan.steps} else None


def find_run(plan: Plan, workspace: str) -> Kept:
    """The last run of this workflow here.  Raises AkiosError."""
    found = [
        one
        for one in list_kept()
        if (one.begun.workflow, one.begun.workspace) == (plan.name, workspace)
    ]
    if not found:
        raise AkiosError(
            f"there is no run of {plan.name} here that can be resumed",
            "--resume",
            "start one: akiosctl workflow run FILE",
        )
    return found[-1]


def _place_of(globals_: Globals, kept: Kept, own: Place) -> Place:
    """Of a run that was begun for a standing cage that cage's place, while it is up."""
    if not kept.begun.cage:
        return own
    try:
        return _place(globals_, kept.begun.cage)
    except AkiosError:
        return own  # its budget went with it


def _place(globals_: Globals, name: str) -> Place:
    """``name``: of a standing cage, or "" for the directory one is in."""
    if not name:
        found = locate_workspace(os.getcwd(), None, os.path.expanduser("~"))
        os.close(found.fd)
        return Place(found.path)
    client = PlainClient(globals_.path)
    try:
        cage = find_standing(client, name)
    finally:
        client.close()
    with globals_.connect() as typed:
        budget, _ = typed.call(BudgetInfo(cage=str(cage["cage"])), BudgetReply)
    limits = limits_of(budget.limits)
    gone = (
        budget.usd_micro + budget.shared_usd_micro,
        budget.input_tokens + budget.output_tokens + budget.shared_tokens,
        budget.calls + budget.shared_calls,
    )
    # A part that is spent altogether is not one without a limit.
    left = [max(limit - one, 1) if limit else 0 for limit, one in zip(limits, gone, strict=True)]
    data = str(cage.get("data", "project"))
    return Place(os.fsdecode(cage["workspace"]), Sum(*left), str(cage["cage"]), data)


def _limits(plan: Plan, left: Sum | None, spent: Sum) -> Sum:
    """What all steps together may spend, over all that this run was gone on with; ``spent`` is what
    was counted of it in ``left``.
    """
    assert plan.policy is not None
    own = limits_of(plan.policy.budget)
    if left is None:
        return own
    pairs = zip(own, left, spent, strict=True)
    return Sum(*(min(a, b + gone) if a and b else a or (b and b + gone) for a, b, gone in pairs))
