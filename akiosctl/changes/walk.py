"""Compare the view of a cage with the workspace.

The view is hostile: everything in it was named, typed and filled by the agent.  Every directory and
file is opened by one openat2(2) from the root with RESOLVE_STRICT, so no link is followed, no mount
crossed, and no number of levels costs more than two fds.  A path longer than MAX_PATH bytes is
reported as a problem and not entered: no program could open it by name.

What may be taken as unchanged without reading it.  An agent sets mtime at will but never ctime, and
on an overlay an inode whose ctime lies before the cage's start cannot be in the upper layer: it is
an inode of the workspace, as it was.  So an entry is untouched when its ctime equals the workspace
entry's, lies more than two seconds (the coarsest clock of a file system) before the start, and the
inode number, size, mtime and mode are the same too; the number rules out another old file that a
renamed directory moved here.  overlayfs sets the topmost bits of the number to tell its layers
apart (``xino``): those above the lower 56, or, where all layers have numbers of 32 bits, those
above them.  So that many are compared; a number that needs more is never taken as proof.  For a
directory the same proof covers all below it: copying anything up copies every ancestor up first.
Everything else is read and compared byte by byte.  This rests on one writable layer over the
workspace alone and on a clock that was not set back before the start; without ``started_ns``
everything is read.

What the caller may not read (a database's directory, another's key) is judged by its inode alone:
the very one of the workspace is no change, however new it is and whoever works in it; anything else
is a problem, and blocks.

What is not a change: owner, timestamps, xattrs, and whether two old names became one inode.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterator
from enum import Enum

from akiosctl.changes.content import same_content
from akiosctl.changes.model import (
    Change,
    ChangeKind,
    Diff,
    Entry,
    EntryType,
    Stamp,
    entry_from_stat,
    join,
    name_of,
    parent_of,
    read_entry,
    stamp_of,
)
from akiosctl.changes.names import fold
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import name_to_handle_at, open_directory, openat2

MAX_PATH = 4000
MAX_CHANGES = 500_000

_PROOF_MARGIN_NS = 2_000_000_000
# current_time() of the kernel is the last tick's: at 100 Hz a stamp may be this much older than the
# call.
CLOCK_GRAIN_NS = 10_000_000
_INO_MASK, _SHORT_INO_MASK = (1 << 56) - 1, (1 << 32) - 1
# include/linux/exportfs.h: a file handle of an inode number of 32 bits and its generation.
_FILEID_INO32_GEN = 1
_LOOKS = 5
# is_git_directory() of git's setup.c: where there is a commondir, objects and refs are elsewhere.
_GIT_DIRS = (frozenset({"head", "objects", "refs"}), frozenset({"head", "commondir"}))
_MAX_GIT_NAME = 16


class _Side(Enum):
    BOTH = 0
    OLD = 1
    NEW = 2


class _ProblemError(Exception):
    """A directory or file that cannot be examined; the text goes into the change."""


def compare(
    workspace_fd: int,
    view_fd: int,
    *,
    started_ns: int | None = None,
    max_changes: int = MAX_CHANGES,
    step: Callable[[], object] = lambda: None,
    put_back: frozenset[Stamp] = frozenset(),
) -> Diff:
    """Everything that differs between the workspace and the view.

    Both fds are directories (O_PATH is enough) and stay the caller's.  ``started_ns`` is the wall
    clock (ns) when the overlay was made, ``None`` if unknown.  AkiosError: a root cannot be read,
    or there are more than ``max_changes``.  ``step`` is called for each directory that was read.
    ``put_back``: as :class:`Diff` has it.
    """
    return _Comparison(workspace_fd, view_fd, started_ns, max_changes, put_back).run(step)


class _Comparison:
    def __init__(
        self,
        workspace_fd: int,
        view_fd: int,
        started_ns: int | None,
        max_changes: int,
        put_back: frozenset[Stamp],
    ) -> None:
        self.put_back = put_back
        self.workspace_fd = workspace_fd
        self.view_fd = view_fd
        self.started_ns = started_ns
        self.max_changes = max_changes
        self.changes: dict[bytes, Change] = {}
        self.git_dirs: set[bytes] = set()
        self.moved: set[bytes] = set()
        self.links: dict[tuple[int, int], list[bytes]] = {}
        self.unchanged_links: dict[bytes, Entry] = {}
        self.workspace_dev = os.fstat(workspace_fd).st_dev
        self.ino_mask = _SHORT_INO_MASK if _has_short_inodes(workspace_fd) else _INO_MASK
        self.pending: list[tuple[bytes, _Side, Entry | None, Entry | None]] = []

    def run(self, step: Callable[[], object]) -> Diff:
        old, new = (
            entry_from_stat(os.fstat(self.workspace_fd)),
            entry_from_stat(os.fstat(self.view_fd)),
        )
        if not self.untouched(old, new):
            self.pending.append((b"", _Side.BOTH, old, new))
        while self.pending:
            step()
            path, side, old_dir, new_dir = self.pending.pop()
            try:
                self.directory(path, side)
            except _ProblemError as problem:
                self.unreadable_directory(path, side, old_dir, new_dir, str(problem))
        return Diff(
            tuple(self.changes[path] for path in sorted(self.changes)),
            frozenset(self.git_dirs),
            frozenset(self.moved),
            {key: tuple(sorted(paths)) for key, paths in self.links.items() if len(paths) > 1},
            self.unchanged_links,
            self.started_ns,
            self.put_back,
        )

    def add(
        self, kind: ChangeKind, path: bytes, old: Entry | None, new: Entry | None, problem: str = ""
    ) -> None:
        if len(self.changes) >= self.max_changes:
            raise self.too_many()
        self.changes[path] = Change(kind, path, old, new, problem)

    def too_many(self) -> AkiosError:
        return AkiosError(
            f"more than {self.max_changes} entries differ",
            where="comparing the cage's view with the workspace",
            next="discard the changes (akiosctl discard); from a standing cage that is up,"
            " akiosctl cp copies what you need before that",
        )

    def untouched(self, old: Entry, new: Entry) -> bool:
        """Proof that ``new`` is the workspace's own inode (the reasoning is at the top of this
        file).
        """
        return (
            self.started_ns is not None
            and new.ctime_ns == old.ctime_ns < self.started_ns - _PROOF_MARGIN_NS
            and old.dev == self.workspace_dev
            and self.same_number(old, new)
            and (new.type, new.size, new.mtime_ns, new.mode)
            == (old.type, old.size, old.mtime_ns, old.mode)
        )

    def is_own(self, path: bytes) -> bool:
        """Whether what cannot be read in the view is still the workspace's own inode, which no
        agent can have changed.

        Copying up gives an inode a ctime of its own.  Somebody else may be at work in the
        workspace, so both are looked at until they stand still.
        """
        parent, name = parent_of(path), name_of(path)
        for _ in range(_LOOKS):
            try:
                before, new, after = (
                    self.look(root, parent, name)
                    for root in (self.workspace_fd, self.view_fd, self.workspace_fd)
                )
            except _ProblemError:
                return False
            if before is None or new is None or before.dev != self.workspace_dev:
                return False
            if before == after:
                fields = ("type", "size", "mtime_ns", "ctime_ns", "mode")
                alike = all(getattr(new, field) == getattr(before, field) for field in fields)
                return alike and self.same_number(before, new)
        return False

    def look(self, root_fd: int, parent: bytes, name: bytes) -> Entry | None:
        fd = self.anchor(root_fd, parent)
        try:
            return _lstat(fd, name)
        finally:
            os.close(fd)

    def same_number(self, old: Entry, new: Entry) -> bool:
        return new.ino == old.ino or new.ino & self.ino_mask == old.ino

    def note_moved(self, path: bytes, old: Entry) -> None:
        """A ctime after the start with an older mtime: the directory was renamed or chmod-ed, not
        filled.
        """
        if (
            self.started_ns is not None
            and old.mtime_ns < self.started_ns - CLOCK_GRAIN_NS <= old.ctime_ns
            and stamp_of(old) not in self.put_back
        ):
            self.moved.add(path)

    def directory(self, path: bytes, side: _Side) -> None:
        old_names = (
            self.list_names(self.workspace_fd, path) if side is not _Side.NEW else frozenset()
        )
        new_names = self.list_names(self.view_fd, path) if side is not _Side.OLD else frozenset()
        short = {fold(name) for name in new_names if len(name) <= _MAX_GIT_NAME}
        if any(names <= short for names in _GIT_DIRS):
            self.git_dirs.add(path)
        for name, old, new in self.entries(path, old_names, new_names):
            child = join(path, name)
            try:
                self.pair(child, old, new)
            except _ProblemError as problem:
                if not self.is_own(child):
                    self.add(_kind(old, new), child, old, new, str(problem))

    def list_names(self, root_fd: int, path: bytes) -> frozenset[bytes]:
        try:
            fd = open_directory(root_fd, path, readable=True)
        except OSError as error:
            raise _ProblemError(_explain(error)) from None
        names = set()
        try:
            with os.scandir(fd) as listing:
                for entry in listing:
                    names.add(os.fsencode(entry.name))
                    if len(names) > self.max_changes:
                        raise self.too_many()
        except OSError as error:
            raise _ProblemError(_explain(error)) from None
        finally:
            os.close(fd)
        return frozenset(names)

    def entries(
        self, path: bytes, old_names: frozenset[bytes], new_names: frozenset[bytes]
    ) -> Iterator[tuple[bytes, Entry | None, Entry | None]]:
        """Stat every name on the side(s) it has been listed on."""
        old_fd = self.anchor(self.workspace_fd, path) if old_names else -1
        try:
            new_fd = self.anchor(self.view_fd, path) if new_names else -1
            try:
                for name in sorted(old_names | new_names):
                    old = _lstat(old_fd, name) if name in old_names else None
                    new = _lstat(new_fd, name) if name in new_names else None
                    yield name, old, new
            finally:
                if new_fd >= 0:
                    os.close(new_fd)
        finally:
            if old_fd >= 0:
                os.close(old_fd)

    def anchor(self, root_fd: int, path: bytes) -> int:
        try:
            return open_directory(root_fd, path, readable=False)
        except OSError as error:
            raise _ProblemError(_explain(error)) from None

    def pair(self, path: bytes, old: Entry | None, new: Entry | None) -> None:
        if new is not None and new.type is EntryType.FILE and new.nlink > 1:
            self.links.setdefault((new.dev, new.ino), []).append(path)
        if old is None or new is None or old.type is not new.type:
            if old is not None or new is not None:
                self.one_sided(path, old, new)
        elif not self.untouched(old, new):
            if old.type is EntryType.DIRECTORY:
                self.both_directories(path, old, new)
            else:
                self.both_plain(path, old, new)

    def one_sided(self, path: bytes, old: Entry | None, new: Entry | None) -> None:
        if len(path) > MAX_PATH:
            raise _ProblemError(f"the path is longer than {MAX_PATH} bytes")
        self.add(_kind(old, new), path, old, new)
        if old is not None and old.type is EntryType.DIRECTORY:
            self.note_moved(path, old)
            self.pending.append((path, _Side.OLD, old, None))
        if new is not None and new.type is EntryType.DIRECTORY:
            self.pending.append((path, _Side.NEW, None, new))

    def both_directories(self, path: bytes, old: Entry, new: Entry) -> None:
        if len(path) > MAX_PATH:
            raise _ProblemError(f"the path is longer than {MAX_PATH} bytes")
        self.note_moved(path, old)
        if old.mode != new.mode:
            self.add(ChangeKind.MODE, path, old, new)
        self.pending.append((path, _Side.BOTH, old, new))

    def both_plain(self, path: bytes, old: Entry, new: Entry) -> None:
        if old.type is EntryType.SYMLINK:
            if old.target != new.target:
                self.add(ChangeKind.MODIFIED, path, old, new)
            return
        if old.type is EntryType.FILE and (old.size != new.size or not self.same_bytes(path)):
            self.add(ChangeKind.MODIFIED, path, old, new)
        elif old.mode != new.mode:
            self.add(ChangeKind.MODE, path, old, new)
        elif new.nlink > 1:
            self.unchanged_links[path] = old

    def same_bytes(self, path: bytes) -> bool:
        fds: list[int] = []
        try:
            for root in (self.workspace_fd, self.view_fd):
                fds.append(open_file(root, path))
            return same_content(*fds)
        except OSError as error:
            raise _ProblemError(_explain(error)) from None
        finally:
            for fd in fds:
                os.close(fd)

    def unreadable_directory(
        self, path: bytes, side: _Side, old: Entry | None, new: Entry | None, problem: str
    ) -> None:
        if not path:
            raise AkiosError(
                f"the workspace cannot be compared: {problem}",
                where="comparing the cage's view with the workspace",
                next="check that the directory is still there, and that you may read it",
            )
        # A mount point or a foreign directory that the cage did not touch is no news.
        limit = (self.started_ns or 0) - _PROOF_MARGIN_NS
        if side is _Side.BOTH and old and new and old.mode == new.mode and new.ctime_ns < limit:
            return
        if side is _Side.BOTH and self.is_own(path):
            return
        known = self.changes.pop(path, None)
        if known is not None:
            self.changes[path] = Change(known.kind, path, known.old, known.new, problem)
        else:
            self.add(_kind(old, new), path, old, new, problem)


def open_file(root_fd: int, path: bytes) -> int:
    """Open a regular file for reading; anything else that stands there by now is OSError (never
    blocks on a FIFO).
    """
    fd = openat2(root_fd, path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY)
    if entry_from_stat(os.fstat(fd)).type is not EntryType.FILE:
        os.close(fd)
        raise OSError(errno.ESTALE, os.strerror(errno.ESTALE), path)
    return fd


def _has_short_inodes(fd: int) -> bool:
    """Whether inode numbers of the file system of ``fd`` have 32 bits, as overlayfs tells it.

    overlayfs then puts its own marks right above them.  False where there are no file handles at
    all.
    """
    try:
        return name_to_handle_at(fd) == _FILEID_INO32_GEN
    except OSError:
        return False


def _lstat(dir_fd: int, name: bytes) -> Entry | None:
    try:
        return read_entry(dir_fd, name)
    except FileNotFoundError:
        return None
    except OSError as error:
        raise _ProblemError(_explain(error)) from None


def _kind(old: Entry | None, new: Entry | None) -> ChangeKind:
    if old is None:
        return ChangeKind.ADDED
    if new is None:
        return ChangeKind.DELETED
    return ChangeKind.MODIFIED if old.type is new.type else ChangeKind.TYPE


def _explain(error: OSError) -> str:
    if error.errno in (errno.EACCES, errno.EPERM):
        return "cannot be read with your permissions"
    if error.errno == errno.EXDEV:
        return "another file system is mounted here"
    if error.errno in (errno.ELOOP, errno.ENOTDIR, errno.ENOENT, errno.ESTALE):
        return "changed while it was compared"
    return f"cannot be read: {error.strerror}"
