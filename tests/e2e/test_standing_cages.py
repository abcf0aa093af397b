"""Cages that stand: programs are started in one as often as one likes, under one filter and one
log, each with its own descriptors, signals and end.
"""

from __future__ import annotations

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

import pytest

from akiosd.cage.programs import MAX_ENDED
from akiosd.values.ids import make_cage_id
from akiosd.wire.messages import Down, Program, Stop
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.raw_client import frame, greeted, leave_at_once, read_until
from tests.e2e.resources import wait_until
from tests.e2e.terminal import PROMPT, Terminal


class Standing:
    """A cage that is up, and its project."""

    def __init__(self, daemon: Daemon, name: str, *flags: str, uid: int = NOBODY) -> None:
        self.daemon, self.name, self.uid = daemon, name, uid
        self.project = daemon.workspace(uid=uid)
        done = daemon.ctl("cage", "up", name, "--json", *flags, uid=uid, cwd=self.project)
        assert done.returncode == 0, done.stderr
        self.cage = json.loads(done.stdout)["cage"]

    def run(self, *argv: str, uid: int | None = None, **more: Any) -> Any:
        words = ("run", "--cage", self.name, "--", *argv)
        return self.daemon.ctl(*words, uid=self._uid(uid), cwd=self.project, **more)

    def popen(self, *argv: str, **more: Any) -> subprocess.Popen[Any]:
        words = ("run", "--cage", self.name, "--", *argv)
        return self.daemon.popen(*words, uid=self.uid, cwd=self.project, **more)

    def ctl(self, *words: str, uid: int | None = None) -> Any:
        return self.daemon.ctl(*words, uid=self._uid(uid), cwd=self.project)

    def down(self, *flags: str) -> None:
        done = self.ctl("cage", "down", self.name, *flags)
        assert done.returncode == 0, done.stderr

    def records(self, kind: str) -> list[dict[str, Any]]:
        return [record for record in self.daemon.events(self.cage) if record["kind"] == kind]

    def _uid(self, uid: int | None) -> int:
        return self.uid if uid is None else uid


@pytest.fixture(scope="module")
def standing(daemon: Daemon) -> Iterator[Standing]:
    made = Standing(daemon, "work")
    yield made
    made.down("--discard")


def test_a_program_has_its_own_descriptors_and_exit_code(standing: Standing) -> None:
    done = standing.run("sh", "-c", "cat; echo no >&2; exit 5", input="typed\n")
    assert (done.returncode, done.stdout, done.stderr) == (5, "typed\n", "no\n")
    assert standing.run("sh", "-c", "kill -9 $$").returncode == 137
    missing = standing.run("/nonexistent")
    assert missing.returncode == 127 and "/nonexistent: not found" in missing.stderr


def test_many_at_once_are_told_apart(standing: Standing) -> None:
    """All of them run at the same time: each waits for a file that is made when all have begun."""
    wait = "echo {0}; while [ ! -e data/output/go ]; do sleep 0.05; done; exit {0}"
    several = [
        standing.popen("sh", "-c", wait.format(n), stdout=subprocess.PIPE, text=True, bufsize=1)
        for n in range(20)
    ]
    assert [one.stdout.readline() for one in several if one.stdout] == [f"{n}\n" for n in range(20)]
    (status,) = [json.loads(standing.ctl("cage", "status", "work", "--json").stdout)]
    assert sum(one["state"] == "running" for one in status["programs"]) == 20
    (standing.project / "data/output/go").touch()
    assert [one.wait(60) for one in several] == list(range(20))
    ended = [record["exit_code"] for record in standing.records("program_ended")]
    assert set(range(20)) <= set(ended)


def test_its_programs_share_files_and_one_filter(standing: Standing) -> None:
    assert standing.run("sh", "-c", "echo kept >/tmp/between").returncode == 0
    assert standing.run("cat", "/tmp/between").stdout == "kept\n"
    first, second = (
        standing.run("sh", "-c", "grep Seccomp_filters /proc/self/status; readlink /proc/self/ns/*")
        for _ in range(2)
    )
    assert first.stdout == second.stdout and "Seccomp_filters:\t1\n" in first.stdout


def test_signals_reach_the_program_they_are_for(standing: Standing) -> None:
    says = "trap 'echo told; exit 7' TERM; echo up; while :; do sleep 0.05; done"
    told, other = (
        standing.popen("sh", "-c", says, stdout=subprocess.PIPE, text=True, bufsize=1)
        for _ in range(2)
    )
    assert told.stdout is not None and other.stdout is not None
    assert told.stdout.readline() == other.stdout.readline() == "up\n"
    told.send_signal(signal.SIGTERM)
    assert (told.stdout.readline(), told.wait(60)) == ("told\n", 7)
    assert other.poll() is None
    other.send_signal(signal.SIGTERM)
    assert other.wait(60) == 7


def test_a_program_ends_with_its_client_and_the_cage_stands(standing: Standing) -> None:
    client = standing.popen("sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"up\n"
    client.kill()
    client.communicate()
    gone = "killed: the client went away"
    assert wait_until(lambda: standing.records("program_ended")[-1]["reason"] == gone)
    assert standing.run("true").returncode == 0


def test_exec_gives_a_terminal_of_the_cages_own(standing: Standing) -> None:
    words = ("exec", "work", "--", "bash", "--norc")
    with Terminal(standing.daemon, *words, uid=NOBODY) as term:
        term.type("PS1='rea''dy> '\n")
        term.expect(PROMPT)
        term.type("tty; stty size; test -O $(tty) && echo mi''ne\n")
        term.expect("/dev/pts/")
        term.expect("30 90")
        term.expect("mine")
        term.resize(40, 100)
        waits = "trap 'exit 9' INT; echo wait''ing; while :; do sleep 0.1; done"
        term.type(f'stty size; sh -c "{waits}"; echo status $?\n')
        term.expect("40 100")
        term.expect("waiting")
        term.type("\x03")
        term.expect("status 9")
        term.expect(PROMPT)
        term.type("exit 3\n")
        assert term.process.wait(30) == 3
    # A run whose standard input and output are no terminal has none.
    assert standing.run("tty").stdout == "not a tty\n"


PROBE = """
import ctypes, json, os, signal
def says(do):
    try:
        do()
    except OSError as error:
        return error.strerror
    return "done"
def trace(pid):
    if ctypes.CDLL(None, use_errno=True).ptrace(0x4206, pid, 0, 0) < 0:
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
child = os.fork()
if not child:
    signal.pause()
print(json.dumps({
    "init": says(lambda: os.kill(1, 0)),
    "trace init": says(lambda: trace(1)),
    "descriptors of init": says(lambda: os.listdir("/proc/1/fd")),
    "own child": says(lambda: os.kill(child, signal.SIGKILL)),
}))
"""


def test_a_program_can_neither_signal_nor_trace_init(standing: Standing) -> None:
    done = standing.run("python3", "-c", PROBE)
    found = json.loads(done.stdout)
    assert found.pop("own child") == "done"  # the control
    assert set(found.values()) <= {
        "Operation not permitted",
        "Permission denied",
        "No such file or directory",
        "Function not implemented",
    }, found


def test_it_is_for_the_user_alone_who_made_it(standing: Standing) -> None:
    for stranger in (OTHER, 0):
        refused = standing.run("true", uid=stranger)
        assert refused.returncode == 125 and "no standing cage 'work'" in refused.stderr
        by_id = standing.daemon.ctl("exec", standing.cage, "true", uid=stranger, cwd="/")
        assert by_id.returncode == 125 and "you have no standing cage" in by_id.stderr
    # The control, and the other's own of the same name.
    assert standing.run("true").returncode == 0
    theirs = Standing(standing.daemon, "work", uid=OTHER)
    assert theirs.cage != standing.cage
    theirs.down()


ASKS = """
import sys
from akiosctl.client import Client
from akiosd.wire.messages import CageStatus, Down, Pause, Program, Signal, Stop
client = Client(sys.argv[1])
kinds = {
    "program": Program(cage=sys.argv[2], argv=(b"true",), command=b"/usr/bin/true"),
    "signal": Signal(cage=sys.argv[2], program=1), "stop": Stop(cage=sys.argv[2], program=1),
    "pause": Pause(cage=sys.argv[2]), "status": CageStatus(cage=sys.argv[2]),
    "down": Down(cage=sys.argv[2], destroy=True),
}
for kind, message in kinds.items():
    try:
        client.send(message)
        print(kind, type(client.receive().message).__name__)
    except Exception as error:
        print(kind, error)
"""


def test_akiosd_itself_refuses_another_user(standing: Standing) -> None:
    """Not only the client that looks into its own list."""
    words = [sys.executable, "-c", ASKS, str(standing.daemon.socket), standing.cage]
    done = subprocess.run(
        words,
        **{"capture_output": True, "text": True, "cwd": "/", **standing.daemon.as_user(OTHER)},
    )
    lines = done.stdout.splitlines()
    assert len(lines) == 6, done.stderr
    assert all("no standing cage" in line or "no running cage" in line for line in lines), lines
    assert standing.run("true").returncode == 0


def test_paused_nothing_runs_and_nothing_is_lost(standing: Standing) -> None:
    counts = "n=0; while [ $n -lt 400 ]; do n=$((n+1)); echo $n; sleep 0.01; done"
    # Unbuffered: what a buffer had read beyond the first line would not be in the rest.
    client = standing.popen("sh", "-c", counts, stdout=subprocess.PIPE, bufsize=0)
    assert client.stdout is not None and client.stdout.readline() == b"1\n"
    assert standing.ctl("cage", "pause", "work").returncode == 0
    assert json.loads(standing.ctl("cage", "list", "--json").stdout)[-1]["state"] == "paused"
    refused = standing.run("true")
    assert refused.returncode == 125 and "is paused" in refused.stderr
    assert standing.ctl("cage", "resume", "work").returncode == 0
    rest = client.communicate(timeout=60)[0]
    assert [int(line) for line in rest.split()] == list(range(2, 401)) and client.returncode == 0


def test_input_is_read_only_and_output_is_the_users(standing: Standing) -> None:
    project = standing.project
    (project / "data/input/given").write_text("given")
    done = standing.run("sh", "-c", "cp data/input/given data/output/; echo x >data/input/given")
    assert "Read-only file system" in done.stderr
    made = project / "data/output/given"
    assert (made.read_text(), made.stat().st_uid) == ("given", NOBODY)
    assert (project / "data/input/given").read_text() == "given"


def test_a_program_left_in_the_output_is_for_nobody_else(standing: Standing) -> None:
    project = standing.project
    assert (
        standing.run(
            "sh", "-c", "cp /usr/bin/id data/output/; chmod 6755 data/output/id"
        ).returncode
        == 0
    )
    planted = project / "data/output/id"
    assert planted.stat().st_mode & 0o6000 == 0o6000 and planted.stat().st_uid == NOBODY
    other = {"user": NOBODY - 1, "group": NOBODY - 1, "extra_groups": []}
    with pytest.raises(PermissionError):
        subprocess.run([planted], check=True, **other)
    (project / "data").chmod(0o755)  # the control
    assert b"euid=" in subprocess.run([planted], check=True, capture_output=True, **other).stdout
    assert standing.ctl("cage", "down", "work", "--discard", "--fast").returncode == 0
    refused = standing.ctl("cage", "up", "work")
    assert refused.returncode == 125 and f"chmod 700 {project}/data" in refused.stderr
    (project / "data").chmod(0o700)
    assert standing.ctl("cage", "up", "work").returncode == 0


def test_what_a_cage_was_made_with_is_not_changed_by_a_run(standing: Standing) -> None:
    words = ("run", "--cage", "work", "--memory", "1G", "--", "true")
    done = standing.ctl(*words)
    assert done.returncode == 125 and "--memory cannot be given with --cage" in done.stderr


@pytest.mark.parametrize(
    ("option", "words"),
    [
        (("-d",), "sh -c 'COMMAND >/tmp/log 2>&1 &'"),
        (("--name", "x"), "akiosctl cage status work"),
        (("--discard",), "akiosctl cage down work"),
        (("--no-logs",), "leave it out"),
        (("--memory", "1G"), "it was decided when the cage was made"),
    ],
    ids=["detach", "name", "discard", "no-logs", "memory"],
)
def test_an_option_that_a_program_there_has_not_is_told_with_what_does_it(
    standing: Standing, option: tuple[str, ...], words: str
) -> None:
    done = standing.ctl("run", "--cage", "work", *option, "--", "true")
    assert done.returncode == 125 and words in done.stderr, done.stderr
    assert ("was decided" in done.stderr) is (option[0] == "--memory")


def test_the_command_that_is_told_runs_on_in_the_background(standing: Standing) -> None:
    """It is over before what it began is, which waits for a word, and then does it."""
    told = standing.ctl("run", "--cage", "work", "-d", "--", "true").stderr
    (script,) = re.findall(r"-- sh -c '(COMMAND .*&)'", " ".join(told.split()))
    slow = "sh -c 'until [ -e data/output/told ]; do sleep 0.1; done; touch data/output/heard'"
    done = standing.run("sh", "-c", script.replace("COMMAND", slow), timeout=60)
    assert done.returncode == 0, done.stderr
    output = standing.project / "data/output"
    assert not (output / "heard").exists()
    assert standing.run("touch", "data/output/told").returncode == 0
    assert wait_until((output / "heard").exists)


def test_a_name_that_does_not_do_is_told_as_the_argument_that_it_is(standing: Standing) -> None:
    refused = standing.ctl("cage", "up", "ü x")
    assert refused.returncode == 125 and "cannot be a cage's name" in refused.stderr
    assert "where: NAME" in refused.stderr and "--name" not in refused.stderr, refused.stderr


def test_its_name_is_taken_until_it_is_down(standing: Standing, tmp_path: Path) -> None:
    done = standing.ctl("cage", "up", "work")
    assert done.returncode == 125 and "akiosctl cage down work" in done.stderr


def test_what_is_outside_the_layers_is_said(standing: Standing) -> None:
    """And it is so: what the disk limit refuses elsewhere, data/output takes."""
    made = standing.ctl("cage", "up", "small", "--disk", "64M")
    words = "data/output is written at once and with your uid"
    assert made.returncode == 0 and words in made.stderr
    status = standing.ctl("cage", "status", "small")
    assert words in status.stdout
    found = json.loads(standing.ctl("cage", "status", "small", "--json").stdout)["posture"]
    said = {layer["layer"]: layer["detail"] for layer in found}
    assert "data/output is outside it, without a limit" in said["disk"]
    assert "data/output is written at once" in said["workspace"]
    fill = "head -c 80M /dev/zero >{}; e=$?; rm -f {}; exit $e"
    for place, refused in (("/tmp/big", True), ("data/output/big", False)):
        done = standing.ctl("exec", "small", "--", "sh", "-c", fill.format(place, place))
        assert (done.returncode != 0) == refused, done.stderr
    assert standing.ctl("cage", "down", "small", "--fast", "--discard").returncode == 0


def test_a_system_policy_of_reading_only_holds_for_the_output() -> None:
    daemon = Daemon(system_policy="filesystem: {workspace: ro}\n").start()
    try:
        where = daemon.workspace(uid=NOBODY)
        done = daemon.ctl("cage", "up", "work", uid=NOBODY, cwd=where)
        assert done.returncode == 125 and "forbids writing in a project" in done.stderr
        # The control: it is the directory that is refused, not the cage.
        run = daemon.ctl("run", "--", "true", uid=NOBODY, cwd=where)
        assert run.returncode == 0, run.stderr
    finally:
        daemon.close()


def bounds(daemon: Daemon) -> list[str]:
    """Flags for a policy that bounds output and memory."""
    path = daemon.workspace("bounds") / "bounds.yaml"
    path.write_text("version: 1\nlimits: {output: 64K, memory: 96M}\n")
    path.chmod(0o644)
    return ["--policy", str(path)]


@pytest.fixture
def bounded(daemon: Daemon) -> Iterator[Standing]:
    """The same, with bounds."""
    made = Standing(daemon, "own", *bounds(daemon), uid=0)
    yield made
    made.down("--discard")


@pytest.fixture
def own(daemon: Daemon) -> Iterator[Standing]:
    """A cage of root's, whom the test's own connections are from."""
    made = Standing(daemon, "own", uid=0)
    yield made
    made.down("--discard")


def program(standing: Standing, number: int, *argv: str) -> bytes:
    """A request for a program; its answer has this number."""
    words, cwd = tuple(word.encode() for word in argv), os.fsencode(standing.project)
    return frame(Program(id=number, cage=standing.cage, argv=words, command=words[0], cwd=cwd))


def programs_of(standing: Standing) -> list[dict[str, Any]]:
    status = json.loads(standing.ctl("cage", "status", standing.name, "--json").stdout)
    return list(status["programs"])


def states(standing: Standing) -> list[str]:
    return [one["state"] for one in programs_of(standing)]


def test_what_was_there_before_and_goes_with_the_cage_is_said(daemon: Daemon) -> None:
    project = daemon.workspace(uid=NOBODY)
    output = project / "data/output"

    def up(name: str, *more: str) -> str:
        words = ("cage", "up", name, "--workspace", str(project), *more)
        made = daemon.ctl(*words, uid=NOBODY, cwd=project)
        assert made.returncode == 0, made.stderr
        return str(made.stderr)

    def down(name: str, *more: str) -> None:
        gone = daemon.ctl("cage", "down", name, "--fast", *more, uid=NOBODY, cwd=project)
        assert gone.returncode == 0, gone.stderr

    assert "already holds" not in up("first"), "the control: there is nothing"
    (output / "below").mkdir()
    (output / "below" / "mine").write_text("of an earlier run")
    (output / "other").write_text("and another")
    for place in ("below", "below/mine", "other"):
        os.chown(output / place, NOBODY, NOBODY)
    down("first", "--keep-output")
    assert (output / "below/mine").exists(), "what the note says spares them"
    told = "data/output already holds 2 files: akiosctl cage down second destroys what is there too"
    assert told in up("second")
    down("second")
    assert list(output.iterdir()) == []
    (output / "mine").write_text("once more")
    os.chown(output / "mine", NOBODY, NOBODY)
    assert "already holds" not in up("third", "--quiet")
    down("third")


TOLD = "trap '{}exit 7' TERM; echo >data/output/up; while :; do sleep 0.05; done"
"""A program that ends with 7 when it is asked to, once there is a file ``up``."""


def test_a_stop_asks_more_programs_than_are_remembered(own: Standing) -> None:
    """All of them end while it waits for the first."""
    count = MAX_ENDED + 8
    with greeted(own.daemon) as first, greeted(own.daemon) as second:
        first.sendall(program(own, 1, "/usr/bin/sh", "-c", TOLD.format("sleep 2; ")))
        assert wait_until((own.project / "data/output/up").exists)
        for n in range(count):
            (first, second)[n % 2].sendall(program(own, n + 2, "/usr/bin/sleep", "1000"))
        assert wait_until(lambda: states(own).count("running") == count + 1)
        done = own.ctl("stop", "--grace", "60s", own.cage)
    assert done.returncode == 0, done.stderr
    (info,) = json.loads(own.ctl("cage", "list", "--json").stdout)
    assert info["state"] == "down"
    ended = [record["exit_code"] for record in own.records("program_ended")]
    assert ended == [143] * count + [7]


def test_a_client_that_leaves_at_once_leaves_no_program(own: Standing) -> None:
    ask = Program(id=1, cage=own.cage, argv=(b"sleep", b"1000"), command=b"/usr/bin/sleep")
    for turn in range(40):
        if turn < 20:
            leave_at_once(own.daemon, ask)
            continue
        with greeted(own.daemon) as client:
            client.sendall(frame(ask))
            time.sleep(0.001 * (turn % 8))  # at different moments of the start
    assert wait_until(lambda: set(states(own)) <= {"ended"})
    assert own.run("true").returncode == 0
    codes = {one["exit_code"]: one["reason"] for one in own.records("program_ended")}
    assert "killed: the client went away" in codes.values(), codes


def processes(word: str) -> list[str]:
    """The numbers of the processes on this host with this word; the dead have none."""
    found = []
    for place in Path("/proc").glob("[0-9]*/cmdline"):
        with contextlib.suppress(OSError):
            if word.encode() in place.read_bytes().split(b"\0"):
                found.append(place.parent.name)
    return found


BOTH = "sh -c 'exec sleep {0}' & setsid sleep {1} & exec sleep {0}"
"""A program, one that it started, and one that is in no group of its."""


@pytest.mark.parametrize("grace_ns", [0, 600 * 10**9])
@pytest.mark.parametrize("cause", ["", "output"])
def test_a_program_of_a_paused_cage_ends_at_once(
    bounded: Standing, cause: Literal["", "output"], grace_ns: int
) -> None:
    """Whoever else is in the cage stands still as before: that is the control."""
    ends, stays = f"{os.getpid()}1{len(cause)}", f"{os.getpid()}2{len(cause)}"
    with greeted(bounded.daemon) as client, greeted(bounded.daemon) as other:
        client.sendall(program(bounded, 1, "/usr/bin/sh", "-c", BOTH.format(ends, stays)))
        assert wait_until(lambda: len(processes(ends) + processes(stays)) == 3)
        (number,) = [one["number"] for one in programs_of(bounded) if one["state"] == "running"]
        assert bounded.ctl("cage", "pause", "own").returncode == 0
        assert read_until(client, {"started"})
        ask = Stop(id=1, cage=bounded.cage, program=number, grace_ns=grace_ns, cause=cause)
        other.sendall(frame(ask))
        said = read_until(other, {"ok", "error"})
        assert said["m"] == "ok", said
        ended = read_until(client, {"ended"})
        expected = "killed: output limit 64 KiB reached" if cause else "stopped by root"
        assert (ended["exit_code"], ended["reason"]) == (137, expected)
        assert processes(ends) == [] and len(processes(stays)) == 1
        assert bounded.ctl("cage", "resume", "own").returncode == 0
        assert bounded.run("true").returncode == 0 and len(processes(stays)) == 1
    told = [one for one in bounded.records("program_ended") if one["program"] == number]
    assert [one["reason"] for one in told] == [expected]


def test_a_program_whose_client_leaves_a_paused_cage_ends_at_once(own: Standing) -> None:
    client = own.popen("sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"up\n"
    assert own.ctl("cage", "pause", "own").returncode == 0
    client.kill()
    client.communicate()
    assert wait_until(lambda: states(own) == ["ended"])
    assert own.records("program_ended")[-1]["reason"] == "killed: the client went away"
    (info,) = json.loads(own.ctl("cage", "list", "--json").stdout)
    assert info["state"] == "paused"


def test_a_stop_of_a_paused_cage_asks_its_programs(own: Standing) -> None:
    """They go on for that, for nothing that stands still can end by itself."""
    with greeted(own.daemon) as client:
        client.sendall(program(own, 2, "/usr/bin/sh", "-c", TOLD.format("")))
        assert wait_until((own.project / "data/output/up").exists)
        assert own.ctl("cage", "pause", "own").returncode == 0
        done = own.ctl("stop", "--grace", "600s", own.cage)
    assert done.returncode == 0, done.stderr
    assert [one["exit_code"] for one in own.records("program_ended")] == [7]


def test_down_of_a_cage_that_never_was_is_refused(own: Standing) -> None:
    """The control: one that was and is down may be asked for again."""
    with greeted(own.daemon) as client:

        def down(number: int, cage: str) -> dict[str, object]:
            client.sendall(frame(Down(id=number, cage=cage)))
            return read_until(client, {"ok", "error"})

        said = down(1, make_cage_id(b"unknown!"))
        assert said["m"] == "error" and "no standing cage" in str(said["what"])
        answers = [down(number, own.cage) for number in (2, 3)]
        assert [said["m"] for said in answers] == ["ok", "ok"], answers


FOR_COMPARISON = ("--no-pii", "--no-audit", "--no-budget")


@pytest.mark.parametrize("flag", FOR_COMPARISON)
def test_a_protection_is_left_out_only_where_the_system_policy_lets(
    standing: Standing, flag: str
) -> None:
    refused = standing.ctl("cage", "up", "bare", flag)
    assert refused.returncode == 125 and "the built-in" in refused.stderr


def test_what_is_left_out_is_told_loudly() -> None:
    daemon = Daemon(system_policy="allow_widening: true\n").start()
    try:
        standing = Standing(daemon, "bare", "--quiet", *FOR_COMPARISON)
        status = standing.ctl("cage", "status", "bare").stdout
        assert "UNPROTECTED, for comparison only: personal data" in status
        (record,) = standing.records("unprotected")
        assert record["left_out"] == ["pii", "audit", "budget"]
        shown = daemon.ctl("ledger", "show", "--json").stdout.splitlines()
        kinds = [json.loads(line)["kind"] for line in shown]
        assert kinds.count("unprotected") == 1
        assert "a cage is unprotected" in daemon.log.read_text()
        other = Standing(daemon, "whole")
        assert "UNPROTECTED" not in other.ctl("cage", "status", "whole").stdout
    finally:
        daemon.close()


# ---- where the data lies -------------------------------------------------------------------------

WRITES = """\
name: writes
steps:
- {name: a, agent: filesystem, action: read, parameters: {path: data/input/given}}
- {name: b, agent: filesystem, action: write,
   parameters: {path: data/output/w, content: '{steps.a.outputs.text}'}}
"""


def test_data_lies_in_the_users_state_where_the_policy_says_so(daemon: Daemon) -> None:
    """Programs, workflows, status and cage down find it there; in the project nothing is written.
    The other place, which every other test uses, is the control.
    """
    project = daemon.workspace(uid=NOBODY)
    (project / "akios.yaml").write_text("version: 1\nfilesystem: {data: state}\n")
    (project / "w.yml").write_text(WRITES)

    def ctl(*words: str, **more: Any) -> Any:
        return daemon.ctl(*words, uid=NOBODY, cwd=project, **more)

    done = ctl("cage", "up", "elsewhere")
    assert done.returncode == 0 and "its data is in " in done.stderr
    status = json.loads(ctl("cage", "status", "elsewhere", "--json").stdout)["data"]
    base = daemon.base / f"home-{NOBODY}" / ".local/state/akios/data"
    assert status["in"] == "state" and status["input"].startswith(f"{base}/{project.name}-")
    assert status["input"] in ctl("cage", "status", "elsewhere").stdout
    given, output = Path(status["input"]) / "given", Path(status["output"])
    given.write_text("from outside")
    shell = "cat data/input/given; echo made >data/output/x; ! echo no >data/input/given"
    done = ctl("run", "--cage", "elsewhere", "--", "sh", "-c", shell)
    assert (done.returncode, done.stdout) == (0, "from outside"), done.stderr
    assert (output / "x").read_text() == "made\n" and given.read_text() == "from outside"
    done = ctl("workflow", "run", "w.yml", "--cage", "elsewhere", "--json")
    report = json.loads(done.stdout)
    assert (output / "w").read_text() == "from outside", done.stderr
    assert Path(report["output"]) == output / report["run"] and (output / report["run"]).is_dir()
    assert [one for one in (project / "data").rglob("*") if one.is_file()] == []
    away = {**daemon.as_user(NOBODY)["env"], "XDG_STATE_HOME": str(daemon.base / "nowhere")}
    lost = ctl("cage", "down", "elsewhere", env=away)
    assert lost.returncode == 125 and "is not where it should be" in lost.stderr
    assert (output / "x").exists()
    done = ctl("cage", "down", "elsewhere")
    assert done.returncode == 0 and f"{output}: " in done.stdout, done.stderr
    assert list(output.iterdir()) == [] and given.read_text() == "from outside"


def test_the_end_of_a_program_names_the_bound_that_it_met(daemon: Daemon) -> None:
    bound = Standing(daemon, "bound", *bounds(daemon))
    try:
        done = bound.run("yes")
        assert (done.returncode, len(done.stdout)) == (137, 64 << 10)
        assert "killed: output limit 64 KiB reached" in done.stderr
        (status,) = [json.loads(bound.ctl("cage", "status", "bound", "--json").stdout)]
        assert status["programs"][-1]["reason"] == "killed: output limit 64 KiB reached"
        done = bound.run("/usr/bin/python3", "-c", "bytearray(256 << 20)")
        assert "killed: its cage ended: memory limit 96 MiB reached" in done.stderr
        assert done.returncode == 137
        told = [record["reason"] for record in bound.records("program_ended")]
        assert told[0] == "killed: output limit 64 KiB reached"
        assert told[1].startswith("killed: its cage ended: memory limit 96 MiB reached")
    finally:
        bound.down("--discard")
