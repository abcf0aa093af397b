"""A terminal as a person sits at one: a pty, akiosctl in its foreground, keys typed and output
waited for.
"""

from __future__ import annotations

import fcntl
import os
import re
import select
import signal
import struct
import subprocess
import termios
import time
from pathlib import Path
from types import TracebackType
from typing import Any, Protocol, Self

from tests.e2e.daemon import BIN

PROMPT = "ready> "


class Served(Protocol):
    """A daemon, and how its users' programs are started."""

    @property
    def socket(self) -> Path: ...

    def as_user(self, uid: int) -> dict[str, Any]: ...


class Terminal:
    """Starts ``akiosctl ARGUMENTS`` with a controlling terminal of its own; kills it at the end of
    the block.
    """

    program = BIN / "akiosctl"
    patience_s = 30.0

    def __init__(
        self,
        daemon: Served,
        *arguments: str | os.PathLike[str],
        uid: int = 0,
        size: tuple[int, int] = (30, 90),
    ) -> None:
        self.master, self.slave = os.openpty()
        self.resize(*size)
        os.fchown(self.slave, uid, -1)
        self.modes = termios.tcgetattr(self.slave)
        self.seen = b""
        options = daemon.as_user(uid)
        env = {**os.environ, **options.pop("env", {}), "TERM": "xterm-256color", "PS1": "$ "}
        self.process = subprocess.Popen(
            [self.program, "--socket", daemon.socket, *arguments],
            stdin=self.slave,
            stdout=self.slave,
            stderr=self.slave,
            start_new_session=True,
            env=env,
            preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
            **options,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self.process.poll() is None:
            self.process.kill()
        self.process.wait()
        os.close(self.master)
        os.close(self.slave)

    def type(self, text: str | bytes) -> None:
        os.write(self.master, text.encode() if isinstance(text, str) else text)

    def expect(self, pattern: str) -> re.Match[bytes]:
        """Wait until the output since the last match holds ``pattern``."""
        expression = re.compile(pattern.encode(), re.DOTALL)
        deadline = time.monotonic() + self.patience_s
        while (found := expression.search(self.seen)) is None:
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{pattern!r} did not come; there was {self.seen!r}")
            self.seen += os.read(self.master, 1 << 16)
        self.seen = self.seen[found.end() :]
        return found

    def run(self, line: str, answer: str) -> re.Match[bytes]:
        """Type a shell line whose output, not its echo, matches ``answer``."""
        self.type(line + "\r")
        return self.expect(answer)

    def ask(self, line: str, answer: str) -> re.Match[bytes]:
        """:meth:`run`, and wait for the shell's prompt: what is typed before it would be echoed
        among the answers.
        """
        found = self.run(line, answer)
        self.expect(PROMPT)
        return found

    def drain(self) -> bytes:
        """Everything until the process ends."""
        while self.process.poll() is None or select.select([self.master], [], [], 0)[0]:
            if select.select([self.master], [], [], 0.05)[0]:
                self.seen += os.read(self.master, 1 << 16)
        return self.seen

    def wait(self) -> int:
        """Read to the end; the exit status."""
        self.drain()
        return self.process.wait(self.patience_s)

    def resize(self, rows: int, columns: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def is_restored(self) -> bool:
        return termios.tcgetattr(self.slave) == self.modes

    def is_raw(self) -> bool:
        return not termios.tcgetattr(self.slave)[3] & termios.ICANON

    def wait_stopped(self) -> None:
        """Until the process was stopped by a signal."""
        _, status = os.waitpid(self.process.pid, os.WUNTRACED)
        assert os.WIFSTOPPED(status), status

    def resume(self) -> None:
        self.process.send_signal(signal.SIGCONT)
