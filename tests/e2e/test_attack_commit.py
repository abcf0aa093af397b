"""What an agent leaves behind for the developer's own git: a commit must not carry it out of the cage.

The control of each: the same files, written outside, make ``git status`` run the agent's command.
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

# $PWNED is the file that the command makes; each step is one run, committed before the next.
_RUNS = """git config -f {0}/config core.fsmonitor "touch $PWNED; false" """
_FILLED = "mkdir -p {0}/objects {0}/refs && touch {0}/objects/x {0}/refs/x"
_HEAD = "echo ref: refs/heads/x > sub/HEAD"
SHARED = (
    f"mkdir evil && cp -r .git/objects .git/refs evil && {_RUNS.format('evil')}"
    " && echo ../../../evil > .git/worktrees/linked/commondir"
)
CONFIGURED = (
    f"mkdir sub && {_RUNS.format('sub')}"
    " && git config -f sub/config core.worktree .. && git config -f sub/config core.repositoryformatversion 0"
)
MADE_ONE = f"{_FILLED.format('sub')} && {_HEAD}"
POINTED = (
    f"mkdir sub && {_FILLED.format('common')} && {_RUNS.format('common')}"
    " && git config -f common/config core.repositoryformatversion 1"
    " && git config -f common/config extensions.worktreeConfig true"
    " && git config -f sub/config.worktree core.worktree .."
)
POINTS = f"{_HEAD} && echo ../common > sub/commondir"
LEFT: dict[str, tuple[str, tuple[str, ...]]] = {
    "the configuration of a linked worktree": ("linked", (SHARED,)),
    "a repository in two steps": ("main/sub", (CONFIGURED, MADE_ONE)),
    "a repository that points to another": ("main/sub", (POINTED, POINTS)),
}


def git(cwd: Path, *words: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    command = ["git", "-c", "user.name=n", "-c", "user.email=e", *words]
    subprocess.run(command, cwd=cwd, env=env, capture_output=True)


def make_project(daemon: Daemon) -> Path:
    """A repository ``main`` with a worktree ``linked`` beside it."""
    place = daemon.workspace("commit")
    (place / "main").mkdir()
    git(place / "main", "init", "--quiet")
    git(place / "main", "commit", "--quiet", "--allow-empty", "-m", "first")
    git(place / "main", "worktree", "add", "../linked")
    assert (place / "linked" / ".git").is_file()
    return place


@pytest.mark.parametrize("name", LEFT)
def test_git_runs_nothing_of_the_agents(daemon: Daemon, name: str) -> None:
    where, steps = LEFT[name]
    for caged in (False, True):
        place = make_project(daemon)
        mark = place / "pwned"
        for step in steps:
            command = ["sh", "-c", step.replace("$PWNED", str(mark))]
            if caged:
                done = daemon.run(*command, cwd=place / "main")
                assert done.returncode == 0, done.stderr
                daemon.ctl("commit", "--skip-refused", cwd=place / "main")
            else:
                subprocess.run(command, cwd=place / "main", check=True)
        if (place / where).exists():
            git(place / where, "status")
        assert mark.exists() != caged
    assert (place / "main" / ("evil" if where == "linked" else "sub")).exists(), "the rest was committed"
