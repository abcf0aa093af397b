"""What an agent leaves behind for the developer's own git: a commit must not carry it out of the
cage.

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
    assert (place / "main" / ("evil" if where == "linked" else "sub")).exists(), (
        "the rest was committed"
    )


_RENAMED = (
    "import hashlib; d = open('.git/index', 'rb').read()[:-20].replace(b'{0}', b'{1}'); "
    "open('.git/index', 'wb').write(d + hashlib.sha1(d).digest())"
)
_HOOK = "printf '#!/bin/sh\\ntouch $PWNED\\n' >{0}; chmod +x {0}; git add {0}"
# The developer's arrangement, what the agent does, what the developer does next.
_PLANT = "printf '#!/bin/sh\\ntouch $PWNED\\n' > {0}; chmod +x {0}"
ARRANGED: dict[str, tuple[str, str, str]] = {
    "hooks that are a link": (
        "rm -rf .git/hooks; mkdir -p scripts/hooks; ln -s ../scripts/hooks .git/hooks",
        _PLANT.format("scripts/hooks/pre-commit"),
        "git commit -q --allow-empty -m x",
    ),
    "core.hooksPath": (
        "git config core.hooksPath tools",
        f"mkdir tools; {_PLANT.format('tools/pre-commit')}",
        "git commit -q --allow-empty -m x",
    ),
    "include.path": (
        "git config include.path ../shared.inc; touch shared.inc",
        'git config -f shared.inc core.fsmonitor "touch $PWNED; false"',
        "git status",
    ),
    "a link to a directory that was exchanged": (
        "mkdir env; touch env/rc; ln -s env/rc .envrc",
        f"mv env old; mkdir env; {_PLANT.format('env/rc')}",
        ". ./.envrc",
    ),
    "a script that a hook calls": (
        "mkdir s; touch s/lint.sh; mkdir -p .git/hooks; echo 'sh s/lint.sh' >.git/hooks/pre-commit; "
        "chmod +x .git/hooks/pre-commit",
        _PLANT.format("s/lint.sh"),
        "git commit -q --allow-empty -m x",
    ),
    "an index that names a hook": (
        "true",
        f"mkdir -p aaaa/hooks; {_HOOK.format('aaaa/hooks/post-checkout')}; rm -r aaaa; "
        f'python3 -c "{_RENAMED.format("aaaa/", ".git/")}"',
        "git checkout -- .",
    ),
    "an index that names what is outside": (
        "true",
        f'mkdir aa; echo x >aa/pwned; git add aa; rm -r aa; python3 -c "{_RENAMED.format("aa/p", "../p")}"',
        "git checkout -- .",
    ),
    "a log of references that is a link to a hook": (
        "printf '#!/bin/sh\\n' >.git/hooks/post-commit; chmod +x .git/hooks/post-commit",
        "git config user.name 'x; touch $PWNED #'; rm -f .git/logs/HEAD; ln -s ../hooks/post-commit .git/logs/HEAD",
        "unset GIT_COMMITTER_NAME; git commit -q --allow-empty -m x; git commit -q --allow-empty -m x",
    ),
    "a branch with a name that a prompt runs": (
        "git symbolic-ref HEAD refs/heads/main",
        "git symbolic-ref HEAD 'refs/heads/$(touch${IFS}$PWNED)'",
        'PS1="$(git symbolic-ref HEAD) "; : "${PS1@P}"',
    ),
    "a tag with a name that a prompt runs": (
        "git tag -f one",
        "git tag 'one$(touch${IFS}$PWNED)'; git tag -d one; git pack-refs --all",
        'PS1="$(git describe --tags) "; : "${PS1@P}"',
    ),
    "a sample of a hook that the hook is a link to": (
        "mkdir -p .git/hooks; ln -s pre-commit.sample .git/hooks/pre-commit; echo >.git/hooks/pre-commit.sample",
        _PLANT.format(".git/hooks/pre-commit.sample"),
        "git commit -q --allow-empty -m x",
    ),
    "what the shell reads on entering": (
        "mkdir -p .venv/bin; touch .venv/bin/activate; echo 'source .venv/bin/activate' >.envrc",
        _PLANT.format(".venv/bin/activate"),
        ". ./.envrc",
    ),
    "where the shell looks for programs after entering": (
        "mkdir bin; echo 'PATH_add bin' >.envrc",
        f"{_PLANT.format('bin/id')}; {_PLANT.format('bin/made')}",
        "PATH_add() { PATH=$PWD/$1:$PATH; }; . ./.envrc; id; rm bin/made",
    ),
}


def shell(cwd: Path, script: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    who = {
        f"GIT_{role}_{what}": "x" for role in ("AUTHOR", "COMMITTER") for what in ("NAME", "EMAIL")
    }
    subprocess.run(["bash", "-c", script], cwd=cwd, env=env | who, capture_output=True)


@pytest.mark.parametrize("name", ARRANGED)
def test_the_developers_own_ways_lead_to_nothing_of_the_agents(daemon: Daemon, name: str) -> None:
    arranged, planted, following = ARRANGED[name]
    for caged in (False, True):
        place = make_project(daemon) / "main"
        mark = place.parent / "pwned"
        shell(place, arranged)
        script = planted.replace("$PWNED", str(mark))
        if caged:
            done = daemon.run("sh", "-c", f"{script}; echo x >ordinary", cwd=place)
            assert done.returncode == 0, done.stderr
            refused = daemon.ctl("commit", cwd=place)
            assert (
                refused.returncode != 0
                and "protected" in refused.stderr
                and "akiosctl diff" in refused.stderr
            )
            done = daemon.ctl("commit", "--skip-refused", cwd=place)
            assert done.returncode == 0, done.stderr
            assert (place / "ordinary").exists(), "the rest was committed"
        else:
            shell(place, script)
        shell(place, following)
        assert mark.exists() != caged


def test_a_repository_made_in_a_cage_is_committed(daemon: Daemon) -> None:
    place = daemon.workspace("made")
    script = "git init -q; git config user.name n; git config user.email e; echo a >a; git add a; git commit -qm a"
    done = daemon.run("sh", "-c", script, cwd=place)
    assert done.returncode == 0, done.stderr
    done = daemon.ctl("commit", cwd=place)
    assert done.returncode == 0, done.stderr
    shell(place, "git -c safe.directory='*' fsck && git log --format=%s >log")
    assert (place / "log").read_text() == "a\n"
