"""The ETag of a diff covers what a commit would write, and what it would overwrite."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akiosctl.api import diff_tag
from akiosctl.api.diff_tag import tag_diff
from akiosctl.changes.render import to_json
from akiosctl.commit_cage import CageView
from akiosd.wire.messages import ViewReply


class Trees:
    """A workspace, and what a cage's view shows of it."""

    def __init__(self, place: Path) -> None:
        self.workspace, self.view = place / "workspace", place / "view"
        for tree in (self.workspace, self.view):
            (tree / "sub").mkdir(parents=True)
            (tree / "kept").write_text("as it was")
        (self.workspace / "mine").write_text("before")
        (self.view / "mine").write_text("behind")
        (self.view / "sub/new").write_text("safe")
        (self.view / "link").symlink_to("here")

    def tag(self, running: bool = True) -> str:
        fds = [os.open(tree, os.O_PATH | os.O_DIRECTORY) for tree in (self.view, self.workspace)]
        try:
            view = CageView(ViewReply(), fds[0], fds[1], wanted=False)
            diff = view.compare()
            return tag_diff(view, diff, to_json(diff), running=running)
        finally:
            for fd in fds:
                os.close(fd)


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    yield Trees(tmp_path)


def write_alike(path: Path, text: str) -> None:
    """Other content of the same size, and the same mtime: an agent may set that."""
    before = path.stat()
    assert before.st_size == len(text)
    path.write_text(text)
    os.utime(path, ns=(before.st_atime_ns, before.st_mtime_ns))


def relink(trees: Trees) -> None:
    (trees.view / "link").unlink()
    (trees.view / "link").symlink_to("away")


def date_back(path: Path) -> None:
    os.utime(path, ns=(2 * 10**9, 2 * 10**9), follow_symlinks=False)


CHANGES: dict[str, Callable[[Trees], None]] = {
    "the agent's new file": lambda trees: write_alike(trees.view / "sub/new", "evil"),
    "the agent's changed file": lambda trees: write_alike(trees.view / "mine", "beyond"),
    "the agent's link": relink,
    "the mtime of a new file": lambda trees: date_back(trees.view / "sub/new"),
    "the mtime of a changed file": lambda trees: date_back(trees.view / "mine"),
    "the mtime of a link": lambda trees: date_back(trees.view / "link"),
    "the user's own file": lambda trees: write_alike(trees.workspace / "mine", "edited"),
}


@pytest.mark.parametrize("change", CHANGES)
def test_what_a_commit_would_write_otherwise_has_another_tag(change: str, trees: Trees) -> None:
    before = [trees.tag(running) for running in (True, False)]
    assert before[0] == before[1] == trees.tag(), "control: unchanged it is the same, also ended"
    CHANGES[change](trees)
    assert trees.tag() != before[0] and trees.tag(False) != before[0]


def test_what_is_no_part_of_a_commit_has_no_part_in_it(trees: Trees) -> None:
    before = trees.tag()
    (trees.view / "kept").write_text("as it was")
    for directory in ("", "sub"):
        os.utime(trees.view / directory, ns=(1, 1))
    os.utime(trees.view / "kept", ns=(1, 1))
    for tree in (trees.workspace, trees.view):
        (tree / "sub/same").write_text("in both")
    assert trees.tag() == before


def test_one_that_is_too_large_has_a_tag_when_the_cage_has_ended(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    (trees.view / "large").touch()
    os.truncate(trees.view / "large", diff_tag.MOST_BYTES)  # a hole, which costs an agent nothing
    assert trees.tag() == ""
    before = trees.tag(running=False)
    assert before and before == trees.tag(running=False)
    write_alike(trees.view / "sub/new", "evil")
    assert trees.tag(running=False) != before
    (trees.view / "large").unlink()
    assert trees.tag()
    monkeypatch.setattr(diff_tag, "MOST_FILES", 1)
    assert trees.tag() == "" and trees.tag(running=False)
