"""A signal at every moment of a commit, and one after another: all of it is done, or nothing.

And the same commit again after it was undone: what was put back is no conflict, and what the user
changes afterwards is one, whatever times they set.
"""

from __future__ import annotations

import errno
import os
import signal
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

import pytest

from akiosctl.changes import Committer, Failure, Operation, Rules, Verb, commit, compare, make_plan
from akiosctl.changes.apply import TEMPORARY_PREFIX, find_left_behind
from akiosctl.changes.model import Entry, Stamp, read_entry
from akiosctl.changes.walk import CLOCK_GRAIN_NS
from akiosd.kernel.syscalls import renameat2

ORIGINALS = {"changed": "old 1", "gone": "old 2", "mode": "old 3", "full/inner": "old 4"}
CHANGED = "now another"
_EVENTS = ("return", "c_return")


class Project:
    """A workspace and a view of it in which an agent did one of everything."""

    def __init__(self, base: Path) -> None:
        self.workspace, self.view = base / "workspace", base / "view"
        for root in (self.workspace, self.view):
            (root / "full").mkdir(parents=True)
            for name, text in ORIGINALS.items():
                (root / name).write_text(text)
        (self.view / "changed").write_text(CHANGED)
        (self.view / "gone").unlink()
        (self.view / "full/inner").unlink()
        (self.view / "full").rmdir()
        (self.view / "mode").chmod(0o600)
        (self.view / "new").mkdir()
        (self.view / "new/file").write_text("new")
        (self.view / "soft").symlink_to("changed")
        os.link(self.view / "new/file", self.view / "hard")
        self.fds = [os.open(root, os.O_PATH | os.O_DIRECTORY) for root in self.roots]
        self.started_ns = 0

    @property
    def roots(self) -> tuple[Path, Path]:
        return self.workspace, self.view

    def close(self) -> None:
        for fd in self.fds:
            os.close(fd)

    def start(self) -> None:
        """From here on a ctime of the workspace is later than the cage's start."""
        ctimes = [path.lstat().st_ctime_ns for path in self.workspace.rglob("*")]
        self.started_ns = max(ctimes) + CLOCK_GRAIN_NS + 1
        probe = self.workspace.parent / "probe"
        probe.touch()
        while probe.stat().st_ctime_ns < self.started_ns:
            probe.chmod(0o600)

    def conflicts(self, put_back: list[Stamp]) -> list[bytes]:
        diff = compare(*self.fds, started_ns=self.started_ns, put_back=frozenset(put_back))
        return [held.path for held in make_plan(diff, Rules()).conflicts]

    def state(self) -> dict[str, tuple[int, str]]:
        found = {}
        for path in sorted(self.workspace.rglob("*")):
            mode = path.lstat().st_mode
            text = path.read_text() if stat.S_ISREG(mode) else ""
            found[str(path.relative_to(self.workspace))] = (mode, text)
        return found

    def commit(self) -> None:
        plan = make_plan(compare(*self.fds), Rules())
        assert {one.verb for one in plan.operations} == set(Verb)
        report = commit(*self.fds, plan)
        assert report.failure is None


@pytest.fixture
def projects(tmp_path: Path) -> Iterator[Callable[[], Project]]:
    made: list[Project] = []

    def make() -> Project:
        made.append(Project(tmp_path / str(len(made))))
        return made[-1]

    yield make
    for project in made:
        project.close()


@pytest.fixture(autouse=True)
def interrupts() -> Iterator[None]:
    """Whatever a test does to the handler."""
    before = signal.signal(signal.SIGINT, signal.default_int_handler)
    yield
    signal.signal(signal.SIGINT, before)


def end_at(moment: int, project: Project, *, again: bool = False) -> tuple[bool, int]:
    """Commit, and SIGINT at this return of a function from the beginning, with ``again`` at all
    later ones too.  Returns whether it raised, and how many there were.
    """
    seen = 0

    def count(frame: FrameType, event: str, argument: object) -> None:
        nonlocal seen
        if event not in _EVENTS:
            return
        seen += 1
        if seen == moment or (again and seen > moment):
            signal.raise_signal(signal.SIGINT)

    plan = make_plan(compare(*project.fds), Rules())
    raised = False
    try:
        sys.setprofile(count)
        commit(*project.fds, plan)
        sys.setprofile(None)
    except KeyboardInterrupt:
        raised = True
    finally:
        while sys.getprofile() is not None:
            try:
                sys.setprofile(None)
            except KeyboardInterrupt:
                raised = True
    return raised, seen


def originals_anywhere(project: Project) -> set[str]:
    """In their places, or kept for the user."""
    found = set()
    for path in project.workspace.rglob("*"):
        if path.is_file() and not path.is_symlink():
            found.add(path.read_text())
    return found


@pytest.mark.parametrize("again", [False, True])
def test_a_signal_at_any_moment_leaves_all_or_nothing(
    projects: Callable[[], Project], again: bool
) -> None:
    before = projects().state()
    whole = projects()
    _, moments = end_at(0, whole)
    after = whole.state()
    assert moments > 300 and before != after
    seen = {"before": 0, "after": 0}
    for moment in range(1, moments, 2 if again else 1):
        project = projects()
        end_at(moment, project, again=again)
        state = project.state()
        assert state in (before, after), (moment, state)
        seen["before" if state == before else "after"] += 1
        project.close()
        project.fds.clear()
    assert all(seen.values()), "control: there is a moment for either"


def test_what_may_raise_anywhere_still_destroys_nothing(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where signals are not held back; the control of the test above: half of it may be done."""

    @contextmanager
    def unheld() -> Iterator[Callable[[], None]]:
        yield lambda: None

    monkeypatch.setattr("akiosctl.changes.apply.held_back", unheld)
    before = projects().state()
    whole = projects()
    _, moments = end_at(0, whole)
    after = whole.state()
    torn = 0
    for moment in range(1, moments, 2):
        project = projects()
        end_at(moment, project)
        state = project.state()
        if state not in (before, after):
            torn += 1
            contents = originals_anywhere(project)
            is_done = {CHANGED, "new"} <= contents and "gone" not in state
            assert is_done or set(ORIGINALS.values()) <= contents, (moment, state)
        project.close()
        project.fds.clear()
    assert torn > 0


def test_an_error_right_after_an_act_is_undone_like_one_before_it(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    before = projects().state()
    real, count = read_entry, 0

    def failing(directory: int, name: bytes) -> Entry:
        nonlocal count
        count -= 1
        if count == 0:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(directory, name)

    failed = 0
    for moment in range(1, 40):
        project = projects()
        plan = make_plan(compare(*project.fds), Rules())
        monkeypatch.setattr("akiosctl.changes.apply.read_entry", failing)
        count = moment
        report = commit(*project.fds, plan)
        monkeypatch.undo()
        if count > 0:
            break
        failed += 1
        assert report.failure is not None and report.done == ()
        assert project.state() == before, moment
    assert failed > 8 and report.failure is None, "control: with no error it is committed"


def test_a_user_handler_that_does_not_raise_ends_nothing(
    projects: Callable[[], Project],
) -> None:
    came: list[int] = []
    signal.signal(signal.SIGINT, lambda number, frame: came.append(number))
    project = projects()
    raised, _ = end_at(200, project)
    assert came == [signal.SIGINT] and not raised
    assert (project.workspace / "changed").read_text() == CHANGED
    assert signal.getsignal(signal.SIGINT) is not signal.default_int_handler


# The same commit again.


def undone(
    project: Project, monkeypatch: pytest.MonkeyPatch, *, force: bool = False
) -> list[Stamp]:
    """Commit all but the last operation, which fails; returns what is remembered of it."""
    put_back: list[Stamp] = []
    diff = compare(*project.fds, started_ns=project.started_ns)
    plan = make_plan(diff, Rules(), force=force)
    assert not plan.blocked
    real = Committer.perform

    def failing(self: Committer, operation: Operation) -> Failure | None:
        if operation is plan.operations[-1]:
            return Failure(operation, "made to fail")
        return real(self, operation)

    monkeypatch.setattr(Committer, "perform", failing)
    report = commit(*project.fds, plan, put_back=put_back.extend)
    monkeypatch.undo()
    assert report.failure is not None and report.done == ()
    return put_back


def test_what_an_undone_commit_put_back_is_no_conflict(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projects()
    project.start()
    before = project.state()
    for _ in range(2):
        put_back = undone(project, monkeypatch)
        assert project.state() == before
        assert b"changed" in project.conflicts([]), "control: its ctime is new"
        assert project.conflicts(put_back) == []
        project.start()  # a second time from what stands there now
    project.commit()


def subvolume(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """rename(2) as between subvolumes: EXDEV between two directories, within one it works."""
    if not os.path.samestat(os.fstat(old_dir), os.fstat(new_dir)):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    renameat2(old_dir, old, new_dir, new, flags)


@pytest.mark.parametrize("rename", [renameat2, subvolume])
def test_so_it_is_for_two_names_of_a_file_a_directory_and_copies(
    projects: Callable[[], Project],
    monkeypatch: pytest.MonkeyPatch,
    rename: Callable[..., None],
) -> None:
    project = projects()
    (project.workspace / "one").write_text("one")
    os.link(project.workspace / "one", project.workspace / "two")
    for name in ("one", "two"):
        (project.view / name).write_text("each")
    for name in ("shut", "first"):  # the mode of the first in order is the last operation
        for root in project.roots:
            (root / name).mkdir()
        (project.view / name).chmod(0o700)
    project.start()
    monkeypatch.setattr("akiosctl.changes.primitives.renameat2", rename)
    put_back = undone(project, monkeypatch)
    assert {b"gone", b"one", b"two", b"shut"} <= set(project.conflicts([])), "control"
    assert project.conflicts(put_back) == []
    os.rename(project.workspace / "shut", project.workspace / "aside")
    os.rename(project.workspace / "aside", project.workspace / "shut")
    (project.workspace / "one").chmod(0o640)
    assert project.conflicts(put_back) == [b"one", b"shut", b"two"]


def test_what_the_user_changes_after_that_is_one(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projects()
    project.start()
    put_back = undone(project, monkeypatch)
    path = project.workspace / "changed"
    status = path.stat()
    project.start()
    project.started_ns = status.st_ctime_ns
    path.write_text("mine!")
    os.utime(path, ns=(status.st_atime_ns, status.st_mtime_ns))
    assert path.stat().st_size == status.st_size
    assert project.conflicts(put_back) == [b"changed"]


@pytest.mark.parametrize("when", ["before", "while it was parked"])
def test_what_the_user_changed_is_never_remembered_as_put_back(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch, when: str
) -> None:
    """Also where --force was to overwrite it, and where it came through an open descriptor."""
    project = projects()
    project.start()
    path = project.workspace / "changed"
    status = path.stat()

    def edit(fd: int) -> None:
        os.pwrite(fd, b"mine!", 0)
        os.utime(fd, ns=(status.st_atime_ns, status.st_mtime_ns))

    fd = os.open(path, os.O_RDWR)
    try:
        if when == "before":
            edit(fd)
            put_back = undone(project, monkeypatch, force=True)
        else:
            real = Committer.roll_back

            def editing(self: Committer) -> int:
                parked = os.fstat(fd).st_ctime_ns
                while os.fstat(fd).st_ctime_ns == parked:
                    edit(fd)
                return real(self)

            monkeypatch.setattr(Committer, "roll_back", editing)
            put_back = undone(project, monkeypatch)
    finally:
        os.close(fd)
    assert path.read_text() == "mine!"
    assert project.conflicts(put_back) == [b"changed"]


def test_what_is_written_over_a_placed_file_is_kept_when_it_is_undone(
    projects: Callable[[], Project], monkeypatch: pytest.MonkeyPatch
) -> None:
    project = projects()
    project.start()
    real = Committer.roll_back

    def editing(self: Committer) -> int:
        (project.workspace / "changed").write_text("the user's newest")
        return real(self)

    monkeypatch.setattr(Committer, "roll_back", editing)
    undone(project, monkeypatch)
    assert (project.workspace / "changed").read_text() == ORIGINALS["changed"]
    (left,) = find_left_behind(project.fds[0])
    assert os.path.basename(left).startswith(TEMPORARY_PREFIX)
    kept = [path.read_text() for path in Path(os.fsdecode(left)).iterdir() if path.is_file()]
    assert "the user's newest" in kept
