"""The host's own programs that akiosd starts, as root: found in fixed directories, told nothing of our surroundings."""

from __future__ import annotations

import os
import shutil
import subprocess

_DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin"
_ENVIRONMENT = {"PATH": _DIRECTORIES, "LC_ALL": "C"}


def find_program(name: str) -> str | None:
    """The absolute path of one of the system's programs, whatever ``PATH`` says; None when it is not installed."""
    return shutil.which(name, path=_DIRECTORIES)


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run to the end; its output comes with the result.

    It has no input, ``/`` as its directory and none of our variables.  A path among the arguments must be absolute.
    Raises OSError when there is no such program.
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
