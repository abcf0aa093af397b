"""Drives one run of a workflow: what the runner says is to be done is journalled, done in cages,
and told.

The runner (:mod:`akiosd.workflow.runner`) is pure; here are its clock, its journal, its cages and
its money.  Each step that runs has a thread that waits for its cage; everything else is done by the
one thread that drives.
"""

from __future__ import annotations

import queue
import random
import threading
import time
from typing import Any, NamedTuple

import msgspec

from akiosctl.approvals import list_waiting, question_of, stop_question, wait_answer
from akiosctl.client import GoneError
from akiosctl.commit_cage import dispose_of_changes
from akiosctl.end_signals import ended_once
from akiosctl.journal_file import JournalFile, directory
from akiosctl.purse import Purse, Sum
from akiosctl.render import note
from akiosctl.step_cages import STOPPED, Heard, StepCages
from akiosctl.workflow_again import name_undecided
from akiosd.errors import AkiosError
from akiosd.values.policy import Policy
from akiosd.values.step_call import StepFailure, StepResult
from akiosd.values.units import NS_PER_S, format_duration, format_usd
from akiosd.workflow.journal import Anchored, Finished, Intent, LeftOut, Lost, Result, look_back
from akiosd.workflow.plan import digest_of
from akiosd.workflow.repeats import NO_MODEL, is_harmless
from akiosd.workflow.runner import Outcome, Runner, Start, Told


class Done(NamedTuple):
    """What a thread brings; ``heard`` is None where no cage was started, because of ``failure``."""

    start: Start
    heard: Heard | None
    failure: StepFailure | None


class Drive:
    """One run, from :meth:`run` to its status."""

    def __init__(
        self,
        runner: Runner,
        journal: JournalFile,
        cages: StepCages,
        purse: Purse,
        path: str,
        quiet: bool,
    ) -> None:
        self._runner, self._journal, self._cages, self._purse = runner, journal, cages, purse
        self._path, self._quiet = path, quiet
        self._done: queue.SimpleQueue[Done | None] = queue.SimpleQueue()
        self._held: list[Start] = []
        """Started for the runner, and waiting for money."""
        self._used: dict[tuple[str, int], Result] = {}
        self._writing = threading.Lock()
        """Held while a step's changes are written to the project."""

    def run(self) -> str:
        """``success`` or ``failed``.  Raises AkiosError where the journal cannot be written."""
        with ended_once():
            try:
                return self._drive()
            except KeyboardInterrupt:
                # The process ends: what is written to the project is whole before, and nothing
                # begins.
                if not self._writing.acquire(blocking=False):
                    note("what a step changed is being written; it ends after that")
                    self._writing.acquire()
                raise

    def _drive(self) -> str:
        while True:
            self._begin([*self._held, *self._runner.ready(time.monotonic_ns())])
            self._tell()
            status = self._runner.status()
            if status:
                self._journal.append(Finished(status=status))
                self._anchor()
                return status
            try:
                done = self._done.get(timeout=self._patience())
            except queue.Empty:
                continue
            if done is not None:
                self._take(done)
            else:
                self._let_go()

    def stop(self) -> None:
        """Kill what runs, end what is asked, start nothing any more; any thread may.  The run
        then ends, and can be gone on with.
        """
        self._cages.stop()
        self._done.put(None)
        for question in list_waiting():
            if question.get("run") == self._journal.run:
                stop_question(str(question["id"]))

    def _let_go(self) -> None:
        self._runner.stop()
        held, self._held = self._held, []
        for start in held:
            failure = StepFailure(STOPPED[0], f"step {start.step.name}", STOPPED[2])
            self._runner.take(start, Outcome(failure=failure), time.monotonic_ns(), 1.0)

    def _patience(self) -> float | None:
        wakes = [self._runner.wake_ns(), self._purse.wake_ns() if self._held else None]
        wake_ns = min((one for one in wakes if one is not None), default=None)
        return None if wake_ns is None else max(0.0, (wake_ns - time.monotonic_ns()) / NS_PER_S)

    def _anchor(self) -> None:
        """No step comes after the last ones, whose cage would have their results in its birth."""
        policy = self._runner.plan.policy
        assert policy is not None
        network = msgspec.structs.replace(policy.network, llm=False)
        files = msgspec.structs.replace(policy.filesystem, workspace="ro")
        words = (self._journal.run, "finished", self._journal.head)
        policy = msgspec.structs.replace(policy, network=network, filesystem=files)
        try:
            cage = self._cages.anchor(policy, words, str(directory() / self._journal.run))
        except (AkiosError, OSError) as error:
            why = error.what if isinstance(error, AkiosError) else error.strerror
            note(f"the end of the journal is not in the ledger: {why}")
            return
        self._journal.append(Anchored(cage=cage))

    # ---- beginning -------------------------------------------------------------------------------

    def _begin(self, starts: list[Start]) -> None:
        self._held = []
        sharers = sum(_asks_models(start) for start in starts)
        for start in starts:
            policy = _policy_of(start)
            if _asks_models(start):
                budget = self._purse.give(
                    _place(start), policy.budget, sharers, time.monotonic_ns()
                )
                sharers -= 1
                if budget is None:
                    self._wait_for_money(start)
                    continue
                policy = msgspec.structs.replace(policy, budget=budget)
            self._start(start, policy)

    def _wait_for_money(self, start: Start) -> None:
        if not self._purse.is_empty():
            self._held.append(start)
            return
        words = f"the budget of the workflow is spent ({format_usd(self._purse.spent.usd_micro)})"
        failure = StepFailure(words, f"step {start.step.name}", "give it more in akios.yaml")
        self._runner.take(start, Outcome(failure=failure), time.monotonic_ns(), 1.0)

    def _start(self, start: Start, policy: Policy) -> None:
        """The intent is on the disk, and its hash in the birth of the cage, before the step is."""
        name, number = _place(start)
        given = policy.budget if _asks_models(start) else None
        self._journal.append(
            Intent(
                step=name,
                instance=number,
                attempt=start.attempt,
                key=start.key,
                usd_micro=given.usd_micro if given else 0,
                tokens=given.tokens if given else 0,
                calls=given.calls if given else 0,
            )
        )
        words = (self._journal.run, f"{name}.{number}.{start.attempt}", self._journal.head)
        thread = threading.Thread(target=self._perform, args=(start, policy, words), daemon=True)
        thread.start()

    def _perform(self, start: Start, policy: Policy, words: tuple[str, ...]) -> None:
        """In a thread of its own: the step, its changes, and a person's answer."""
        heard: Heard | None = None
        failure: StepFailure | None = None
        try:
            heard = self._cages.perform(policy, start.request, words)
            failure = heard.result.failure
            if heard.changes and failure is None:
                failure = self._settle_changes(start, policy, heard.cage)
            if start.step.agent == "approve" and failure is None:
                heard, failure = self._ask_person(start, heard)
        except GoneError as error:
            failure = StepFailure(error.what, error.where, error.next)
            heard = Heard(StepResult(failure=failure), lost=True)
        except AkiosError as error:
            failure = StepFailure(error.what, error.where, error.next)
        except Exception as error:  # whoever waits hears of it
            words_of = f"this is a fault of AKIOS: {type(error).__name__}: {error}"
            failure = StepFailure(words_of, f"step {start.step.name}", "please report it")
        self._done.put(Done(start, heard, failure))

    def _settle_changes(self, start: Start, policy: Policy, cage: str) -> StepFailure | None:
        """As of any run: with ``workspace: rw`` they are written, else they wait."""
        if policy.filesystem.workspace != "rw":
            note(f"{start.step.name} changed files of the project; see akiosctl diff {cage}")
            return None
        with self._writing:
            if dispose_of_changes(self._path, cage, "commit", quiet=True):
                return None
        words = "what it changed in the project could not all be written"
        return StepFailure(words, f"step {start.step.name}", f"akiosctl diff {cage}")

    def _ask_person(self, start: Start, heard: Heard) -> tuple[Heard, StepFailure | None]:
        message = str(start.request.parameters.get("message", ""))
        asked = question_of(heard.result.outputs, message)
        name = f"{self._journal.run}.{start.step.name}"
        name += f".{start.instance}" if start.step.matrix else ""
        words = f"{start.step.name} waits for a person (yes or no): akiosctl approvals yes {name}"
        about = {
            "run": self._journal.run,
            "workflow": self._runner.plan.name,
            "step": start.step.name,
        }
        longest_s = start.step.timeout_ns / NS_PER_S

        def listening() -> None:
            note(words)
            if self._cages.stopped:
                threading.Thread(target=stop_question, args=(name,), daemon=True).start()

        said = wait_answer(asked, name, about, longest_s, listening)
        result = msgspec.structs.replace(heard.result, outputs=msgspec.to_builtins(said))
        failure = None
        if said.state == "stopped":
            failure = StepFailure(STOPPED[0], f"step {start.step.name}", STOPPED[2])
        elif said.state != "approved":
            who = f"{said.by} said no" if said.by else "nobody answered in time"
            why = f"{who}: {said.comment}" if said.comment else who
            failure = StepFailure(why, f"step {start.step.name}", "run it again to be asked")
        return heard._replace(result=result), failure

    # ---- what became of it -----------------------------------------------------------------------

    def _take(self, done: Done) -> None:
        start, heard = done.start, done.heard
        used = _used(heard)
        if _asks_models(start):
            spent = None if heard and heard.lost else used
            self._purse.take_back(_place(start), spent, time.monotonic_ns())
        config = start.request.config
        is_unknown = bool(heard and heard.lost) and not is_harmless(
            start.step.agent, start.step.action, config
        )
        outputs = heard.result.outputs if heard is not None else {}
        if not is_unknown:
            result = Result(
                step=start.step.name,
                instance=start.instance,
                attempt=start.attempt,
                key=start.key,
                status="failed" if done.failure else "success",
                outputs=outputs,
                failure=done.failure,
                notes=tuple(heard.result.notes) if heard else (),
                cage=heard.cage if heard else "",
                policy=digest_of(start.step.policy),
                seconds=heard.usage.wall_ns / NS_PER_S if heard else 0.0,
                **used._asdict(),
            )
            self._journal.append(result)
            self._used[_place(start)] = result
        elif heard is not None and self._cages.stopped and heard.usage.wall_ns:
            # Killed at our word: akiosd said what it spent.
            lost = Lost(step=start.step.name, instance=start.instance, cage=heard.cage)
            self._journal.append(msgspec.structs.replace(lost, **used._asdict()))
        outcome = Outcome(outputs, done.failure, lost=bool(heard and heard.lost))
        self._runner.take(start, outcome, time.monotonic_ns(), random.random())

    def _tell(self) -> None:
        for told in self._runner.told:
            if told.what == "skipped":
                self._journal.append(LeftOut(step=told.step))
            if not self._quiet or told.what in ("failed", "unknown", "may be done"):
                note(self._sentence(told))
        self._runner.told.clear()

    def _sentence(self, told: Told) -> str:
        step = next(one for one in self._runner.plan.steps if one.name == told.step)
        name = f"{told.step}[{told.instance}]" if step.matrix else told.step
        why = f": {told.failure.what}" if told.failure else ""
        match told.what:
            case "taken over":
                by = ", by another policy than it has now" if told.other_policy else ""
                return f"{name}: taken over, it is done already{by}"
            case "may be done":
                return f"{name}: unknown whether it is done; it is done again"
            case "unknown":
                return f"{name}: UNKNOWN{why}"
            case "again":
                after = format_duration(told.delay_ns) if told.delay_ns else "at once"
                return f"{name}: failed{why}; again {'in ' if told.delay_ns else ''}{after}"
            case "skipped":
                return f"{name}: left out, its condition is false"
        used = self._used.get((told.step, told.instance))
        took = f" in {used.seconds:.1f} s" if used else ""
        if used and used.calls:
            took += f", {used.tokens:,} tokens, {format_usd(used.usd_micro)}"
        return f"{name}: {'done' if told.what == 'success' else told.what}{took}{why}"


def _place(start: Start) -> tuple[str, int]:
    return start.step.name, start.instance


def _asks_models(start: Start) -> bool:
    policy = start.step.policy
    return start.step.agent not in NO_MODEL and policy is not None and policy.network.llm


def _policy_of(start: Start) -> Policy:
    """The step's policy, with its time limit, and without models where its kind asks none."""
    policy = start.step.policy
    assert policy is not None  # a plan that is run was made from a policy
    limits, network = policy.limits, policy.network
    times = [one for one in (limits.wall_clock_ns, start.step.timeout_ns) if one]
    if times:
        limits = msgspec.structs.replace(limits, wall_clock_ns=min(times))
    if start.step.agent in NO_MODEL:
        network = msgspec.structs.replace(network, llm=False)
    return msgspec.structs.replace(policy, limits=limits, network=network)


def _used(heard: Heard | None) -> Sum:
    usage = heard.usage if heard is not None else None
    return Sum(usage.usd_micro, usage.tokens, usage.calls) if usage else Sum(0, 0, 0)


def report_of(
    runner: Runner, journal: JournalFile, purse: Purse, status: str, base: str
) -> dict[str, Any]:
    """The run as it stands, as plain data: ``output.json``, and what ``--json`` prints.

    ``base`` is the directory above data, with its slash, "" for the project.
    """
    steps = [runner.report(step.name) for step in runner.plan.steps]
    unknown = {name for name, _ in runner.unknown()}
    return {
        "run": journal.run,
        "workflow": runner.plan.name,
        "status": status,
        "unknown": sorted(unknown),
        "undecided": sorted({*name_undecided(look_back(journal.lines), runner.plan), *unknown}),
        "steps": steps,
        **purse.spent._asdict(),
        "output": f"{base}data/output/{journal.run}",
    }
