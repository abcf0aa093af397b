"""``akiosctl run`` against a daemon with real sockets: stdio, signals, terminals, exit codes, what
is imported.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import pty
import re
import select
import signal
import struct
import subprocess
import sys
import termios
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from akiosctl.help.schemas import Running

CLIENT = [sys.executable, "-c", "from akiosctl.cli import main; main()"]
ROOT = str(Path(__file__).parents[3])


class World:
    """A socket with a daemon behind it, a project to run in, a home of one's own."""

    def __init__(self, base: Path) -> None:
        self.project, self.home, self.socket = base / "project", base / "home", str(base / "s")
        for directory in (self.project, self.home):
            directory.mkdir()
        self.env = {
            **{name: value for name, value in os.environ.items() if name in ("PATH", "LANG")},
            "HOME": str(self.home),
            "PYTHONPATH": ROOT,
            "AKIOS_SOCKET": self.socket,
            "TERM": "xterm",
        }
        self.daemon = subprocess.Popen(
            [sys.executable, str(Path(__file__).with_name("fake_daemon.py")), self.socket],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            env=self.env,
        )
        assert self.daemon.stdout is not None
        assert self.daemon.stdout.readline() == b"listening\n"

    def close(self) -> None:
        assert self.daemon.stdin is not None and self.daemon.stdout is not None
        self.daemon.stdin.close()
        self.daemon.wait()
        self.daemon.stdout.close()

    def start(self, *arguments: str, **more: object) -> subprocess.Popen[bytes]:
        settings = {"cwd": self.project, "env": self.env, **more}
        return subprocess.Popen([*CLIENT, *arguments], **settings)  # type: ignore[call-overload, no-any-return]

    def run(
        self, *arguments: str, input: bytes = b"", **more: object
    ) -> subprocess.CompletedProcess[bytes]:
        process = self.start(
            *arguments,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **more,
        )
        out, error = process.communicate(input, timeout=60)
        return subprocess.CompletedProcess(arguments, process.returncode, out, error)


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    made = World(tmp_path_factory.mktemp("client"))
    yield made
    made.close()


@pytest.mark.parametrize(
    ("command", "code"),
    [("true", 0), ("exit 3", 3), ("kill -9 $$", 137), ("kill -TERM $$", 143)],
)
def test_the_exit_code_is_the_agents(world: World, command: str, code: int) -> None:
    result = world.run("run", "--", "sh", "-c", command)
    assert (result.returncode, result.stdout, result.stderr) == (code, b"", b"")


def test_what_the_daemon_notes_is_told_unless_quiet_is_asked_for(world: World) -> None:
    assert world.run("run", "--", "echo", "noted").stderr == b"akios: a note\n"
    assert world.run("run", "--quiet", "--", "echo", "noted").stderr == b""


def test_streams_stay_apart_and_binary(world: World) -> None:
    data = bytes(range(256)) * 7
    result = world.run("run", "--", "sh", "-c", "cat; echo oops >&2; exit 5", input=data)
    assert (result.returncode, result.stdout, result.stderr) == (5, data, b"oops\n")


def test_a_large_stream_goes_round_unchanged(world: World) -> None:
    data = os.urandom(1 << 20) * 48
    result = world.run("run", "--", "cat", input=data)
    assert result.returncode == 0
    assert hashlib.sha256(result.stdout).digest() == hashlib.sha256(data).digest()


def test_plain_files_as_stdin_and_stdout(world: World, tmp_path: Path) -> None:
    data = os.urandom(3_000_001)
    (tmp_path / "in").write_bytes(data)
    (tmp_path / "out").write_bytes(b"kept ")
    with open(tmp_path / "in", "rb") as source, open(tmp_path / "out", "ab") as target:
        assert world.start("run", "--", "cat", stdin=source, stdout=target).wait(60) == 0
    assert (tmp_path / "out").read_bytes() == b"kept " + data


def test_our_reader_leaving_ends_the_agent_by_sigpipe(world: World) -> None:
    process = world.start("run", "--", "yes", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)
    assert process.stdout is not None and process.stdout.read(4) == b"y\ny\n"
    process.stdout.close()
    assert process.wait(60) == 128 + signal.SIGPIPE


@pytest.mark.parametrize("command", ["true", "exec 0<&-; exit 4"])
def test_input_that_never_ends_does_not_hold_the_end_up(world: World, command: str) -> None:
    process = world.start("run", "--", "sh", "-c", command, stdin=subprocess.PIPE)
    assert process.wait(60) == (4 if "4" in command else 0)
    assert process.stdin is not None
    process.stdin.close()


def test_a_background_writer_is_read_to_its_end(world: World) -> None:
    result = world.run("run", "--", "sh", "-c", "(sleep 0.3; echo late) & echo early")
    assert result.stdout == b"early\nlate\n"


def test_callers_descriptors_stay_blocking(world: World) -> None:
    read, write = os.pipe()
    process = world.start("run", "--", "cat", stdin=read, stdout=subprocess.PIPE)
    os.write(write, b"x")
    assert process.stdout is not None and process.stdout.read(1) == b"x"
    for fd in (read, write, process.stdout.fileno()):
        assert not fcntl.fcntl(fd, fcntl.F_GETFL) & os.O_NONBLOCK
    os.close(write)
    assert process.wait(60) == 0
    os.close(read)
    process.stdout.close()


def test_closed_descriptors_are_replaced_before_anything_opens(world: World) -> None:
    words = " ".join(f"'{word}'" for word in CLIENT)
    result = subprocess.run(
        ["sh", "-c", f"{words} run -- sh -c 'cat; exit 6' <&- >&- 2>&-"],
        env=world.env,
        cwd=world.project,
        timeout=60,
    )
    assert result.returncode == 6


@pytest.mark.parametrize("name", ["TERM", "HUP", "INT", "QUIT", "USR1", "USR2"])
def test_signals_are_forwarded(world: World, name: str) -> None:
    script = f"trap 'echo got; exit 9' {name}; echo ready; while :; do sleep 0.05; done"
    process = world.start(
        "run", "--", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(getattr(signal, f"SIG{name}"))
    assert process.stdout.read() == b"got\n"
    assert process.wait(60) == 9


def test_a_second_interrupt_kills(world: World) -> None:
    script = "trap 'echo no' INT; echo ready; while :; do sleep 0.05; done"
    process = world.start(
        "run", "--", "sh", "-c", script, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE
    )
    assert process.stdout is not None and process.stdout.readline() == b"ready\n"
    process.send_signal(signal.SIGINT)
    assert process.stdout.readline() == b"no\n"
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 137
    process.stdout.close()


def test_reasons_and_reports(world: World) -> None:
    ended = "FAKE_ENDED=memory|killed: memory limit 512 MiB reached\x1b[31m|yes"
    result = world.run("run", "--env", ended, "--", "true")
    assert b"akios: killed: memory limit 512 MiB reached\\x1b[31m\n" in result.stderr
    assert re.search(rb"akios: files changed; akiosctl diff c-\d+", result.stderr)
    assert b"\x1b" not in result.stderr
    report = json.loads(world.run("run", "--json", "--env", ended, "--", "true").stderr)
    assert (report["kind"], report["exit_code"], report["changes"]) == ("memory", 0, True)


def test_what_calls_to_models_cost_is_in_the_end_line_and_the_report(world: World) -> None:
    spent = "FAKE_SPENT=12300|1"
    assert (
        world.run("run", "--env", spent, "--", "true").stderr
        == b"akios: $0.0123 spent in 1 call to models\n"
    )
    assert world.run("run", "--quiet", "--env", spent, "--", "true").stderr == b""
    ended = "FAKE_ENDED=loop|killed: same request 5 times|"
    result = world.run("run", "--env", ended, "--env", "FAKE_SPENT=1000000|1234", "--", "true")
    assert (
        result.stderr
        == b"akios: killed: same request 5 times; $1.00 spent in 1,234 calls to models\n"
    )
    usage = json.loads(world.run("run", "--json", "--env", spent, "--", "true").stderr)["usage"]
    assert (usage["usd_micro"], usage["calls"]) == (12300, 1)


def test_errors_name_what_where_and_next(world: World) -> None:
    # The command must exist outside for the client to find it; the daemon then refuses it.
    program = world.project / "refused"
    program.write_text("#!/bin/sh\n")
    program.chmod(0o755)
    result = world.run(
        "run", "--", "refused", env={**world.env, "PATH": f"{world.project}:{world.env['PATH']}"}
    )
    assert result.returncode == 127
    assert result.stderr == b"akiosctl: no such program inside\n  where: exec\n"
    assert world.run("run", "--", "no-such-command").returncode == 127
    assert world.run("run", "--", "/etc/passwd").returncode == 126
    assert world.run("run", "--workspace", "/etc", "--", "true").returncode == 125


def test_no_daemon_and_no_permission(world: World) -> None:
    result = world.run("--socket", "/nonexistent/control.sock", "run", "--", "true")
    assert (
        result.returncode == 125
        and b"akiosd is not running" in result.stderr
        and b"akiosd --detach" in result.stderr
    )


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: becomes another user")
def test_a_socket_out_of_reach_names_the_group(world: World, tmp_path: Path) -> None:
    closed = tmp_path / "closed"
    closed.mkdir(mode=0o700)
    code = (
        "import os\nfrom akiosctl.client import PlainClient\nfrom akiosd.errors import AkiosError\n"
        f"os.setgid(65534); os.setuid(65534)\ntry: PlainClient({str(closed / 's')!r})\n"
        "except AkiosError as error: print(error.what, error.next)"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], env=world.env, capture_output=True, timeout=60
    )
    assert b"may not connect" in result.stdout and b"usermod -aG akios" in result.stdout


def test_environment_and_long_arguments(world: World) -> None:
    arguments = ["--env", "A=1=2", "--keep-env", "SECRET", "--"]
    script = 'echo "$A $SECRET ${OTHER-unset} $LANG"'
    env = {**world.env, "SECRET": "s", "OTHER": "o", "LANG": "C.UTF-8"}
    assert (
        world.run("run", *arguments, "sh", "-c", script, env=env).stdout == b"1=2 s unset C.UTF-8\n"
    )
    # Linux takes 128 KiB for one argument; a frame takes about a million bytes for all.
    words = ["x" * 100_000] * 9
    assert world.run("run", "--", "sh", "-c", 'echo "$#"', "sh", *words).stdout == b"9\n"
    result = world.run("run", "--", "true", *words, *words)
    assert result.returncode == 125 and b"bytes is too long: it may have" in result.stderr


def test_the_run_path_imports_nothing_heavy(world: World) -> None:
    world.run("run", "--", "true")  # fills the policy cache
    watched = subprocess.run(
        [CLIENT[0], "-X", "importtime", *CLIENT[1:], "run", "--", "true"],
        env=world.env,
        cwd=world.project,
        capture_output=True,
        timeout=60,
        stdin=subprocess.DEVNULL,
    )
    imported = {
        line.rpartition(b"|")[2].strip().decode()
        for line in watched.stderr.splitlines()
        if b"|" in line
    }
    assert "akiosctl.verbs.run" in imported
    heavy = {
        "msgspec",
        "click",
        "yaml",
        "trio",
        "dataclasses",
        "inspect",
        "argparse",
        "asyncio",
        "threading",
    }
    assert imported & heavy == set()


# ---- with a terminal -----------------------------------------------------------------------------


class Terminal:
    """A client whose stdin, stdout and stderr are a terminal, typed into by the test."""

    def __init__(self, world: World, *arguments: str) -> None:
        self.master, self.slave = pty.openpty()
        self.resize(30, 90)
        self.before = termios.tcgetattr(self.slave)
        self.process = world.start(
            *arguments,
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
        )
        self.seen = b""

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def expect(self, text: bytes) -> None:
        while text not in self.seen:
            assert select.select([self.master], [], [], 30)[0], self.seen
            self.seen += os.read(self.master, 65536)
        self.seen = self.seen.partition(text)[2]

    def type(self, data: bytes) -> None:
        os.write(self.master, data)

    def end(self) -> int:
        while self.process.poll() is None:
            if select.select([self.master], [], [], 0.02)[0]:
                self.seen += os.read(self.master, 65536)
        after = termios.tcgetattr(self.slave)
        os.close(self.master)
        os.close(self.slave)
        assert after == self.before
        return self.process.returncode


def test_a_terminal_inside_with_its_size_and_keys(world: World) -> None:
    watch = "trap 'stty size; exit 8' WINCH; echo ready; while :; do sleep 0.05; done"
    script = f"stty size; read line; echo got $line; {watch}"
    terminal = Terminal(world, "run", "--", "sh", "-c", script)
    terminal.expect(b"30 90")
    terminal.type(b"hello\r")
    terminal.expect(b"got hello")
    terminal.expect(b"ready")
    terminal.resize(40, 100)
    terminal.expect(b"40 100")
    assert terminal.end() == 8


def test_interrupt_is_a_key_of_the_inner_terminal(world: World) -> None:
    terminal = Terminal(
        world,
        "run",
        "--",
        "sh",
        "-c",
        "trap 'echo caught; exit 7' INT; echo ready; while :; do sleep 0.05; done",
    )
    terminal.expect(b"ready")
    terminal.type(b"\x03")
    terminal.expect(b"caught")
    assert terminal.end() == 7


def test_a_terminated_client_leaves_the_terminal_as_it_was(world: World) -> None:
    terminal = Terminal(world, "run", "--", "sh", "-c", "echo ready; exec sleep 60")
    terminal.expect(b"ready")
    terminal.process.send_signal(signal.SIGTERM)
    assert terminal.end() == 143


def test_detach_and_attach(world: World) -> None:
    terminal = Terminal(
        world, "run", "--", "sh", "-c", "echo ready; read line; echo again $line; exit 5"
    )
    terminal.expect(b"ready")
    terminal.type(b"\x10\x11")
    terminal.expect(b"left running; akiosctl attach c-")
    name = "c-" + terminal.seen.decode().split()[0]
    assert terminal.end() == 0
    terminal = Terminal(world, "attach", name)
    terminal.type(b"there\r")
    terminal.expect(b"again there")
    assert terminal.end() == 5


def test_a_cage_that_is_left_running_is_told_as_json_too(world: World) -> None:
    done = world.run("run", "-d", "--json", "--name", "mine", "--", "sleep", "60")
    (document,) = done.stdout.splitlines()
    running = msgspec.convert(json.loads(document), Running)
    try:
        assert running.name == "mine" and not done.stderr
        assert running.cage in world.run("ps").stdout.decode()
    finally:
        world.run("stop", "--kill", running.cage)
    bare = world.run("run", "-d", "--", "true").stdout.decode()
    assert re.fullmatch(r"c-[a-z0-9]+\n", bare), "what scripts read"


def test_leaving_a_terminal_ends_its_output_with_json(world: World) -> None:
    terminal = Terminal(world, "run", "--json", "--", "sh", "-c", "echo ready; read line")
    terminal.expect(b"ready")
    terminal.type(b"\x10\x11")
    terminal.expect(b"left running; akiosctl attach ")
    terminal.expect(b'\n{"cage": "c-')
    terminal.expect(b'", "name": ""}')
    assert terminal.end() == 0 and not terminal.seen.strip()
    assert world.run("stop", "--kill", "last").returncode == 0


def test_attaching_to_pipes_shows_what_comes_and_how_it_ends(world: World) -> None:
    script = "until test -e go; do sleep 0.02; done; echo out; echo err >&2; exit 6"
    name = world.run("run", "--detach", "--", "sh", "-c", script).stdout.decode().strip()
    process = world.start(
        "attach", name, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    (world.project / "go").touch()
    out, err = process.communicate(timeout=60)
    assert out == b"out\n" and err.splitlines()[-1] == b"err"
    assert f"akiosctl stop {name} ends it".encode() in err
    assert process.returncode == 6


def test_no_terminal_when_one_end_is_a_pipe_or_t_says_so(world: World) -> None:
    assert world.run("run", "--", "sh", "-c", "test -t 0 || test -t 1; echo $?").stdout == b"1\n"
    terminal = Terminal(world, "run", "-T", "--", "sh", "-c", "test -t 0; echo is $?")
    terminal.expect(b"is 1")
    assert terminal.end() == 0


def test_t_forces_a_terminal_and_the_end_of_input_is_typed(world: World) -> None:
    result = world.run(
        "run", "-t", "--", "sh", "-c", "test -t 0 && cat && echo end", input=b"a line\n"
    )
    assert result.stdout.endswith(b"end\r\n") and result.returncode == 0
