"""A private daemon as one starts it by hand: through sudo, and left running behind the terminal."""

from __future__ import annotations

import os
import re
import select
import shlex
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from akiosd.kernel.fds import Fd
from tests.e2e.daemon import BIN, NOBODY, OTHER, Daemon


def start_detached(daemon: Daemon, **more: str) -> subprocess.CompletedProcess[str]:
    command = [BIN / "akiosd", "--detach", "--config", daemon.config]
    env = {**os.environ, **more}
    return subprocess.run(command, env=env, capture_output=True, text=True, timeout=60)


@contextmanager
def ending(pid: int) -> Iterator[None]:
    """The process ends with the block."""
    with Fd(os.pidfd_open(pid)) as process:
        try:
            yield
        finally:
            signal.pidfd_send_signal(process.fileno(), signal.SIGTERM)
            select.select([process.fileno()], [], [])


def test_it_is_ready_when_the_command_returns_and_serves_who_typed_sudo() -> None:
    daemon = Daemon()
    config = daemon.config.read_text()
    daemon.config.write_text(config.replace("user: nogroup", "user: akios-test-nobody-has-it"))
    try:
        done = start_detached(daemon, SUDO_UID=str(OTHER))
        found = re.search(r"process (\d+), messages in (\S+);", done.stdout)
        assert done.returncode == 0 and found is not None, done.stderr
        with ending(int(found[1])):
            assert daemon.run("echo", "hello", uid=OTHER).stdout == "hello\n"
            verified = daemon.ctl("ledger", "verify", uid=OTHER)
            assert verified.returncode == 0, verified.stderr + ": the host's log, too"
            refused = daemon.run("true", uid=NOBODY)
            assert refused.returncode == 125 and "may not use akiosd" in refused.stderr
            log = Path(found[2])
            assert log.stat().st_mode & 0o777 == 0o600 and "ready" in log.read_text()
    finally:
        daemon.close()


def test_why_it_cannot_start_is_told_where_it_was_started() -> None:
    daemon = Daemon()
    try:
        # Found only once it has left the terminal: another akiosd has this state directory.
        daemon.start()
        done = start_detached(daemon)
        assert done.returncode == 1 and done.stdout == "" and "akiosd: " in done.stderr
    finally:
        daemon.close()


def test_the_advice_starts_it_as_it_was_started() -> None:
    """With another group in its --config, whose member runs a cage before and after."""
    daemon = Daemon()
    try:
        done = start_detached(daemon)
        found = re.search(r"process (\d+),", done.stdout)
        assert done.returncode == 0 and found is not None, done.stderr
        with ending(int(found[1])):
            assert daemon.run("echo", "hello", uid=NOBODY).stdout == "hello\n"
        told = daemon.ctl("ps").stderr
        command = re.search(r"next: +start one there: (.*)", told)
        assert command is not None and str(daemon.config) in command[1], told
        words = shlex.split(command[1].removeprefix("sudo "))
        again = subprocess.run(words, capture_output=True, text=True, timeout=60)
        found = re.search(r"process (\d+),", again.stdout)
        assert again.returncode == 0 and found is not None, again.stderr
        with ending(int(found[1])):
            assert daemon.run("echo", "hello", uid=NOBODY).stdout == "hello\n"
    finally:
        daemon.close()
