"""The hostile C programs beside this file: compiled once, run inside cages and, as the control,
outside of them.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tests.e2e.daemon import NOBODY, Daemon

SOURCES = Path(__file__).parent

# What an action outside may disturb is given namespaces of its own; pid 1 there is a shell, not the
# program.
_THROW_AWAY = (
    "unshare",
    "--mount",
    "--net",
    "--ipc",
    "--uts",
    "--pid",
    "--fork",
    "--mount-proc",
    "--propagation",
    "private",
)


Done = subprocess.CompletedProcess[Any]


class Programs:
    """``directory`` holds the executables; everybody may read it."""

    def __init__(self, daemon: Daemon) -> None:
        self._daemon = daemon
        self.directory = daemon.base / "attacks"
        self.directory.mkdir(mode=0o755)
        self.directory.chmod(0o755)
        self._results: dict[tuple[str, int, tuple[str, ...]], dict[str, str]] = {}

    def path(self, program: str) -> Path:
        target = self.directory / program
        if not target.exists():
            command = [
                "gcc",
                "-O1",
                "-Wall",
                "-Wextra",
                "-Werror",
                str(SOURCES / f"{program}.c"),
                "-o",
                str(target),
            ]
            done = subprocess.run(command, capture_output=True, text=True)
            assert done.returncode == 0, done.stderr
        return target

    def workspace(self, *programs: str, uid: int = 0) -> Path:
        """A fresh workspace of ``uid`` that holds these programs."""
        where = self._daemon.workspace("attack", uid=uid)
        for program in programs:
            shutil.copy(self.path(program), where / program)
            os.chown(where / program, uid, NOBODY if uid else 0)
        return where

    def inside(
        self, program: str, names: Sequence[str], uid: int = 0, flags: Sequence[str] = ()
    ) -> dict[str, str]:
        """What became of each action in one cage of this caller, by name; asked for once."""
        key = (program, uid, (*names, *flags))
        if key not in self._results:
            where = self.workspace(program, uid=uid)
            done = self.run_in_cage(where / program, *names, cwd=where, uid=uid, flags=flags)
            self._results[key] = parse(done.stdout)
            assert done.returncode == 0, f"{done.returncode}: {done.stdout[-500:]} {done.stderr}"
        return self._results[key]

    def run_in_cage(
        self, *argv: str | Path, cwd: Path, uid: int = 0, flags: Sequence[str] = ()
    ) -> Done:
        return self._daemon.run(*argv, cwd=cwd, uid=uid, flags=["--discard", *flags])

    def outside(self, program: str, name: str, uid: int = 0) -> str:
        """The same action without a cage: of root in throw-away namespaces, of an ordinary user as
        it is.
        """
        path = str(self.path(program))
        if uid:
            done = subprocess.run(
                [path, name], user=uid, group=NOBODY, extra_groups=[], **_CAPTURED
            )
        else:
            done = subprocess.run(
                [*_THROW_AWAY, "sh", "-c", '"$0" "$1"; true', path, name], **_CAPTURED
            )
        return parse(done.stdout).get(name, f"no answer: {done.stderr!r}")


_CAPTURED: dict[str, Any] = {
    "capture_output": True,
    "text": True,
    "stdin": subprocess.DEVNULL,
    "timeout": 60,
    "cwd": "/",
}


def parse(text: str) -> dict[str, str]:
    return dict(line.split(" ", 1) for line in text.splitlines())
