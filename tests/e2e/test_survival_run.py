"""A cage outlives the akiosd that began it: its agent runs on, its client comes back, its end
arrives.
"""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator

import pytest

from akiosd.wire.messages import Rejoin
from tests.e2e import resources
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.raw_client import leave_at_once
from tests.e2e.resources import wait_until
from tests.e2e.survival import (
    SEVERAL,
    begin,
    host_ends,
    kill,
    kill_and_start,
    report,
    small_daemon,
    the_cage,
    verified,
)
from tests.e2e.terminal import PROMPT, Terminal


@pytest.fixture
def config() -> str:
    return ""


@pytest.fixture
def private(config: str) -> Iterator[Daemon]:
    with small_daemon(config) as daemon:
        yield daemon


def test_a_run_prints_on_and_its_exit_code_arrives(private: Daemon) -> None:
    with begin(private, SEVERAL.format(200)) as client:
        cage = the_cage(private)
        killed = []
        for _ in range(2):
            before = time.time_ns()
            kill(private)
            killed.append((before, time.time_ns()))
            private.start()
            assert the_cage(private) == cage
        out, words = client.communicate(timeout=60)
    assert [int(line) for line in out.split()] == list(range(2, 201))
    assert client.returncode == 7, words
    assert words.count(f"akiosd was restarted; {cage} goes on".encode()) == 2
    assert report(words)["exit_code"] == 7
    assert verified(private)
    events = private.events(cage)
    kinds = [record["kind"] for record in events]
    returns = [record for record in events if record["kind"] == "daemon_restarted"]
    for record, (earliest, latest) in zip(returns, killed, strict=True):
        # The keeper looks at once, but may have to wait for a processor.
        assert earliest <= record["away_since"] <= record["ts"] and record["ts"] > latest
    assert kinds.count("started") == 1
    assert kinds[-1] == "end" and kinds.count("end") == 1
    assert wait_until(lambda: not any(cage in path for path in resources.cgroups(private)))


@pytest.mark.parametrize("config", ["restart: {come_back_s: 0}\n"])
def test_without_the_keeper_the_same_kill_ends_the_agent(private: Daemon) -> None:
    """The control: it is the keeper that lets it live."""
    with begin(private, SEVERAL.format(5000)) as client:
        cage = the_cage(private)
        before = resources.descendants(private.process.pid) & resources.caged_processes()  # type: ignore[union-attr]
        assert before
        kill(private)
        assert wait_until(lambda: not before & set(resources.processes()))
        private.start()
        out, words = client.communicate(timeout=60)
    assert client.returncode == 125 and len(out.split()) < 4999
    assert b"akiosd closed the connection" in words
    assert b"this cage does not outlive akiosd" in words
    assert host_ends(private) == {cage: "killed: akiosd ended without a word"}


def test_an_agent_that_ends_while_nobody_is_there_ends_with_its_own_code(private: Daemon) -> None:
    with begin(private, "echo up; sleep 4; exit 9") as client:
        cage = the_cage(private)
        inside = resources.descendants(private.process.pid) & resources.caged_processes()  # type: ignore[union-attr]
        kill(private)
        assert wait_until(lambda: not inside & set(resources.processes()))
        private.start()
        _, words = client.communicate(timeout=60)
    assert (client.returncode, report(words)["kind"]) == (9, "exited")
    assert host_ends(private) == {cage: "exited 9"}


def test_signals_and_ctrl_c_meanwhile_arrive(private: Daemon) -> None:
    says = "trap 'echo told; exit 5' INT; echo up; while :; do sleep 0.1; done"
    with begin(private, says) as client:
        kill(private)
        client.send_signal(signal.SIGINT)
        time.sleep(0.3)  # it is kept: nobody is there to take it
        assert client.poll() is None
        private.start()
        out, _ = client.communicate(timeout=60)
    assert (client.returncode, out) == (5, b"told\n")


def test_a_signal_that_akiosd_never_took_up_arrives(private: Daemon) -> None:
    says = "trap 'echo told; exit 5' TERM; echo up; while :; do sleep 0.1; done"
    with begin(private, says) as client:
        assert private.process is not None
        private.process.send_signal(signal.SIGSTOP)
        client.send_signal(signal.SIGTERM)
        time.sleep(0.5)  # it is sent: nobody takes it there
        kill(private)
        private.start()
        out, _ = client.communicate(timeout=60)
    assert (client.returncode, out) == (5, b"told\n")


# More than a pipe holds is written once akiosd stands still, by what needs no call of akiosd's.
WRITES = (
    """x=$(head -c 60000 /dev/zero | tr '\\0' x); echo up; read go; while :; do echo $x; done"""
)


def test_a_bound_on_output_that_akiosd_never_heard_of_holds(private: Daemon) -> None:
    workspace = private.workspace()
    (workspace / "akios.yaml").write_text("version: 1\nlimits: {output: 1M}\n")
    words = ("run", "--no-logs", "--workspace", str(workspace), "--", "sh", "-c", WRITES)
    pipe = subprocess.PIPE
    with private.popen(*words, cwd=workspace, stdin=pipe, stdout=pipe, stderr=pipe) as client:
        assert client.stdin is not None and client.stdout is not None
        assert client.stdout.readline() == b"up\n" and private.process is not None
        private.process.send_signal(signal.SIGSTOP)
        client.stdin.write(b"go\n")
        client.stdin.close()
        client.stdin = None
        read = 0
        while read < (1 << 20) - 3:
            read += len(client.stdout.read1(1 << 16))
        kill(private)
        private.start()
        more, said = client.communicate(timeout=60)
    assert client.returncode == 137 and b"output limit 1 MiB reached" in said
    assert read + len(more) <= 1 << 20


def test_what_is_asked_for_outlives_an_akiosd_that_takes_connections_and_ends(
    private: Daemon,
) -> None:
    """As one does that is being ended, or that fails at its start."""
    says = "trap 'echo told; exit 5' INT; echo up; while :; do sleep 0.1; done"
    with begin(private, says) as client:
        kill(private)
        os.unlink(private.socket)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(private.socket))
            listener.listen()
            listener.settimeout(30)
            taken, _ = listener.accept()
            client.send_signal(signal.SIGINT)
            for _ in range(3):
                taken.close()
                taken, _ = listener.accept()
            taken.close()
        os.unlink(private.socket)
        assert client.poll() is None
        private.start()
        out, words = client.communicate(timeout=60)
    assert (client.returncode, out) == (5, b"told\n"), words
    assert words.count(b"akiosd was restarted") == 1


def left_behind(private: Daemon) -> str:
    """A cage whose akiosd was restarted, and whose client was killed meanwhile."""
    with begin(private, "echo up; sleep 1000") as client:
        cage = the_cage(private)
        kill(private)
        client.kill()
        client.communicate()
    private.start()
    return cage


@pytest.mark.named_set("survival")
def test_a_client_that_does_not_come_back_takes_its_cage_with_it(private: Daemon) -> None:
    cage = left_behind(private)
    assert wait_until(lambda: bool(host_ends(private)), 90)
    assert host_ends(private) == {cage: "killed: the client went away"}


def test_a_client_that_leaves_as_it_comes_back_takes_its_cage_with_it(private: Daemon) -> None:
    """In the moment of its return it is waited for no more, and is not there yet."""
    cage = left_behind(private)
    leave_at_once(private, Rejoin(id=1, cage=cage))
    assert wait_until(lambda: bool(host_ends(private)), 30)
    assert host_ends(private) == {cage: "killed: the client went away"}


def test_a_detached_cage_goes_on_and_what_it_wrote_is_kept(private: Daemon) -> None:
    done = private.run("sh", "-c", SEVERAL.format(80), flags=("--detach", "--json"))
    cage = json.loads(done.stdout)["cage"]
    kill(private)
    private.start()
    follow = private.ctl("logs", "-f", cage)
    lines = [int(line) for line in follow.stdout.split()]
    assert lines == list(range(1, 81)), (follow, private.log.read_text())
    assert host_ends(private) == {cage: "exited 7"}


def test_another_user_cannot_take_a_run_over(private: Daemon) -> None:
    script = (
        "import sys; from akiosctl.client import Client; from akiosd.wire.messages import Rejoin\n"
        "client = Client(sys.argv[1]); client.send(Rejoin(cage=sys.argv[2]))\n"
        "print(type(client.receive().message).__name__)"
    )

    def take_over(cage: str, uid: int) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [sys.executable, "-c", script, private.socket, cage],
            **{"capture_output": True, "text": True, "cwd": "/", **private.as_user(uid)},
        )

    with begin(private, "echo up; sleep 1000") as client:
        cage = the_cage(private)
        # It is not to come back before the others have tried.
        client.send_signal(signal.SIGSTOP)
        kill_and_start(private)
        refused = take_over(cage, NOBODY)
        assert "is not yours" in refused.stderr, refused.stderr
        # The control: its owner, even with another client, takes it.
        assert take_over(cage, 0).stdout == "Started\n"
        client.kill()
        client.communicate()


def test_a_terminal_with_an_editor_open_goes_on(private: Daemon) -> None:
    where = private.workspace()
    with Terminal(private, "run", "-t", "--workspace", str(where), "--", "bash", "--norc") as term:
        term.type("PS1='rea''dy> '\n")  # so that the echo is not taken for it
        term.expect(PROMPT)
        term.type("cat >typed\n")
        term.type("first\n")
        kill_and_start(private)
        term.expect("akiosd was restarted")
        term.type("second\n\x04")
        term.type("cat typed; stty size\n")
        term.expect("first\r\nsecond\r\n")
        term.expect("30 90")
        term.resize(40, 100)
        term.type("stty size; exit 3\n")
        term.expect("40 100")
        assert term.process.wait(30) == 3
    assert list(host_ends(private).values()) == ["exited 3"]


@pytest.mark.named_set("survival")
def test_clocks_of_limits_run_on(private: Daemon) -> None:
    begun = time.monotonic()
    with begin(private, "echo up; sleep 1000", "--timeout", "20s") as client:
        kill_and_start(private)
        _, words = client.communicate(timeout=100)
    assert report(words)["kind"] == "wall_clock"
    assert report(words)["usage"]["wall_ns"] > 20e9
    assert time.monotonic() - begun < 35


@pytest.mark.named_set("survival")
def test_who_attached_is_attached_again(private: Daemon) -> None:
    done = private.run("sh", "-c", SEVERAL.format(400), flags=["--detach"])
    cage = done.stdout.strip()
    with private.popen(
        *("attach", cage),
        cwd="/",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        bufsize=0,
    ) as client:
        assert client.stdout is not None
        first = int(client.stdout.readline())
        kill_and_start(private)
        out, words = client.communicate(timeout=60)
    assert [int(line) for line in out.split()] == list(range(first + 1, 401)), words
    assert client.returncode == 7


@pytest.mark.parametrize(
    ("flags", "size", "kind"),
    [
        (["--no-logs"], 700, "output"),
        pytest.param([], 700, "output", marks=pytest.mark.named_set("survival")),
        # The control: what it writes in all is within the limit.
        pytest.param(["--no-logs"], 300, "exited", marks=pytest.mark.named_set("survival")),
    ],
)
def test_the_output_of_a_detached_cage_counts_on(
    private: Daemon, flags: list[str], size: int, kind: str
) -> None:
    where = private.workspace()
    (where / "akios.yaml").write_text("version: 1\nlimits: {output: 1M}\n")
    writes = f"head -c {size}K /dev/zero"
    agent = (
        f"trap '{writes}; sleep 2; exit 0' TERM; {writes}; touch half; while :; do sleep 0.05; done"
    )
    run = ("run", "--detach", "--json", *flags, "--", "sh", "-c", agent)
    done = private.ctl(*run, cwd=where)
    assert done.returncode == 0, done.stderr
    cage = the_cage(private)

    def is_half() -> bool:
        return private.ctl("diff", "--json", cage, cwd=where).stdout.count("half") > 0

    assert wait_until(is_half)
    kill_and_start(private)
    private.ctl("stop", "--grace", "30s", cage)
    expected = {"output": "killed: output limit 1 MiB reached", "exited": "exited 0"}
    assert host_ends(private)[cage] == expected[kind]
