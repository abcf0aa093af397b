"""Protections that stand behind others: no attack from inside notices when one of them is gone, so
each is looked at.

A refusal alone does not show who refused: the kernel refuses much by itself, until a bug in it says
otherwise.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.test_identity import Standing

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]

# Action of calls.c → the call that the filter is to stop, whatever the kernel thinks of it.
FILTERED = {"tiocsti": "ioctl", "tioccons": "ioctl", "move_break": "prctl", "make_char": "mknodat",
            "make_char_old": "mknod", "real_time": "", "become_root": ""}  # fmt: skip


@pytest.mark.parametrize("uid", CALLERS)
def test_init_holds_nothing_that_it_does_not_need(daemon: Daemon, uid: int) -> None:
    """Stdio, the status socket, and the descriptor by which it hears of its children."""
    with Standing(daemon, uid) as cage:
        found = {
            int(fd): os.readlink(f"/proc/{cage.pid}/fd/{fd}")
            for fd in os.listdir(f"/proc/{cage.pid}/fd")
        }
    kinds = [found[fd].partition(":")[0].partition("[")[0] for fd in sorted(found)]
    assert kinds == ["pipe", "pipe", "pipe", "socket", "anon_inode"], found
    assert "[signalfd]" in found[max(found)]


@pytest.mark.parametrize("uid", CALLERS)
def test_init_is_not_dumpable(daemon: Daemon, uid: int) -> None:
    """Then its files in /proc belong to root, and none of its own uid may trace it (proc(5),
    ptrace(2)).
    """
    with Standing(daemon, uid) as cage:
        agent = cage.processes()[-1]
        owners = [os.stat(f"/proc/{pid}/environ").st_uid for pid in (cage.pid, agent)]
        assert owners == [0, int(cage.status(agent)["Uid"][0])] and owners[1] > 0


def test_no_group_of_the_daemon_is_left() -> None:
    own = Daemon(prefix=["setpriv", "--groups", "4,27,42"])
    try:
        own.start()
        assert own.process is not None
        assert "\nGroups:\t4 27 42 \n" in Path(f"/proc/{own.process.pid}/status").read_text(), (
            "the control"
        )
        with Standing(own, NOBODY) as cage:
            assert [cage.status(pid)["Groups"] for pid in cage.processes()] == [[], []]
    finally:
        own.close()


def test_files_of_the_agent_are_not_everybodys_to_write(daemon: Daemon) -> None:
    assert daemon.run("sh", "-c", "umask", preexec_fn=lambda: os.umask(0)).stdout == "0022\n"


@pytest.mark.parametrize("uid", CALLERS)
def test_what_the_kernel_refuses_too_is_stopped_before_it(
    daemon: Daemon, programs: Programs, uid: int
) -> None:
    where = programs.workspace("calls", uid=uid)
    report = daemon.report(str(where / "calls"), *FILTERED, cwd=where, uid=uid, flags=["--discard"])
    denied = [
        record["name"]
        for record in daemon.events(report["cage"])
        if record.get("verdict") == "denied"
    ]
    assert denied == [name for name in FILTERED.values() if name]
