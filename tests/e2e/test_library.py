"""``from akiosctl import Cage``, as a user's program uses it, without root."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.e2e.daemon import NOBODY, Daemon

PROGRAMS = Path(__file__).parent / "library"


def use(daemon: Daemon, program: str, *words: str) -> str:
    return run_text(daemon, (PROGRAMS / program).read_text(), *words)


def run_text(daemon: Daemon, text: str, *words: str) -> str:
    options = daemon.as_user(NOBODY)
    options["env"] = {**options["env"], "AKIOS_SOCKET": str(daemon.socket)}
    done = subprocess.run(
        [sys.executable, "-c", text, *words],
        cwd=daemon.workspace(uid=NOBODY), capture_output=True, text=True, timeout=300, **options,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_a_program_uses_a_cage_and_leaves_nothing(daemon: Daemon) -> None:
    name, kept, cage = use(daemon, "uses_cage.py").split()
    listed = daemon.ctl("cage", "list", "--json", uid=NOBODY)
    up = {one["name"]: one["state"] for one in json.loads(listed.stdout)}
    assert name not in up and up[kept] == "down"
    daemon.ctl("cage", "down", cage, "--discard", uid=NOBODY)


@pytest.mark.parametrize("backend", ["asyncio", "trio"])
def test_the_same_in_async_code(daemon: Daemon, backend: str) -> None:
    assert use(daemon, "uses_async_cage.py", backend) == "done"
    listed = daemon.ctl("cage", "list", "--json", uid=NOBODY)
    assert not [one for one in json.loads(listed.stdout) if one["state"] == "up"]


def test_the_example_of_the_readme_runs(daemon: Daemon) -> None:
    lines = (PROGRAMS.parents[2] / "README.md").read_text().split("\n")
    start = lines.index("    from akiosctl import Cage")
    example = "\n".join(line[4:] for line in lines[start : lines.index("", start)])
    assert run_text(daemon, example) == "42\n\n"
