"""Performs a plan in the workspace with the caller's own rights: all of it, or nothing.

The view stands on the workspace: a directory that the agent renamed is an overlay redirect to the
old place, so that writing into the workspace changes what the view shows. Therefore every file is
first copied out of the view into a staging directory in the workspace's root; a full disk or a busy
cage is found there, with nothing changed.

Then each name is put in its place by renameat2(2): RENAME_NOREPLACE where nothing stood,
RENAME_EXCHANGE where something did. What stood there moves into the staging directory, and is
compared only then with what the plan expected; if the user was quicker, it is exchanged back. What
is removed moves there too. So every failure can be rolled back, newest first; the old files go when
all is in place and synced. If even that fails, the staging directory is kept and named.

No act is done whose undo is not known: signals wait, and the undo is noted before anything else is
asked. The staging directory is removed only when the whole commit was accepted, or nothing is left
to be undone.

Every operation opens its directory anew with RESOLVE_STRICT and works on one name in it, so that a
directory that was replaced by a link since the plan was made is an error, never a way out.

Kept: content, holes, mode (0777), mtime, links, and the owner of a replaced file as far as the
caller may set it. Not kept: xattrs, ACLs. After a commit the cage's upper layer no longer describes
anything, and must be discarded.
"""

from __future__ import annotations

import errno
import fcntl
import os
import re
import secrets
import stat
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import NoReturn

import msgspec

from akiosctl.changes.content import copy_content
from akiosctl.changes.git_share import is_relocated, original
from akiosctl.changes.model import (
    Entry,
    EntryType,
    Stamp,
    entry_from_stat,
    name_of,
    parent_of,
    read_entry,
    stamp_of,
)
from akiosctl.changes.plan import Operation, Plan, Verb, explain_block, what_helps_block
from akiosctl.changes.primitives import chmod, clone, create, exchange, explain, make_symlink, move
from akiosctl.changes.walk import open_file
from akiosctl.end_signals import held_back
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import open_directory, openat2, syncfs

_NO_HARD_LINK = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP)
TEMPORARY_PREFIX = b".akios-commit-"
_STAGING = re.compile(re.escape(TEMPORARY_PREFIX) + rb"[0-9a-f]{16}")


class Failure(msgspec.Struct, frozen=True):
    """The operation at which a commit stopped, and why."""

    operation: Operation
    reason: str


class CommitReport(msgspec.Struct, frozen=True):
    """What a commit did.

    Without a ``failure`` everything is ``done``.  With one, ``done`` holds what could not be rolled
    back (nothing, as a rule) and ``kept`` names the directory in the workspace that holds the old
    and unplaced files, if it is needed.
    """

    done: tuple[Operation, ...]
    failure: Failure | None = None
    kept: bytes = b""
    notes: tuple[str, ...] = ()


class _StopError(Exception):
    """The workspace or the view is not what the plan was made from."""


_CHANGED = "it changed in the workspace since it was compared"


class _Side:
    """A directory, the operations in it, and how the plan calls them."""

    def __init__(self, committer: Committer, operations: list[Operation]) -> None:
        self.committer = committer
        self.planned = operations
        self.operations = [committer.own(operation) for operation in operations]
        self.done = 0

    def stage(self, step: Callable[[], object], pause: Callable[[], object]) -> Failure | None:
        if not self.operations:
            return None
        return self._named(self.committer.stage(self.operations, step, pause))

    def perform(self, step: Callable[[], object]) -> Failure | None:
        for operation in self.operations:
            failure = self.committer.perform(operation)
            if failure is not None:
                return self._named(failure)
            self.done += 1
            step()
        return None

    def roll_back(self) -> None:
        self.done = min(self.done, self.committer.roll_back())

    def _named(self, failure: Failure | None) -> Failure | None:
        if failure is None:
            return None
        return Failure(self.planned[self.operations.index(failure.operation)], failure.reason)


def commit(
    workspace_fd: int,
    view_fd: int,
    plan: Plan,
    step: Callable[[], object] = lambda: None,
    git_fds: tuple[int, int] | None = None,
    put_back: Callable[[Collection[Stamp]], object] = lambda stamps: None,
) -> CommitReport:
    """Perform ``plan``.  The fds are the caller's and stay open.  AkiosError: the plan is blocked.

    ``step`` is called :func:`count_steps` times: for each file that was copied, and each operation
    that was performed.  ``git_fds``: the git directory beside the workspace and its view, where the
    plan's ``.git/`` is.  ``put_back`` is told what an undone commit put back, untouched by anybody
    else since the plan was made.  A signal ends it between two operations, by the exception of its
    handler, whose notes say what could not be undone.
    """
    if plan.blocked:
        raise AkiosError(
            explain_block(plan),
            where="commit",
            next=what_helps_block(plan),
        )
    if not plan.operations:
        return CommitReport(())
    places = [workspace_fd, *(git_fds[:1] if git_fds is not None else ())]
    left = [path for place in places for path in find_left_behind(place)]
    halves: tuple[list[Operation], list[Operation]] = [], []
    for operation in plan.operations:
        halves[git_fds is not None and is_relocated(operation.path)].append(operation)
    others, in_git = halves
    doubtful = frozenset(conflict.path for conflict in plan.conflicts)
    sides = [_Side(Committer(workspace_fd, view_fd, doubtful=doubtful), others)]
    if git_fds is not None and in_git:
        doubtful = frozenset(original(path) for path in doubtful if is_relocated(path))
        # First, so that what names a commit never comes before the commit.
        sides.insert(0, _Side(Committer(*git_fds, is_git=True, doubtful=doubtful), in_git))
    with held_back() as let_end:
        failure, ended = _perform_all(sides, step, let_end)
        try:
            if failure is None and ended is None:
                for side in sides:
                    side.committer.accept()
            else:
                for side in reversed(sides):
                    side.roll_back()
                if stamps := [stamp for side in sides for stamp in side.committer.put_back()]:
                    put_back(stamps)
        finally:
            kept = next(filter(None, [side.committer.finish() for side in sides]), b"")
        done = tuple(operation for side in sides for operation in side.planned[: side.done])
        notes = tuple(text for side in sides for text in side.committer.notes)
        if ended is None:
            return CommitReport(done, failure, kept, (*map(_say_left, left), *notes))
        for note in notes:
            ended.add_note(note)
        if kept:
            ended.add_note(
                f"keep {os.fsdecode(kept)!r}: it holds your files that could not be put back, as"
                " they were before this commit"
            )
        raise ended


def find_left_behind(workspace_fd: int) -> list[bytes]:
    """Staging directories of this user's commits that did not come to their end, with what is in
    them; never one of a commit that is at work, which holds its lock.
    """
    root = os.readlink(b"/proc/self/fd/%d" % workspace_fd)
    found = []
    try:
        fd = open_directory(workspace_fd, b"", readable=True)
        try:
            names = [os.fsencode(name) for name in os.listdir(fd)]
        finally:
            os.close(fd)
    except OSError:
        return []
    for name in filter(_STAGING.fullmatch, names):
        try:
            fd = open_directory(workspace_fd, name, readable=True)
        except OSError:
            continue
        try:
            # One that is empty may be just made, and not locked yet.
            if os.fstat(fd).st_uid == os.geteuid() and os.listdir(fd):
                fcntl.flock(fd, fcntl.LOCK_SH | fcntl.LOCK_NB)
                found.append(root + b"/" + name)
        except OSError:
            pass  # at work, or on a file system that cannot tell
        finally:
            os.close(fd)
    return found


def _say_left(path: bytes) -> str:
    return (
        f"{os.fsdecode(path)!r} is of a commit that did not come to its end: it holds copies of"
        " what that was to write, and files of yours that it had replaced or removed; take out what"
        " you miss, then remove it"
    )


def _perform_all(
    sides: Sequence[_Side], step: Callable[[], object], let_end: Callable[[], object]
) -> tuple[Failure | None, BaseException | None]:
    """What failed, and what was raised, if anything."""

    def done() -> None:
        step()
        let_end()

    try:
        for side in sides:
            if (failure := side.stage(done, let_end)) is not None:
                return failure, None
        for side in sides:
            if (failure := side.perform(done)) is not None:
                return failure, None
    except BaseException as error:
        return None, error
    return None, None


def count_steps(plan: Plan) -> int:
    """How often :func:`commit` calls ``step`` when nothing fails."""
    operations = plan.operations
    return len(operations) + sum(one.verb is Verb.WRITE_FILE for one in operations)


class Committer:
    """Performs operations one at a time: ``stage`` all, ``perform`` each, then ``finish``, after
    ``accept`` or ``roll_back``; after neither, everything is kept.
    """

    def __init__(
        self,
        workspace_fd: int,
        view_fd: int,
        *,
        is_git: bool = False,
        doubtful: frozenset[bytes] = frozenset(),
    ) -> None:
        self.workspace_fd = workspace_fd
        self.view_fd = view_fd
        self._is_git = is_git
        self.notes: list[str] = []
        self._staging = TEMPORARY_PREFIX + secrets.token_hex(8).encode()
        self._staging_fd = -1
        self._staged: dict[bytes, bytes] = {}
        self._written: dict[bytes, Entry] = {}
        self._undo: list[tuple[int, Callable[[], None]]] = []
        self._in_doubt = False
        self._doubtful = doubtful
        self._ctimes: dict[tuple[int, int], int] = {}
        """Of what was there before, by device and number, after what was done here last; -1 where
        somebody else was at it, too."""
        self._put_back: dict[tuple[int, int], Stamp] = {}
        self._local: list[tuple[bytes, bytes]] = []
        self._performed = 0
        self._counter = 0
        self._keep = False

    def own(self, operation: Operation) -> Operation:
        """The operation with the paths that it has in this directory."""
        if not self._is_git:
            return operation
        anchor = original(operation.anchor) if operation.anchor else b""
        return msgspec.structs.replace(operation, path=original(operation.path), anchor=anchor)

    def stage(
        self,
        operations: Sequence[Operation],
        step: Callable[[], object] = lambda: None,
        pause: Callable[[], object] = lambda: None,
    ) -> Failure | None:
        """Copy every file that will be written out of the view; nothing in the workspace has
        changed yet.  ``pause`` is called within large files, too.
        """
        current = operations[0]
        try:
            os.mkdir(self._staging, 0o700, dir_fd=self.workspace_fd)
            self._staging_fd = open_directory(self.workspace_fd, self._staging, readable=True)
            with suppress(OSError):  # a file system without locks: then nobody can tell
                fcntl.flock(self._staging_fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            for current in operations:
                if current.verb is Verb.WRITE_FILE:
                    self._staged[current.path] = self._stage_file(current, pause)
                    step()
        except _StopError as stop:
            return Failure(current, str(stop))
        except OSError as error:
            return Failure(current, explain(error))
        self._sync()
        return None

    def perform(self, operation: Operation) -> Failure | None:
        """Do one operation, or say why not; a failed one leaves its path as it was."""
        try:
            with self._directory(parent_of(operation.path)) as directory:
                self._dispatch(operation, directory, name_of(operation.path))
        except _StopError as stop:
            return Failure(operation, str(stop))
        except OSError as error:
            return Failure(operation, explain(error))
        self._performed += 1
        return None

    def roll_back(self) -> int:
        """Undo what was performed, newest first; returns how many operations remain done (0, as a
        rule).
        """
        while self._undo:
            index, undo = self._undo[-1]
            try:
                undo()
            except OSError as error:
                self._keep = True
                self.notes.append(
                    f"the commit could not be rolled back completely: {explain(error)}"
                )
                return index + 1
            self._undo.pop()
        return 0

    def accept(self) -> None:
        """It stays as it is: from here on nothing is undone."""
        self._undo.clear()

    def put_back(self) -> list[Stamp]:
        """What stands again where it stood, as it was, after :meth:`roll_back`."""
        return list(self._put_back.values())

    def finish(self) -> bytes:
        """Sync, then remove the staging directory; returns its name when it has to be kept."""
        if self._staging_fd < 0:
            return b""
        if self._performed:
            self._sync()
        try:
            if self._keep or self._undo or self._in_doubt:
                place = os.readlink(b"/proc/self/fd/%d" % self.workspace_fd) + b"/"
                return (place if self._is_git else b"") + self._staging
            self._clean()
        except OSError as error:
            self.notes.append(
                f"{self._staging.decode()} in the workspace could not be removed: {error.strerror}"
            )
        finally:
            os.close(self._staging_fd)
            self._staging_fd = -1
        return b""

    def _clean(self) -> None:
        for parent, name in self._local:
            with (
                suppress(FileNotFoundError, NotADirectoryError),
                self._directory(parent) as directory,
            ):
                os.unlink(name, dir_fd=directory)
        fd = open_directory(self.workspace_fd, self._staging, readable=True)
        try:
            for listed in os.listdir(fd):
                os.unlink(listed, dir_fd=fd)
        finally:
            os.close(fd)
        os.rmdir(self._staging, dir_fd=self.workspace_fd)

    def _sync(self) -> None:
        try:
            fd = open_directory(self.workspace_fd, b"", readable=True)
            try:
                syncfs(fd)
            finally:
                os.close(fd)
        except OSError as error:
            self.notes.append(f"the workspace could not be synced to disk: {error.strerror}")

    @contextmanager
    def _directory(self, path: bytes) -> Iterator[int]:
        fd = open_directory(self.workspace_fd, path, readable=False)
        try:
            yield fd
        finally:
            os.close(fd)

    def _new_name(self) -> bytes:
        self._counter += 1
        return b"%d" % self._counter

    def _act(
        self, operation: Operation, act: Callable[[], None], undo: Callable[[int], None]
    ) -> None:
        """Do what ``undo`` undoes in the directory of ``operation``.  Where an ``act`` fails with
        OSError it did nothing; whatever else cuts it short leaves a doubt, and all is kept.
        """
        self._in_doubt = True
        try:
            act()
        except OSError:
            self._in_doubt = False
            raise
        self._undo.append((self._performed, lambda: self._in_parent(operation, undo)))
        self._in_doubt = False

    def _follow(self, operation: Operation, before: Entry, after: Entry) -> None:
        """An act gave what was there a new ctime; nobody else did since the plan was made."""
        assert operation.old is not None
        inode = before.dev, before.ino
        known = self._ctimes.get(inode, operation.old.ctime_ns)
        is_ours = before.ctime_ns == known and operation.path not in self._doubtful
        self._ctimes[inode] = after.ctime_ns if is_ours else -1

    def _follow_back(self, before: Entry, after: Entry) -> None:
        """So did its undo, and it is what it was."""
        inode = after.dev, after.ino
        is_ours = self._ctimes.get(inode) == before.ctime_ns and after.same_object(before)
        self._ctimes[inode] = after.ctime_ns if is_ours else -1
        self._put_back.pop(inode, None)
        if is_ours:
            self._put_back[inode] = stamp_of(after)

    def _stage_file(self, operation: Operation, pause: Callable[[], object]) -> bytes:
        name = self._new_name()
        source = open_file(self.view_fd, operation.path)
        try:
            target = create(self._staging_fd, name)
            try:
                self._fill(operation, source, target, pause)
            finally:
                os.close(target)
        finally:
            os.close(source)
        return name

    def _fill(
        self, operation: Operation, source: int, target: int, pause: Callable[[], object]
    ) -> None:
        new, old = operation.new, operation.old
        assert new is not None
        if not entry_from_stat(os.fstat(source)).same_object(new):
            raise _StopError("it changed in the cage since it was compared")
        copy_content(source, target, new.size, pause)
        if not entry_from_stat(os.fstat(source)).same_object(new):
            raise _StopError("it changed in the cage while it was copied")
        if old is not None:
            self._keep_owner(operation.path, target, old)
        os.fchmod(target, new.mode & 0o777)
        os.utime(target, ns=(new.mtime_ns, new.mtime_ns))

    def _keep_owner(self, path: bytes, target: int, old: Entry) -> None:
        status = os.fstat(target)
        if (status.st_uid, status.st_gid) == (old.uid, old.gid):
            return
        try:
            os.fchown(target, old.uid, old.gid)
        except PermissionError:
            self.notes.append(
                f"{os.fsdecode(path)!r} belonged to {old.uid}:{old.gid} and now to you"
            )

    def _dispatch(self, operation: Operation, directory: int, name: bytes) -> None:
        match operation.verb:
            case Verb.MAKE_DIRECTORY:
                self._make_directory(operation, directory, name)
            case Verb.WRITE_FILE:
                self._write_file(operation, directory, name)
            case Verb.MAKE_SYMLINK:
                self._make_symlink(operation, directory, name)
            case Verb.HARD_LINK:
                self._hard_link(operation, directory, name)
            case Verb.REMOVE:
                self._remove(operation, directory, name)
            case Verb.REMOVE_DIRECTORY:
                self._remove_directory(operation, directory, name)
            case Verb.SET_MODE:
                self._set_mode(operation, directory, name)

    def _make_directory(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        self._act(
            operation,
            lambda: os.mkdir(name, 0o700, dir_fd=directory),
            lambda parent: os.rmdir(name, dir_fd=parent),
        )
        fd = openat2(directory, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            inherited = stat.S_IMODE(os.fstat(fd).st_mode) & 0o2000
            chmod(fd, operation.new.mode & 0o777 | 0o700 | inherited)
        finally:
            os.close(fd)

    def _in_parent(self, operation: Operation, action: Callable[[int], None]) -> None:
        with self._directory(parent_of(operation.path)) as directory:
            action(directory)

    def _write_file(self, operation: Operation, directory: int, name: bytes) -> None:
        staged = self._staged[operation.path]
        status = os.fstat(directory)
        if operation.old is None and status.st_mode & stat.S_ISGID:
            with suppress(PermissionError):
                os.chown(staged, -1, status.st_gid, dir_fd=self._staging_fd, follow_symlinks=False)
        written = read_entry(self._staging_fd, staged)
        self._place(operation, directory, name, staged)
        self._written[operation.path] = written

    def _make_symlink(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        staged = self._new_name()
        make_symlink(self._staging_fd, staged, operation.new)
        self._place(operation, directory, name, staged)

    def _hard_link(self, operation: Operation, directory: int, name: bytes) -> None:
        expected = operation.anchor_entry or self._written[operation.anchor]
        staged = self._new_name()
        with self._directory(parent_of(operation.anchor)) as anchor_directory:
            anchor = name_of(operation.anchor)
            try:
                os.link(
                    anchor,
                    staged,
                    src_dir_fd=anchor_directory,
                    dst_dir_fd=self._staging_fd,
                    follow_symlinks=False,
                )
                self._check_anchor(read_entry(self._staging_fd, staged), expected)
            except OSError as error:
                if error.errno not in _NO_HARD_LINK:
                    raise
                self.notes.append(
                    f"{os.fsdecode(operation.path)!r} was copied, not linked: {error.strerror}"
                )
                self._check_anchor(read_entry(anchor_directory, anchor), expected)
                clone(anchor_directory, anchor, self._staging_fd, staged)
        self._place(operation, directory, name, staged)

    def _check_anchor(self, found: Entry, expected: Entry) -> None:
        # A placed file keeps its inode on the same file system; a copy of it (another one) at least
        # its stamp.
        if (found.size, found.mtime_ns) != (
            expected.size,
            expected.mtime_ns,
        ) or found.type is not EntryType.FILE:
            raise _StopError("the file it is a link to changed in the workspace")

    def _remove(self, operation: Operation, directory: int, name: bytes) -> None:
        old = operation.old
        assert old is not None
        found = read_entry(directory, name)
        if not found.same_object(old):
            raise _StopError(_CHANGED)
        parked = self._new_name()

        def undo(parent: int) -> None:
            before = read_entry(self._staging_fd, parked)
            move(self._staging_fd, parked, parent, name)
            self._follow_back(before, read_entry(parent, name))

        try:
            self._act(operation, lambda: move(directory, name, self._staging_fd, parked), undo)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            self._remove_by_copy(operation, directory, name, parked, found)
            return
        after = read_entry(self._staging_fd, parked)
        if not after.same_object(old):
            self._undo_last()
        self._follow(operation, found, after)

    def _remove_by_copy(
        self, operation: Operation, directory: int, name: bytes, parked: bytes, found: Entry
    ) -> None:
        """On another subvolume only a copy of the old can wait in the staging directory."""
        assert operation.old is not None
        beside = self._park_beside(operation)

        def undo(parent: int) -> None:
            try:
                read_entry(parent, beside)
            except FileNotFoundError:
                clone(self._staging_fd, parked, parent, beside)
            move(parent, beside, parent, name)
            after = read_entry(parent, name)
            is_like = (after.size, after.mtime_ns) == (found.size, found.mtime_ns)
            if is_like and self._ctimes.get((found.dev, found.ino), -1) != -1:
                self._put_back[after.dev, after.ino] = stamp_of(after)

        self._act(operation, lambda: move(directory, name, directory, beside), undo)
        moved = read_entry(directory, beside)
        if not moved.same_object(operation.old):
            self._undo_last()
        self._follow(operation, found, moved)
        # A FIFO or socket is gone for good: there is nothing in it to keep.
        if operation.old.type in (EntryType.FILE, EntryType.SYMLINK):
            clone(directory, beside, self._staging_fd, parked)
        os.unlink(beside, dir_fd=directory)

    def _undo_last(self) -> NoReturn:
        """Return to the user what was taken by mistake; if that fails it is kept in the staging
        directory.
        """
        try:
            self._undo[-1][1]()
        except OSError:
            self._keep = True
            raise _StopError(
                f"{_CHANGED}; the newest version is in {self._staging.decode()}"
            ) from None
        self._undo.pop()
        raise _StopError(_CHANGED)

    def _park_beside(self, operation: Operation) -> bytes:
        name = self._staging + b"-" + self._new_name()
        self._local.append((parent_of(operation.path), name))
        return name

    def _remove_directory(self, operation: Operation, directory: int, name: bytes) -> None:
        old = operation.old
        assert old is not None

        def undo(parent: int) -> None:
            os.mkdir(name, 0o700, dir_fd=parent)
            fd = openat2(parent, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
            try:
                with suppress(PermissionError):
                    os.chown(f"/proc/self/fd/{fd}", old.uid, old.gid)
                chmod(fd, old.mode)
            finally:
                os.close(fd)

        self._act(operation, lambda: os.rmdir(name, dir_fd=directory), undo)

    def _set_mode(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        fd = openat2(directory, name, os.O_PATH | os.O_NOFOLLOW)
        try:
            status = entry_from_stat(os.fstat(fd))
            if status.type is not operation.new.type:
                raise _StopError(_CHANGED)
            is_file = status.type is EntryType.FILE
            if (
                is_file
                and operation.old is not None
                and not (status.same_object(operation.old) and status.nlink == 1)
            ):
                raise _StopError(_CHANGED)
            inherited = 0 if is_file else status.mode & 0o7000
            mode = operation.new.mode & 0o777 | inherited & (operation.new.mode | 0o2000)

            def undo(parent: int) -> None:
                again = openat2(parent, name, os.O_PATH | os.O_NOFOLLOW)
                try:
                    before = entry_from_stat(os.fstat(again))
                    if (before.dev, before.ino) == (status.dev, status.ino):
                        chmod(again, status.mode)
                        self._follow_back(before, entry_from_stat(os.fstat(again)))
                finally:
                    os.close(again)

            self._act(operation, lambda: chmod(fd, mode), undo)
            after = entry_from_stat(os.fstat(fd))
            if operation.old is not None:
                self._follow(operation, status, after)
            self._written[operation.path] = after
        finally:
            os.close(fd)

    def _place(self, operation: Operation, directory: int, name: bytes, staged: bytes) -> None:
        """Put ``staged`` where exactly ``operation.old`` (or nothing) stands; what stood there
        takes its place.
        """
        old = operation.old
        found = None if old is None else read_entry(directory, name)
        if old is not None and not (found and found.same_object(old)):
            raise _StopError(_CHANGED)
        new = read_entry(self._staging_fd, staged)
        try:
            self._swap(operation, directory, name, staged, new, local=False)
            there = self._staging_fd
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Another subvolume or project quota: rename(2) cannot, so the file is copied beside its
            # place first.
            beside = self._park_beside(operation)
            clone(self._staging_fd, staged, directory, beside)
            new, staged, there = read_entry(directory, beside), beside, directory
            self._swap(operation, directory, name, staged, new, local=True)
        if old is None or found is None:
            return
        after = read_entry(there, staged)
        if not after.same_object(old):
            self._undo_last()
        self._follow(operation, found, after)

    def _swap(
        self,
        operation: Operation,
        directory: int,
        name: bytes,
        staged: bytes,
        new: Entry,
        *,
        local: bool,
    ) -> None:
        """``local``: it is beside its place already."""
        is_new = operation.old is None
        change = move if is_new else exchange

        def undo(parent: int) -> None:
            source = parent if local else self._staging_fd
            if is_new:
                move(parent, name, source, staged)
            else:
                before = read_entry(source, staged)
                exchange(source, staged, parent, name)
                self._follow_back(before, read_entry(parent, name))
            if not read_entry(source, staged).same_object(new):
                self._keep = True
                self.notes.append(
                    f"{os.fsdecode(operation.path)!r} was changed while it was committed: what it"
                    f" was then is {os.fsdecode(staged)} in {self._staging.decode()}"
                )
            elif local:
                os.unlink(staged, dir_fd=parent)

        there = directory if local else self._staging_fd
        self._act(operation, lambda: change(there, staged, directory, name), undo)
