"""What the developer's own arrangement leads to: links with protected names, and git's
configuration.

Each row is acted out with real git and bash.  The control: the agent's script in the workspace
itself, where the developer's next command runs what it planted.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from akiosctl.changes.protect import RefusedChange
from tests.unit.client.indirect import QUICK, Desk

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")


class Case(NamedTuple):
    """Scripts: the developer's, the agent's (several runs, each committed), and what the developer
    does next.
    """

    arranged: str
    planted: tuple[str, ...]
    next: str
    below: str = ""


FSMONITOR = '[core]\\n\\tfsmonitor = "touch $PWNED; false"\\n'
COMMIT = "git commit --allow-empty -qm x"
ENTER = "source ./.envrc"
GIT = "git init -q"


def plant(path: str, more: str = "") -> str:
    return f'mkdir -p "$(dirname {path})"; printf "%s" "$EVIL" >{path}; chmod +x {path}; {more}'


CASES: dict[str, Case] = {
    "the hooks are a link": Case(
        f"{GIT}; rm -r .git/hooks; mkdir -p scripts/hooks; ln -s ../scripts/hooks .git/hooks",
        (plant("scripts/hooks/pre-commit"),), COMMIT,
    ),
    "one hook is a link": Case(
        f"{GIT}; mkdir scripts; echo true >scripts/check; chmod +x scripts/check; "
        "ln -s ../../scripts/check .git/hooks/pre-commit", (plant("scripts/check"),), COMMIT,
    ),
    "core.hooksPath": Case(f"{GIT}; git config core.hooksPath tools/hooks", (plant("tools/hooks/pre-commit"),), COMMIT),
    "core.hooksPath through a link": Case(
        f"{GIT}; git config core.hooksPath tools/hooks; mkdir real; ln -s real tools; mkdir real/hooks",
        (plant("real/hooks/pre-commit"),), COMMIT,
    ),
    "core.hooksPath through a link to come": Case(
        f"{GIT}; git config core.hooksPath tools/hooks", (plant("evil/hooks/pre-commit"), "ln -s evil tools"), COMMIT,
    ),
    "core.hooksPath with variables of the home": Case(
        f'{GIT}; ln -s "$DESK" "$HOME/p"; git config core.hooksPath "~/p/hooks"', (plant("hooks/pre-commit"),), COMMIT,
    ),
    "include.path": Case(
        f"{GIT}; git config include.path ../shared.inc; touch shared.inc",
        (f"printf '{FSMONITOR}' | sed \"s!\\$PWNED!$PWNED!\" >shared.inc",), "git status",
    ),
    "an include of an include, absent so far": Case(
        f'{GIT}; git config include.path "$DESK/conf/a"; mkdir conf; printf "[include]\\npath = more/b\\n" >conf/a',
        (f"mkdir conf/more; printf '{FSMONITOR}' | sed \"s!\\$PWNED!$PWNED!\" >conf/more/b",), "git status",
    ),
    "includeIf": Case(
        f'{GIT}; git config "includeIf.gitdir:/.path" ../when.inc',
        (f"printf '{FSMONITOR}' | sed \"s!\\$PWNED!$PWNED!\" >when.inc",), "git status",
    ),
    "core.fsmonitor": Case(
        f"{GIT}; git config core.fsmonitor tools/watch; mkdir tools; echo false >tools/watch; chmod +x tools/watch",
        (plant("tools/watch"),), "git status",
    ),
    "a filter": Case(
        f'{GIT}; git config filter.f.clean "sh ./tools/clean %f"; echo "*.txt filter=f" >.gitattributes; '
        "mkdir tools; echo cat >tools/clean", (plant("tools/clean", "echo x >a.txt"),), "git add a.txt",
    ),
    "a filter of the user's": Case(
        f'{GIT}; git config --global filter.f.clean "tools/clean"; echo "*.txt filter=f" >.gitattributes',
        (plant("tools/clean", "echo x >a.txt"),), "git add a.txt",
    ),
    "a driver for diff": Case(
        f"{GIT}; echo a >a; git add a; git commit -qm a; git config diff.external tools/diff", (plant("tools/diff"),),
        "echo b >a; git diff",
    ),
    "an editor": Case(f"{GIT}; git config core.editor tools/edit", (plant("tools/edit"),), "git commit --allow-empty"),
    "an alias": Case(f"{GIT}; git config alias.s '!./tools/s'", (plant("tools/s"),), "git s"),
    "the directory of git is a link": Case(
        f"{GIT}; mv .git real; ln -s real .git", ('git config -f real/config core.fsmonitor "touch $PWNED; false"',),
        "git status",
    ),
    "the directory of git is elsewhere": Case(
        "mkdir meta; git init -q --separate-git-dir=meta/git", (plant("meta/git/hooks/pre-commit"),), COMMIT,
    ),
    "a work tree of a repository outside": Case(
        'git init -q "$BASE/main"; git -C "$BASE/main" commit -q --allow-empty -m 1; rmdir "$DESK" || true; '
        'git -C "$BASE/main" worktree add -f "$DESK"; git -C "$BASE/main" config core.hooksPath .team',
        (plant(".team/pre-commit"),), COMMIT,
    ),
    "a directory of a repository": Case(
        "cd ..; git init -q; git config core.hooksPath sub/team", (plant("team/pre-commit"),), f"cd ..; {COMMIT}",
        below="sub",
    ),
    "the user's hooks in a repository to come": Case(
        "git config --global core.hooksPath team/hooks", (plant("new/team/hooks/pre-commit"), "git init -q new"),
        f"cd new; {COMMIT}",
    ),
    "core.worktree": Case(
        f"{GIT}; mv .git store; mkdir tree; echo 'gitdir: ../store' >tree/.git; "
        "git config -f store/config core.worktree ../tree; git config -f store/config core.hooksPath team",
        (plant("tree/team/pre-commit"),), f"cd tree; {COMMIT}",
    ),
    "the settings of a shell are a link": Case(
        "mkdir env; touch env/rc; ln -s env/rc .envrc", (plant("env/rc"),), ENTER,
    ),
    "a link to a link": Case(
        "mkdir -p env/v1; touch env/v1/rc; ln -s v1 env/current; ln -s env/current/rc .envrc",
        (f"{plant('env/v2/rc')} ln -sfn v2 env/current",), ENTER,
    ),
    "a link to nothing": Case("ln -s env/rc .envrc", (f"{plant('evil/rc')} ln -s evil env",), ENTER),
    "a link to nothing, in two runs": Case("ln -s env/rc .envrc", (plant("evil/rc"), "ln -s evil env"), ENTER),
    "a directory on the way is exchanged": Case(
        "mkdir env; touch env/rc; ln -s env/rc .envrc", (f"mv env old; {plant('env/rc')}",), ENTER,
    ),
    "a directory on the way becomes a link": Case(
        "mkdir env; touch env/rc; ln -s env/rc .envrc", (f"{plant('evil/rc')} mv env old; ln -s evil env",), ENTER,
    ),
    "an absolute link": Case('mkdir env; touch env/rc; ln -s "$DESK/env/rc" .envrc', (plant("env/rc"),), ENTER),
    "a link out and in again": Case(
        'ln -s "$DESK" "$BASE/alias"; mkdir env; touch env/rc; ln -s "$BASE/alias/env/rc" .envrc',
        (plant("env/rc"),), ENTER,
    ),
    "a relative link out and in again": Case(
        "mkdir env; touch env/rc; ln -s ../desk/env/rc .envrc", (plant("env/rc"),), ENTER,
    ),
    "the settings of an editor are a link": Case(
        "mkdir -p tools/editor; ln -s tools/editor .vscode", (plant("tools/editor/tasks.json"),),
        "source .vscode/tasks.json",
    ),
    "a file in a linked directory is a link": Case(
        "mkdir -p tools/editor; ln -s tools/editor .vscode; touch t.json; ln -s ../../t.json tools/editor/tasks.json",
        (plant("t.json"),), "source .vscode/tasks.json",
    ),
    "a script that a hook calls": Case(
        f"{GIT}; mkdir scripts; echo true >scripts/lint.sh; echo 'sh scripts/lint.sh' >.git/hooks/pre-commit; "
        "chmod +x .git/hooks/pre-commit", (plant("scripts/lint.sh"),), COMMIT,
    ),
    "a script that a script of core.hooksPath calls": Case(
        f"{GIT}; git config core.hooksPath h; mkdir h s; echo 'exec ./s/a' >h/pre-commit; echo '. s/b.sh' >s/a; "
        "touch s/b.sh; chmod +x h/pre-commit s/a", (plant("s/b.sh"),), COMMIT,
    ),
    "a script that core.fsmonitor calls": Case(
        f"{GIT}; git config core.fsmonitor tools/w; mkdir tools; echo 'sh tools/x.sh' >tools/w; chmod +x tools/w; "
        "touch tools/x.sh", (plant("tools/x.sh"),), "git status",
    ),
    "a file that .envrc sources": Case(
        "mkdir env; touch env/more.sh; echo 'source $PWD/env/more.sh' >.envrc", (plant("env/more.sh"),), ENTER,
    ),
    "a file to come that .envrc sources": Case(
        "echo '[ -e .envrc.local ] && source .envrc.local' >.envrc", (plant(".envrc.local"),), ENTER,
    ),
    "a program to come of a filter": Case(
        f"{GIT}; git config filter.f.clean 'sh clean.sh %f'; echo '*.txt filter=f' >.gitattributes",
        (plant("clean.sh", "echo x >a.txt"),), "git add a.txt",
    ),
    "a server of an agent": Case(
        'mkdir srv; touch srv/x.sh; echo "{\\"command\\": \\"sh\\", \\"args\\": [\\"./srv/x.sh\\"]}" >.mcp.json',
        (plant("srv/x.sh"),), "grep -q srv/x.sh .mcp.json && sh ./srv/x.sh",
    ),
    "an agent's settings": Case(
        "mkdir -p .claude conf; ln -s ../conf/c.json .claude/settings.json", (plant("conf/c.json"),),
        "source .claude/settings.json",
    ),
}  # fmt: skip


@pytest.fixture
def base() -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=QUICK) as directory:
        yield Path(directory)


@pytest.mark.parametrize("name", CASES)
def test_nothing_planted_runs(base: Path, name: str) -> None:
    case = CASES[name]
    outside, desk = Desk(base / "outside", case.below), Desk(base / "caged", case.below)
    for each in (outside, desk):
        each.shell(case.arranged)
    for script in case.planted:
        outside.shell(script)
    outside.shell(case.next)
    assert outside.mark.exists(), "the control: written outside, it runs"
    refused: list[RefusedChange] = []
    for script in case.planted:
        refused += desk.caged(script)[0].refusals
    desk.shell(case.next)
    assert not desk.mark.exists()
    assert refused and all(refusal.reason.startswith("protected") for refusal in refused), refused


@pytest.mark.parametrize(
    "script",
    [
        "git init -q new; cd new; echo a >a; git add a; git commit -qm a; git branch rust-toolchain",
        "echo b >b; git add b; git commit -qm b; git tag t; git checkout -qb other; git rm -q a; git commit -qm gone",
        "git remote add origin https://example.com/x.git; git config user.name Somebody",
        "git config branch.side.remote origin; git config branch.side.merge refs/heads/side",
        "git config core.eol lf; git config branch.main.vscode-merge-base origin/main; "
        "git config lfs.repositoryformatversion 0; git config pull.ff only; git config gc.auto 0",
        "mkdir data; echo x >data/commondir; touch commondir config hooks; mkdir refs",
        "mkdir env tools; echo x >env/rc; echo y >tools/clean; ln -s env/rc here",
        "printf 'all:\\n\\ttouch x\\n' >Makefile; echo '{}' >package.json; echo x >CLAUDE.md",
        "echo 'a filter=f' >.gitattributes; echo x >.gitignore; mkdir .github; echo x >.github/w",
        "echo more >a; git stash -q; git gc -q; git reflog expire --all; git stash pop -q",
    ],
)
def test_ordinary_work_is_committed_whole(base: Path, script: str) -> None:
    desk = Desk(base)
    desk.shell(
        f"{GIT}; echo a >a; git add a; git commit -qm a; mkdir shared; ln -s shared/rc .envrc; echo new >u"
    )
    plan, report = desk.caged(script)
    assert plan.refusals == () and plan.operations and report.failure is None
    desk.shell("git fsck && git status && git log && touch $PWNED")
    assert desk.mark.exists(), "git finds nothing wrong"
    desk.shell("test -e new && cd new && rm $PWNED && git fsck && git log && touch $PWNED")
    assert desk.mark.exists()


def test_what_is_reached_gets_no_second_name(base: Path) -> None:
    """Nothing that is written to by another name later may be the file that a shell runs."""
    desk = Desk(base)
    desk.shell("mkdir env; echo x >env/rc; echo y >other; ln -s env/rc .envrc")
    plan, report = desk.caged("ln env/rc first; ln other second")
    assert plan.refusals == () and report.failure is None
    assert (desk.place / "other").stat().st_nlink == 2, "the control: a link is kept as one"
    assert (desk.place / "env/rc").stat().st_nlink == 1 and (
        desk.place / "first"
    ).read_text() == "x\n"


def test_what_protected_files_only_mention_stays_free(base: Path) -> None:
    desk = Desk(base)
    desk.shell(
        f"{GIT}; mkdir s .claude; touch s/lint.py setup.py manage.py lint.py README.md package-lock.json; "
        "printf 'npm test package-lock.json README.md\\nnode s/lint.py\\n' >.git/hooks/pre-commit; "
        "printf -- '- id: x\\n  exclude: ^setup.py$\\n' >.pre-commit-config.yaml; echo 'watch_file setup.py' >.envrc; "
        'echo "{\\"allow\\": [\\"Bash(python manage.py:*)\\"]}" >.claude/settings.json'
    )
    every = "s/lint.py setup.py manage.py lint.py README.md package-lock.json"
    plan, _ = desk.caged(f"for f in {every}; do echo x >$f; done")
    assert [refusal.path for refusal in plan.refusals] == [b"s/lint.py"], plan.refusals
    assert (
        plan.refusals[0].reason
        == "protected: .git/hooks/pre-commit names it, and that runs without being called"
    )


@pytest.mark.parametrize(
    ("line", "word"),
    [
        ("core.fsmonitor ./x", "core.fsmonitor"), ("core.hooksPath h", "core.hookspath"),
        ("include.path ../x", "include.path"), ("alias.status '!x'", "alias.status"),
        ("core.worktree ..", "core.worktree"), ("core.bare true", "core.bare"),
        ("remote.origin.url https://elsewhere.example/x", "remote.*.url"),
        ("credential.helper '!x'", "credential.helper"),
        ("remote.new.url 'ext::sh -c x'", "remote.*.url"), ("remote.new.uploadpack x", "remote.*.uploadpack"),
        ("filter.f.clean x", "filter.*.clean"), ("url.x.insteadOf https://", "url.*.insteadof"),
        ("branch.x.gh-merge-base --upload-pack=x", "branch.*.gh-merge-base"), ("core.eol '!x'", "core.eol"),
        ("commit.gpgsign false", "commit.gpgsign"),
        ("remote.new.url /tmp/x", "remote.*.url"), ("submodule.s.update '!x'", "submodule.*.update"),
    ],
)  # fmt: skip
def test_a_setting_that_could_run_something_is_refused_by_name(
    base: Path, line: str, word: str
) -> None:
    desk = Desk(base)
    desk.shell(f"{GIT}; git remote add origin https://example.com/x.git")
    plan, _ = desk.caged(f"git config {line}")
    assert [refusal.path for refusal in plan.refusals] == [b".git/config"]
    assert f"it changes {word}" in plan.refusals[0].reason, plan.refusals
