"""What the programs that read and write a file in a cage say on stderr, in the C locale, as an
errno and what helps.

Their last line is text of the cage's: its end is matched as a whole, and what is none of those
reasons is shown escaped.
"""

from __future__ import annotations

import errno
from typing import NamedTuple

from akiosctl.render import escape
from akiosctl.tar_words import REASONS

_LONGEST = 400
_ERRNOS = {
    "No such file or directory": errno.ENOENT,
    "Permission denied": errno.EACCES,
    "Operation not permitted": errno.EPERM,
    "Read-only file system": errno.EROFS,
    "No space left on device": errno.ENOSPC,
    "Disk quota exceeded": errno.EDQUOT,
    "File exists": errno.EEXIST,
    "Is a directory": errno.EISDIR,
    "Not a directory": errno.ENOTDIR,
    "Too many levels of symbolic links": errno.ELOOP,
    "File name too long": errno.ENAMETOOLONG,
    "File too large": errno.EFBIG,
    "No such device or address": errno.ENXIO,
    "Text file busy": errno.ETXTBSY,
    "Invalid argument": errno.EINVAL,
}
_OF_A_SHELL = {"Directory nonexistent": "No such file or directory"}
"""What dash(1) says instead."""
_SEE_WHO = "see who may use it: ls -la {directory}, run in the cage"
_OTHER_NAME = "choose another name"
_ROOM = "remove files in the cage, or make a cage with more room (disk)"
_NEXT = {
    errno.ENOENT: "see what is there: ls -la {directory}, run in the cage",
    errno.EROFS: "choose a place that the cage may write, as the project or /tmp",
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EISDIR: "name a file in it",
    errno.ENOTDIR: "choose another name: what stands before a / in it has to be a directory",
    errno.ELOOP: "name the file itself, or make the link anew",
    errno.ENAMETOOLONG: "choose a shorter name",
    errno.EFBIG: "write less at once, or allow larger files in the policy (limits.file_size)",
    errno.ENXIO: _OTHER_NAME,
}


class FileReason(NamedTuple):
    """``errno`` is 0 where they said none."""

    errno: int
    why: str
    next: str


def read_reason(words: str, code: int, directory: str, is_written: bool) -> FileReason:
    """Why the program failed that ended with ``code``, and did something to a file in
    ``directory``.
    """
    last = words.rstrip("\n").rpartition("\n")[2]
    said = last.rpartition(": ")[2]
    reason = _OF_A_SHELL.get(said, said)
    number = _ERRNOS.get(reason, 0)
    if number == errno.EEXIST and is_written:
        reason, number = "Not a directory", errno.ENOTDIR  # mkdir(1), of what has to be one
    if number == errno.ENOENT and is_written:
        why = "the directory that it would lie in is not there"  # behind a link, or at an offset
    elif number:
        why = REASONS.get(reason, reason.lower())
    else:
        why = escape(last[:_LONGEST]) or f"its program in the cage ended with status {code}"
    next = _NEXT.get(number, _SEE_WHO).format(directory=escape(directory) or "/")
    return FileReason(number, why, next)
