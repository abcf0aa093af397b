"""Programs that akiosd starts, as root: found in fixed directories, told nothing of our surroundings."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import trio

_DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _DIRECTORIES, "LC_ALL": "C"}


def find_program(name: str) -> str | None:
    """The absolute path of one of the system's programs, whatever ``PATH`` says; None when it is not installed."""
    return shutil.which(name, path=_DIRECTORIES)


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a system program to its end; returns status and output.

    It has no input, ``/`` as working directory and none of our variables. A path among the
    arguments must be absolute. Raises OSError when there is no such program.
    """
    return subprocess.run(
        [find_program(name) or os.path.join("/usr/bin", name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=_ENVIRONMENT,
    )


async def open_python(script: Path, fd: int, *words: str | bytes) -> trio.Process:
    """Start a Python script of ours; its arguments are the number of ``fd``, then ``words``.

    The script may import only the standard library. It inherits that descriptor, no other, and no
    variable; its output is read from ``stdout`` of the returned process, which is the caller's.
    """
    return await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", str(script), str(fd), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[fd],
        cwd="/",
        env={},
    )
