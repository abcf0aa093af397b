"""Terminals and pipes: what a person types and sees, and what a script pipes, as if there were no
cage between.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import subprocess
import threading
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.terminal import PROMPT, Terminal

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]
SHELL = ("bash", "--norc", "--noprofile", "--noediting")


def shell(daemon: Daemon, *flags: str, uid: int = 0, size: tuple[int, int] = (30, 90)) -> Terminal:
    where = daemon.workspace(uid=uid)
    terminal = Terminal(
        daemon,
        "run",
        *flags,
        "--workspace",
        where,
        "--env",
        "PS1=ready> ",
        "--",
        *SHELL,
        uid=uid,
        size=size,
    )
    terminal.expect(PROMPT)
    return terminal


class TestTerminals:
    @pytest.mark.parametrize("uid", CALLERS)
    def test_a_shell_in_a_terminal(self, daemon: Daemon, uid: int) -> None:
        with shell(daemon, uid=uid) as terminal:
            assert terminal.is_raw()
            terminal.ask("tty", r"\n/dev/pts/\d+\r")
            terminal.ask("stty size", r"\n30 90\r")
            terminal.ask("test -t 0 -a -t 1 -a -t 2; echo code $?", r"\ncode 0\r")
            terminal.ask("echo words > /dev/tty", r"\nwords\r")
            terminal.ask("echo $TERM", r"\nxterm-256color\r")
            terminal.type("exit 7\r")
            assert terminal.wait() == 7
            assert terminal.is_restored()

    def test_interrupt_quit_and_end_of_file(self, daemon: Daemon) -> None:
        with shell(daemon) as terminal:
            for key, code in (("\x03", 130), ("\x1c", 131), ("\x04", 0)):
                terminal.run("cat", "cat\r\n")
                terminal.run("line", "line\r\nline\r\n")
                terminal.type(key)
                terminal.expect(PROMPT)
                terminal.ask("echo code $?", rf"\ncode {code}\r")
            terminal.type("\x04")
            assert terminal.wait() == 0

    def test_job_control(self, daemon: Daemon) -> None:
        with shell(daemon) as terminal:
            terminal.run("cat", "cat\r\n")
            terminal.run("one", "one\r\none\r\n")
            terminal.type("\x1a")
            terminal.expect("Stopped.*" + PROMPT)
            terminal.ask("jobs", r"\n\[1\]\+  Stopped +cat")
            terminal.run("fg", "\ncat\r\n")
            terminal.run("two", "two\r\ntwo\r\n")
            terminal.type("\x04")
            terminal.expect(PROMPT)
            terminal.ask("sleep 1000 & jobs -p | wc -l", r"\n1\r")
            terminal.ask("kill %1; wait; echo done", r"\ndone\r")
            terminal.type("exit\r")
            assert terminal.wait() == 0

    def test_resize(self, daemon: Daemon) -> None:
        script = (
            "import os, signal; signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGWINCH])\n"
            "print('up', os.get_terminal_size(), flush=True); signal.sigwait([signal.SIGWINCH])\n"
            "print('now', os.get_terminal_size())"
        )
        where = daemon.workspace()
        with Terminal(
            daemon, "run", "--workspace", where, "--", "/usr/bin/python3", "-c", script
        ) as terminal:
            terminal.expect("up os.terminal_size.columns=90, lines=30.")
            terminal.resize(11, 123)
            terminal.expect("now os.terminal_size.columns=123, lines=11.")
            assert terminal.wait() == 0

    @pytest.mark.parametrize("uid", CALLERS)
    def test_leave_and_attach(self, daemon: Daemon, uid: int) -> None:
        with shell(daemon, uid=uid) as terminal:
            terminal.ask("word=kept; tty", r"/dev/pts/\d+\r")
            terminal.type("\x10\x11")
            left = terminal.expect(r"left running; akiosctl attach (c-\w+)")
            assert terminal.wait() == 0 and terminal.is_restored()
        cage = left.group(1).decode()
        assert "(detached)" in daemon.ctl("ps", uid=uid).stdout
        with Terminal(daemon, "attach", cage, uid=uid, size=(20, 44)) as again:
            again.ask("echo $word", r"\nkept\r")
            again.ask("stty size", r"\n20 44\r")
            assert again.is_raw()
            second = daemon.ctl("attach", cage, uid=uid)
            assert second.returncode == 125 and "another terminal" in second.stderr
            again.type("exit 5\r")
            assert again.wait() == 5 and again.is_restored()
        assert cage not in daemon.ctl("ps", uid=uid).stdout

    def test_other_detach_keys(self, daemon: Daemon) -> None:
        with shell(daemon, "--detach-keys", "ctrl-x,q") as terminal:
            terminal.type("echo a\x10\x11b\r")
            terminal.type("\x18q")
            cage = terminal.expect(r"attach (c-\w+)").group(1).decode()
            assert terminal.wait() == 0
        assert daemon.ctl("stop", "--kill", cage).returncode == 0

    def test_the_client_killed_in_a_terminal_ends_its_cage(self, daemon: Daemon) -> None:
        with shell(daemon):
            (cage,) = running(daemon)
        assert ended_by_itself(daemon, cage)

    def test_stopped_from_outside_and_resumed(self, daemon: Daemon) -> None:
        with shell(daemon) as terminal:
            terminal.process.send_signal(signal.SIGTSTP)
            terminal.wait_stopped()
            assert terminal.is_restored(), "a stopped akiosctl gives the terminal back"
            terminal.resume()
            terminal.run("echo again", r"\nagain\r")
            assert terminal.is_raw()
            terminal.type("exit\r")
            assert terminal.wait() == 0 and terminal.is_restored()

    def test_all_output_arrives_before_the_end(self, daemon: Daemon) -> None:
        with Terminal(
            daemon, "run", "--workspace", daemon.workspace(), "--", "seq", "50000"
        ) as terminal:
            assert terminal.wait() == 0
            assert terminal.seen.split() == [b"%d" % number for number in range(1, 50001)]

    def test_a_terminal_is_forced_and_refused(self, daemon: Daemon) -> None:
        asks = (
            "sh",
            "-c",
            "test -t 0 && echo in; test -t 1 && echo out; test -t 2 && echo err; true",
        )
        assert daemon.run(*asks).stdout == ""
        assert daemon.run(*asks, flags=["-t"], input="").stdout.split() == ["in", "out", "err"]
        with Terminal(
            daemon, "run", "-T", "--workspace", daemon.workspace(), "--", *asks
        ) as terminal:
            assert terminal.wait() == 0
            assert terminal.seen == b""
            assert terminal.is_restored()

    def test_the_terminal_after_every_kind_of_end(self, daemon: Daemon) -> None:
        where = daemon.workspace()
        for words, code in (
            (("true",), 0),
            (("sh", "-c", "stty raw -echo; kill -9 $$"), 137),
            (("nothing-of-this-name",), 127),
            (("sh", "-c", "stty raw -echo; exit 3"), 3),
        ):
            with Terminal(daemon, "run", "--workspace", where, "--", *words) as terminal:
                assert terminal.wait() == code
                assert terminal.is_restored()


def running(daemon: Daemon) -> list[str]:
    return [
        cage["cage"]
        for cage in json.loads(daemon.ctl("ps", "--json").stdout)
        if not cage["ended_ns"]
    ]


def ended_by_itself(daemon: Daemon, cage: str) -> bool:
    """Follow its log to the end, and nobody has to stop it."""
    process = daemon.popen(
        "events", "--json", "--follow", "--cage", cage, stdout=subprocess.PIPE, text=True
    )
    patience = threading.Timer(60, process.kill)
    patience.start()
    try:
        assert process.stdout is not None
        return any(json.loads(line)["kind"] == "end" for line in iter(process.stdout.readline, ""))
    finally:
        patience.cancel()
        process.kill()
        process.communicate()


class TestDetached:
    @pytest.mark.parametrize("uid", CALLERS)
    def test_detach_attach_and_stop(self, daemon: Daemon, uid: int) -> None:
        script = "echo first; read line < fifo; echo second; exit 9"
        where = daemon.workspace(uid=uid)
        done = daemon.run(
            "bash", "-c", f"mkfifo fifo; {script}", flags=["--detach"], cwd=where, uid=uid
        )
        cage = done.stdout.strip()
        assert done.returncode == 0 and cage.startswith("c-"), done.stderr
        assert cage in daemon.ctl("ps", uid=uid).stdout
        stopped = daemon.ctl("stop", "--grace", "1s", cage, uid=uid)
        assert stopped.returncode == 0, stopped.stderr
        assert "(detached)" not in daemon.ctl("ps", "--all", uid=uid).stdout
        daemon.ctl("discard", cage, uid=uid)

    def test_output_after_attaching_and_the_exit_status(self, daemon: Daemon) -> None:
        script = "while ! test -e /tmp/go; do sleep 0.05; done; echo late; exit 9"
        done = daemon.run("bash", "-c", f"trap 'touch /tmp/go' USR1; {script}", flags=["--detach"])
        cage = done.stdout.strip()
        attached = daemon.popen(
            "attach", cage, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True
        )
        try:
            out = signal_until_output(attached)
            assert out == "late\n" and attached.wait(30) == 9
        finally:
            attached.kill()
            attached.communicate()

    def test_a_detached_terminal(self, daemon: Daemon) -> None:
        done = daemon.run(*SHELL, flags=["--detach", "-t", "--env", "PS1=ready> "])
        cage = done.stdout.strip()
        assert cage.startswith("c-"), done.stderr
        with Terminal(daemon, "attach", cage) as terminal:
            terminal.run("tty", r"/dev/pts/\d+\r")
            terminal.type("exit 4\r")
            assert terminal.wait() == 4


def signal_until_output(process: subprocess.Popen[str]) -> str:
    """USR1 to an akiosctl that is attaching, again until the agent answers: it may not forward
    signals yet.
    """
    import select

    assert process.stdout is not None
    while process.poll() is None:
        try:
            process.send_signal(signal.SIGCONT)
            if reads_signals(process.pid):
                process.send_signal(signal.SIGUSR1)
        except ProcessLookupError:
            break
        if select.select([process.stdout], [], [], 0.2)[0]:
            break
    return process.stdout.read()


def reads_signals(pid: int) -> bool:
    """Whether the process catches SIGUSR1 by now: proc(5), SigCgt."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("SigCgt:"):
            return bool(int(line.split()[1], 16) & 1 << (signal.SIGUSR1 - 1))
    return False


class TestPipes:
    @pytest.mark.parametrize("uid", CALLERS)
    def test_bytes_go_through_in_both_directions(self, daemon: Daemon, uid: int) -> None:
        data = os.urandom(50 << 20)
        done = daemon.run("cat", uid=uid, input=data, text=False)
        assert done.returncode == 0, done.stderr
        assert hashlib.sha256(done.stdout).digest() == hashlib.sha256(data).digest()

    def test_files_as_stdin_and_stdout(self, daemon: Daemon) -> None:
        where = daemon.workspace()
        (daemon.base / "in").write_bytes(os.urandom(1 << 20))
        with open(daemon.base / "in", "rb") as source, open(daemon.base / "out", "wb") as target:
            assert (
                daemon.run(
                    "cat", cwd=where, stdin=source, stdout=target, capture_output=False
                ).returncode
                == 0
            )
        assert (daemon.base / "out").read_bytes() == (daemon.base / "in").read_bytes()

    def test_stdout_and_stderr_stay_apart(self, daemon: Daemon) -> None:
        done = daemon.run("sh", "-c", "echo out; echo err >&2; echo more > /dev/stderr")
        assert (done.stdout, done.stderr) == ("out\n", "err\nmore\n")

    def test_a_reader_that_leaves_ends_the_agent(self, daemon: Daemon) -> None:
        process = daemon.popen(
            "run",
            "--workspace",
            daemon.workspace(),
            "--",
            "yes",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.read(100) == b"y\n" * 50
            process.stdout.close()
            assert process.wait(30) == 128 + signal.SIGPIPE
        finally:
            process.kill()
            process.wait()

    def test_end_of_input(self, daemon: Daemon) -> None:
        assert daemon.run("wc", "-c", input="").stdout == "0\n"
        assert daemon.run("wc", "-c", stdin=subprocess.DEVNULL).stdout == "0\n"
        assert daemon.run("sh", "-c", "read a; read b; echo $a$b", input="x\ny\n").stdout == "xy\n"
        closed = subprocess.run(
            ["sh", "-c", 'exec "$@" <&-', "sh", *command(daemon, "wc", "-c")],
            capture_output=True,
            timeout=60,
        )
        assert closed.returncode == 0 and closed.stdout == b"0\n", closed.stderr

    def test_an_agent_that_does_not_read(self, daemon: Daemon) -> None:
        done = daemon.run("true", input=b"x" * (5 << 20), text=False)
        assert done.returncode == 0


def command(daemon: Daemon, *argv: str) -> list[str]:
    from tests.e2e.daemon import BIN

    where = daemon.workspace()
    return [
        str(BIN / "akiosctl"),
        "--socket",
        str(daemon.socket),
        "run",
        "--workspace",
        str(where),
        "--",
        *argv,
    ]


class TestSignals:
    @pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "QUIT", "USR1", "USR2"])
    def test_a_signal_reaches_the_agent(self, daemon: Daemon, name: str) -> None:
        script = f"trap 'echo got {name}; exit 3' {name}; echo up; while :; do sleep 0.05; done"
        self.check(daemon, script, name, "got " + name, 3)

    @pytest.mark.parametrize("name", ["INT", "TERM", "HUP", "USR1"])
    def test_an_agent_that_dies_of_it(self, daemon: Daemon, name: str) -> None:
        script = "import time; print('up', flush=True); time.sleep(1000)"
        if name == "INT":
            script = "import signal; signal.signal(signal.SIGINT, signal.SIG_DFL); " + script
        self.check(
            daemon,
            script,
            name,
            "",
            128 + signal.Signals[f"SIG{name}"],
            program=("/usr/bin/python3", "-c"),
        )

    def check(
        self,
        daemon: Daemon,
        script: str,
        name: str,
        said: str,
        code: int,
        program: tuple[str, ...] = ("bash", "-c"),
    ) -> None:
        process = daemon.popen(
            "run",
            "--workspace",
            daemon.workspace(),
            "--",
            *program,
            script,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "up\n"
            process.send_signal(signal.Signals[f"SIG{name}"])
            assert process.stdout.read().strip() == said
            assert process.wait(30) == code
        finally:
            process.kill()
            process.wait()

    def test_two_interrupts_end_an_agent_that_ignores_them(self, daemon: Daemon) -> None:
        script = "import signal, time; signal.signal(2, signal.SIG_IGN); print('up', flush=True); time.sleep(1000)"
        process = daemon.popen(
            "run",
            "--workspace",
            daemon.workspace(),
            "--",
            "/usr/bin/python3",
            "-c",
            script,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        try:
            assert process.stdout is not None and process.stdout.readline() == "up\n"
            while process.poll() is None:
                process.send_signal(signal.SIGINT)
                try:
                    process.wait(0.2)
                except subprocess.TimeoutExpired:
                    continue
            assert process.returncode == 137
        finally:
            process.kill()
            process.communicate()

    def test_a_killed_client_takes_its_cage_along(self, daemon: Daemon) -> None:
        process = daemon.popen(
            "run",
            "--workspace",
            daemon.workspace(),
            "--",
            "sh",
            "-c",
            "echo up; sleep 1000",
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
        )
        assert process.stdout is not None and process.stdout.readline() == b"up\n"
        (cage,) = running(daemon)
        process.kill()
        process.communicate()
        assert ended_by_itself(daemon, cage)


class TestExitCodes:
    @pytest.mark.parametrize("uid", CALLERS)
    def test_exit_codes(self, daemon: Daemon, uid: int) -> None:
        where = daemon.workspace(uid=uid)
        (where / "plain").write_text("no program\n")
        (where / "plain").chmod(0o644)
        (where / "broken").write_text("#!/nothing/here\n")
        (where / "broken").chmod(0o755)
        for words, code in (
            (("sh", "-c", "exit 0"), 0),
            (("sh", "-c", "exit 3"), 3),
            (("sh", "-c", "exit 255"), 255),
            (("sh", "-c", "kill -9 $$"), 137),
            (("sh", "-c", "kill -TERM $$"), 143),
            (("sh", "-c", "kill -SEGV $$"), 139),
            (("./plain",), 126),
            ((".",), 126),
            (("/etc",), 126),
            (("./not-there",), 127),
            (("nothing-of-this-name",), 127),
        ):
            done = daemon.run(*words, cwd=where, uid=uid)
            assert done.returncode == code, (words, done.stderr)
            assert "Traceback" not in done.stderr
        assert daemon.run("./broken", cwd=where, uid=uid).returncode in (126, 127)

    def test_when_akios_itself_fails(self, daemon: Daemon, tmp_path: Path) -> None:
        for arguments in (
            ("run", "--no-such-option", "--", "true"),
            ("run", "--workspace", tmp_path / "missing", "--", "true"),
            ("run", "--workspace", "/etc", "--", "true"),
            ("run", "--memory", "much", "--", "true"),
            ("run",),
            ("run", "--"),
            ("--socket", tmp_path / "no.sock", "run", "--", "true"),
            ("attach", "c-000000000000"),
        ):
            done = daemon.ctl(*arguments)
            assert done.returncode == 125, (arguments, done.returncode)
            assert done.stderr.startswith("akios") and "Traceback" not in done.stderr

    def test_where_options_end(self, daemon: Daemon) -> None:
        assert daemon.run("echo", "--", "-n", "--json").stdout == "-- -n --json\n"
        where = daemon.workspace()
        for words in (
            ["echo", "-n", "x"],
            ["--", "echo", "-n", "x"],
            ["-q", "--", "echo", "-n", "x"],
        ):
            assert daemon.ctl("run", "--workspace", where, *words, cwd=where).stdout == "x"
        assert daemon.run("-n").returncode == 127
        assert (
            daemon.run("sh", "-c", 'printf "%s|" "$@"', "sh", "", "a b", "é", "-", "--").stdout
            == "|a b|é|-|--|"
        )
