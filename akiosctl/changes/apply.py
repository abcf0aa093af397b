"""Perform a plan in the workspace with the caller's own credentials.

Every operation opens its directory anew with RESOLVE_STRICT and works on one name in it, so a directory that was
swapped for a link since the plan was made is an error, never a way out.  A file is written under a temporary name
beside its place and put there by renameat2(2): RENAME_NOREPLACE where nothing stood, RENAME_EXCHANGE where
something did.  After an exchange the old entry lies under the temporary name and is compared with what the plan
expected *then*; if the user was quicker, it is exchanged back.  The first failure ends the commit: what is done
stays, and as removals come after creations, nothing is lost.  A second comparison continues from there.

Kept: content, holes, mode (0777), mtime, links, and the owner of a replaced file as far as the caller may set it.
Not kept: xattrs, ACLs.  Replaced content is on the disk before the old goes; the rest is synced once at the end.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import msgspec

from akiosctl.changes.content import copy_content
from akiosctl.changes.model import Entry, EntryType, entry_from_stat, name_of, parent_of, read_entry
from akiosctl.changes.openat2 import RENAME_EXCHANGE, RENAME_NOREPLACE, open_directory, openat2, renameat2, syncfs
from akiosctl.changes.plan import Operation, Plan, Verb
from akiosctl.changes.walk import open_file
from akiosd.errors import AkiosError

_NO_RENAME_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)
_NO_HARD_LINK = (errno.EPERM, errno.EMLINK, errno.EXDEV, errno.EOPNOTSUPP)
TEMPORARY_PREFIX = b".akios-commit-"


class Failure(msgspec.Struct, frozen=True):
    """The operation at which a commit stopped, and why; ``errno`` is 0 when it was no system call."""

    operation: Operation
    reason: str
    errno: int = 0


class Report(msgspec.Struct, frozen=True):
    """What a commit did.  ``failure`` is ``None`` when it did everything; ``left`` then is empty."""

    done: tuple[Operation, ...]
    failure: Failure | None
    left: tuple[Operation, ...]
    notes: tuple[str, ...] = ()


class _Stop(Exception):
    """The workspace or the view is not what the plan was made from."""


class _Kept(_Stop):
    """What the user just wrote could not be put back in its place and stays under the temporary name."""


def commit(
    workspace_fd: int, view_fd: int, plan: Plan, progress: Callable[[Operation], None] | None = None
) -> Report:
    """Perform ``plan``.  Both fds are the caller's and stay open.  AkiosError: the plan is blocked."""
    if plan.blocked:
        raise AkiosError(
            f"{len(plan.refusals)} changes are refused and {len(plan.conflicts)} are in conflict; nothing was written",
            where="commit",
            next="see them with akiosctl diff; --skip-refused leaves them out, --force overrides conflicts",
        )
    committer = Committer(workspace_fd, view_fd)
    done: list[Operation] = []
    failure = None
    for operation in plan.operations:
        failure = committer.perform(operation)
        if failure is not None:
            break
        done.append(operation)
        if progress is not None:
            progress(operation)
    left = plan.operations[len(done) + 1 :] if failure else ()
    if done:
        committer.sync()
    return Report(tuple(done), failure, left, tuple(committer.notes))


class Committer:
    """Performs operations one at a time; holds no fd between them."""

    def __init__(self, workspace_fd: int, view_fd: int) -> None:
        self.workspace_fd = workspace_fd
        self.view_fd = view_fd
        self.notes: list[str] = []
        self._written: dict[bytes, Entry] = {}

    def perform(self, operation: Operation) -> Failure | None:
        """Do one operation, or say why not; a failed one leaves its path as it was and no temporary file."""
        try:
            with self._directory(parent_of(operation.path)) as directory:
                self._dispatch(operation, directory, name_of(operation.path))
        except _Stop as stop:
            return Failure(operation, str(stop))
        except OSError as error:
            return Failure(operation, _explain(error), error.errno or 0)
        return None

    def sync(self) -> None:
        """Make what was committed durable.  A failure is noted: the data is in place, its durability is not known."""
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
                os.rmdir(name, dir_fd=directory)
            case Verb.SET_MODE:
                self._set_mode(operation, directory, name)

    def _make_directory(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        os.mkdir(name, 0o700, dir_fd=directory)
        fd = openat2(directory, name, os.O_PATH | os.O_DIRECTORY | os.O_NOFOLLOW)
        try:
            inherited = stat.S_IMODE(os.fstat(fd).st_mode) & 0o2000
            _chmod(fd, operation.new.mode & 0o777 | 0o700 | inherited)
        finally:
            os.close(fd)

    def _write_file(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        source = open_file(self.view_fd, operation.path)
        try:
            with _temporary(directory) as temporary:
                flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
                target = os.open(temporary, flags, 0o600, dir_fd=directory)
                try:
                    self._fill(operation, source, target)
                finally:
                    os.close(target)
                written = read_entry(directory, temporary)
                _place(directory, temporary, name, operation.old)
                self._written[operation.path] = written
        finally:
            os.close(source)

    def _fill(self, operation: Operation, source: int, target: int) -> None:
        new, old = operation.new, operation.old
        assert new is not None
        if not entry_from_stat(os.fstat(source)).same_object(new):
            raise _Stop("it changed in the cage since it was compared")
        copy_content(source, target, new.size)
        if not entry_from_stat(os.fstat(source)).same_object(new):
            raise _Stop("it changed in the cage while it was copied")
        if old is not None:
            self._keep_owner(operation.path, target, old)
        os.fchmod(target, new.mode & 0o777)
        os.utime(target, ns=(new.mtime_ns, new.mtime_ns))
        if old is not None:
            os.fsync(target)

    def _keep_owner(self, path: bytes, target: int, old: Entry) -> None:
        status = os.fstat(target)
        if (status.st_uid, status.st_gid) == (old.uid, old.gid):
            return
        try:
            os.fchown(target, old.uid, old.gid)
        except PermissionError:
            self.notes.append(f"{os.fsdecode(path)!r} belonged to {old.uid}:{old.gid} and now to you")

    def _make_symlink(self, operation: Operation, directory: int, name: bytes) -> None:
        new = operation.new
        assert new is not None
        with _temporary(directory) as temporary:
            os.symlink(new.target, temporary, dir_fd=directory)
            os.utime(temporary, ns=(new.mtime_ns, new.mtime_ns), dir_fd=directory, follow_symlinks=False)
            _place(directory, temporary, name, operation.old)

    def _hard_link(self, operation: Operation, directory: int, name: bytes) -> None:
        expected = operation.anchor_entry or self._written.get(operation.anchor)
        if expected is None:
            self._write_file(operation, directory, name)
            return
        with self._directory(parent_of(operation.anchor)) as anchor_directory, _temporary(directory) as temporary:
            try:
                os.link(
                    name_of(operation.anchor),
                    temporary,
                    src_dir_fd=anchor_directory,
                    dst_dir_fd=directory,
                    follow_symlinks=False,
                )
            except OSError as error:
                if error.errno not in _NO_HARD_LINK:
                    raise
                self.notes.append(f"{os.fsdecode(operation.path)!r} was copied, not linked: {error.strerror}")
                self._write_file(operation, directory, name)
                return
            if not read_entry(directory, temporary).same_object(expected):
                raise _Stop("the file it is a link to changed in the workspace")
            _place(directory, temporary, name, operation.old)

    def _remove(self, operation: Operation, directory: int, name: bytes) -> None:
        old = operation.old
        assert old is not None
        if not read_entry(directory, name).same_object(old):
            raise _Stop("it changed in the workspace since it was compared")
        with _temporary(directory) as temporary:
            try:
                renameat2(directory, name, directory, temporary, RENAME_NOREPLACE)
            except OSError as error:
                if error.errno not in _NO_RENAME_FLAGS:
                    raise
                os.unlink(name, dir_fd=directory)
                return
            if not read_entry(directory, temporary).same_object(old):
                _put_back(directory, temporary, name, RENAME_NOREPLACE)

    def _set_mode(self, operation: Operation, directory: int, name: bytes) -> None:
        assert operation.new is not None
        fd = openat2(directory, name, os.O_PATH | os.O_NOFOLLOW)
        try:
            status = entry_from_stat(os.fstat(fd))
            if status.type is not operation.new.type:
                raise _Stop("it changed in the workspace since it was compared")
            is_file = status.type is EntryType.FILE
            if is_file and operation.old is not None and not (status.same_object(operation.old) and status.nlink == 1):
                raise _Stop("it changed in the workspace since it was compared")
            inherited = 0 if is_file else status.mode & 0o7000
            _chmod(fd, operation.new.mode & 0o777 | inherited & (operation.new.mode | 0o2000))
            if is_file:
                self._written[operation.path] = entry_from_stat(os.fstat(fd))
        finally:
            os.close(fd)


@contextmanager
def _temporary(directory: int) -> Iterator[bytes]:
    """A fresh name in ``directory``; whatever stands under it afterwards is removed."""
    name = TEMPORARY_PREFIX + secrets.token_hex(8).encode()
    keep = False
    try:
        yield name
    except _Kept:
        keep = True
        raise
    finally:
        if not keep:
            with suppress(FileNotFoundError):
                os.unlink(name, dir_fd=directory)


def _place(directory: int, temporary: bytes, name: bytes, old: Entry | None) -> None:
    """Move ``temporary`` to ``name`` where exactly ``old`` (or nothing) stands."""
    if old is None:
        _place_new(directory, temporary, name)
        return
    if not read_entry(directory, name).same_object(old):
        raise _Stop("it changed in the workspace since it was compared")
    try:
        renameat2(directory, temporary, directory, name, RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
        os.rename(temporary, name, src_dir_fd=directory, dst_dir_fd=directory)
        return
    if not read_entry(directory, temporary).same_object(old):
        _put_back(directory, temporary, name, RENAME_EXCHANGE)


def _put_back(directory: int, temporary: bytes, name: bytes, flags: int) -> None:
    try:
        renameat2(directory, temporary, directory, name, flags)
    except OSError as error:
        raise _Kept(f"it changed in the workspace meanwhile; that version is now {temporary.decode()}") from error
    raise _Stop("it changed in the workspace since it was compared")


def _place_new(directory: int, temporary: bytes, name: bytes) -> None:
    try:
        renameat2(directory, temporary, directory, name, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
        # link(2) never replaces either; the temporary name goes when its block ends.
        os.link(temporary, name, src_dir_fd=directory, dst_dir_fd=directory, follow_symlinks=False)


def _chmod(path_fd: int, mode: int) -> None:
    """chmod of an O_PATH fd, which fchmod(2) does not take; the magic link leads to this very inode."""
    os.chmod(f"/proc/self/fd/{path_fd}", mode)


def _explain(error: OSError) -> str:
    match error.errno:
        case errno.ENOSPC:
            return "no space is left on the workspace's file system"
        case errno.EDQUOT:
            return "your disk quota is used up"
        case errno.EEXIST | errno.ENOTEMPTY:
            return "something new stands there in the workspace"
        case errno.ELOOP | errno.ENOTDIR | errno.ENOENT | errno.ESTALE:
            return "it changed in the workspace or the cage since it was compared"
        case errno.EXDEV:
            return "another file system is mounted there"
        case errno.EACCES | errno.EPERM:
            return "your permissions do not allow it"
        case _:
            return error.strerror or str(error)
