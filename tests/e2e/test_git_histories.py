"""Histories that end with the same repository inside and outside, down to the names of commits; or
with a warning that names the difference.

Each is acted out twice by the same user: outside, and in a cage whose changes are committed.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

import pytest

from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.git_person import DATES, Person

BASE = "[user]\n name = Ada\n email = ada@home.example\n[init]\n defaultBranch = trunk\n"
STATE = """
git for-each-ref --format='%(refname) %(objectname)'
git log --all --format='%H %an %ae %cn %s' | sort
git symbolic-ref HEAD; git ls-files -s; git status --porcelain; git stash list
git fsck --strict 2>&1 | grep -v dangling || true
"""
START = "git init -q proj; cd proj; echo a >a; git add a; git commit -qm first; "
KEY = "test -e ~/k || ssh-keygen -qN '' -t ed25519 -f ~/k; "


class History(NamedTuple):
    """``before`` is done outside in both; then ``script`` in ``where``.  ``told``: what the warning
    names, where there is a difference.  ``seen``: directories that are compared besides.
    """

    script: str
    before: str = START
    config: str = ""
    where: str = "proj"
    told: str = ""
    seen: tuple[str, ...] = ()
    files: dict[str, str] = {}


HISTORIES: dict[str, History] = {
    "identity": History(
        "echo b >b; git add b; git commit -qm b", config='[includeIf "gitdir:**/proj/"]\n path = job\n',
        files={"job": "[user]\n email = ada@work.example\n"},
    ),
    "global ignore": History(
        "echo s >k.env; echo b >b; git add -A; git commit -qm all", config="[core]\n excludesFile = ~/never\n",
        files={"never": "*.env\n"},
    ),
    "eol": History(
        r"printf 'a\r\nb\r\n' >t.txt; git add t.txt; git commit -qm t",
        config="[core]\n autocrlf = input\n safecrlf = false\n",
    ),
    "attributes": History(
        r"printf 'a\r\n' >t.txt; printf 'b\r\n' >u.raw; git add .; git commit -qm t",
        files={".config/git/attributes": "*.txt text eol=lf\n*.raw -text\n"},
    ),
    "a filter": History(
        "echo hello >x.rot; git add x.rot; git commit -qm r; rm x.rot; git checkout -q x.rot",
        START + "echo '*.rot filter=rot' >.gitattributes; git add .; git commit -qm at",
        '[filter "rot"]\n clean = tr a-m n-z\n smudge = tr n-z a-m\n required\n',
    ),
    "LFS without its program": History(
        "echo big >x.bin; git add x.bin; git commit -qm r",
        START + "echo '*.bin filter=lfs -text' >.gitattributes; git add .; git commit -qm at",
        '[filter "lfs"]\n clean = ~/bin/git-lfs\n', told="filter.lfs",
        files={"bin/git-lfs": "#!/bin/sh\nsha256sum\n"},
    ),
    "signing": History(
        "git commit -qm signed --allow-empty", KEY + START,
        "[commit]\n gpgSign\n[gpg]\n format = ssh\n[user]\n signingKey = ~/k\n", told="commit.gpgsign",
    ),
    "hooks": History(
        "git commit -qm hooked --allow-empty", config="[core]\n hooksPath = ~/hooks\n", told="core.hookspath",
        files={"hooks/commit-msg": "#!/bin/sh\necho more >>$1\n"},
    ),
    "templates": History(
        "git init -q new; cd new; git add -A; git commit -qm n --allow-empty", seen=("proj/new",),
        told="init.templatedir", config="[init]\n templateDir = ~/t\n",
        files={"t/info/exclude": "x\n", "t/HEAD": "ref: refs/heads/other\n"},
    ),
    "merges": History(
        "git checkout -qb side; echo b >b; git add b; git commit -qm b; git checkout -q trunk; git merge -q side",
        config="[merge]\n ff = false\n[format]\n signOff = true\n",
    ),
    "gc": History(
        "for i in 1 2 3; do echo $i >f; git add f; git commit -qm $i; done; git tag t; echo z >f; git stash -q; "
        "git repack -qad; git pack-refs --all; git gc -q --prune=now; git stash pop -q",
    ),
    "a new project": History(
        "git init -q new; cd new; echo n >n; git add n; git commit -qm n; git branch config; git config core.eol lf",
        seen=("proj/new",),
    ),
    "a linked worktree": History(
        "echo b >b; git add b; git commit -qm b; git checkout -qb other; git tag t; git branch -D gone; "
        "git worktree prune --expire=now; git gc -q --prune=now; git commit -qm last --allow-empty",
        START + "git branch gone; git worktree add -q ../wt; git worktree add -q ../sibling; cd ../sibling; "
        "echo s >s; git add s; git commit -qm s; echo t >t; git add t", where="wt", seen=("proj", "sibling"),
    ),
    "a rebase in a worktree": History(
        "git rebase -q trunk; git commit --amend -qm amended",
        START + "git worktree add -q ../wt; echo c >c; git add c; git commit -qm c; cd ../wt; "
        "echo b >b; git add b; git commit -qm b", where="wt", seen=("proj",),
    ),
    "a submodule": History(
        "echo b >b; git add b; git commit -qm b; git checkout -qb hooks; git gc -q --prune=now",
        "git init -q lib; git -C lib commit -qm l --allow-empty; " + START
        + "git -c protocol.file.allow=always submodule --quiet add ../lib sub; git commit -qm sub",
        where="proj/sub", seen=("proj",),
    ),
    "a project with a submodule": History(
        "cd sub; echo b >b; git add b; git commit -qm b; git branch config; cd ..; git add sub; git commit -qm moved",
        "git init -q lib; git -C lib commit -qm l --allow-empty; " + START
        + "git -c protocol.file.allow=always submodule --quiet add ../lib sub; git commit -qm sub", seen=("proj/sub",),
    ),
}  # fmt: skip


def test_a_restart_forgets_no_repository(private: Daemon) -> None:
    person = Person(private, NOBODY)
    person.write(".gitconfig", BASE)
    person.outside(f"{START} git worktree add -q ../wt")
    top = person.where
    person.where = top / "wt"
    assert person.inside("git commit -qm inside --allow-empty", "--quiet").returncode == 0
    private.stop()
    private.start()
    shown = person.akiosctl("diff").stdout
    assert "M .git/refs/heads/wt\n" in shown and "A .git/objects/" in shown, shown
    done = person.akiosctl("commit")
    assert done.returncode == 0, done.stderr
    assert person.outside("git log --format=%s").split() == ["inside", "first"]


@pytest.mark.parametrize("mode", ["--ro", "--discard"])
def test_a_repository_elsewhere_is_not_written_to(daemon: Daemon, mode: str) -> None:
    person = Person(daemon, NOBODY)
    person.write(".gitconfig", BASE)
    person.outside(f"{START} git worktree add -q ../wt")
    person.where = person.where / "wt"
    done = person.inside("git commit -qm inside --allow-empty || echo refused", mode)
    assert (done.stdout == "refused\n") == (mode == "--ro"), done.stderr
    assert person.outside("git log --format=%s") == "first\n"


def state(person: Person, at: Path, history: History) -> dict[str, str]:
    places = (history.where, *history.seen)
    there = [place for place in places if (at / place).exists()]
    return {place: person.outside(STATE, at / place) for place in there}


@pytest.mark.parametrize("name", HISTORIES)
def test_the_repository_is_the_same_or_the_difference_is_told(daemon: Daemon, name: str) -> None:
    history, person = HISTORIES[name], Person(daemon, NOBODY)
    person.write(".gitconfig", BASE + history.config)
    for path, text in history.files.items():
        person.write(path, text)
        (person.home / path).chmod(0o755)
    top = person.where
    for place in ("out", "in"):
        person.outside(f"mkdir {place}; cd {place}; {DATES}{history.before}")
    before = state(person, top / "in", history)
    person.outside(DATES + history.script, top / "out" / history.where)
    person.where = top / "in" / history.where
    done = person.inside(DATES + history.script, "--commit")
    assert done.returncode == 0 and "not committed" not in done.stderr, done.stderr
    inside, outside = (state(person, top / place, history) for place in ("in", "out"))
    assert inside != before, "it wrote something"
    if history.told:
        assert history.told in done.stderr and inside != outside, "the control: it differs"
    else:
        assert inside == outside and "git inside" not in done.stderr, done.stderr
