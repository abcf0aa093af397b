"""Every end has one kind, one exit code and one line."""

import string

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from akiosd.cage.reasons import REASONS, End, EndFacts, explain_end
from akiosd.values.policy import Limits
from akiosd.values.units import GIB, MIB, NS_PER_S
from akiosd.values.usage import Usage

OOM = Usage(memory_limit=512 * MIB, memory_peak=512 * MIB, oom_kills=1)


@pytest.mark.parametrize(
    ("facts", "kind", "code", "reason"),
    [
        (EndFacts(status=0), "exited", 0, "exited 0"),
        (EndFacts(status=3), "exited", 3, "exited 3"),
        (EndFacts(signal=11), "signal", 139, "killed by SIGSEGV (signal 11)"),
        (EndFacts(signal=40), "signal", 168, "killed by signal 40"),
        (EndFacts(signal=9), "signal", 137, "killed by SIGKILL (signal 9)"),
        (
            EndFacts(signal=9, usage=OOM),
            "memory",
            137,
            "killed: memory limit 512 MiB reached, peak 512 MiB, 1 OOM kill",
        ),
        (
            EndFacts(usage=OOM),
            "memory",
            137,
            "killed: memory limit 512 MiB reached, peak 512 MiB, 1 OOM kill",
        ),
        (
            EndFacts(cause="budget", detail="$1.00 spent"),
            "budget",
            137,
            "killed: budget $1.00 spent",
        ),
        (
            EndFacts(cause="loop", detail="same request 5 times"),
            "loop",
            137,
            "killed: same request 5 times",
        ),
        (
            EndFacts(
                cause="wall_clock",
                limits=Limits(wall_clock_ns=60 * NS_PER_S),
                usage=Usage(wall_ns=61 * NS_PER_S),
            ),
            "wall_clock",
            137,
            "killed: wall clock limit 60 s reached, ran 61 s",
        ),
        (
            EndFacts(cause="disk", usage=Usage(disk_limit=2 * GIB, disk_used=2 * GIB)),
            "disk",
            137,
            "killed: disk limit 2 GiB reached, 2 GiB used",
        ),
        (EndFacts(cause="stopped", status=0, detail="user u"), "stopped", 0, "stopped by user u"),
        (
            EndFacts(cause="stopped", signal=15, detail="user u"),
            "stopped",
            143,
            "stopped by user u",
        ),
        (EndFacts(cause="stopped", detail="user u"), "stopped", 137, "stopped by user u"),
        (
            EndFacts(cause="not_found", detail="frob"),
            "not_found",
            127,
            "not started: frob: not found",
        ),
        (
            EndFacts(cause="cannot_execute", detail="./x"),
            "cannot_execute",
            126,
            "not started: ./x: cannot be executed",
        ),
        (EndFacts(cause="failed_start", detail="pivot"), "failed_start", 125, "not started: pivot"),
        (
            EndFacts(cause="client_gone", signal=9),
            "client_gone",
            137,
            "killed: the client went away",
        ),
    ],
)
def test_ends(facts, kind, code, reason):
    assert explain_end(facts) == End(kind, code, reason)


def test_an_init_that_reported_nothing_is_our_failure():
    end = explain_end(EndFacts(detail="init died"))
    assert (end.kind, end.exit_code, end.reason) == (
        "internal",
        125,
        "killed: AKIOS failed: init died",
    )


def test_limits_that_were_felt_are_told_with_the_agents_own_end():
    usage = Usage(oom_kills=2, memory_limit=MIB, pids_denied=7, pids_limit=64)
    assert explain_end(EndFacts(status=1, usage=usage)).reason == (
        "exited 1; memory limit 1 MiB was reached, 2 OOM kills; limit of 64 processes was reached, 7 forks refused"
    )


def test_a_detail_with_braces_is_text():
    assert (
        explain_end(EndFacts(cause="loop", detail="{status} {0}")).reason == "killed: {status} {0}"
    )


@settings(max_examples=200, deadline=None)
@given(
    st.sampled_from(["", *REASONS]),
    st.integers(-1, 255),
    st.integers(0, 64),
    st.text(alphabet=string.printable, max_size=10),
    st.integers(0, 3),
)
def test_every_combination_has_an_end_in_the_range_of_exit_codes(
    cause, status, signal, detail, oom_kills
):
    end = explain_end(EndFacts(cause, status, signal, Usage(oom_kills=oom_kills), Limits(), detail))
    assert end.kind in REASONS and 0 <= end.exit_code <= 255 and end.reason
    if cause:
        assert end.kind == cause
        if REASONS[cause].exit_code >= 0:
            assert end.exit_code == REASONS[cause].exit_code


@pytest.mark.parametrize(
    ("status", "signal", "told"),
    [(135, 7, True), (135, 0, True), (139, 11, False), (0, 0, False)],
)
def test_a_death_by_sigbus_names_shared_memory(status: int, signal: int, told: bool) -> None:
    limits = Limits(shm=64 << 20)
    reason = explain_end(EndFacts(status=status, signal=signal, limits=limits)).reason
    assert ("/dev/shm may be full: it holds 64 MiB (limits.shm)" in reason) == told
    half = EndFacts(status=status, signal=signal, limits=Limits(memory=3 << 30))
    assert ("it holds 1.5 GiB (limits.shm)" in explain_end(half).reason) == told
