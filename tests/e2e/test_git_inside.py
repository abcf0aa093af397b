"""git in a cage is its user's: it has what is safe of their configuration, and they are told what
else would differ.
"""

from __future__ import annotations

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.git_person import Person

COMMIT = "git add -A && git -c user.name=a -c user.email=a@a commit -qm all && git show --name-only --format= | sort"


LACKING = """
[core]
  autocrlf = input
  hooksPath = ~/hooks
[commit]
  gpgSign
[filter "big"]
  clean = no-such-program clean
"""


def make_person(daemon: Daemon, uid: int) -> Person:
    """In their repository one file is secret."""
    person = Person(daemon, uid)
    person.outside("git init -q && echo x > code && echo s3cret > local.env && echo x > b.tmp")
    return person


@pytest.fixture
def person(daemon: Daemon) -> Person:
    return make_person(daemon, NOBODY)


def test_root_is_a_user_too(daemon: Daemon) -> None:
    person = make_person(daemon, 0)
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
    assert "otherwise: commit.gpgsign, core.hookspath\n" in done.stderr, "no attribute names big"
    person.outside("mkdir -p deep/er && echo '*.bin filter=big diff=big' > deep/er/.gitattributes")
    assert "core.hookspath, filter.big\n" in person.inside("true").stderr
    assert "git inside" not in person.inside("true", "--discard", "--quiet").stderr
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
