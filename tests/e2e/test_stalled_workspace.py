"""A file system of the caller's that stops answering holds up the caller's cage, and nothing
else.
"""

from __future__ import annotations

import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosctl.client import Client
from akiosd.errors import AkiosError
from akiosd.kernel.scm_rights import close_fds
from akiosd.values.policy import Policy
from akiosd.wire.messages import Bind, Ended, Run, Started

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import descendants, wait_until
from tests.e2e.stalling_fuse import GETATTR, StallingFuse

needs_fuse = pytest.mark.skipif(
    not os.path.exists("/dev/fuse"), reason="this kernel has no /dev/fuse"
)


@pytest.fixture
def private() -> Iterator[Daemon]:
    """In a mount namespace of its own, which takes what is mounted there along."""
    daemon = Daemon(prefix=["unshare", "--mount", "--propagation", "private"])
    try:
        yield daemon.start()
    finally:
        daemon.close()


@pytest.fixture
def fuse(private: Daemon) -> Iterator[StallingFuse]:
    assert private.process is not None
    served = StallingFuse(private.process.pid, private.workspace(uid=NOBODY), NOBODY)
    try:
        yield served
    finally:
        served.close()


def run(private: Daemon, workspace: str, *binds: str, script: bytes = b"true") -> Client:
    """Ask for a cage, as the user whose files they are; the answer is still to come."""
    assert private.process is not None
    fds = [os.open(path, os.O_PATH | os.O_CLOEXEC) for path in (workspace, *binds)]
    request = Run(
        policy=Policy(),
        argv=(b"sh", b"-c", script),
        command=b"/bin/sh",
        cwd=b"/ws",
        workspace=b"/ws",
        home=b"/home/agent",
        user_name="agent",
        env={b"PATH": b"/usr/bin:/bin"},
        allow_degraded=True,
        binds=tuple(Bind(path=b"/bound%d" % number, fd=number + 1) for number in range(len(binds))),
    )
    os.setegid(NOBODY)
    os.seteuid(NOBODY)
    try:
        client = Client(str(private.socket))
    finally:
        os.seteuid(0)
        os.setegid(0)
    client.send(request, fds)
    close_fds(fds)
    return client


def refusal(client: Client) -> str:
    """Why a cage was not started, whether it was one already or not."""
    try:
        ended = client.receive().message
    except AkiosError as error:
        return str(error)
    assert isinstance(ended, Ended) and ended.exit_code == 125, ended
    return ended.reason


def exit_code(private: Daemon, workspace: str) -> int:
    with run(private, workspace) as client:
        started = client.receive()
        assert isinstance(started.message, Started), started.message
        close_fds(started.fds)
        ended = client.receive().message
        assert isinstance(ended, Ended), ended
        assert ended.exit_code == 0, ended.reason
        return ended.exit_code


def host_path(private: Daemon) -> str:
    assert private.process is not None
    return f"/proc/{private.process.pid}/root{private.workspace(uid=NOBODY)}"


@needs_fuse
def test_a_file_system_that_answers_is_a_workspace(private: Daemon, fuse: StallingFuse) -> None:
    assert exit_code(private, fuse.path) == 0


@needs_fuse
@pytest.mark.parametrize(
    "where", ["workspace", pytest.param("bind", marks=pytest.mark.named_set("stalls"))]
)
def test_others_start_while_a_file_system_does_not_answer(
    private: Daemon, fuse: StallingFuse, where: str
) -> None:
    fuse.stall()
    trees = [fuse.path] if where == "workspace" else [host_path(private), fuse.path]
    with run(private, *trees) as client:
        asked = fuse.wait_stalled()
        for _ in range(3):
            assert exit_code(private, host_path(private)) == 0
        said = refusal(client)
    assert asked.startswith("stalled ") and "answer within" in said and "on fuse" in said


@needs_fuse
def test_the_control_a_question_to_it_is_not_answered(fuse: StallingFuse) -> None:
    """stat(2), as it is without the flag that akiosd sets, waits until the file system is gone."""
    fd = os.open(fuse.path, os.O_PATH | os.O_CLOEXEC)
    fuse.stall()
    child = os.fork()
    if child == 0:
        try:
            os.fstat(fd)
        finally:
            os._exit(0)
    assert fuse.wait_stalled() == f"stalled {GETATTR}\n"
    assert os.waitpid(child, os.WNOHANG) == (0, 0)
    fuse.close()
    assert os.waitpid(child, 0) == (child, 0)
    os.close(fd)


@needs_fuse
def test_what_waits_is_gone_with_the_file_system(private: Daemon, fuse: StallingFuse) -> None:
    assert private.process is not None
    before = descendants(private.process.pid)
    fuse.stall()
    with run(private, fuse.path) as client:
        assert "answer within" in refusal(client)
    assert descendants(private.process.pid) - before, "nothing waits, so its end would show nothing"
    fuse.close()
    assert wait_until(lambda: len(descendants(private.process.pid)) <= len(before))  # type: ignore[union-attr]
    assert private.stop() == 0


@needs_fuse
@pytest.mark.named_set("stalls")
def test_the_daemon_can_be_stopped_while_a_file_system_does_not_answer(
    private: Daemon, fuse: StallingFuse
) -> None:
    fuse.stall()
    with run(private, host_path(private), fuse.path) as client:
        assert "answer within" in refusal(client)
    private.stop()
    fuse.close()
    private.start()
    assert exit_code(private, host_path(private)) == 0


def waits(pid: int) -> bool:
    """Whether it is in a call that no signal ends (proc_pid_stat(5)), although it was killed."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return False
    pending = int(status.partition("\nShdPnd:\t")[2][:16], 16)
    return "\nState:\tD" in status and bool(pending >> (signal.SIGKILL - 1) & 1)


@needs_fuse
@pytest.mark.named_set("stalls")
def test_the_next_daemon_starts_while_a_file_system_still_does_not_answer(
    private: Daemon, fuse: StallingFuse
) -> None:
    """What waits in a cage cannot be killed, and the cage's control group not be removed."""
    assert private.process is not None
    with run(private, fuse.path, script=b"read line; ls /ws/not-asked-for-yet") as client:
        started = client.receive()
        assert isinstance(started.message, Started), started.message
        fuse.stall()
        os.write(started.fds[0], b"go on\n")
        assert fuse.wait_stalled().startswith("stalled ")
        started_by_it = descendants(private.process.pid)
        private.stop(signal.SIGKILL)
        close_fds(started.fds)
    assert wait_until(lambda: any(waits(pid) for pid in started_by_it)), (
        "a start would show nothing"
    )
    private.start()
    assert exit_code(private, host_path(private)) == 0
    assert (
        any(waits(pid) for pid in started_by_it) and "an earlier akiosd" in private.log.read_text()
    )
