"""git in a cage: it ignores what its user ignores everywhere, and its user is told what else it
does not know.
"""

from __future__ import annotations

import os
import subprocess

import pytest

from tests.e2e.daemon import BIN, NOBODY, Daemon

COMMIT = "git add -A && git -c user.name=a -c user.email=a@a commit -qm all && git show --name-only --format= | sort"


LACKING = """
[core]
  autocrlf = input
[commit]
  gpgSign
[filter "lfs"]
  clean = git-lfs clean
"""


class Person:
    """A user with a home and a repository, in which one file is secret."""

    def __init__(self, daemon: Daemon, uid: int) -> None:
        self.daemon, self.uid = daemon, uid
        self.where = daemon.workspace(uid=uid)
        self.home = daemon.base / f"git-home-{len(list(daemon.base.iterdir()))}"
        self.home.mkdir()
        os.chown(self.home, uid, -1)
        self.options = {
            **daemon.as_user(uid),
            "env": {"PATH": "/usr/bin:/bin", "HOME": str(self.home)},
        }
        self.outside("git init -q && echo x > code && echo s3cret > local.env && echo x > b.tmp")

    def outside(self, script: str) -> str:
        done = subprocess.run(
            ["sh", "-ec", script], cwd=self.where, capture_output=True, text=True, **self.options
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    def inside(self, script: str, *flags: str) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [
                BIN / "akiosctl",
                "--socket",
                self.daemon.socket,
                "run",
                "--discard",
                *flags,
                "--",
                "sh",
                "-ec",
                script,
            ],
            cwd=self.where,
            capture_output=True,
            text=True,
            timeout=90,
            **self.options,
        )

    def write(self, path: str, text: str) -> None:
        target = self.home / path
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_text(text)
        for made in (target, *target.parents):
            if made.is_relative_to(self.home):
                os.chown(made, self.uid, -1)


@pytest.fixture
def person(daemon: Daemon) -> Person:
    return Person(daemon, NOBODY)


def test_root_is_a_user_too(daemon: Daemon) -> None:
    person = Person(daemon, 0)
    person.write(".config/git/ignore", "*.env\n")
    assert person.inside(COMMIT).stdout.split() == ["b.tmp", "code"]


@pytest.mark.parametrize("how", ["standard", "named", "by include", "link"])
def test_what_the_user_ignores_everywhere_is_ignored_inside(person: Person, how: str) -> None:
    """The control: without the rules git inside commits the secret, as git outside does."""
    before = person.inside(COMMIT)
    assert before.stdout.split() == ["b.tmp", "code", "local.env"], before.stderr
    rules = {"standard": ".config/git/ignore", "link": "dotfiles/ignore"}.get(
        how, ".ignored-by-git"
    )
    person.write(rules, "*.env\n")
    if how == "named":
        person.write(".gitconfig", "[core]\n  excludesFile = ~/.ignored-by-git\n")
    elif how == "by include":
        person.write(".config/git/config", "[include]\n  path = more\n")
        person.write(
            ".config/git/more", f"[core]\n  excludesFile = {person.home}/.ignored-by-git\n"
        )
    elif how == "link":
        person.outside(
            f"mkdir -p ~/.config/git && ln -s {person.home}/dotfiles/ignore ~/.config/git/ignore"
        )
    for _ in range(2):
        done = person.inside(COMMIT)
        assert done.stdout.split() == ["b.tmp", "code"], done.stderr
        assert "git inside" not in done.stderr
    person.outside(f"printf '*.env\n*.tmp\n' > {person.home / rules}")
    assert person.inside(COMMIT).stdout.split() == ["code"], "they are read anew"


def test_the_home_inside_stays_the_agents_own(person: Person) -> None:
    person.write(".config/git/ignore", "*.env\n")
    person.write(".config/other", "private\n")
    done = person.inside("touch ~/.config/mine ~/.config/git/mine ~/mine; cat ~/.config/other || :")
    assert done.returncode == 0, done.stderr
    assert "private" not in done.stdout and "No such file" in done.stderr
    done = person.inside("echo > ~/.config/git/ignore || rm ~/.config/git/ignore || echo kept")
    assert "kept" in done.stdout
    assert (person.home / ".config/git/ignore").read_text() == "*.env\n"


def test_what_would_differ_is_said_at_the_start(person: Person) -> None:
    person.write(".gitconfig", LACKING)
    done = person.inside("true")
    assert "git inside does not have these settings of yours" in done.stderr, done.stderr
    assert "commit.gpgsign, core.autocrlf" in done.stderr and "filter.lfs" not in done.stderr, (
        "no attribute names it"
    )
    person.outside("mkdir -p deep/er && echo '*.bin filter=lfs diff=lfs' > deep/er/.gitattributes")
    assert "core.autocrlf, filter.lfs" in person.inside("true").stderr
    assert "git inside" not in person.inside("true", "--quiet").stderr
    person.write(".gitconfig", "[core]\n autocrlf = false\n[user]\n name = me\n")
    assert "git inside" not in person.inside("true").stderr, "the control"


@pytest.mark.parametrize("where", [".ssh/ignore", "project-link"])
def test_no_secret_passes_for_ignore_rules(person: Person, where: str) -> None:
    person.write(".ssh/ignore", "PRIVATE KEY\n")
    path = f"{person.home}/.ssh/ignore" if where == ".ssh/ignore" else f"{person.where}/rules"
    if where == "project-link":
        person.write(
            "notes", "PRIVATE THOUGHTS\n"
        )  # an agent's link: in no place known for its secrets
        person.outside(f"ln -s {person.home}/notes rules")
    person.write(".gitconfig", f"[core]\n excludesFile = {path}\n")
    done = person.inside("cat ~/.config/git/ignore")
    assert done.returncode != 0 and "PRIVATE" not in done.stdout
