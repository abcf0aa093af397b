"""A corpus of traces: no work is refused, and of the loops nearly all end within ten repeats."""

from __future__ import annotations

from collections.abc import Iterable
from functools import cache

import pytest

from tests.unit.meter.traces import loops, work
from tests.unit.meter.traces.play import play

REPEATS = 10
LATE = {"an agent that begins anew each time", "waiting for what never comes"}
"""What cannot be told from a vote, or from waiting, before it was repeated more often."""


# Played once in a process: the figures are of the same plays.
at_work = cache(lambda name: play(work.TRACES[name]()))
in_circles = cache(lambda name: play(loops.TRACES[name]()))


@pytest.mark.parametrize("name", work.TRACES)
def test_work_is_not_refused(name: str) -> None:
    assert at_work(name) is None


@pytest.mark.parametrize("name", loops.TRACES)
def test_a_loop_is_warned_of_and_ended(name: str) -> None:
    refused = in_circles(name)
    assert refused is not None and refused.ended and refused.round > 1
    assert refused.denial.status == 400 and f"{refused.denial.rule} is " in refused.denial.words
    assert (refused.round <= REPEATS + 1) == (name not in LATE), refused


def test_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    """Printed as a table; the runs of real agents are some of each kind."""
    false_ends = [name for name in work.TRACES if at_work(name) is not None]
    ends = {name: in_circles(name) for name in loops.TRACES}
    within = [name for name, end in ends.items() if end and end.round <= REPEATS + 1]
    with capsys.disabled():
        print(f"\n{'traces':24}{'all':>5}{'real agents':>13}   found")
        for kind, made, found, words in (
            ("at work", work.TRACES, false_ends, "ended"),
            ("in circles", loops.TRACES, within, f"ended within {REPEATS} repeats"),
        ):
            share = f"{len(found)} {words} ({100 * len(found) / len(made):.1f} %)"
            print(f"{kind:24}{len(made):5}{real(made):13}   {share}")
    assert min(len(work.TRACES), len(ends)) >= 40
    assert min(real(work.TRACES), real(loops.TRACES)) >= 30
    assert false_ends == [] and len(within) >= 0.95 * len(ends)


def real(traces: Iterable[str]) -> int:
    return sum(name.startswith("real agent: ") for name in traces)
