"""The launcher: starts, clones, says which step failed, and comes back when it is killed."""

from __future__ import annotations

import errno
import os
import signal
import socket
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
import trio
import trio.testing
from akiosd.daemon.base.status_channel import StatusChannel
from akiosd.errors import CageFailedError, KernelError
from akiosd.kernel import launcher as launcher_module
from akiosd.kernel import pidfd
from akiosd.kernel.fds import Fd
from akiosd.kernel.launcher import CAGE_FLAGS, CLONE_NEWPID, Launcher
from akiosd.values.plan import F_EXIST_OK, F_SAME_KIND, Plan, StatusMessage, Step, encode
from tests.kernel.launcher_harness import GOOD_STEPS, children, needs_root, plan_of

pytestmark = needs_root


@asynccontextmanager
async def started() -> AsyncIterator[Launcher]:
    before = children()
    launcher = Launcher()
    await launcher.start()
    try:
        yield launcher
    finally:
        with trio.CancelScope(shield=True):
            await launcher.close()
    assert children() == before, "a process was left behind"


async def clone(
    launcher: Launcher, plan: Plan, fds: tuple[int, ...] = ()
) -> tuple[list[StatusMessage], int]:
    """Every message of the child, and its exit code (negative: the signal).  A child that is ready
    is let go.
    """
    ours, theirs = StatusChannel.pair()
    messages = []
    no_group = os.open("/", os.O_PATH | os.O_CLOEXEC)
    with theirs, Fd(no_group):
        _pid, process = await clone_without_group(launcher, plan, theirs.fileno(), no_group, fds)
    with process:
        while (message := (await ours.receive())[0]) is not None:
            messages.append(message)
            if message.kind == "ready":
                break
        ours.close()
        await trio.lowlevel.wait_readable(process.fileno())
        result = os.waitid(os.P_PIDFD, process.fileno(), os.WEXITED | pidfd.WALL)
    assert result is not None
    return messages, result.si_status if result.si_code == os.CLD_EXITED else -result.si_status


async def clone_without_group(
    launcher: Launcher, plan: Plan, status: int, group: int, fds: tuple[int, ...]
) -> tuple[int, Fd]:
    return await launcher.clone_cage(encode(plan), status, group, fds, CAGE_FLAGS)


@pytest.fixture(autouse=True)
def stay_in_our_group(monkeypatch: pytest.MonkeyPatch) -> None:
    """clone_cage always asks for a cgroup; here children stay where the test is."""
    monkeypatch.setattr(launcher_module, "CLONE_INTO_CGROUP", 0)


async def test_a_plan_without_a_command_ends_well() -> None:
    async with started() as launcher:
        assert await clone(launcher, plan_of(*GOOD_STEPS)) == ([], 0)


async def test_a_plan_with_a_command_waits_behind_every_fence() -> None:
    async with started() as launcher:
        messages, code = await clone(launcher, plan_of(*GOOD_STEPS, command=b"/no/such/program"))
        assert [message.kind for message in messages] == ["ready"] and code == 0
        assert messages[0].err == 0, "the refusal by Landlock was proved"


@pytest.mark.parametrize("at", range(0, len(GOOD_STEPS), 3))
async def test_a_failing_step_is_named_by_its_number(at: int) -> None:
    """The step asks for a descriptor that is no namespace: EINVAL, wherever it stands."""
    failing = Step(op="setns", what="not a namespace", fd="bad")
    async with started() as launcher:
        null = os.open("/dev/null", os.O_RDONLY | os.O_CLOEXEC)
        with Fd(null):
            steps = (*GOOD_STEPS[:at], failing, *GOOD_STEPS[at:])
            messages, code = await clone(launcher, plan_of(*steps), (null,))
    assert [(m.kind, m.step) for m in messages] == [("failed", at)] and code == 125
    assert messages[0].err in (errno.EINVAL, errno.EBADF)


@pytest.mark.parametrize(
    ("step", "err"),
    [
        (Step(op="mkdir", what="", a=b"", b=b"a/b", u0=0o755), errno.EINVAL),
        (Step(op="mkdir", what="", a=b"../..", b=b"out", u0=0o755), errno.EXDEV),
        (Step(op="mkdir", what="", a=b"link", b=b"out", u0=0o755), errno.ELOOP),
        (Step(op="mkdir", what="", a=b"absent", b=b"out", u0=0o755), errno.ENOENT),
        (Step(op="bind", what="", a=b"dir", c=b"link"), errno.ELOOP),
        (Step(op="bind", what="", a=b"dir", c=b"absent"), errno.ENOENT),
        (Step(op="fsmount", what="", a=b"nosuchfs", c=b"dir"), errno.ENODEV),
        (Step(op="fsmount", what="", a=b"tmpfs", b=b"size\0nonsense\0", c=b"dir"), errno.EINVAL),
        (Step(op="fsmount", what="", a=b"tmpfs", b=b"size", c=b"dir"), errno.EINVAL),
        (Step(op="seccomp", what="", a=bytes(7)), errno.EINVAL),
        (Step(op="rlimit", what="", u0=99), errno.EINVAL),
    ],
)
async def test_a_step_that_may_not_succeed_fails(step: Step, err: int) -> None:
    make = (
        Step(op="mkdir", what="", b=b"dir", u0=0o755),
        Step(op="symlink", what="", b=b"link", c=b"dir"),
    )
    steps = (*GOOD_STEPS[:2], *make, step)
    async with started() as launcher:
        messages, code = await clone(launcher, plan_of(*steps))
    assert [(m.kind, m.step, m.err) for m in messages] == [
        ("failed", len(steps) - 1, err)
    ] and code == 125


async def test_a_cover_of_the_other_kind_is_left_out_and_one_of_the_same_kind_is_not() -> None:
    root = GOOD_STEPS[:2]
    make = (
        Step(op="mkdir", what="", b=b"empty", u0=0o755),
        Step(op="mkdir", what="", b=b"secret", u0=0o755),
        Step(op="mkdir", what="", a=b"secret", b=b"key", u0=0o755),
        Step(op="mkfile", what="", b=b"file", u0=0o100644),
    )
    flags = F_EXIST_OK | F_SAME_KIND
    cover = tuple(
        Step(op="bind", what="", a=source, c=b"secret", flags=flags)
        for source in (b"file", b"empty")
    )
    below_a_file = Step(op="bind", what="", a=b"empty", c=b"file/x", flags=flags)
    probe = Step(op="bind", what="is the key still there?", a=b"empty", c=b"secret/key")
    async with started() as launcher:
        messages, _ = await clone(launcher, plan_of(*root, *make, *cover, below_a_file, probe))
        assert [(m.kind, m.step, m.err) for m in messages] == [("failed", 9, errno.ENOENT)], (
            "it is hidden"
        )
        assert await clone(launcher, plan_of(*root, *make, cover[0], below_a_file, probe)) == (
            [],
            0,
        )


async def test_it_is_restarted_when_it_was_killed() -> None:
    async with started() as launcher:
        first = launcher._pid
        os.kill(first, signal.SIGKILL)
        with Fd(os.pidfd_open(first)) as process:
            await trio.lowlevel.wait_readable(process.fileno())
        assert await clone(launcher, plan_of(*GOOD_STEPS)) == ([], 0), (
            "the request had not begun: nobody notices"
        )
        assert launcher._pid not in (0, first)


async def test_a_request_that_died_with_it_is_told_and_the_next_one_works() -> None:
    async with started() as launcher:
        first = launcher._pid
        os.kill(first, signal.SIGSTOP)

        async def ask() -> None:
            with pytest.raises(CageFailedError, match="ended while"):
                await clone(launcher, plan_of(*GOOD_STEPS))

        async with trio.open_nursery() as nursery:
            nursery.start_soon(ask)
            await trio.testing.wait_all_tasks_blocked()
            os.kill(first, signal.SIGKILL)
        assert launcher._pid not in (0, first)
        assert await clone(launcher, plan_of(*GOOD_STEPS)) == ([], 0)


async def test_it_leaves_when_its_socket_is_closed_and_starts_again_when_it_is_needed() -> None:
    async with started() as launcher:
        pid = launcher._pid
        await launcher.close()
        assert launcher._pid == 0 and not Path(f"/proc/{pid}").exists()
        assert await clone(launcher, plan_of(*GOOD_STEPS)) == ([], 0)
        assert launcher._pid not in (0, pid)


async def test_a_program_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(KernelError, match="cannot be started"):
        await Launcher(tmp_path / "absent").start()


async def test_requests_at_once_are_answered_each() -> None:
    async with started() as launcher:
        found: list[int] = []
        pid = launcher._pid

        async def one() -> None:
            messages, code = await clone(launcher, plan_of(*GOOD_STEPS))
            assert messages == []
            found.append(code)

        async with trio.open_nursery() as nursery:
            for _ in range(20):
                nursery.start_soon(one)
        assert found == [0] * 20 and launcher._pid == pid


async def test_the_launcher_sees_nothing_of_the_host_and_cannot_ignore_a_quota() -> None:
    async with started() as launcher:
        mounts = Path(f"/proc/{launcher._pid}/mountinfo").read_text().splitlines()
        assert len(mounts) == 1 and " - tmpfs " in mounts[0]
        status = Path(f"/proc/{launcher._pid}/status").read_text()
        effective = int(
            next(line.split()[1] for line in status.splitlines() if line.startswith("CapEff")), 16
        )
        assert not effective >> 24 & 1, "CAP_SYS_RESOURCE"
        # stdio (its stderr is the daemon's), the control socket, and a place kept for the proof
        links = Path(f"/proc/{launcher._pid}/fd").iterdir()
        assert {link.name: os.readlink(link) for link in links}.keys() == {"0", "1", "2", "3", "4"}


async def test_a_child_dies_with_the_daemons_end_of_the_status_socket() -> None:
    async with started() as launcher:
        ours, theirs = StatusChannel.pair()
        with theirs:
            plan = plan_of(*GOOD_STEPS, command=b"/x")
            _pid, process = await clone_without_group(
                launcher, plan, theirs.fileno(), theirs.fileno(), ()
            )
        message, _ = await ours.receive()
        assert message is not None and message.kind == "ready"
        ours.close()
        with process:
            await pidfd.wait_exit(process.fileno())


async def test_clone_into_what_is_no_group_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    async with started() as launcher:
        left, right = socket.socketpair()
        monkeypatch.undo()
        pid = launcher._pid
        with left, right, pytest.raises(KernelError) as caught:
            await launcher.clone_cage(
                encode(plan_of()), left.fileno(), right.fileno(), (), CLONE_NEWPID
            )
        assert caught.value.errno in (errno.EBADF, errno.EINVAL)
        assert launcher._pid == pid


async def test_the_protection_of_the_service_against_oom_is_not_handed_on() -> None:
    own = Path("/proc/self/oom_score_adj")
    before = own.read_text()
    own.write_text("100")
    try:
        async with started() as launcher:
            assert Path(f"/proc/{launcher._pid}/oom_score_adj").read_text() == "0\n"
    finally:
        own.write_text(before)
