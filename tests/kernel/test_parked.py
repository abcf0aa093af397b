"""A child that waits for the rest of its plan: goes on from there, says which step failed, ends
with its socket.
"""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from akiosd.kernel.launcher import PROGRAM
from akiosd.kernel.pidfd import WALL
from akiosd.values import plan as form
from akiosd.values.plan import Plan, StatusMessage, Step, decode_status, encode
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tests.kernel.launcher_harness import GOOD_STEPS, Blocking, needs_root, plan_of

pytestmark = needs_root

PARK = Step(op="park", what="wait")
# The new root is built by the one plan and pivoted to by the other.
AT = next(number for number, step in enumerate(GOOD_STEPS) if step.op == "setattr")
FIRST, REST = plan_of(*GOOD_STEPS[:AT], PARK), plan_of(*GOOD_STEPS[AT:], command=b"/bin/true")
ENCODED = encode(REST)


class Child:
    """Parked under a launcher that is driven without an event loop."""

    def __init__(self, launcher: Blocking, plan: Plan = FIRST) -> None:
        self.socket, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        )
        self.socket.settimeout(20)
        data = encode(plan)
        with theirs, memory(data) as fd:
            fds = [fd, theirs.fileno(), theirs.fileno()]
            flags = 0x20000000 | 0x00020000  # a pid and a mount namespace
            request = form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, len(fds), len(data), flags)
            socket.send_fds(launcher.socket, [request], fds)
            reply, received, _, _ = socket.recv_fds(
                launcher.socket, form.REPLY.size, 1, socket.MSG_CMSG_CLOEXEC
            )
        assert form.REPLY.unpack(reply)[1] == 0
        self.process = received[0]

    def receive(self) -> StatusMessage | None:
        data = self.socket.recv(64)
        return decode_status(data) if data else None

    def send(self, plan: bytes, size: int | None = None, more: list[int] | None = None) -> None:
        with memory(plan) as fd:
            fds = [fd, *(more or [])]
            length = len(plan) if size is None else size
            request = form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, len(fds), length, 0)
            socket.send_fds(self.socket, [request], fds)

    def end(self) -> int:
        """Its exit code, negative for a signal."""
        self.socket.close()
        result = os.waitid(os.P_PIDFD, self.process, os.WEXITED | WALL)
        os.close(self.process)
        assert result is not None
        return result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


@contextmanager
def memory(data: bytes) -> Iterator[int]:
    fd = os.memfd_create("plan", os.MFD_CLOEXEC)
    try:
        os.write(fd, data)
        yield fd
    finally:
        os.close(fd)


@pytest.fixture(scope="module")
def launcher() -> Iterator[Blocking]:
    found = Blocking(PROGRAM)
    yield found
    assert found.close() == 0


def kinds_of(child: Child) -> list[StatusMessage]:
    found = []
    while (message := child.receive()) is not None:
        found.append(message)
        if message.kind in ("ready", "failed"):
            break
    return found


def test_it_goes_on_where_it_waited(launcher: Blocking) -> None:
    child = Child(launcher)
    message = child.receive()
    assert message is not None and message.kind == "parked"
    child.send(ENCODED)
    ready = child.receive()
    assert ready is not None and (ready.kind, ready.err) == ("ready", 0), (
        "Landlock's refusal was proved"
    )
    assert child.end() == 0


def test_a_step_that_fails_is_counted_in_the_plan_that_came(launcher: Blocking) -> None:
    child = Child(launcher)
    child.receive()
    failing = Step(op="setns", what="not a namespace", fd="bad")
    with open(os.devnull) as null:
        child.send(encode(plan_of(*GOOD_STEPS[AT : AT + 2], failing)), more=[null.fileno()])
    message = child.receive()
    assert message is not None and (message.kind, message.step, message.err) == (
        "failed",
        2,
        errno.EINVAL,
    )
    assert child.end() == 125


def test_a_first_part_that_fails_says_so_instead(launcher: Blocking) -> None:
    child = Child(
        launcher,
        plan_of(*GOOD_STEPS[:3], Step(op="root", what="no such place", a=b"/nowhere"), PARK),
    )
    message = child.receive()
    assert message is not None and (message.kind, message.step, message.err) == (
        "failed",
        3,
        errno.ENOENT,
    )
    assert child.end() == 125


def test_it_ends_when_nobody_needs_it(launcher: Blocking) -> None:
    child = Child(launcher)
    child.receive()
    assert child.end() == 0


def test_it_can_be_killed_while_it_waits(launcher: Blocking) -> None:
    child = Child(launcher)
    child.receive()
    signal.pidfd_send_signal(child.process, signal.SIGKILL)
    assert child.end() == -signal.SIGKILL


def test_it_is_told_apart_from_the_launcher(launcher: Blocking) -> None:
    child = Child(launcher)
    child.receive()
    fdinfo = Path(f"/proc/self/fdinfo/{child.process}").read_text()
    pid = next(int(line.split()[1]) for line in fdinfo.splitlines() if line.startswith("Pid:"))
    assert Path(f"/proc/{pid}/comm").read_text() == "akios-parked\n"
    assert child.end() == 0


@pytest.mark.parametrize(
    "message",
    [b"", b"x", bytes(form.REQUEST.size), form.REQUEST.pack(form.MAGIC, form.REQUEST_USERNS, 0, 0, 0),
     form.REQUEST.pack(form.MAGIC, form.REQUEST_RUN, 0, 4096, 0), form.REQUEST.pack(form.MAGIC, 99, 0, 0, 0)],
    ids=["empty", "short", "zeros", "another request", "no plan", "unknown"],
)  # fmt: skip
def test_what_is_no_plan_ends_it(launcher: Blocking, message: bytes) -> None:
    child = Child(launcher)
    child.receive()
    child.socket.send(message)
    found = kinds_of(child)
    # An empty message cannot be told from the end of the socket.
    assert [m.kind for m in found] == ([] if not message else ["failed"])
    assert child.end() == (0 if not message else 125)


@given(
    st.lists(st.tuples(st.integers(0, len(ENCODED) - 1), st.integers(0, 255)), max_size=6),
    st.sampled_from(
        [None, 0, 1, 39, 40, len(ENCODED) - 1, len(ENCODED) + 1, 1 << 20, (1 << 32) - 1]
    ),
)
@settings(
    max_examples=150, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
def test_a_broken_rest_harms_nobody(
    launcher: Blocking, changes: list[tuple[int, int]], size: int | None
) -> None:
    data = bytearray(ENCODED)
    for at, value in changes:
        data[at] = value
    child = Child(launcher)
    child.receive()
    child.send(bytes(data), size)
    child.socket.shutdown(socket.SHUT_WR)  # a second "park" meets the end at once
    found = kinds_of(child)
    assert all(m.kind in ("ready", "failed", "parked") and 0 <= m.err < 4096 for m in found)
    assert child.end() in (
        0,
        125,
        -signal.SIGXCPU,
        -signal.SIGXFSZ,
        -signal.SIGSYS,
        -signal.SIGKILL,
    )
