"""The values of a comparison: what an entry is, how it changed, and everything one comparison
found.

Paths are bytes relative to the root of the tree, without a leading slash; ``b""`` is the root.
"""

from __future__ import annotations

import os
import stat
from enum import StrEnum

import msgspec


class EntryType(StrEnum):
    """What an entry is."""

    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"
    FIFO = "fifo"
    SOCKET = "socket"
    BLOCK = "block device"
    CHAR = "character device"


_TYPES = {
    stat.S_IFREG: EntryType.FILE,
    stat.S_IFDIR: EntryType.DIRECTORY,
    stat.S_IFLNK: EntryType.SYMLINK,
    stat.S_IFIFO: EntryType.FIFO,
    stat.S_IFSOCK: EntryType.SOCKET,
    stat.S_IFBLK: EntryType.BLOCK,
    stat.S_IFCHR: EntryType.CHAR,
}


class ChangeKind(StrEnum):
    """How an entry differs."""

    ADDED = "added"
    MODIFIED = "modified"
    DELETED = "deleted"
    MODE = "mode"
    TYPE = "type"


class Entry(msgspec.Struct, frozen=True):
    """One name in one tree, as lstat(2) saw it.  ``mode`` is the twelve permission bits, times are
    ns.
    """

    type: EntryType
    mode: int
    size: int
    mtime_ns: int
    ctime_ns: int
    dev: int
    ino: int
    nlink: int
    uid: int
    gid: int
    target: bytes = b""

    def same_object(self, other: Entry) -> bool:
        """The same inode with the same content stamp.  ctime is left out: a rename moves it."""
        return (self.type, self.dev, self.ino, self.size, self.mtime_ns) == (
            other.type,
            other.dev,
            other.ino,
            other.size,
            other.mtime_ns,
        )


Stamp = tuple[int, int, int, int, int, int]
"""An inode as it stood at one time: device, number, mode, size, mtime, ctime."""


def stamp_of(entry: Entry) -> Stamp:
    """Another one after whatever is done to the inode: no program sets a ctime."""
    return (entry.dev, entry.ino, entry.mode, entry.size, entry.mtime_ns, entry.ctime_ns)


class Change(msgspec.Struct, frozen=True):
    """One difference: ``old`` is the workspace's entry, ``new`` the view's; one of them may be
    absent.

    ``problem`` says why the difference could not be examined (unreadable, too deep, a mount point)
    and is empty otherwise.  Such a change can be shown, never committed.
    """

    kind: ChangeKind
    path: bytes
    old: Entry | None
    new: Entry | None
    problem: str = ""

    @property
    def type(self) -> EntryType:
        """The type of the new entry, of the old one where it was removed."""
        entry = self.new or self.old
        assert entry is not None
        return entry.type

    @property
    def size(self) -> int:
        """Bytes of the new entry; 0 where it was removed."""
        return self.new.size if self.new else 0

    @property
    def mode(self) -> int:
        """``st_mode`` of the new entry, of the old one where it was removed."""
        entry = self.new or self.old
        assert entry is not None
        return entry.mode

    @property
    def detail(self) -> str:
        """One short phrase for people: what changed beside the name."""
        if self.problem:
            return self.problem
        if self.kind is ChangeKind.TYPE and self.old and self.new:
            return f"{self.old.type} became {self.new.type}"
        if (
            self.old
            and self.new
            and self.old.mode != self.new.mode
            and self.type is not EntryType.SYMLINK
        ):
            return f"mode {self.old.mode:04o} became {self.new.mode:04o}"
        return ""


class Diff(msgspec.Struct, frozen=True):
    """Everything one comparison of a view with a workspace found.  The mode of the root itself is
    not compared.

    ``changes`` is sorted by path.  ``git_dirs`` are the directories of the view that git would take
    for a repository although they may have any name.  ``moved`` are workspace directories that were
    moved or had their mode changed since ``started_ns`` (when the cage started).  ``links`` maps
    (dev, ino) in the view to every examined path of a file with several names, changed or not;
    ``unchanged_links`` gives the workspace's entry of those that did not change.  ``put_back`` are
    the stamps that an undone commit left on what stood in the workspace before it.
    """

    changes: tuple[Change, ...]
    git_dirs: frozenset[bytes] = frozenset()
    moved: frozenset[bytes] = frozenset()
    links: dict[tuple[int, int], tuple[bytes, ...]] = {}
    unchanged_links: dict[bytes, Entry] = {}
    started_ns: int | None = None
    put_back: frozenset[Stamp] = frozenset()


def entry_from_stat(status: os.stat_result, target: bytes = b"") -> Entry:
    """The entry that lstat(2) described; ``target`` is that of a link."""
    return Entry(
        _TYPES[stat.S_IFMT(status.st_mode)],
        stat.S_IMODE(status.st_mode),
        status.st_size,
        status.st_mtime_ns,
        status.st_ctime_ns,
        status.st_dev,
        status.st_ino,
        status.st_nlink,
        status.st_uid,
        status.st_gid,
        target,
    )


def read_entry(dir_fd: int, name: bytes) -> Entry:
    """lstat (and readlink) of one name in an open directory; never follows a link.
    Raises OSError.
    """
    status = os.stat(name, dir_fd=dir_fd, follow_symlinks=False)
    target = os.readlink(name, dir_fd=dir_fd) if stat.S_ISLNK(status.st_mode) else b""
    return entry_from_stat(status, target)


def parent_of(path: bytes) -> bytes:
    """The directory part of a relative path; ``b""`` is the root."""
    return path.rpartition(b"/")[0]


def name_of(path: bytes) -> bytes:
    """The last part of a relative path."""
    return path.rpartition(b"/")[2]


def join(directory: bytes, name: bytes) -> bytes:
    """``directory/name``; ``b""`` is the root."""
    return directory + b"/" + name if directory else name


def ancestors(path: bytes) -> list[bytes]:
    """Every proper ancestor but the root, nearest first: ``a/b/c`` → ``[a/b, a]``."""
    found = []
    while path := parent_of(path):
        found.append(path)
    return found
