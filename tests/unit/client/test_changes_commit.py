"""Comparing two trees and committing the difference: the result, the refusals, and the races."""

from __future__ import annotations

import errno
import fcntl
import os
import signal
import stat
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from akiosctl.changes import (
    Change,
    ChangeKind,
    CommitReport,
    Committer,
    Diff,
    Failure,
    Operation,
    Plan,
    Rules,
    Verb,
    commit,
    compare,
    make_plan,
)
from akiosctl.changes.apply import TEMPORARY_PREFIX, find_left_behind
from akiosctl.changes.model import read_entry
from akiosctl.changes.plan import what_helps_block
from akiosctl.changes.walk import open_file
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import renameat2

DEFAULT_RULES = Rules()


class Trees:
    """A workspace and a view in one temporary directory, with open fds."""

    def __init__(self, base: Path) -> None:
        self.workspace, self.view = base / "workspace", base / "view"
        self.outside = base / "outside"
        for path in (self.workspace, self.view, self.outside):
            path.mkdir()
        self.workspace_fd = os.open(self.workspace, os.O_PATH | os.O_DIRECTORY)
        self.view_fd = os.open(self.view, os.O_PATH | os.O_DIRECTORY)

    def close(self) -> None:
        os.close(self.workspace_fd)
        os.close(self.view_fd)

    def both(self, name: str, content: str | None = None) -> None:
        for root in (self.workspace, self.view):
            path = root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.mkdir() if content is None else path.write_text(content)

    def diff(self, **options: int) -> Diff:
        return compare(self.workspace_fd, self.view_fd, **options)

    def kinds(self) -> dict[bytes, ChangeKind]:
        return {change.path: change.kind for change in self.diff().changes}

    def plan(self, rules: Rules = DEFAULT_RULES, **options: bool) -> Plan:
        return make_plan(self.diff(), rules, **options)

    def commit(self, rules: Rules = DEFAULT_RULES, **options: bool) -> CommitReport:
        return commit(self.workspace_fd, self.view_fd, self.plan(rules, **options))


@pytest.fixture
def trees(tmp_path: Path) -> Iterator[Trees]:
    found = Trees(tmp_path)
    yield found
    found.close()


def snapshot(root: Path) -> dict[bytes, tuple[object, ...]]:
    """Every name below ``root`` with type, mode and content; hard links as the first name of the
    group.
    """
    found: dict[bytes, tuple[object, ...]] = {}
    for directory, directories, files in os.walk(os.fsencode(root)):
        for name in sorted(directories + files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            relative = os.path.relpath(path, os.fsencode(root))
            content: object = None
            if stat.S_ISLNK(status.st_mode):
                content = os.readlink(path)
            elif stat.S_ISREG(status.st_mode):
                content = Path(os.fsdecode(path)).read_bytes()
            mode = 0 if stat.S_ISLNK(status.st_mode) else status.st_mode
            found[relative] = (stat.S_IFMT(status.st_mode), mode, content)
    return found


def assert_no_temporaries(root: Path) -> None:
    for _, directories, files in os.walk(os.fsencode(root)):
        assert not [name for name in directories + files if name.startswith(TEMPORARY_PREFIX)]


def test_each_kind_of_change_is_seen_and_committed(trees: Trees) -> None:
    trees.both("same.txt", "same")
    trees.both("changed.txt", "old")
    trees.both("gone.txt", "gone")
    trees.both("mode.sh", "#!/bin/sh\n")
    trees.both("to-dir", "file")
    trees.both("to-file/inner/deep.txt", "deep")
    trees.both("old-dir/a", "a")
    (trees.view / "changed.txt").write_text("new")
    (trees.view / "gone.txt").unlink()
    (trees.view / "mode.sh").chmod(0o755)
    (trees.view / "to-dir").unlink()
    (trees.view / "to-dir").mkdir()
    (trees.view / "to-dir/child").write_text("child")
    (trees.view / "to-file/inner/deep.txt").unlink()
    (trees.view / "to-file/inner").rmdir()
    (trees.view / "to-file").rmdir()
    (trees.view / "to-file").write_text("file now")
    (trees.view / "old-dir").rename(trees.view / "new-dir")
    (trees.view / "empty").mkdir()
    (trees.view / "link").symlink_to("changed.txt")
    assert trees.kinds() == {
        b"changed.txt": ChangeKind.MODIFIED,
        b"empty": ChangeKind.ADDED,
        b"gone.txt": ChangeKind.DELETED,
        b"link": ChangeKind.ADDED,
        b"mode.sh": ChangeKind.MODE,
        b"new-dir": ChangeKind.ADDED,
        b"new-dir/a": ChangeKind.ADDED,
        b"old-dir": ChangeKind.DELETED,
        b"old-dir/a": ChangeKind.DELETED,
        b"to-dir": ChangeKind.TYPE,
        b"to-dir/child": ChangeKind.ADDED,
        b"to-file": ChangeKind.TYPE,
        b"to-file/inner": ChangeKind.DELETED,
        b"to-file/inner/deep.txt": ChangeKind.DELETED,
    }
    report = trees.commit()
    assert report.failure is None and report.kept == b""
    assert_no_temporaries(trees.workspace)
    assert snapshot(trees.workspace) == snapshot(trees.view)
    assert trees.diff().changes == ()


def test_content_is_compared_when_size_and_mtime_lie(trees: Trees) -> None:
    trees.both("f", "aaaa")
    (trees.view / "f").write_text("bbbb")
    status = (trees.workspace / "f").stat()
    os.utime(trees.view / "f", ns=(status.st_mtime_ns, status.st_mtime_ns))
    assert trees.kinds() == {b"f": ChangeKind.MODIFIED}
    future = status.st_ctime_ns + 10**15
    assert [c.path for c in trees.diff(started_ns=future).changes] == [b"f"]


def test_names_that_are_no_text_survive(trees: Trees) -> None:
    for name in (b"new\nline", b"\xff\xfe", b"tab\there", b" ", b"-rf", b'a\\b"c'):
        (trees.view / os.fsdecode(name)).write_bytes(name)
    assert trees.commit().failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)


def test_hard_links_stay_hard_links(trees: Trees) -> None:
    trees.both("old-a", "one")
    os.link(trees.view / "old-a", trees.view / "new-name-of-old-a")
    (trees.view / "x").write_text("x")
    (trees.view / "d").mkdir()
    os.link(trees.view / "x", trees.view / "d/y")
    assert trees.commit().failure is None
    assert (trees.workspace / "x").samefile(trees.workspace / "d/y")
    assert (trees.workspace / "old-a").samefile(trees.workspace / "new-name-of-old-a")


def test_a_protected_file_gets_no_second_name(trees: Trees) -> None:
    trees.both(".git/config", "[core]")
    os.link(trees.view / ".git/config", trees.view / "notes")
    assert trees.commit().failure is None
    assert (trees.workspace / "notes").read_text() == "[core]"
    assert not (trees.workspace / "notes").samefile(trees.workspace / ".git/config")


def test_a_file_put_in_the_place_of_a_hard_links_other_name_gets_no_second_one(
    trees: Trees,
) -> None:
    trees.both("f", "same")
    os.link(trees.view / "f", trees.view / "g")
    plan = trees.plan()
    assert [operation.verb for operation in plan.operations] == [Verb.HARD_LINK]
    private = trees.outside / "private"
    private.write_text("user's")
    (trees.workspace / "f").unlink()
    os.link(private, trees.workspace / "f")
    assert len(perform(trees, plan)) == 1
    assert private.stat().st_nlink == 2 and not (trees.workspace / "g").exists()


def test_chmod_does_not_reach_another_name_of_the_inode(trees: Trees) -> None:
    secret = trees.outside / "secret"
    secret.write_text("s")
    secret.chmod(0o600)
    os.link(secret, trees.workspace / "f")
    (trees.view / "f").write_text("s")
    (trees.view / "f").chmod(0o666)
    assert trees.commit().failure is None
    assert stat.S_IMODE(secret.stat().st_mode) == 0o600
    assert stat.S_IMODE((trees.workspace / "f").stat().st_mode) == 0o666


@pytest.mark.parametrize("swap", ["another file", "a second name"])
def test_chmod_does_not_reach_what_was_put_there_since(trees: Trees, swap: str) -> None:
    trees.both("f", "same")
    (trees.view / "f").chmod(0o777)
    plan = trees.plan()
    assert [operation.verb for operation in plan.operations] == [Verb.SET_MODE]
    private = trees.outside / "private"
    if swap == "another file":
        private.write_text("user's")
        private.chmod(0o600)
        (trees.workspace / "f").unlink()
        os.link(private, trees.workspace / "f")
    else:
        os.link(trees.workspace / "f", private)
    before = private.stat().st_mode
    assert len(perform(trees, plan)) == 1 and private.stat().st_mode == before


def test_holes_stay_holes(trees: Trees) -> None:
    with (trees.view / "sparse").open("wb") as file:
        file.seek(1 << 30)
        file.write(b"end")
        file.truncate(1 << 31)
    assert trees.commit().failure is None
    status = (trees.workspace / "sparse").stat()
    assert status.st_size == 1 << 31
    assert status.st_blocks * 512 < 1 << 20
    assert trees.diff().changes == ()
    with (trees.view / "sparse").open("r+b") as file:
        file.seek(1 << 29)
        file.write(b"x")
    assert trees.kinds() == {b"sparse": ChangeKind.MODIFIED}


def test_mtime_and_mode_are_kept(trees: Trees) -> None:
    (trees.view / "f").write_text("f")
    (trees.view / "f").chmod(0o640)
    os.utime(trees.view / "f", ns=(1, 1_000_000_007))
    (trees.view / "ro").mkdir()
    (trees.view / "ro/x").write_text("x")
    (trees.view / "ro").chmod(0o555)
    assert trees.commit().failure is None
    status = (trees.workspace / "f").stat()
    assert (stat.S_IMODE(status.st_mode), status.st_mtime_ns) == (0o640, 1_000_000_007)
    assert snapshot(trees.workspace) == snapshot(trees.view)


@pytest.mark.parametrize("bits", [0o4755, 0o2755, 0o1755, 0o6755])
def test_special_bits_are_refused(trees: Trees, bits: int) -> None:
    (trees.view / "f").write_text("f")
    (trees.view / "f").chmod(bits)
    plan = trees.plan()
    assert plan.blocked and plan.operations == () and [r.path for r in plan.refusals] == [b"f"]
    with pytest.raises(AkiosError):
        commit(trees.workspace_fd, trees.view_fd, plan)
    assert list(trees.workspace.iterdir()) == []


def test_fifos_and_sockets_are_refused_and_block_nothing(trees: Trees) -> None:
    trees.both("was-a-file", "x")
    (trees.view / "was-a-file").unlink()
    os.mkfifo(trees.view / "was-a-file")
    os.mkfifo(trees.view / "fifo")
    os.mknod(trees.view / "socket", stat.S_IFSOCK | 0o600)
    (trees.view / "good").write_text("good")
    assert [r.path for r in trees.plan().refusals] == [b"fifo", b"socket", b"was-a-file"]
    report = trees.commit(skip_refused=True)
    assert report.failure is None
    assert sorted(path.name for path in trees.workspace.iterdir()) == ["good", "was-a-file"]
    assert (trees.workspace / "was-a-file").read_text() == "x"


def test_a_fifo_in_the_workspace_is_replaced_without_opening_it(trees: Trees) -> None:
    os.mkfifo(trees.workspace / "p")
    (trees.view / "p").write_text("file")
    assert trees.commit().failure is None
    assert (trees.workspace / "p").read_text() == "file"


def test_what_became_a_fifo_since_is_not_waited_for(trees: Trees) -> None:
    """It was a file when it was listed; nobody will ever write to it."""
    os.mkfifo(trees.view / "pipe")
    child = os.fork()
    if child == 0:
        signal.alarm(20)
        try:
            open_file(trees.view_fd, b"pipe")
        except OSError as error:
            os._exit(error.errno or 1)
        os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == errno.ESTALE


def test_escaping_links_are_refused_and_others_kept_verbatim(trees: Trees) -> None:
    (trees.view / "d").mkdir()
    for name, target in {
        "d/up": "../x",
        "py": "/usr/bin/python3",
        "dangling": "nowhere",
        "self": "self",
    }.items():
        (trees.view / name).symlink_to(target)
    assert trees.commit().failure is None
    assert os.readlink(trees.workspace / "d/up") == "../x"
    for target in ("/etc/passwd", "../outside", "d/../../outside", "d/..", "/usr/../etc/shadow"):
        link = trees.view / "bad"
        link.symlink_to(target)
        assert [r.path for r in trees.plan().refusals] == [b"bad"], target
        with pytest.raises(AkiosError) as told:
            trees.commit()
        assert "--skip-refused" in told.value.next and "--force" not in told.value.next
        assert trees.plan(Rules(allow_escaping_links=True)).refusals == ()
        link.unlink()


def test_renaming_git_away_does_not_unprotect_hooks(trees: Trees) -> None:
    trees.both(".git/hooks/pre-commit", "#!/bin/sh\n")
    trees.both(".git/config", "[core]\n")
    (trees.view / ".git").rename(trees.view / "x")
    (trees.view / ".git/hooks").mkdir(parents=True)
    (trees.view / ".git/hooks/post-checkout").write_text("evil")
    refused = {r.path for r in trees.plan().refusals}
    assert {b".git/hooks/post-checkout", b".git/hooks/pre-commit", b".git/config"} <= refused
    trees.commit(skip_refused=True)
    assert (trees.workspace / ".git/hooks/pre-commit").exists()
    assert (trees.workspace / ".git/config").exists()
    assert not (trees.workspace / ".git/hooks/post-checkout").exists()


def test_skipping_keeps_the_directory_of_what_is_kept(trees: Trees) -> None:
    trees.both("pkg/.envrc", "x")
    trees.both("pkg/code.py", "x")
    for name in (".envrc", "code.py"):
        (trees.view / "pkg" / name).unlink()
    (trees.view / "pkg").rmdir()
    report = trees.commit(skip_refused=True)
    assert report.failure is None
    assert [path.name for path in (trees.workspace / "pkg").iterdir()] == [".envrc"]


def test_a_file_the_user_changed_is_a_conflict(trees: Trees) -> None:
    trees.both("f", "old")
    trees.both("g", "old")
    started_ns = (trees.workspace / "f").stat().st_ctime_ns + 10**9
    (trees.view / "f").write_text("agent")
    (trees.view / "g").unlink()
    assert make_plan(trees.diff(started_ns=started_ns), Rules()).conflicts == ()
    early = started_ns - 2 * 10**9
    diff = trees.diff(started_ns=early)
    plan = make_plan(diff, Rules())
    assert plan.blocked and [c.path for c in plan.conflicts] == [b"f", b"g"]
    assert "--force" in what_helps_block(plan) and "none refused" not in what_helps_block(plan)
    assert make_plan(diff, Rules(), skip_refused=True).operations == ()
    forced = make_plan(diff, Rules(), force=True)
    assert commit(trees.workspace_fd, trees.view_fd, forced).failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)


def test_a_directory_moved_into_place_is_a_conflict_below_it(trees: Trees) -> None:
    trees.both("d/f", "old")
    old = 10**9
    os.utime(trees.workspace / "d", ns=(old, old))
    (trees.view / "d/f").write_text("agent")
    ctime = (trees.workspace / "d").stat().st_ctime_ns
    diff = compare(trees.workspace_fd, trees.view_fd, started_ns=ctime - 10**6)
    assert b"d" in diff.moved
    assert [c.path for c in make_plan(diff, Rules()).conflicts] == [b"d/f"]


# Races: the plan is made, the workspace changes, the operation is performed.


def perform(trees: Trees, plan: Plan) -> list[str]:
    """Every operation on its own, as if those before it had not failed."""
    committer = Committer(trees.workspace_fd, trees.view_fd)
    assert committer.stage(plan.operations) is None
    reasons = [
        failure.reason for operation in plan.operations if (failure := committer.perform(operation))
    ]
    committer.accept()
    assert committer.finish() == b""
    return reasons


@pytest.mark.parametrize("swap", ["absolute", "relative", "inside", "above"])
def test_a_directory_swapped_for_a_link_is_never_followed(trees: Trees, swap: str) -> None:
    trees.both("d/sub/old", "old")
    trees.both("d/sub/gone", "gone")
    (trees.view / "d/sub/old").write_text("new")
    (trees.view / "d/sub/gone").unlink()
    (trees.view / "d/sub/add").write_text("add")
    (trees.view / "d/sub/dir").mkdir()
    (trees.view / "d/sub/link").symlink_to("add")
    plan = trees.plan()
    assert len(plan.operations) == 5
    # Inside the workspace, too, there are places that the agent's files must not get to.
    inside = {"inside": trees.workspace / ".git/hooks", "above": trees.workspace / ".git/sub"}
    target = inside.get(swap, trees.outside)
    target.mkdir(parents=True, exist_ok=True)
    for name in ("old", "gone"):
        (target / name).write_text("user's")
    swapped = trees.workspace / ("d" if swap == "above" else "d/sub")
    swapped.rename(trees.workspace / "moved")
    links = {
        "absolute": str(trees.outside),
        "relative": "../../outside",
        "inside": "../.git/hooks",
        "above": ".git",
    }
    swapped.symlink_to(links[swap])
    before = snapshot(target)
    assert len(perform(trees, plan)) == 5
    assert snapshot(target) == before


def test_a_link_put_where_a_file_is_written_is_not_followed(trees: Trees) -> None:
    trees.both("f", "old")
    (trees.view / "f").write_text("new")
    (trees.view / "g").write_text("new")
    plan = trees.plan()
    target = trees.outside / "victim"
    target.write_text("user's")
    (trees.workspace / "f").unlink()
    for name in ("f", "g"):
        (trees.workspace / name).symlink_to(target)
    assert len(perform(trees, plan)) == 2
    assert target.read_text() == "user's"
    assert (trees.workspace / "f").is_symlink() and (trees.workspace / "g").is_symlink()
    assert_no_temporaries(trees.workspace)


@pytest.mark.parametrize("verb", [Verb.WRITE_FILE, Verb.REMOVE])
def test_what_the_user_writes_between_check_and_rename_is_put_back(
    trees: Trees, verb: Verb, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.both("f", "old")
    if verb is Verb.REMOVE:
        (trees.view / "f").unlink()
    else:
        (trees.view / "f").write_text("agent's")
    plan = trees.plan()
    assert [operation.verb for operation in plan.operations] == [verb]
    calls: list[tuple[object, ...]] = []

    def racing(*arguments: object) -> None:
        if not calls:
            (trees.workspace / "mine").write_text("user's newest")
            os.replace(trees.workspace / "mine", trees.workspace / "f")
        calls.append(arguments)
        renameat2(*arguments)  # type: ignore[arg-type]

    monkeypatch.setattr("akiosctl.changes.primitives.renameat2", racing)
    assert len(perform(trees, plan)) == 1
    assert len(calls) == 2
    assert (trees.workspace / "f").read_text() == "user's newest"
    assert_no_temporaries(trees.workspace)


@pytest.mark.parametrize("existing", [True, False])
def test_without_rename_flags_the_commit_still_works(
    trees: Trees, existing: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    def unsupported(*_: object) -> None:
        raise OSError(errno.EINVAL, "Invalid argument")

    if existing:
        trees.both("f", "old")
        trees.both("gone", "old")
        (trees.view / "gone").unlink()
    (trees.view / "f").write_text("new")
    (trees.view / "l").symlink_to("f")
    monkeypatch.setattr("akiosctl.changes.primitives.renameat2", unsupported)
    assert trees.commit().failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)


def test_a_failure_stops_before_anything_is_removed(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    trees.both("a-old", "content")
    (trees.view / "a-old").rename(trees.view / "b-new")
    (trees.view / "c-new").write_text("c")

    def full(*_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    plan = trees.plan()
    monkeypatch.setattr("akiosctl.changes.apply.copy_content", full)
    report = commit(trees.workspace_fd, trees.view_fd, plan)
    assert report.failure is not None
    assert "no space" in report.failure.reason
    assert report.done == () and report.kept == b""
    assert [path.name for path in trees.workspace.iterdir()] == ["a-old"]


def busy_trees(trees: Trees) -> None:
    """One of each operation, in an order that puts the failure of ``z`` after all creations."""
    trees.both("changed", "old")
    trees.both("dir/gone", "gone")
    trees.both("becomes-dir", "file")
    trees.both("mode", "m")
    trees.both("tight/f", "f")
    trees.both("links/one", "1")
    trees.both("link-to", "x")
    for name in ("dir/gone", "becomes-dir"):
        (trees.view / name).unlink()
    (trees.view / "dir").rmdir()
    (trees.view / "becomes-dir").mkdir()
    (trees.view / "becomes-dir/inner").write_text("inner")
    (trees.view / "changed").write_text("new")
    (trees.view / "mode").chmod(0o600)
    (trees.view / "tight").chmod(0o500)
    (trees.view / "new/deep").mkdir(parents=True)
    (trees.view / "new/deep/f").write_text("f")
    os.link(trees.view / "new/deep/f", trees.view / "new/hard")
    os.link(trees.view / "links/one", trees.view / "links/two")
    (trees.view / "soft").symlink_to("changed")
    (trees.view / "link-to").unlink()
    (trees.view / "link-to").symlink_to("changed")


def subvolume(old_dir: int, old: bytes, new_dir: int, new: bytes, flags: int) -> None:
    """rename(2) as between subvolumes: EXDEV between two directories, within one it works."""
    if not os.path.samestat(os.fstat(old_dir), os.fstat(new_dir)):
        raise OSError(errno.EXDEV, os.strerror(errno.EXDEV))
    renameat2(old_dir, old, new_dir, new, flags)


@pytest.mark.parametrize("rename", [renameat2, subvolume])
def test_any_failing_step_leaves_the_workspace_as_it_was(
    trees: Trees, monkeypatch: pytest.MonkeyPatch, rename: Callable[..., None]
) -> None:
    busy_trees(trees)
    monkeypatch.setattr("akiosctl.changes.primitives.renameat2", rename)
    before = snapshot(trees.workspace)
    assert {operation.verb for operation in trees.plan().operations} == set(Verb)
    perform_one = Committer.perform
    for index in range(len(trees.plan().operations)):
        # Rolled back by copies, the same names stand on new inodes: the plan is made anew.
        plan = trees.plan()
        victim = plan.operations[index]

        def failing(
            self: Committer, operation: Operation, victim: Operation = victim
        ) -> Failure | None:
            return (
                Failure(operation, "made to fail")
                if operation is victim
                else perform_one(self, operation)
            )

        monkeypatch.setattr(Committer, "perform", failing)
        report = commit(trees.workspace_fd, trees.view_fd, plan)
        assert report.failure == Failure(victim, "made to fail")
        assert report.done == () and report.kept == b"" and report.notes == ()
        assert snapshot(trees.workspace) == before
    monkeypatch.setattr(Committer, "perform", perform_one)
    assert trees.commit().failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)


def test_directories_closed_for_writing_are_made_and_removed(trees: Trees) -> None:
    for root, name in ((trees.workspace, "old"), (trees.view, "new")):
        (root / name / "sub").mkdir(parents=True)
        (root / name / "sub/f").write_text("f")
        (root / name / "sub").chmod(0o555)
        (root / name).chmod(0o555)
    assert trees.commit().failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)


def test_what_cannot_be_rolled_back_is_kept_and_named(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_trees(trees)
    plan = trees.plan()
    perform_one, count = Committer.perform, len(plan.operations)

    def failing(self: Committer, operation: Operation) -> Failure | None:
        if operation is plan.operations[count - 1]:
            (trees.workspace / "changed").unlink()
            return Failure(operation, "made to fail")
        return perform_one(self, operation)

    monkeypatch.setattr(Committer, "perform", failing)
    report = commit(trees.workspace_fd, trees.view_fd, plan)
    assert report.kept.startswith(TEMPORARY_PREFIX) and report.done != ()
    kept = trees.workspace / os.fsdecode(report.kept)
    assert "old" in {path.read_text() for path in kept.iterdir() if path.is_file()}
    assert any("rolled back" in note for note in report.notes)


def test_what_a_killed_commit_left_is_named_and_never_one_at_work(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The control is the same directory while its commit holds it."""
    trees.both("changed", "old")
    (trees.view / "changed").write_text("new")
    perform = Committer.perform

    def killed(self: Committer, operation: Operation) -> Failure | None:
        assert perform(self, operation) is None
        assert find_left_behind(trees.workspace_fd) == [], "it is at work"
        os._exit(7)

    monkeypatch.setattr(Committer, "perform", killed)
    child = os.fork()
    if child == 0:
        try:
            trees.commit()
        finally:
            os._exit(8)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 7
    monkeypatch.undo()
    (left,) = find_left_behind(trees.workspace_fd)
    assert [path.read_text() for path in Path(os.fsdecode(left)).iterdir()] == ["old"]
    fd = os.open(left, os.O_RDONLY)
    try:
        fcntl.flock(fd, fcntl.LOCK_EX)
        assert find_left_behind(trees.workspace_fd) == []
    finally:
        os.close(fd)
    (trees.view / "other").write_text("new")
    report = trees.commit()
    assert os.path.basename(left).decode() in "".join(report.notes) and report.failure is None


def test_across_subvolumes_files_are_copied_into_place(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_trees(trees)
    monkeypatch.setattr("akiosctl.changes.primitives.renameat2", subvolume)
    report = trees.commit()
    assert report.failure is None and report.kept == b""
    assert snapshot(trees.workspace) == snapshot(trees.view)
    assert_no_temporaries(trees.workspace)


def test_where_hard_links_are_forbidden_files_are_copied(
    trees: Trees, monkeypatch: pytest.MonkeyPatch
) -> None:
    busy_trees(trees)

    def forbidden(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, os.strerror(errno.EPERM))

    monkeypatch.setattr(os, "link", forbidden)
    report = trees.commit()
    assert report.failure is None
    assert snapshot(trees.workspace) == snapshot(trees.view)
    assert len([note for note in report.notes if "copied, not linked" in note]) == 2


def test_a_cage_that_still_writes_is_noticed(trees: Trees) -> None:
    (trees.view / "f").write_text("one")
    plan = trees.plan()
    (trees.view / "f").write_text("another")
    report = commit(trees.workspace_fd, trees.view_fd, plan)
    assert report.failure is not None and "in the cage" in report.failure.reason
    assert list(trees.workspace.iterdir()) == []


def test_a_directory_filled_by_the_user_is_not_removed(trees: Trees) -> None:
    trees.both("d/f", "x")
    (trees.view / "d/f").unlink()
    (trees.view / "d").rmdir()
    plan = trees.plan()
    (trees.workspace / "d/new").write_text("user's")
    report = commit(trees.workspace_fd, trees.view_fd, plan)
    assert report.failure is not None and report.failure.operation.path == b"d"
    assert (trees.workspace / "d/new").read_text() == "user's"


# Hostile sizes.

DEPTH, LEVEL = 300, "a-level-of-20-bytes"


def test_a_very_deep_tree_is_refused_and_the_rest_committed(trees: Trees) -> None:
    fd = os.open(trees.view, os.O_PATH | os.O_DIRECTORY)
    for _ in range(DEPTH):
        os.mkdir(LEVEL, dir_fd=fd)
        below = os.open(LEVEL, os.O_PATH | os.O_DIRECTORY, dir_fd=fd)
        os.close(fd)
        fd = below
    os.close(fd)
    (trees.view / "good").write_text("good")
    open_before = len(os.listdir("/proc/self/fd"))
    plan = trees.plan()
    assert len(os.listdir("/proc/self/fd")) == open_before
    assert [r.reason for r in plan.refusals] == ["the path is longer than 4000 bytes"]
    assert trees.commit(skip_refused=True).failure is None
    assert (trees.workspace / "good").exists()
    remove_deep(trees.view)
    remove_deep(trees.workspace)


def remove_deep(root: Path) -> None:
    """Take the chain of levels apart from the top by moving what is below beside it."""
    current = root / LEVEL
    while current.exists():
        below = current / LEVEL
        if below.exists():
            below.rename(root / "next")
            current.rmdir()
            (root / "next").rename(current)
        else:
            current.rmdir()


def test_too_many_changes_are_refused_clearly(trees: Trees) -> None:
    for number in range(30):
        (trees.view / str(number)).touch()
    with pytest.raises(AkiosError, match="more than 20 entries differ"):
        trees.diff(max_changes=20)


@pytest.mark.skipif(os.geteuid() == 0, reason="needs an ordinary user: root reads every directory")
def test_unreadable_entries_are_problems_not_crashes(trees: Trees) -> None:
    (trees.view / "d").mkdir(mode=0)
    changes = trees.diff().changes
    assert [(c.path, c.problem) for c in changes] == [
        (b"d", "cannot be read with your permissions")
    ]
    (trees.view / "d").chmod(0o700)


def test_changes_with_problems_are_refused(trees: Trees) -> None:
    (trees.workspace / "f").touch()
    entry = read_entry(trees.workspace_fd, b"f")
    diff = Diff(
        (Change(ChangeKind.MODIFIED, b"f", entry, entry, "cannot be read with your permissions"),)
    )
    assert make_plan(diff, Rules()).blocked


# The property: after a commit of their difference, two random trees are equal.

_NAMES = st.sampled_from([b"a", b"b", b"c", b"a\nb", b"\xff", b"a-b", b"A"])
_LEAF = st.one_of(
    st.tuples(
        st.just("file"), st.binary(max_size=6), st.sampled_from([0o644, 0o755, 0o600, 0o444])
    ),
    st.tuples(st.just("link"), st.sampled_from([b"a", b"nowhere", b"a/b"])),
    st.tuples(st.just("hard"), st.integers(0, 2)),
)
# A directory that its owner may not write can be changed by root alone (the agent had to open and
# close it again).
_DIRECTORY_MODES = [0o755, 0o700, 0o555] if os.geteuid() == 0 else [0o755, 0o700]
_TREE = st.recursive(
    _LEAF,
    lambda inner: st.tuples(
        st.just("dir"),
        st.dictionaries(_NAMES, inner, max_size=4),
        st.sampled_from(_DIRECTORY_MODES),
    ),
    max_leaves=10,
)
_ROOT = st.dictionaries(_NAMES, _TREE, max_size=5)


def build(root: bytes, tree: dict[bytes, tuple[object, ...]], pool: bytes) -> None:
    for name, node in tree.items():
        path = os.path.join(root, name)
        match node:
            case ("file", bytes() as content, int() as mode):
                Path(os.fsdecode(path)).write_bytes(content)
                os.chmod(path, mode)
            case ("link", target):
                os.symlink(target, path)  # type: ignore[arg-type]
            case ("hard", number):
                source = os.path.join(pool, b"%d" % number)  # type: ignore[str-format]
                Path(os.fsdecode(source)).touch()
                os.link(source, path)
            case ("dir", dict() as inner, int() as mode):
                os.mkdir(path)
                build(path, inner, pool)
                os.chmod(path, mode)


def link_groups(root: Path) -> set[frozenset[bytes]]:
    groups: dict[int, set[bytes]] = {}
    for path in snapshot(root):
        status = os.lstat(os.path.join(os.fsencode(root), path))
        if stat.S_ISREG(status.st_mode):
            groups.setdefault(status.st_ino, set()).add(path)
    return {frozenset(group) for group in groups.values() if len(group) > 1}


@settings(max_examples=120, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_ROOT, _ROOT, st.booleans())
def test_after_a_commit_the_trees_are_equal(
    old: dict[bytes, tuple[object, ...]],
    new: dict[bytes, tuple[object, ...]],
    empty_workspace: bool,
) -> None:
    with tempfile.TemporaryDirectory() as base:
        trees = Trees(Path(base))
        try:
            for name, root, tree in (
                ("p", trees.workspace, {} if empty_workspace else old),
                ("q", trees.view, new),
            ):
                pool = Path(base) / name
                pool.mkdir()
                build(os.fsencode(root), tree, os.fsencode(pool))
            report = trees.commit()
            assert report.failure is None, report.failure
            assert snapshot(trees.workspace) == snapshot(trees.view)
            assert trees.diff().changes == ()
            if empty_workspace:
                assert link_groups(trees.workspace) == link_groups(trees.view)
            assert_no_temporaries(trees.workspace)
        finally:
            trees.close()
