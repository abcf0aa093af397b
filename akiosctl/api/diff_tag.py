"""The ETag of a diff: another one wherever a commit would write, remove or overwrite anything else.

What the agent left is told by its content, and by its mtime, which is committed with it.  Times
alone would not do while the cage runs: a file that is mapped is written without a new ctime, and so
is one that is written twice within a tick.  Once the cage has ended nobody writes there, and a
ctime, which no program sets, tells as much.  What stands in the workspace is the user's, and is
told by ctime and inode, as conflicts are.
"""

from __future__ import annotations

import hashlib
import os

import msgspec

from akiosctl.changes import Change, ChangeKind, Diff, Entry, EntryType
from akiosctl.changes.walk import open_file
from akiosctl.commit_cage import CageView

MOST_BYTES, MOST_FILES = 1 << 30, 50_000
"""So much is read for one tag: the cage stands still meanwhile, and its request has an end."""
_CHUNK = 1 << 20


def tag_diff(view: CageView, diff: Diff, shown: object, *, running: bool) -> str:
    """The tag of a diff that is ``shown`` like this; "" for one of a cage that runs where it is too
    large to be read.  What is unchanged has the same tag in every view of it, also after the end.
    """
    filled = [change for change in diff.changes if _is_filled(change)]
    is_read = len(filled) <= MOST_FILES and sum(change.size for change in filled) <= MOST_BYTES
    if running and not is_read:
        return ""
    whole = hashlib.sha256(msgspec.json.encode(shown))
    of_view = [_content(view, change) if is_read else _stamp(change.new)[1:] for change in filled]
    mtimes = [_mtime(change.new) for change in diff.changes]
    names = sorted(diff.links.values())
    olds = [_stamp(change.old) for change in diff.changes]
    whole.update(msgspec.json.encode((is_read, of_view, mtimes, olds, names)))
    return f'"{whole.hexdigest()[:32]}"'


def _is_filled(change: Change) -> bool:
    """Whether the view has a file there whose content is not the workspace's."""
    has_file = change.new is not None and change.new.type is EntryType.FILE
    return has_file and change.kind is not ChangeKind.MODE and not change.problem


def _mtime(new: Entry | None) -> int | None:
    """Of a directory it is no part of a commit."""
    return None if new is None or new.type is EntryType.DIRECTORY else new.mtime_ns


def _content(view: CageView, change: Change) -> str:
    found = hashlib.sha256()
    _, view_fd, there = view.open_for(change)
    try:
        fd = open_file(view_fd, there.path)
    except OSError as error:  # as in a diff: what cannot be read is never committed
        return f"not read: {error.errno}"
    try:
        while data := os.read(fd, _CHUNK):
            found.update(data)
    finally:
        os.close(fd)
    return found.hexdigest()


def _stamp(entry: Entry | None) -> tuple[int, ...]:
    """A directory is another with every name in it, and each of those is a change of its own."""
    if entry is None:
        return ()
    if entry.type is EntryType.DIRECTORY:
        return (entry.ino, entry.mode)
    return (entry.ino, entry.mode, entry.size, entry.mtime_ns, entry.ctime_ns)
