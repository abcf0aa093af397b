"""What a cage wrote last is kept, whenever the client leaves that is to show it."""

from __future__ import annotations

import os
import signal
import subprocess
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from akiosctl.client import Client
from akiosd.wire.messages import CageInfo, Cages, List
from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import host_ends, kill, kill_and_start
from tests.e2e.terminal import Terminal

LAST = 500
COUNTS = (
    "trap 'last=1' USR1; trap 'last=2' USR2; n=0; "
    "while [ ! $last ]; do n=$((n+1)); echo $n; sleep 0.05; done; "
    f"seq $((n+1)) $((n+{LAST})); [ $last = 1 ] || exec sleep 1000"
)
"""An agent that counts aloud, and at a signal a last time and quickly; at SIGUSR2 it then stays."""
MADE_AHEAD = ("user:[]", "net:[]")
ROUNDS = 2
HOW = ["run", "run -t", "attach", "attach -t", "attach 2>&1"]


def is_agent(pid: int, workspace: Path) -> bool:
    try:
        words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
    except OSError:
        return False
    return words[:-1] == [b"sh", b"-c", COUNTS.encode(), bytes(workspace)]


def find_cage(daemon: Daemon, workspace: Path) -> CageInfo | None:
    """The cage of that agent; None once it has given everything back."""
    with Client(str(daemon.socket)) as client:
        client.send(List())
        found = client.receive().message
    assert isinstance(found, Cages)
    return next((one for one in found.cages if one.argv[-1] == bytes(workspace)), None)


class Watched:
    """A cage, and the client that shows what it writes."""

    def __init__(
        self,
        daemon: Daemon,
        workspace: Path,
        process: subprocess.Popen[bytes],
        terminal: Terminal | None = None,
    ) -> None:
        self.daemon, self.process = daemon, process
        self._workspace, self._terminal = workspace, terminal
        found = find_cage(daemon, workspace)
        assert found is not None
        self.cage = found.cage

    def send(self, signo: signal.Signals) -> None:
        self.process.send_signal(signo)

    def agent(self) -> int:
        """Its process while it counts, else 0."""
        processes = resources.processes()
        found = [pid for pid in processes if is_agent(pid, self._workspace)]
        # A child that is about to be ``sleep`` looks like it.
        return next((pid for pid in found if processes[pid][0] not in found), 0)

    def tell(self, signo: signal.Signals) -> None:
        agent = self.agent()
        assert agent
        os.kill(agent, signo)

    def end(self) -> None:
        """Have the agent end; returns when the cage has."""
        self.tell(signal.SIGUSR1)
        assert wait_until(self.has_ended)

    def expect(self, words: str) -> None:
        """Wait until the client says ``words``."""
        if self._terminal is not None:
            self._terminal.expect(words)
            return
        assert self.process.stderr is not None
        while words.encode() not in self.process.stderr.readline():
            assert self.process.poll() is None

    def has_ended(self) -> bool:
        found = find_cage(self.daemon, self._workspace)
        return found is None or found.state == "ended"

    def check_kept(self) -> None:
        """Nothing is missing in the last that the agent wrote, nor right in front of it."""
        done = self.daemon.ctl("logs", "--follow", self.cage)
        lines = [int(line) for line in done.stdout.split()[-LAST - 1 :]]
        assert lines == list(range(lines[-1] - LAST, lines[-1] + 1)), done


@contextmanager
def watched(daemon: Daemon, how: str) -> Iterator[Watched]:
    workspace, pipe = daemon.workspace(), subprocess.PIPE
    verb, _, flag = how.partition(" ")
    flags = [*(["--detach"] if verb == "attach" else []), *(["-t"] if flag == "-t" else [])]
    begin = ("run", *flags, "--workspace", workspace, "--", "sh", "-c", COUNTS, workspace)
    if verb == "attach":
        stderr = subprocess.STDOUT if flag == "2>&1" else pipe
        done = daemon.ctl(*begin, cwd=workspace, capture_output=False, stdout=pipe, stderr=stderr)
        assert done.returncode == 0, done
        found = find_cage(daemon, workspace)
        assert found is not None
        begin = ("attach", found.cage)
    if flag == "-t":
        with Terminal(daemon, *begin) as terminal:
            terminal.expect(r"\d\r")
            yield Watched(daemon, workspace, terminal.process, terminal)
            terminal.process.kill()
        return
    with daemon.popen(*begin, stdout=pipe, stderr=pipe, cwd=workspace, bufsize=0) as process:
        assert process.stdout.readline()
        try:
            yield Watched(daemon, workspace, process)
        finally:
            process.kill()


@pytest.mark.parametrize("how", HOW)
def test_a_client_that_stands_still_and_is_killed_loses_nothing(private: Daemon, how: str) -> None:
    with watched(private, how) as one:
        one.send(signal.SIGSTOP)
        one.end()
        one.send(signal.SIGKILL)
        one.check_kept()


@pytest.mark.parametrize("how", ["run", "run -t"])
def test_what_a_killed_client_had_not_read_is_kept(private: Daemon, how: str) -> None:
    """Its cage ends with it."""
    with watched(private, how) as one:
        one.send(signal.SIGSTOP)
        one.tell(signal.SIGUSR2)
        assert wait_until(lambda: one.agent() == 0)
        one.send(signal.SIGKILL)
        one.check_kept()
        assert host_ends(private)[one.cage] == "killed: the client went away"


@pytest.mark.parametrize("how", ["attach", "attach -t", "attach 2>&1"])
def test_who_leaves_as_it_ends_hears_no_error(private: Daemon, how: str) -> None:
    with watched(private, how) as one:
        one.send(signal.SIGSTOP)
        one.send(signal.SIGINT)
        one.end()
        one.send(signal.SIGCONT)
        if how != "attach -t":
            _, words = one.process.communicate(timeout=30)
            assert b"error" not in words and b"Traceback" not in words, words
        assert one.process.wait(30) in (0, 128 + signal.SIGINT)
        one.check_kept()


@pytest.mark.parametrize("how", ["run", "run -t", "attach"])
def test_a_client_that_came_back_to_a_new_akiosd_loses_nothing(private: Daemon, how: str) -> None:
    with watched(private, how) as one:
        kill_and_start(private)
        one.expect("akiosd was restarted")
        one.send(signal.SIGSTOP)
        one.end()
        one.send(signal.SIGKILL)
        one.check_kept()


def test_who_never_comes_back_to_a_new_akiosd_loses_nothing(private: Daemon) -> None:
    with watched(private, "attach") as one:
        one.send(signal.SIGSTOP)
        kill(private)
        one.send(signal.SIGKILL)
        private.start()
        one.end()
        one.check_kept()


def test_nothing_stays_open(private: Daemon) -> None:
    assert private.process is not None
    pid = private.process.pid

    def opened() -> Counter[str]:
        """Without the namespaces that are made in advance."""
        found = resources.descriptors(pid)
        return Counter({kind: found[kind] for kind in found if kind not in MADE_AHEAD})

    before = None
    for _ in range(ROUNDS):
        for how in HOW:
            with watched(private, how) as one:
                one.send(signal.SIGSTOP)
                one.end()
                one.send(signal.SIGKILL)
                one.check_kept()
        before = before or opened()
    assert before is not None
    assert wait_until(lambda: not opened() - before), opened() - before
