"""A flood of one kind of trouble leaves a bounded log, and a count; other kinds and other sources
are still heard.
"""

from __future__ import annotations

import io
import json
from collections import Counter

from akiosd.daemon.base.log import Damp, configure_log, get_log
from akiosd.daemon.base.log_limit import MAX_SOURCES, PER_KIND, PER_SOURCE, WINDOW_S, Damper
from hypothesis import given
from hypothesis import strategies as st

STEPS = st.lists(
    st.tuples(
        st.sampled_from(["refused", "protocol"]),
        st.integers(0, 12),
        st.sampled_from([0.0, 0.0, 0.0, 0.1, 7.0, WINDOW_S]),
    ),
    max_size=400,
)


@given(STEPS)
def test_lines_are_few_and_none_is_uncounted(steps: list[tuple[str, int, float]]) -> None:
    damper, now = Damper(), 0.0
    asked, told = Counter[str](), Counter[str]()
    written: list[tuple[str, int, float]] = []
    for kind, source, wait in steps:
        now += wait
        asked[kind] += 1
        found = damper.judge(kind, str(source), now)
        if found.written:
            told[kind] += 1 + found.left_out
            written.append((kind, source, now))
            assert told[kind] == asked[kind], "what was left out before is told with the next line"
        else:
            assert not found.left_out and not found.last
    for at in {time for _, _, time in written}:
        # Windows begin with a line, so a minute anywhere can see the ends of two.
        recent = [(kind, source) for kind, source, time in written if at - WINDOW_S < time <= at]
        assert all(count <= 2 * PER_KIND for count in Counter(kind for kind, _ in recent).values())
        assert all(count <= 2 * PER_SOURCE for count in Counter(recent).values())


def test_one_source_does_not_silence_another_nor_one_kind_the_other() -> None:
    damper = Damper()
    for number in range(10_000):
        damper.judge("refused", "1000", number / 1000)
    assert (
        damper.judge("refused", "1001", 10.0).written
        and damper.judge("protocol", "1000", 10.0).written
    )


def test_any_number_of_sources_is_bounded() -> None:
    damper = Damper()
    written = sum(
        damper.judge(f"kind {number % 2}", str(number), 0.0).written
        for number in range(10 * MAX_SOURCES)
    )
    assert written <= 2 * PER_KIND and len(damper._sources) <= MAX_SOURCES
    found = damper.judge("kind 0", "new", WINDOW_S + 1)
    assert found.written and found.left_out == 5 * MAX_SOURCES - PER_KIND


def test_in_the_log_of_the_daemon() -> None:
    stream, times = io.StringIO(), iter(float(number) for number in range(1000))
    configure_log(stream=stream)
    try:
        import structlog

        clocked = Damp(lambda: next(times))
        chain = structlog.get_config()["processors"]
        structlog.configure(processors=[clocked if isinstance(one, Damp) else one for one in chain])
        for number in range(100):
            get_log("clients").warning("peer refused", uid=1000, pid=number)
            get_log("keep").info("a cage's data was destroyed", cage=f"c-{number}")
        get_log("clients").warning("peer refused", uid=1001)
    finally:
        configure_log()
    lines = [json.loads(line) for line in stream.getvalue().splitlines()]
    refused = [line for line in lines if line["event"] == "peer refused"]
    written = {line["pid"] for line in refused if line["uid"] == 1000}
    assert len(written) == 2 * PER_SOURCE and {0, 60} <= written, (
        "a hundred seconds are two minutes begun"
    )
    assert [line["pid"] for line in refused if "more" in line] == [
        PER_SOURCE - 1,
        60 + PER_SOURCE - 1,
    ]
    assert refused[-1]["left_out_before"] == 40 - PER_SOURCE and refused[-1]["uid"] == 1001
    assert sum(line["event"] == "a cage's data was destroyed" for line in lines) == 100
