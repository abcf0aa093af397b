"""``akiosctl workflow status``: how a run of a workflow stands, step by step, and whether the
ledger vouches for what is known of it.
"""

from __future__ import annotations

import json
import time
from collections.abc import Iterator, Sequence
from typing import Any

import click

from akiosctl.cages import list_cages
from akiosctl.choose_cage import LAST
from akiosctl.commands import print_line, wants_json
from akiosctl.journal_file import Kept, is_going_on
from akiosctl.journal_proof import Proof, prove
from akiosctl.lost_steps import with_lost
from akiosctl.render import table
from akiosctl.verbs.output import find_run
from akiosctl.workflow_again import name_undecided, say_how
from akiosctl.workflow_start import kept_plan
from akiosd.values.units import format_duration, format_usd
from akiosd.wire.messages import CageInfo
from akiosd.workflow.journal import Intent, look_back


@click.command("status")
@click.argument("run", required=False, default=LAST)
@click.option("--prove", "proves", is_flag=True, help="Ask the ledger whether it vouches for it.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, run: str, proves: bool, as_json: bool) -> int:
    """Show how a run stands, by default the last one here: which steps are done, which run, and
    of which no end is known.

    With --prove the journal is held against the ledger: the birth of each step's cage has the hash
    of every line before it.  The exit status is then 1 where they differ, 3 where the ledger does
    not vouch for all of it.
    """
    kept = find_run(run)
    going = is_going_on(kept.run)
    cages: Sequence[CageInfo] = ()
    proof: Proof | None = None
    if going or proves:
        with ctx.obj.connect() as client:
            cages = list_cages(client)
            proof = prove(client, kept, cages) if proves else None
    if not going:
        (kept,) = with_lost(ctx.obj, [kept])
    found = _to_json(kept, going, cages, proof)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(found, indent=2))
    else:
        for line in _lines(found, look_back(kept.lines).at_most):
            print_line(line)
    if proof is None:
        return 0
    return 1 if proof.changed else 0 if proof.proven == proof.lines - _pointer(kept) else 3


def _pointer(kept: Kept) -> int:
    """The line that says where the end is anchored needs no anchor of its own."""
    return int(kept.lines[-1].__struct_config__.tag == "anchored")


def _to_json(
    kept: Kept, going: bool, cages: Sequence[CageInfo], proof: Proof | None
) -> dict[str, Any]:
    past = look_back(kept.lines)
    plan = kept_plan(kept)
    names = [step.name for step in plan.steps] if plan is not None else []
    places = [*past.results, *past.unknown]
    known = dict.fromkeys([*names, *(name for name, _ in places)])
    steps = [one for name in known for one in _steps(name, kept, going, cages)]
    state = "going on" if going else kept.status
    found: dict[str, Any] = {
        "run": kept.run,
        "workflow": kept.begun.workflow,
        "state": state,
        "workspace": kept.begun.workspace,
        "started_ns": kept.begun.ts,
        "usd_micro": past.spent[0],
        "steps": steps,
        "whole": bool(names),
        "undecided": [] if going else name_undecided(past, plan),
        "file": kept.begun.file,
        "proof": None,
    }
    if proof is not None:
        found["proof"] = {
            "lines": proof.lines,
            "proven": proof.proven,
            "witnesses": [one._asdict() for one in proof.witnesses],
        }
    return found


def _steps(
    name: str, kept: Kept, going: bool, cages: Sequence[CageInfo]
) -> Iterator[dict[str, Any]]:
    past = look_back(kept.lines)
    numbers = sorted({number for step, number in (*past.results, *past.unknown) if step == name})
    for number in numbers:
        intent, result = past.unknown.get((name, number)), past.results.get((name, number))
        if intent is not None:
            state = "running" if going else "not heard of"
            cage, seconds, spent = _cage(kept, intent, cages), 0.0, 0
        else:
            assert result is not None
            state = "done" if result.status == "success" else "failed"
            cage, seconds, spent = result.cage, result.seconds, result.usd_micro
        why = result.failure.what if intent is None and result and result.failure else ""
        yield _step(name, number, state, cage, seconds, spent, why)
    if not numbers:
        yield _step(name, 0, "not begun", "", 0.0, 0, "")


def _step(
    name: str, number: int, state: str, cage: str, seconds: float, spent: int, why: str
) -> dict[str, Any]:
    return {
        "name": name,
        "instance": number,
        "state": state,
        "cage": cage,
        "seconds": seconds,
        "usd_micro": spent,
        "why": why,
    }


def _cage(kept: Kept, intent: Intent, cages: Sequence[CageInfo]) -> str:
    """The cage of an attempt that has no result: its arguments name the run and the attempt."""
    words = {kept.run.encode(), f"{intent.step}.{intent.instance}.{intent.attempt}".encode()}
    return next((one.cage for one in reversed(cages) if words <= set(one.argv)), "")


def _lines(found: dict[str, Any], at_most: bool) -> Iterator[str]:
    day = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(found["started_ns"] / 1e9))
    spent = ("at most " if at_most else "") + format_usd(found["usd_micro"])
    yield f"{found['run']}: {found['workflow']}, {found['state']}; begun {day}, {spent} spent"
    rows = [
        [
            one["name"] + (f"[{one['instance']}]" if one["instance"] else ""),
            one["state"],
            format_duration(int(one["seconds"] * 1e9)) if one["seconds"] else "",
            one["cage"],
            one["why"],
        ]
        for one in found["steps"]
    ]
    yield from table(["STEP", "STATE", "TOOK", "CAGE", ""], rows)
    if not found["whole"]:
        yield "the file is not the one that was run: steps that were not begun are not known"
    if found["state"] in ("failed", "unfinished"):
        yield f"in {found['workspace']}:"
        yield from say_how(found["file"] or "FILE", found["undecided"])
    if found["proof"]:
        yield from _proof_lines(found["proof"])


def _proof_lines(proof: dict[str, Any]) -> Iterator[str]:
    yield f"journal: {proof['lines']} lines, the ledger vouches for the first {proof['proven']}"
    for one in proof["witnesses"]:
        if one["state"] != "proven":
            yield f"  {one['what']} ({one['cage'] or 'no cage'}): {one['state']}: {one['why']}"
