"""A git directory beside its workspace (a linked worktree's, a submodule's): nothing that an agent
writes there runs or reaches out, and what other work trees need stays.

Each row is acted out with real git.  The control: the agent's script in the directory itself, where
the developer's next command does what it says.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from akiosctl.changes import DEFAULT_PROTECTED, Plan, Rules, commit, compare, make_plan
from akiosctl.changes.git_share import merge_diffs
from akiosctl.changes.git_views import GitDirectory
from akiosctl.git_place import find_git
from tests.unit.client.indirect import QUICK, Desk

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

START = "git init -qb trunk; echo a >a; git add a; git commit -qm first; "
ARRANGED = {
    "worktree": START + "git worktree add -q ../wt; git worktree add -q ../sib; cd ../sib; "
    "git commit -qm s --allow-empty",
    "submodule": "git init -q ../lib; git -C ../lib commit -qm l --allow-empty; " + START
    + "git -c protocol.file.allow=always submodule --quiet add ../lib wt; git commit -qm sub; "
    "git init -q ../sib",
}  # fmt: skip
SET_IN = 'set_in() { file=$PWD/$1; shift; git -C / config -f "$file" "$@"; }; '
"""git config without the repository, whose work tree is elsewhere for a copy of it."""
RUN = '"touch $PWNED; false"'
BECOME = (
    "git init -q evil; cp -r evil/.git/* evil/; cp -r ../../objects evil/; "
    f"set_in evil/config core.fsmonitor {RUN}; echo evil >commondir"
)
BORROW = (
    "[ -d $BASE/secret ] || { git init -q $BASE/secret; git -C $BASE/secret commit -qm s --allow-empty; }; "
    "mkdir -p objects/info; echo $BASE/secret/.git/objects >objects/info/alternates"
)
BORROWED = "git cat-file -e $(git -C $BASE/secret rev-parse HEAD) && touch $PWNED"
MOVED = "cd ../desk; git log --format=%s | grep -qx s && touch $PWNED"


class SharedDesk(Desk):
    """``top`` is the project, ``work`` the work tree, ``git`` its git directory."""

    def __init__(self, base: Path, kind: str) -> None:
        super().__init__(base)
        self.shell(ARRANGED[kind])
        self.work = self.place / "wt" if kind == "submodule" else self.base / "wt"
        place = find_git(str(self.work))
        assert place is not None and place.outside and not place.problem
        self.git = Path(place.common)

    def caged_git(self, script: str) -> Plan:
        """The script runs in a copy of the git directory, and is committed as far as it may be."""
        view = self.base / "view.git"
        shutil.copytree(self.git, view, symlinks=True)
        self.shell(SET_IN + script, view)
        places = (self.work, self.work, self.git, view)
        fds = [os.open(path, os.O_PATH | os.O_DIRECTORY) for path in places]
        home, os.environ["HOME"] = os.environ.get("HOME", "/"), str(self.home)
        try:
            side = GitDirectory(os.fsencode(self.work), fds[2], fds[3])
            found = side.compare(None)
            diff = merge_diffs(compare(*fds[:2]), found.diff)
            rules = Rules(DEFAULT_PROTECTED, survey=side.survey(found), refused=found.refused)
            plan = make_plan(diff, rules, skip_refused=True)
            report = commit(fds[0], fds[1], plan, git_fds=(fds[2], fds[3]))
        finally:
            os.environ["HOME"] = home
            for fd in fds:
                os.close(fd)
            shutil.rmtree(view)
        assert report.failure is None and not report.kept
        assert not [path for path in self.git.iterdir() if path.name.startswith(".akios")]
        return plan


class Case(NamedTuple):
    """The agent's script in the git directory; what the developer does next in the work tree.
    ``silent``: it is left out without a word, because it is another work tree's.
    """

    planted: str
    next: str = "git status"
    silent: bool = False
    kinds: tuple[str, ...] = ("worktree", "submodule")


ONLY = ("worktree",)
CASES: dict[str, Case] = {
    "core.fsmonitor": Case(f"set_in config core.fsmonitor {RUN}"),
    "core.sshCommand": Case(f"set_in config core.sshCommand {RUN}", "git fetch ssh://x.invalid/y"),
    "include.path": Case(f"set_in more core.fsmonitor {RUN}; set_in config include.path more"),
    "alias": Case("set_in config alias.st '!touch $PWNED'", "git st"),
    "a remote that is a program": Case(
        'set_in config remote.x.url "ext::touch $PWNED"', "GIT_ALLOW_PROTOCOL=ext git fetch x",
    ),
    "a submodule's command": Case(
        "set_in config submodule.s.update '!touch $PWNED'",
        "eval \"$(git config submodule.s.update | cut -c2-)\"",
    ),
    "a hook": Case(
        'printf "%s" "$EVIL" >hooks/pre-commit; chmod +x hooks/pre-commit', "git commit --allow-empty -qm x",
    ),
    "a filter": Case(
        f"mkdir -p info; echo '* filter=f' >info/attributes; set_in config filter.f.clean {RUN}",
        "echo b >b; git add b",
    ),
    "configuration of the work tree": Case(
        "set_in config extensions.worktreeConfig true; "
        f"set_in worktrees/wt/config.worktree core.fsmonitor {RUN}", kinds=ONLY,
    ),
    "another common directory": Case(
        f"cd worktrees/wt; {BECOME}; cp ../../refs/heads/wt evil/refs/heads/", kinds=ONLY,
    ),
    "another common directory of a sibling": Case(
        f"cd worktrees/sib; {BECOME}", "cd ../sib; git status", True, ONLY,
    ),
    "borrowed objects": Case(BORROW, BORROWED, kinds=("submodule",)),
    "borrowed objects of a shared repository": Case(BORROW, BORROWED, True, ONLY),
    "the branch of the main work tree": Case("cp refs/heads/sib refs/heads/trunk", MOVED, kinds=ONLY),
    "that branch, packed": Case(
        'echo "$(cat refs/heads/sib) refs/heads/trunk" >packed-refs; rm refs/heads/trunk', MOVED, kinds=ONLY,
    ),
    "the HEAD of the main work tree": Case("echo ref: refs/heads/sib >HEAD", MOVED, True, ONLY),
    "where the work tree is": Case(
        "echo /nowhere/.git >worktrees/wt/gitdir",
        "git worktree prune --expire=now; git status || touch $PWNED", kinds=ONLY,
    ),
    "objects that others need": Case("rm -r objects/??", "cd ../sib; git log || touch $PWNED", True, ONLY),
    "work trees beside it": Case("rm -r worktrees/sib", "cd ../sib; git status || touch $PWNED", True, ONLY),
    "a link out": Case(
        "rm -rf logs; ln -s $BASE/home logs",
        "git commit -qm x --allow-empty; [ ! -e $BASE/home/HEAD ] || touch $PWNED", kinds=("submodule",),
    ),
    "a name that a prompt runs": Case(
        "cp $(ls refs/heads/* | head -n1) 'refs/heads/$(touch${IFS}$PWNED)'",
        "p=$(git for-each-ref --format='%(refname)' | grep touch) && eval \"echo \\\"$p\\\"\"",
    ),
}  # fmt: skip
ROWS = [(name, kind) for name, case in CASES.items() for kind in case.kinds]


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as directory:
        yield Path(directory)


@pytest.mark.parametrize(("name", "kind"), ROWS)
def test_nothing_planted_there_acts(base: Path, name: str, kind: str) -> None:
    case = CASES[name]
    outside, desk = (SharedDesk(base / place, kind) for place in ("outside", "caged"))
    outside.shell(SET_IN + case.planted, outside.git)
    outside.shell(case.next, outside.work)
    assert outside.mark.exists(), "the control: written outside, it acts"
    plan = desk.caged_git(case.planted)
    desk.shell(case.next, desk.work)
    assert not desk.mark.exists()
    assert bool(plan.refusals) != case.silent, plan.refusals
    desk.shell("git status && git log -1 && git -C $BASE/sib status && touch $PWNED", desk.work)
    assert desk.mark.exists(), "git goes on working in both"


@pytest.mark.parametrize("kind", ARRANGED)
def test_ordinary_work_there_is_committed(base: Path, kind: str) -> None:
    desk = SharedDesk(base, kind)
    desk.shell("git remote remove origin", desk.work)
    plan = desk.caged_git(
        "set_in config remote.up.url https://h.example/x; set_in config branch.config.remote up; "
        "cp $(ls refs/heads/* | head -n1) refs/heads/config; mkdir -p logs/refs/heads/hooks; "
        "echo more >info/exclude; echo x >hooks/y.sample"
    )
    assert plan.refusals == (), plan.refusals
    desk.shell(
        "git rev-parse -q --verify config && git config branch.config.remote && grep more "
        "$(git rev-parse --git-common-dir)/info/exclude && touch $PWNED",
        desk.work,
    )
    assert desk.mark.exists()
