"""Verbs that a signal ends undo what they began: nothing of theirs stays beside a file."""

from __future__ import annotations

import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until

ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
STATUS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
MAKE = "import pathlib\nfor n in range(4000): pathlib.Path(f'f{n}').write_text(str(n))\n"


@pytest.fixture(scope="module")
def daemon() -> Iterator[Daemon]:
    own = Daemon()
    try:
        yield own.start()
    finally:
        own.close()


def temporaries(place: Path) -> list[Path]:
    return list(place.glob(".akios-*"))


def end_amid(process: subprocess.Popen[Any], place: Path, *signals: signal.Signals) -> int:
    """Send them while it writes below ``place``; returns its exit status."""
    try:
        assert wait_until(lambda: bool(temporaries(place)) or process.poll() is not None)
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert temporaries(place), "it was over already"
        for number in signals:
            process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        return process.wait(60)
    finally:
        process.kill()


@pytest.mark.parametrize("ends", [(one,) for one in ENDS] + [(signal.SIGHUP, signal.SIGTERM)])
def test_a_commit_that_is_ended_leaves_nothing(
    daemon: Daemon, ends: tuple[signal.Signals, ...]
) -> None:
    """The control: the same commit, undisturbed, and one that is killed leaves what it made."""
    where = daemon.workspace(uid=NOBODY)
    daemon.run("/usr/bin/python3", "-c", MAKE, cwd=where, uid=NOBODY)
    commit = ("commit", "--yes")
    status = end_amid(daemon.popen(*commit, uid=NOBODY, cwd=where), where, *ends)
    assert status in {STATUS[one] for one in ends}
    assert list(where.iterdir()) == []
    if ends == (signal.SIGTERM,):
        killed = end_amid(daemon.popen(*commit, uid=NOBODY, cwd=where), where, signal.SIGKILL)
        (left,) = temporaries(where)
        assert killed == -signal.SIGKILL
    done = daemon.ctl(*commit, uid=NOBODY, cwd=where)
    assert done.returncode == 0, done.stderr
    assert len(list(where.glob("f*"))) == 4000
    if ends == (signal.SIGTERM,):
        assert left.name in done.stderr and left.exists()


@pytest.mark.parametrize("number", ENDS)
def test_a_copy_that_is_ended_leaves_what_was_there(daemon: Daemon, number: signal.Signals) -> None:
    where, name = daemon.workspace(uid=NOBODY), f"copy-{number}"
    out = daemon.workspace(uid=NOBODY)
    up = daemon.ctl("cage", "up", name, uid=NOBODY, cwd=where)
    assert up.returncode == 0, up.stderr
    words = ("run", "--cage", name, "--", "truncate", "-s", "6G", "/tmp/large")
    assert daemon.ctl(*words, uid=NOBODY, cwd=where).returncode == 0
    (out / "large").write_text("mine")
    os.chown(out / "large", NOBODY, NOBODY)
    copy = daemon.popen("cp", f"{name}:/tmp/large", str(out), uid=NOBODY, cwd=where)
    assert end_amid(copy, out, number) == STATUS[number]
    assert [path.name for path in out.iterdir()] == ["large"]
    assert (out / "large").read_text() == "mine"
    down = daemon.ctl("cage", "down", name, "--discard", uid=NOBODY, cwd=where)
    assert down.returncode == 0, down.stderr
