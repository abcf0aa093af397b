"""Ended cages are still there for a while: by name, with their end, their output and their
changes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]


def run(daemon: Daemon, where: Path, *words: str, uid: int = NOBODY) -> str:
    """Run as a person would, in ``where``; the cage's id."""
    done = daemon.ctl("run", "--json", *words, uid=uid, cwd=where)
    return str(json.loads(done.stderr.splitlines()[-1])["cage"])


def rows(daemon: Daemon, uid: int = NOBODY) -> dict[str, dict[str, Any]]:
    done = daemon.ctl("ps", "--all", "--json", uid=uid)
    assert done.returncode == 0, done.stderr
    return {row["cage"]: row for row in json.loads(done.stdout)}


def verb(
    daemon: Daemon, where: Path, *words: str, uid: int = NOBODY
) -> subprocess.CompletedProcess[str]:
    return daemon.ctl(*words, uid=uid, cwd=where)


@pytest.mark.parametrize("uid", CALLERS)
def test_a_name_leads_to_a_cage_of_ones_own(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    name = f"build-{uid}"
    first = run(daemon, where, "--name", name, "--", "touch", "new", uid=uid)
    taken = verb(daemon, where, "run", "--name", name, "--", "true", uid=uid)
    assert taken.returncode == 125 and first in taken.stderr and "changes" in taken.stderr
    other = verb(daemon, daemon.workspace(uid=OTHER), "commit", name, uid=OTHER)
    assert other.returncode == 125 and first not in other.stderr, "nobody else's"
    if uid:
        as_root = verb(daemon, where, "commit", name, uid=0)
        assert as_root.returncode == 125 and not (where / "new").exists(), as_root.stdout
    done = verb(daemon, where, "commit", name, uid=uid)
    assert done.returncode == 0 and first in done.stdout and (where / "new").exists(), done.stderr
    second = run(daemon, where, "--name", name, "--", "touch", "newer", uid=uid)
    assert f"{second} in {where}" in verb(daemon, where, "diff", name, uid=uid).stderr
    assert f"{second} in {where}" in verb(daemon, where, "diff", "last", uid=uid).stderr
    before = verb(daemon, where, "diff", "last~1", uid=uid)
    assert f"{first}, last~1 here, has no changes" in before.stderr, before.stderr
    assert verb(daemon, where, "discard", name, uid=uid).returncode == 0
    assert not (where / "newer").exists()
    bad = verb(daemon, where, "run", "--name", "last~1", "--", "true", uid=uid)
    assert bad.returncode == 125 and "--name" in bad.stderr
