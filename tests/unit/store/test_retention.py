"""What retention chooses, and what it counts."""

from __future__ import annotations

from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st

from akiosd.store.retention import Use, choose, survey_cages
from akiosd.values.ids import LogId
from tests.unit.store.test_fsck import CAGE, write_log

LOGS = st.integers(0, 99).map(lambda number: LogId(f"c-{number:012d}"))
USES = st.lists(
    st.builds(Use, log=LOGS, bytes=st.integers(0, 100), ended_ns=st.integers(0, 1000)),
    unique_by=lambda use: use.log,
)
LIMITS = st.one_of(st.none(), st.integers(0, 1000))


@given(uses=USES, now=st.integers(0, 1000), age=LIMITS, size=LIMITS)
def test_what_stays_is_young_and_small_enough_and_nothing_more_goes(
    uses: list[Use], now: int, age: int | None, size: int | None
) -> None:
    gone = choose(uses, now, age, size)
    left = [use for use in uses if use not in gone]
    assert len(gone) + len(left) == len(uses)
    assert age is None or all(now - use.ended_ns <= age for use in left)
    assert size is None or sum(use.bytes for use in left) <= size
    # Oldest first, and the last one that went had to go.
    assert all((a.ended_ns, a.log) < (b.ended_ns, b.log) for a in gone for b in left)
    if gone:
        too_old = age is not None and now - gone[-1].ended_ns > age
        too_big = size is not None and sum(use.bytes for use in left) + gone[-1].bytes > size
        assert too_old or too_big


@given(uses=USES, now=st.integers(0, 1000), size=st.integers(0, 1000), spare=st.integers(1, 1000))
def test_for_its_size_nothing_goes_that_is_spared(
    uses: list[Use], now: int, size: int, spare: int
) -> None:
    """Else an agent that floods its own log would have the logs of others destroyed."""
    gone = choose(uses, now, None, size, spare)
    assert all(now - use.ended_ns >= spare for use in gone)
    freely = choose(uses, now, None, size)
    assert gone == [use for use in freely if now - use.ended_ns >= spare]


def test_only_published_logs_are_counted(tmp_path: Path) -> None:
    log = write_log(tmp_path, CAGE, 300)
    (tmp_path / "cages/c-00000000000a").mkdir()
    (tmp_path / "cages/elsewhere/audit").mkdir(parents=True)
    (tmp_path / "cages/elsewhere/audit/checkpoint").touch()
    (log.parent / "disk").write_bytes(bytes(1 << 20))
    (use,) = survey_cages(tmp_path / "cages")
    assert (use.log, use.ended_ns) == (CAGE, (log / "checkpoint").stat().st_mtime_ns)
    assert use.bytes >= 1 << 20
