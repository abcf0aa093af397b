"""How far a long commit or verification is: the line, and who gets to see it."""

from __future__ import annotations

import contextlib
import io
import os
import pty
import sys
from pathlib import Path

import click
import pytest

from akiosctl import progress
from akiosctl.changes import MAX_CHANGES, Rules, compare, count_steps, make_plan
from akiosctl.changes.apply import commit
from akiosctl.ledger_source import from_files
from akiosctl.progress import Progress, progress_line
from tests.unit.client.test_ledger_verbs import Log


@pytest.mark.parametrize(
    ("done", "total", "seconds", "line"),
    [
        (1234, 5000, 4.0, "x: 1,234 of 5,000 files, 308 a second, 12 s left"),
        (10, 0, 2.0, "x: 10 files, 5 a second"),
        (1, 100, 20.0, "x: 1 of 100 files, 3 a minute, 33 min left"),
        (5, 5, 1.0, "x: 5 of 5 files, 5 a second, 0 s left"),
        (0, 5, 0.0, "x: 0 of 5 files, 0 a minute"),
        (10, 1_000_000, 1.0, "x: 10 of 1,000,000 files, 10 a second, 27.8 h left"),
    ],
)
def test_the_line(done: int, total: int, seconds: float, line: str) -> None:
    assert progress_line("x", "files", done, total, seconds) == line


class Watched:
    """A progress under a clock of the test's own, and what it wrote."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch, wanted: bool = True) -> None:
        self.screen, self.now = io.BytesIO(), 0.0
        monkeypatch.setattr(sys, "stderr", io.TextIOWrapper(self.screen, "utf-8"))
        self.progress = Progress("x", "files", 100, wanted=wanted, clock=lambda: self.now)

    def at(self, now: float) -> bytes:
        self.now = now
        before = len(self.screen.getvalue())
        self.progress.advance()
        return self.screen.getvalue()[before:]


def test_it_comes_after_a_second_now_and_then_and_goes(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    with watched.progress:
        assert [bool(watched.at(now)) for now in (0.5, 1.0, 1.1, 1.3)] == [False, True, False, True]
    assert watched.screen.getvalue().endswith(b"\r\x1b[K")


def test_short_work_and_unwanted_work_show_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    watched = Watched(monkeypatch)
    with watched.progress:
        watched.at(0.2)
    assert watched.screen.getvalue() == b""
    unwanted = Watched(monkeypatch, wanted=False)
    with unwanted.progress:
        unwanted.at(5.0)
    assert unwanted.screen.getvalue() == b""


@pytest.mark.parametrize(("is_terminal", "as_json"), [(True, False), (True, True), (False, False)])
def test_only_on_a_terminal_and_never_with_json(
    is_terminal: bool, as_json: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TERM", "xterm")
    kept = os.dup(2)
    master, slave = pty.openpty() if is_terminal else os.pipe()[::-1]
    try:
        os.dup2(slave if is_terminal else master, 2)
        context = click.Context(click.Command("x"))
        context.params["as_json"] = as_json
        with context:
            assert progress.is_wanted() == (is_terminal and not as_json)
    finally:
        os.dup2(kept, 2)
        for fd in (kept, master, slave):
            with contextlib.suppress(OSError):
                os.close(fd)


def test_a_commit_tells_each_step(tmp_path: Path) -> None:
    workspace, view = tmp_path / "workspace", tmp_path / "view"
    for place in (workspace, view / "below"):
        place.mkdir(parents=True)
    for name in ("a", "b", "below/c"):
        (view / name).write_text(name)
    steps, looks = [], []
    old, new = (os.open(place, os.O_PATH | os.O_DIRECTORY) for place in (workspace, view))
    try:
        diff = compare(old, new, max_changes=MAX_CHANGES, step=lambda: looks.append(1))
        plan = make_plan(diff, Rules(root=os.fsencode(workspace)))
        report = commit(old, new, plan, lambda: steps.append(1))
    finally:
        os.close(old)
        os.close(new)
    assert report.failure is None and (workspace / "below/c").read_text() == "below/c"
    assert len(steps) == count_steps(plan) == 3 + 4 and len(looks) == 2


def test_a_verification_counts_its_records(log: Log, monkeypatch: pytest.MonkeyPatch) -> None:
    counted: list[tuple[int, int]] = []
    monkeypatch.setattr(
        "akiosctl.watched_log.Progress.advance",
        lambda self, count=1: counted.append((count, self.total)),
    )
    source = from_files("", log.path, None)
    assert source.verify().exit_code == 0
    assert sum(count for count, _ in counted) >= 300 and {total for _, total in counted} == {300}
