"""``attach`` never ends what it watches: whatever ends it leaves the cage running."""

from __future__ import annotations

import json
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.terminal import PROMPT, Terminal

TICKS = "trap 'echo told; exit 7' INT TERM HUP; while :; do echo tick; sleep 0.1; done"


@pytest.fixture
def ticking(daemon: Daemon) -> Iterator[tuple[str, Path]]:
    """A cage left running that prints, and would end at a signal."""
    where = daemon.workspace(uid=NOBODY)
    words = ("run", "--detach", "--", "bash", "-c", TICKS)
    cage = daemon.ctl(*words, uid=NOBODY, cwd=where).stdout.strip()
    yield cage, where
    daemon.ctl("stop", "--kill", cage, uid=NOBODY)


def state(daemon: Daemon, cage: str) -> str:
    found = json.loads(daemon.ctl("ps", "--all", "--json", uid=NOBODY).stdout)
    return next(str(row["state"]) for row in found if row["cage"] == cage)


def attach(daemon: Daemon, cage: str, *flags: str) -> subprocess.Popen[bytes]:
    process: subprocess.Popen[bytes] = daemon.popen(
        *("attach", *flags, cage),
        uid=NOBODY,
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    assert process.stdout is not None and process.stdout.readline() == b"tick\n"
    return process


@pytest.mark.parametrize(
    "signo", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGQUIT, signal.SIGKILL]
)
def test_a_signal_leaves_it_running(
    daemon: Daemon, ticking: tuple[str, Path], signo: signal.Signals
) -> None:
    cage, _ = ticking
    process = attach(daemon, cage)
    process.send_signal(signo)
    _, words = process.communicate(timeout=30)
    assert process.returncode == (-9 if signo == signal.SIGKILL else 128 + signo)
    if signo != signal.SIGKILL:
        assert b"left running" in words and f"akiosctl stop {cage} ends it".encode() in words
    again = attach(daemon, cage)  # it goes on, and somebody else may watch it
    again.kill()
    again.communicate()
    assert state(daemon, cage) == "running"
    assert "told" not in daemon.ctl("logs", cage, uid=NOBODY).stdout


def test_with_signals_they_reach_the_agent(daemon: Daemon, ticking: tuple[str, Path]) -> None:
    """The control of the one before."""
    process = attach(daemon, ticking[0], "--signals")
    process.send_signal(signal.SIGINT)
    out, _ = process.communicate(timeout=30)
    assert process.returncode == 7 and out.endswith(b"told\n")


def test_a_reader_that_leaves_neither_ends_nor_stops_it(
    daemon: Daemon, ticking: tuple[str, Path]
) -> None:
    cage, _ = ticking
    process = attach(daemon, cage)
    assert process.stdout is not None
    process.stdout.close()
    assert process.wait(30) == 0
    process.communicate()
    again = attach(daemon, cage)  # its agent was not left waiting for a reader
    again.kill()
    again.communicate()


def test_nothing_of_the_output_is_lost_where_watchers_come_and_go(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    # That a signal ended its sleep bash says on stderr, which comes by a pipe of its own.
    script = "exec 2>/dev/null; while ! test -e /tmp/go; do sleep 0.05; done; seq 1 20000"
    words = ("run", "--detach", "--", "bash", "-c", f"trap 'touch /tmp/go' USR1; {script}")
    cage = daemon.ctl(*words, uid=NOBODY, cwd=where).stdout.strip()
    process = daemon.popen(
        "attach", cage, uid=NOBODY, stdout=subprocess.PIPE, stderr=subprocess.PIPE, cwd="/"
    )
    from tests.e2e.test_terminal import reads_signals

    try:
        while not reads_signals(process.pid):
            assert process.poll() is None
        process.send_signal(signal.SIGUSR1)
        assert process.stdout is not None and process.stdout.readline() == b"1\n"
        process.send_signal(signal.SIGINT)
    finally:
        process.communicate(timeout=30)
    kept = daemon.ctl("logs", "--follow", cage, uid=NOBODY).stdout
    assert kept.split() == [str(number) for number in range(1, 20001)]


def test_an_interrupt_typed_on_a_terminal_leaves_it_running(daemon: Daemon) -> None:
    """And with --signals it interrupts what runs in it; end of input ends no shell."""
    shell = ("bash", "--norc", "--noprofile", "--noediting")
    done = daemon.run(*shell, flags=["--detach", "-t", "--env", "PS1=ready> "], uid=NOBODY)
    cage = done.stdout.strip()
    with Terminal(daemon, "attach", cage, uid=NOBODY) as terminal:
        terminal.run("echo up; cat", r"\nup\r")
        terminal.type("\x03")
        terminal.expect("left running")
        assert terminal.wait() == 0 and terminal.is_restored()
    eof = daemon.popen(
        "attach", cage, uid=NOBODY, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE,
        stdout=subprocess.PIPE, cwd="/",
    )  # fmt: skip
    assert eof.stderr is not None and b"leaves it running" in eof.stderr.readline()
    with pytest.raises(subprocess.TimeoutExpired):
        eof.wait(1)
    eof.send_signal(signal.SIGINT)
    eof.communicate(timeout=30)
    with Terminal(daemon, "attach", "--signals", cage, uid=NOBODY) as terminal:
        terminal.run("line", r"\nline\r")
        terminal.type("\x03")
        terminal.expect(PROMPT)
        terminal.ask("echo code $?", r"\ncode 130\r")
        terminal.type("exit 4\r")
        assert terminal.wait() == 4
