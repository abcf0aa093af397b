"""A corpus of traces: no work is refused, and of the loops nearly all end within ten repeats."""

from __future__ import annotations

import pytest

from tests.unit.meter.traces import loops, work
from tests.unit.meter.traces.play import play

REPEATS = 10
LATE = {"an agent that begins anew each time", "waiting for what never comes"}
"""What cannot be told from a vote, or from waiting, before it was repeated more often."""


@pytest.mark.parametrize("name", work.TRACES)
def test_work_is_not_refused(name: str) -> None:
    assert play(work.TRACES[name]()) is None


@pytest.mark.parametrize("name", loops.TRACES)
def test_a_loop_is_warned_of_and_ended(name: str) -> None:
    refused = play(loops.TRACES[name]())
    assert refused is not None and refused.ended and refused.round > 1
    assert refused.denial.status == 400 and f"{refused.denial.rule} is " in refused.denial.words
    assert (refused.round <= REPEATS + 1) == (name not in LATE), refused


def test_the_figures(capsys: pytest.CaptureFixture[str]) -> None:
    false_ends = [name for name, trace in work.TRACES.items() if play(trace()) is not None]
    ends = {name: play(trace()) for name, trace in loops.TRACES.items()}
    within = [name for name, end in ends.items() if end and end.round <= REPEATS + 1]
    with capsys.disabled():
        print(f"\nwork: {len(work.TRACES)} traces, {len(false_ends)} false ends {false_ends}")
        print(
            f"loops: {len(ends)} traces, {len(within)} ended within {REPEATS} repeats "
            f"({100 * len(within) / len(ends):.1f} %)"
        )
    assert len(work.TRACES) >= 40 <= len(ends)
    assert false_ends == [] and len(within) >= 0.95 * len(ends)
