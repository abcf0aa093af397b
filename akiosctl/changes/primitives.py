"""What a commit does to single names in open directories: create, copy, move, exchange, chmod.

Every function works on one component relative to a directory descriptor, follows no link, and
replaces nothing except in ``exchange``. All raise OSError, and have then moved nothing.
"""

from __future__ import annotations

import errno
import os
from contextlib import suppress

from akiosctl.changes.content import copy_content
from akiosctl.changes.model import Entry, EntryType, read_entry
from akiosctl.changes.walk import open_file
from akiosd.kernel.syscalls import RENAME_EXCHANGE, RENAME_NOREPLACE, renameat2

_NO_RENAME_FLAGS = (errno.EINVAL, errno.ENOSYS, errno.EOPNOTSUPP)


def create(directory: int, name: bytes) -> int:
    """A new empty file; the descriptor is the caller's."""
    flags = os.O_CREAT | os.O_EXCL | os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC
    return os.open(name, flags, 0o600, dir_fd=directory)


def make_symlink(directory: int, name: bytes, entry: Entry) -> None:
    """A new symbolic link like ``entry``."""
    os.symlink(entry.target, name, dir_fd=directory)
    os.utime(name, ns=(entry.mtime_ns, entry.mtime_ns), dir_fd=directory, follow_symlinks=False)


def clone(from_dir: int, name: bytes, to_dir: int, new_name: bytes) -> None:
    """A copy of a file or symlink of the workspace with owner (best effort), mode and mtime."""
    entry = read_entry(from_dir, name)
    if entry.type is EntryType.SYMLINK:
        make_symlink(to_dir, new_name, entry)
        return
    source = open_file(from_dir, name)
    try:
        target = create(to_dir, new_name)
        try:
            copy_content(source, target, entry.size)
            with suppress(PermissionError):
                os.fchown(target, entry.uid, entry.gid)
            os.fchmod(target, entry.mode & 0o777)
            os.utime(target, ns=(entry.mtime_ns, entry.mtime_ns))
        finally:
            os.close(target)
    finally:
        os.close(source)


def move(from_dir: int, name: bytes, to_dir: int, new_name: bytes) -> None:
    """rename(2) that replaces nothing."""
    try:
        renameat2(from_dir, name, to_dir, new_name, RENAME_NOREPLACE)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
        # link(2) never replaces either.
        os.link(name, new_name, src_dir_fd=from_dir, dst_dir_fd=to_dir, follow_symlinks=False)
        try:
            os.unlink(name, dir_fd=from_dir)
        except OSError:
            os.unlink(new_name, dir_fd=to_dir)
            raise


def exchange(staging: int, staged: bytes, directory: int, name: bytes) -> None:
    """The two names change places; without RENAME_EXCHANGE in two steps, of which the second is
    atomic.
    """
    try:
        renameat2(staging, staged, directory, name, RENAME_EXCHANGE)
    except OSError as error:
        if error.errno not in _NO_RENAME_FLAGS:
            raise
        aside = staged + b".old"
        os.link(name, aside, src_dir_fd=directory, dst_dir_fd=staging, follow_symlinks=False)
        os.rename(staged, name, src_dir_fd=staging, dst_dir_fd=directory)
        try:
            os.rename(aside, staged, src_dir_fd=staging, dst_dir_fd=staging)
        except OSError:
            os.rename(aside, name, src_dir_fd=staging, dst_dir_fd=directory)
            raise


def chmod(path_fd: int, mode: int) -> None:
    """chmod of an O_PATH fd, which fchmod(2) does not take; the magic link leads to this very
    inode.
    """
    os.chmod(f"/proc/self/fd/{path_fd}", mode)


def explain(error: OSError) -> str:
    """The error in words."""
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
