"""The programs of a standing cage: every state meets every event, and what decided first stays."""

from __future__ import annotations

from typing import get_args

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosd.cage.programs import (
    MAX_ENDED,
    TABLE,
    Command,
    Event,
    EventKind,
    Program,
    State,
    advance,
    end,
    explain,
    placed,
    remembered,
    signal_of,
)
from akiosd.values.policy import Limits

LIMITS = Limits(output=2 << 20, shm=3 << 20)
STATES, KINDS = get_args(State), get_args(EventKind)
ENDED = ("ended", ("record_end", "tell_end"))
# The whole life, written out a second time: what is not here changes nothing.
EXPECTED: dict[tuple[str, str], tuple[str, tuple[str, ...]]] = {
    ("starting", "started"): ("running", ("record_start", "tell_started")),
    ("starting", "failed"): ENDED,
    ("starting", "ended"): ENDED,
    ("starting", "cage_ended"): ENDED,
    ("running", "ended"): ENDED,
    ("running", "cage_ended"): ENDED,
}


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("kind", KINDS)
def test_the_table_is_the_whole_life(state: State, kind: EventKind) -> None:
    before = Program(number=1, state=state)
    after, commands = advance(before, Event(kind, ts=5, status=0))
    if (state, kind) in EXPECTED:
        assert (after.state, commands) == EXPECTED[state, kind]
    else:
        assert (after, commands) == (before, ())
    assert set(commands) <= set(get_args(Command)) and len(TABLE) == len(EXPECTED)


@given(st.lists(st.sampled_from(KINDS), max_size=8))
def test_whatever_is_heard_twice_a_program_ends_once(kinds: list[EventKind]) -> None:
    program, told = Program(number=1), []
    for kind in (*kinds, *kinds, "cage_ended"):
        program, commands = advance(program, Event(kind, status=256))
        told += commands
    assert program.state == "ended"
    assert told.count("tell_end") == told.count("record_end") == 1
    assert told.count("record_start") <= 1


@pytest.mark.parametrize(
    ("event", "kind", "code", "words"),
    [
        (Event("ended", status=0), "exited", 0, "exited 0"),
        (Event("ended", status=5 << 8), "exited", 5, "exited 5"),
        (Event("ended", status=9), "signal", 137, "killed by SIGKILL (signal 9)"),
        (Event("ended", status=11 | 0x80), "signal", 139, "killed by SIGSEGV (signal 11)"),
        (Event("failed", err=2, why="no", step=1), "not_found", 127, "not started: a: not found"),
        (
            Event("failed", err=13, why="Permission denied", step=1),
            "cannot_execute",
            126,
            "not started: a: Permission denied: cannot be executed",
        ),
        (
            Event("failed", err=2, why="No such file or directory", step=0),
            "failed_start",
            125,
            "not started: the cage cannot enter /w: No such file or directory; next: see that it",
        ),
        (
            Event("failed", err=13, why="Permission denied", step=0),
            "failed_start",
            125,
            "not started: the cage cannot enter /w: Permission denied; next: see whom its mode",
        ),
        (
            Event("failed", err=5, why="the launcher is gone", step=4),
            "failed_start",
            125,
            "not started: the launcher is gone: cannot start",
        ),
        (
            Event("cage_ended", detail="memory limit 64 MiB reached"),
            "cage_ended",
            137,
            "killed: its cage ended: memory limit 64 MiB reached",
        ),
        # What else may have ended it by this signal is full where it says so, too.
        (
            Event("ended", status=7),
            "signal",
            135,
            "killed by SIGBUS (signal 7); shared memory in /dev/shm may be full: it holds 3 MiB",
        ),
    ],
)
def test_how_it_ended_is_told(event: Event, kind: str, code: int, words: str) -> None:
    program, _ = advance(Program(number=1, argv=(b"a",), cwd=b"/w"), event)
    found = explain(program, LIMITS)
    assert (found.kind, found.exit_code) == (kind, code)
    assert found.reason.startswith(words)
    assert (signal_of(program) != 0) == (event.status & 0x7F != 0 and event.status > 0)


def test_why_it_was_killed_is_the_first_reason_given() -> None:
    program = end(end(Program(number=1), "client_gone"), "stopped", "ada")
    program, _ = advance(program, Event("ended", status=9))
    assert explain(program, LIMITS).kind == "client_gone"
    assert end(program, "stopped", "ada") == program


def test_the_bound_on_output_is_the_one_of_its_cage() -> None:
    program, _ = advance(end(Program(number=1), "output"), Event("ended", status=9))
    assert explain(program, LIMITS).reason == "killed: output limit 2 MiB reached"


def test_what_decided_before_its_cage_ended_stays() -> None:
    program, _ = advance(
        end(Program(number=1), "stopped", "ada"), Event("cage_ended", detail="taken down by bob")
    )
    assert explain(program, LIMITS).reason == "stopped by ada"


def test_those_that_run_are_never_forgotten_and_the_last_ends_are_known() -> None:
    programs = {n: Program(number=n, state="ended") for n in range(100)}
    programs |= {n: Program(number=n, state="running") for n in range(100, 130)}
    kept = remembered(programs)
    assert [n for n, one in kept.items() if one.state == "running"] == list(range(100, 130))
    ended = [n for n, one in kept.items() if one.state == "ended"]
    assert ended == list(range(100 - MAX_ENDED, 100))


def test_a_place_in_the_log_is_kept_until_there_is_another() -> None:
    program = placed(placed(Program(number=1), start_index=4), end_index=9)
    assert (program.start_index, program.end_index) == (4, 9)
