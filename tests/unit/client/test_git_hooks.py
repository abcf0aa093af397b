"""Hooks that git-lfs makes by itself: their text, and that only a program outside runs by them."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from akiosctl.changes.git_hooks import is_hook, is_lfs_hook
from tests.unit.client.indirect import Desk

TOLD = "This repository is configured for Git LFS but 'git-lfs' was not found on your path."
OLD = f'#!/bin/sh\ncommand -v git-lfs >/dev/null 2>&1 || {{ echo >&2 "\\n{TOLD}\\n"; exit 2; }}\n'
NEW = OLD.replace('echo >&2 "\\n', 'printf >&2 "\\n%s\\n\\n" "').replace('path.\\n"', 'path."')


@pytest.mark.parametrize(("text", "taken"), [
    (OLD + 'git lfs post-commit "$@"\n', True), (NEW + 'git lfs post-commit "$@"', True),
    (OLD + 'git lfs pre-push "$@"\n', False), (OLD + 'git lfs post-commit "$@"\ntouch x\n', False),
    (OLD.replace("path.", "path$(x)") + 'git lfs post-commit "$@"\n', False),
    (OLD.replace("path.", 'path"; x; echo "') + 'git lfs post-commit "$@"\n', False),
    (OLD.replace("path.", "path`x`") + 'git lfs post-commit "$@"\n', False),
    (OLD.replace("path.", "path\n") + 'git lfs post-commit "$@"\n', False),
    (OLD.replace("exit 2", "x") + 'git lfs post-commit "$@"\n', False), ("", False),
])  # fmt: skip
def test_the_text(text: str, taken: bool) -> None:
    assert is_lfs_hook(b".git/hooks/post-commit", text.encode()) is taken


@pytest.mark.parametrize(("path", "taken"), [
    (b"a/.git/hooks/pre-push", True), (b"hooks/pre-push", True), (b"x/hooks/pre-push", False),
    (b".git/hooks/pre-commit", False), (b".git/hooks/x/pre-push", False),
])  # fmt: skip
def test_the_place(path: bytes, taken: bool) -> None:
    assert is_hook(path, frozenset({b""})) is taken


@pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")
@pytest.mark.parametrize("where", ["outside", "nowhere", "workspace"])
def test_it_is_taken_where_the_users_own_program_runs(
    tmp_path: Path, where: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One that lies in the workspace is the agent's."""
    desk = Desk(tmp_path.resolve())
    desk.shell("git init -q; mkdir bin")
    place = {"outside": desk.home, "workspace": desk.place / "bin"}.get(where)
    if place is not None:
        (place / "git-lfs").write_text("#!/bin/sh\n")
        monkeypatch.setenv("PATH", f"{place}:/usr/bin:/bin")
    (desk.base / "hook").write_text(OLD + 'git lfs post-commit "$@"\n')
    plan, _ = desk.caged("cp $BASE/hook .git/hooks/post-commit")
    assert bool(plan.refusals) is (
        where != "outside" and shutil.which("git-lfs", path="/usr/bin") is None
    )
