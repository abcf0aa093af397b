"""Plans that no compiler of ours would write: the launcher survives and answers, the child fails
and is gone.
"""

from __future__ import annotations

import os
import random
import shutil
import signal
import socket
import struct
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from akiosd.kernel.launcher import CAGE_FLAGS, PROGRAM
from akiosd.values import plan as form
from akiosd.values.plan import encode
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from tests.kernel.launcher_harness import (
    GOOD_STEPS,
    Blocking,
    Outcome,
    children,
    needs_root,
    plan_of,
)

pytestmark = needs_root

ROOT = Path(__file__).resolve().parents[2]
GOOD = encode(plan_of(*GOOD_STEPS, command=b"/bin/true"))
OPS_AT, OP_SIZE, HEADER = 40, 72, 40
# A plan may ask for a limit on itself, or for a filter; dying of these is no fault of the launcher.
OWN_LIMITS = (-signal.SIGXCPU, -signal.SIGXFSZ, -signal.SIGSYS, -signal.SIGKILL)

positions = st.integers(0, len(GOOD) - 1)
edits = st.lists(st.tuples(positions, st.integers(0, 255)), min_size=1, max_size=8)
words = st.sampled_from(
    [0, 1, 2, 7, 41, 2**31 - 1, 2**31, 2**32 - 1, 2**32 - 8, len(GOOD), len(GOOD) - 1]
)
header_edits = st.lists(st.tuples(st.integers(2, 9).map(lambda n: 4 * n), words), max_size=3)
step_edits = st.lists(
    st.tuples(
        st.integers(0, len(GOOD_STEPS) - 1), st.integers(0, 15).filter(lambda n: n != 3), words
    ),
    max_size=3,
)


def alter(
    changes: list[tuple[int, int]], heads: list[tuple[int, int]], steps: list[tuple[int, int, int]]
) -> bytes:
    data = bytearray(GOOD)
    for at, value in changes:
        data[at] = value
    for at, value in heads:
        struct.pack_into("<I", data, at, value)
    for number, word, value in steps:
        struct.pack_into("<I", data, OPS_AT + OP_SIZE * number + 4 * word, value)
    return bytes(data)


def check(outcome: Outcome, plan: bytes) -> None:
    if outcome.answer:
        assert os.strerror(outcome.answer) and not outcome.messages
        return
    kinds = [message.kind for message in outcome.messages]
    assert outcome.code in (0, 125, *OWN_LIMITS), f"the child ended with {outcome.code}"
    if outcome.code == 125 and not closes_status(plan):
        assert kinds == ["failed"], "a child that fails says so"
    for message in outcome.messages:
        assert message.step <= struct.unpack_from("<I", plan, 8)[0] and message.kind in (
            "failed",
            "ready",
            "parked",
        )
        assert 0 <= message.err < 4096


def closes_status(plan: bytes) -> bool:
    """Does a step of it close or replace the status socket, or end its own writing?"""
    count, at = struct.unpack_from("<II", plan, 8)
    for number in range(min(count, (len(plan) - at) // OP_SIZE if at < len(plan) else 0)):
        kind = struct.unpack_from("<I", plan, at + OP_SIZE * number)[0]
        u0 = struct.unpack_from("<Q", plan, at + OP_SIZE * number + 48)[0]
        replaces = (
            kind in (form.OPS["stdio"], form.OPS["close_range"])
            and u0 & 0xFFFFFFFF <= form.FD_STATUS
        )
        if replaces or kind in (form.OPS["seccomp"], form.OPS["pty"], form.OPS["cgroup_v1"]):
            return True
    return False


@contextmanager
def opened(program: Path = PROGRAM) -> Iterator[Blocking]:
    before = children()
    launcher = Blocking(program)
    try:
        yield launcher
        assert_works(launcher)
    finally:
        code = launcher.close()
    assert code == 0 and children() == before, "a process was left behind"


def assert_works(launcher: Blocking) -> None:
    outcome = launcher.run(GOOD)
    assert (outcome.answer, [m.kind for m in outcome.messages], outcome.code) == (0, ["ready"], 0)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Blocking]:
    with opened() as found:
        yield found


@given(edits, header_edits, step_edits)
@example([], [(12, 41)], [])  # steps that are not aligned
@example([], [(16, 4)], [])  # argv that is not aligned
@example([], [(8, 2**32 - 1)], [])  # more steps than the plan holds
@example([], [(24, len(GOOD))], [])  # a command behind the end
@example([], [], [(0, 4, 2**32 - 8)])  # a string whose end wraps around
@example([], [], [(10, 7, 2**31)])  # options longer than the plan
@settings(
    max_examples=400, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_broken_plan_harms_nobody(
    launcher: Blocking,
    changes: list[tuple[int, int]],
    heads: list[tuple[int, int]],
    steps: list[tuple[int, int, int]],
) -> None:
    plan = alter(changes, heads, steps)
    check(launcher.run(plan), plan)


@given(st.binary(max_size=400))
@settings(
    max_examples=50, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_bytes_that_are_no_plan_are_refused(launcher: Blocking, data: bytes) -> None:
    assert launcher.run(data).answer > 0
    head = struct.pack("<II", form.MAGIC, len(data) + 8)
    plan = head + data
    check(launcher.run(plan), plan.ljust(HEADER, b"\0"))


@pytest.mark.parametrize(
    "size", [0, 1, 39, len(GOOD) - 1, len(GOOD) + 1, len(GOOD) + (1 << 20), 2**32 - 1]
)
def test_a_size_that_is_not_the_plans_is_refused(launcher: Blocking, size: int) -> None:
    assert launcher.run(GOOD, size=size).answer > 0
    assert_works(launcher)


def test_a_plan_cut_short_is_refused_at_every_length(launcher: Blocking) -> None:
    for length in range(0, len(GOOD), 37):
        assert launcher.run(GOOD[:length]).answer > 0
    assert_works(launcher)


@pytest.mark.parametrize(
    "request_bytes",
    [
        b"",
        b"x",
        form.REQUEST.pack(0, form.REQUEST_RUN, 0, 0, CAGE_FLAGS),
        form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, 5, 0, CAGE_FLAGS),
        form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, 0, 0, CAGE_FLAGS) + b"more",
    ],
)
def test_a_request_that_is_none_ends_the_launcher_and_nothing_else(request_bytes: bytes) -> None:
    """It lost the thread of the conversation; the daemon starts another."""
    before = children()
    launcher = Blocking(PROGRAM)
    launcher.socket.send(request_bytes)
    try:
        assert launcher.socket.recv(64) == b""
    finally:
        assert launcher.close() in (0, 125)
    assert children() == before


@pytest.mark.parametrize("kind", [0, 3, 2**32 - 1])
def test_a_request_of_no_known_kind_is_answered(launcher: Blocking, kind: int) -> None:
    launcher.socket.send(form.REQUEST.pack(form.MAGIC, kind, 0, 0, 0))
    pid, err = form.REPLY.unpack(launcher.socket.recv(form.REPLY.size))
    assert pid == -1 and err > 0
    assert_works(launcher)


def test_too_many_descriptors_end_the_conversation() -> None:
    launcher = Blocking(PROGRAM)
    null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
    try:
        request = form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, 200, len(GOOD), CAGE_FLAGS)
        socket.send_fds(launcher.socket, [request], [null] * 200)
        assert launcher.socket.recv(64) == b""
    finally:
        os.close(null)
        assert launcher.close() == 125


@pytest.mark.skipif(shutil.which("cc") is None, reason="there is no C compiler")
def test_the_sanitizers_find_nothing(tmp_path: Path) -> None:
    """The same plans once more, in a launcher built with the address and undefined-behaviour
    sanitizers.
    """
    command = [sys.executable, ROOT / "native" / "build_shim.py", tmp_path]
    built = subprocess.run(
        command, env={**os.environ, "AKIOS_SANITIZE": "1"}, capture_output=True, text=True
    )
    assert built.returncode == 0, built.stderr
    chance = random.Random(20240229)
    # Its children leave with _exit, and leaks are looked for with ptrace, which a child in a cage
    # cannot do.
    script = tmp_path / "launcher"
    script.write_text(
        f"#!/bin/sh\nASAN_OPTIONS=detect_leaks=0 exec {tmp_path}/akiosd/kernel/akios-launcher\n"
    )
    script.chmod(0o700)
    with opened(script) as launcher:
        for _ in range(300):
            changes = [
                (chance.randrange(len(GOOD)), chance.randrange(256))
                for _ in range(chance.randrange(1, 6))
            ]
            heads = [(4 * chance.randrange(2, 10), chance.choice([0, 1, 41, 2**32 - 8, len(GOOD)]))]
            plan = alter(changes, heads if chance.random() < 0.3 else [], [])
            check(launcher.run(plan), plan)
        for plan in (
            alter([], [(12, 41)], []),
            alter([], [(16, 4)], []),
            alter([], [], [(0, 4, 2**32 - 8)]),
        ):
            check(launcher.run(plan), plan)
