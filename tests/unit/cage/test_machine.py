"""The life of a cage: every state meets every event, and what decided first stays decided."""

from __future__ import annotations

from typing import get_args

import pytest
from akiosd.cage.machine import TABLE, Command, Event, EventKind, Life, State, advance
from hypothesis import given, settings
from hypothesis import strategies as st

STATES, KINDS = get_args(State), get_args(EventKind)
ORDER = {state: number for number, state in enumerate(STATES)}
END = ("ending", ("kill", "collect"))

# The whole life, written out a second time: what is not here changes nothing.
EXPECTED: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("preparing", "ready"): ("confined", ("take_listener",)),
    ("preparing", "step_failed"): END,
    ("preparing", "init_died"): END,
    ("preparing", "limit"): END,
    ("preparing", "stop"): END,
    ("confined", "go"): ("starting", ("start_agent",)),
    ("confined", "step_failed"): END,
    ("confined", "init_died"): END,
    ("confined", "limit"): END,
    ("confined", "stop"): END,
    ("starting", "execed"): ("running", ("record_start",)),
    ("starting", "exec_failed"): END,
    ("starting", "exited"): END,
    ("starting", "init_died"): END,
    ("starting", "limit"): END,
    ("starting", "stop"): END,
    ("running", "exited"): END,
    ("running", "init_died"): END,
    ("running", "limit"): END,
    ("running", "stop"): END,
    ("ending", "reaped"): ("ended", ()),
}

events = st.builds(
    Event,
    kind=st.sampled_from(KINDS),
    cause=st.sampled_from(["", "memory", "stopped", "wall_clock", "failed_start"]),
    status=st.sampled_from([-1, 0, 256, 9]),
    detail=st.sampled_from(["", "step 3"]),
)


def is_decided(life: Life) -> bool:
    return life.state in ("ending", "ended")


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("state", STATES)
def test_every_state_meets_every_event(state: State, kind: EventKind) -> None:
    before = Life(state)
    after, commands = advance(before, Event(kind, "why", 9, "what"))
    assert (after.state, commands) == EXPECTED.get((state, kind), (state, ()))
    if (state, kind) not in EXPECTED and kind != "exited":
        assert after == before
    if after.state == "ending" and not is_decided(before):
        assert (after.cause, after.detail, after.status) == ("why", "what", 9)


def test_the_table_names_known_states_events_and_commands_only() -> None:
    for (state, kind), (after, commands) in TABLE.items():
        assert state in STATES and kind in KINDS and after in STATES
        assert set(commands) <= set(get_args(Command))
        assert ORDER[after] > ORDER[state], "a life goes forward"
    used = {command for _, commands in TABLE.values() for command in commands}
    assert used == set(get_args(Command)), "each command is given by somebody"


@pytest.mark.parametrize("state", STATES)
def test_every_state_but_the_last_can_be_ended_and_left(state: State) -> None:
    can_leave = any(before == state for before, _ in TABLE)
    assert can_leave == (state != "ended")
    if state not in ("ending", "ended"):
        for kind in ("stop", "limit", "init_died"):
            assert advance(Life(state), Event(kind))[0].state == "ending"


@given(st.lists(events, max_size=30))
@settings(max_examples=300, deadline=None)
def test_once_decided_the_cause_never_changes(happened: list[Event]) -> None:
    life, decided, kills, collected = Life(), None, 0, 0
    for event in happened:
        after, commands = advance(life, event)
        assert ORDER[after.state] >= ORDER[life.state]
        if is_decided(life):
            assert (after.cause, after.detail) == (life.cause, life.detail)
            assert life.status < 0 or after.status == life.status, "a known status is kept"
            assert "kill" not in commands
        elif is_decided(after):
            decided = event
        kills += "kill" in commands
        collected += "collect" in commands
        life = after
    assert kills == collected == (decided is not None), "the end is told once"
    if decided is not None:
        assert (life.cause, life.detail) == (decided.cause, decided.detail)


@given(st.lists(events, max_size=30))
@settings(max_examples=200, deadline=None)
def test_the_agent_starts_once_and_only_behind_every_fence(happened: list[Event]) -> None:
    life, given_out = Life(), []
    for event in happened:
        before = life
        life, commands = advance(life, event)
        given_out += commands
        if "start_agent" in commands:
            assert before.state == "confined" and event.kind == "go"
    starts = [
        command
        for command in given_out
        if command in ("take_listener", "start_agent", "record_start")
    ]
    assert starts == ["take_listener", "start_agent", "record_start"][: len(starts)]


def test_the_agents_own_status_is_kept_when_a_limit_was_first() -> None:
    life, _ = advance(Life("running"), Event("limit", "memory", detail="512 MiB"))
    life, commands = advance(life, Event("exited", status=9))
    assert (life, commands) == (Life("ending", "memory", "512 MiB", 9), ())
    life, _ = advance(life, Event("exited", status=0))
    assert life.status == 9


def test_a_late_limit_does_not_blame_an_agent_that_ended_by_itself() -> None:
    life, _ = advance(Life("running"), Event("exited", status=256))
    life, commands = advance(life, Event("limit", "wall_clock"))
    assert (life.cause, life.status, commands) == ("", 256, ())
