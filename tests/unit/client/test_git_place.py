"""Where a workspace's repository is, and what a file ``.git`` cannot bring into a cage."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest

from akiosctl.git_place import GitPlace, find_git
from tests.unit.client.indirect import Desk

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

REPOSITORY = "git init -q; git commit -qm x --allow-empty; "


def find(base: Path, script: str, where: str) -> GitPlace | None:
    desk = Desk(base.resolve())
    desk.shell(script)
    return find_git(str(desk.place / where))


@pytest.mark.parametrize(("script", "where", "own", "common"), [
    (REPOSITORY, ".", ".git", ".git"),
    (REPOSITORY + "git worktree add -q wt", "wt", ".git/worktrees/wt", ".git"),
    (REPOSITORY + "git worktree add -q wt; cd wt; d=$(git rev-parse --git-dir); "
     "echo ../../../wt/.git >$d/gitdir; "
     "echo gitdir: ../.git/worktrees/wt >.git", "wt", ".git/worktrees/wt", ".git"),
    ("git init -q t; git -C t commit -qm x --allow-empty; git clone -q --bare t .bare; "
     "git -C .bare worktree add -q ../w",
     "w", ".bare/worktrees/w", ".bare"),
    ("git init -q ../lib; git -C ../lib commit -qm x --allow-empty; " + REPOSITORY
     + "git -c protocol.file.allow=always submodule -q add ../lib a/sub", "a/sub", ".git/modules/a/sub",
     ".git/modules/a/sub"),
])  # fmt: skip
def test_a_repository_that_names_the_workspace(
    tmp_path: Path, script: str, where: str, own: str, common: str
) -> None:
    found = find(tmp_path, script, where)
    top = tmp_path.resolve() / "desk"
    assert found == GitPlace(str(top / own), str(top / common), where != ".")


@pytest.mark.parametrize(("script", "where", "problem"), [
    ("git init -q other; mkdir ws; echo gitdir: ../other/.git >ws/.git", "ws", "does not name this workspace"),
    ("git init -q other; git -C other commit -qm x --allow-empty; git -C other worktree add -q ../wt; mkdir ws; "
     "cp wt/.git ws/.git", "ws", "does not name this workspace"),
    ("git init -q other; mkdir -p ws; cd other/.git; mkdir fake; echo x >fake/HEAD; echo .. >fake/commondir; "
     "echo ../../../ws/.git >fake/gitdir; echo gitdir: ../other/.git/fake >../../ws/.git", "ws", "does not name this"),
    ('mkdir -p ws "$HOME/.ssh"; echo secret >"$HOME/.ssh/id"; echo "gitdir: $HOME/.ssh" >ws/.git', "ws",
     "is not a repository"),
    ("git init -q other; mkdir ws; ln -s ../other/.git ws/.git", "ws", "does not name this workspace"),
    ("mkdir ws; ln -s gone ws/.git", "ws", "is not there"),
    ("git init -q --separate-git-dir=g ws", "ws", "does not name this workspace"),
    ("git init -q o; cd o; git commit -qm x --allow-empty; git worktree add -q .git/wt", "o/.git/wt",
     "holds the workspace"),
])  # fmt: skip
def test_a_file_cannot_bring_what_is_not_the_workspaces(
    tmp_path: Path, script: str, where: str, problem: str
) -> None:
    found = find(tmp_path, script, where)
    assert found is not None and found.outside and problem in found.problem, found


@pytest.mark.parametrize("text", ["", "gitdir:", "gitdir: \0", "nothing"])
def test_what_is_no_work_tree(tmp_path: Path, text: str) -> None:
    (tmp_path / ".git").write_text(text)
    assert find_git(str(tmp_path)) is None
    os.unlink(tmp_path / ".git")
    assert find_git(str(tmp_path)) is None
