"""Verbs that a signal ends undo what they began: nothing of theirs stays beside a file."""

from __future__ import annotations

import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.test_api_workflows import text_of, tool

ENDS = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
STATUS = {signal.SIGTERM: 143, signal.SIGHUP: 129, signal.SIGINT: 130}
MAKE = "import pathlib\nfor n in range(4000): pathlib.Path(f'f{n}').write_text(str(n))\n"


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
    private: Daemon, ends: tuple[signal.Signals, ...]
) -> None:
    """The control: the same commit, undisturbed, and one that is killed leaves what it made."""
    where = private.workspace(uid=NOBODY)
    private.run("/usr/bin/python3", "-c", MAKE, cwd=where, uid=NOBODY)
    commit = ("commit", "--yes")
    status = end_amid(private.popen(*commit, uid=NOBODY, cwd=where), where, *ends)
    assert status in {STATUS[one] for one in ends}
    assert list(where.iterdir()) == []
    if ends == (signal.SIGTERM,):
        killed = end_amid(private.popen(*commit, uid=NOBODY, cwd=where), where, signal.SIGKILL)
        (left,) = temporaries(where)
        assert killed == -signal.SIGKILL
    done = private.ctl(*commit, uid=NOBODY, cwd=where)
    assert done.returncode == 0, done.stderr
    assert len(list(where.glob("f*"))) == 4000
    if ends == (signal.SIGTERM,):
        assert left.name in done.stderr and left.exists()


REPLACE = "for n in range(3000): open(f'f{n:04}', 'w').write('newer')\n"


def soon(holds: Callable[[], bool]) -> bool:
    """Looked at without a pause, as what is waited for is over in tenths of a second."""
    until = time.monotonic() + 60
    while time.monotonic() < until:
        if holds():
            return True
    return False


def is_replaced(path: Path) -> bool:
    return path.stat().st_size == len("newer")


def replaced(place: Path) -> int:
    return sum(map(is_replaced, place.glob("f*")))


@pytest.mark.parametrize("number", ENDS)
@pytest.mark.parametrize("apart_s", [0.0, 2.1])
def test_a_second_signal_does_not_cut_the_undoing_short(
    private: Daemon, number: signal.Signals, apart_s: float
) -> None:
    """And the same commit then works without --force, but for what the user changed since."""
    where = private.workspace(uid=NOBODY)
    for index in range(3000):
        (where / f"f{index:04}").write_text("old")
        os.chown(where / f"f{index:04}", NOBODY, NOBODY)
    private.run("/usr/bin/python3", "-c", REPLACE, cwd=where, uid=NOBODY)
    process = private.popen("commit", "--yes", uid=NOBODY, cwd=where, stderr=-1, text=True)
    try:
        # Written in their order, and put back from the last one.
        assert soon(lambda: is_replaced(where / "f1500"))
        process.send_signal(number)
        assert soon(lambda: not is_replaced(where / "f1500"))
        process.send_signal(signal.SIGSTOP)
        os.waitid(os.P_PID, process.pid, os.WSTOPPED | os.WNOWAIT)
        assert 0 < replaced(where) < 3000, "control: it was amid the undoing"
        time.sleep(apart_s)  # what comes sooner counts as the same signal
        process.send_signal(number)
        process.send_signal(signal.SIGCONT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == STATUS[number] and "undone" in error
    assert replaced(where) == 0 and temporaries(where) == []
    assert {path.read_text() for path in where.glob("f*")} == {"old"}
    mine = where / "f0007"
    before = mine.stat()
    mine.write_text("own")
    os.utime(mine, ns=(before.st_atime_ns, before.st_mtime_ns))
    refused = private.ctl("commit", "--yes", uid=NOBODY, cwd=where)
    assert refused.returncode == 125 and "1 change is in conflict" in refused.stderr
    assert "f0007" in refused.stderr and mine.read_text() == "own"
    done = private.ctl("commit", "--yes", "--skip-refused", uid=NOBODY, cwd=where)
    assert done.returncode == 0, done.stderr
    assert replaced(where) == 2999 and mine.read_text() == "own"


@pytest.mark.parametrize("count", [1, 3])
def test_a_workflow_finishes_writing_however_often_it_is_told(private: Daemon, count: int) -> None:
    where = private.workspace(uid=NOBODY)
    for index in range(3000):
        (where / f"f{index:04}").write_text("old")
        os.chown(where / f"f{index:04}", NOBODY, NOBODY)
    policy = {"filesystem": {"workspace": "rw"}}
    (where / "w.yml").write_text(text_of(tool("a", "python3", "-c", REPLACE, policy=policy)))
    words = ("workflow", "run", "w.yml")
    process = private.popen(*words, uid=NOBODY, cwd=where, stderr=-1, text=True)
    try:
        assert process.stderr is not None
        assert soon(lambda: is_replaced(where / "f0000"))
        process.send_signal(signal.SIGINT)
        told = iter(process.stderr.readline, "")
        assert any("it ends after that" in line for line in told)
        for _ in range(count - 1):
            assert replaced(where) < 3000, "control: it was amid the writing"
            process.send_signal(signal.SIGINT)
        _, error = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == STATUS[signal.SIGINT] and "stopped, with what ran" in error
    assert replaced(where) == 3000 and temporaries(where) == []


@pytest.mark.parametrize("number", ENDS)
def test_a_copy_that_is_ended_leaves_what_was_there(
    private: Daemon, number: signal.Signals
) -> None:
    where, name = private.workspace(uid=NOBODY), f"copy-{number}"
    out = private.workspace(uid=NOBODY)
    up = private.ctl("cage", "up", name, uid=NOBODY, cwd=where)
    assert up.returncode == 0, up.stderr
    words = ("run", "--cage", name, "--", "truncate", "-s", "6G", "/tmp/large")
    assert private.ctl(*words, uid=NOBODY, cwd=where).returncode == 0
    (out / "large").write_text("mine")
    os.chown(out / "large", NOBODY, NOBODY)
    copy = private.popen("cp", f"{name}:/tmp/large", str(out), uid=NOBODY, cwd=where)
    assert end_amid(copy, out, number) == STATUS[number]
    assert [path.name for path in out.iterdir()] == ["large"]
    assert (out / "large").read_text() == "mine"
    down = private.ctl("cage", "down", name, "--discard", uid=NOBODY, cwd=where)
    assert down.returncode == 0, down.stderr
