"""Faults of the host that end a start or a run of akiosd, in words and with what mends them.

An error of any other number is a fault of akiosd's own, and keeps its traceback.
"""

from __future__ import annotations

import errno
import os
from pathlib import Path

from akiosd.errors import AkiosError

_NEXT = {
    errno.ENOSPC: "make room on the disk of this path (df), then start akiosd again",
    errno.EDQUOT: "raise the disk quota of root for this path, then start akiosd again",
    errno.EROFS: "mount the disk of this path for writing; dmesg says why it is not",
    errno.EIO: "look into dmesg: the disk of this path may be failing",
    errno.ENOMEM: "free memory, then start akiosd again",
    errno.EMFILE: "raise LimitNOFILE= of the service: systemctl edit akiosd",
    errno.ENFILE: "raise the sysctl fs.file-max, then start akiosd again",
}


def is_fault(error: BaseException) -> bool:
    """Whether a person can act on this error: our own, or one of the host."""
    return isinstance(error, AkiosError) or (isinstance(error, OSError) and error.errno in _NEXT)


def in_words(error: BaseException, state_dir: Path) -> AkiosError:
    """An error for which :func:`is_fault` holds; ``state_dir`` is where it happened when it names
    no file.
    """
    if isinstance(error, AkiosError):
        return error
    assert isinstance(error, OSError) and error.errno is not None
    filename = error.filename
    path = filename if isinstance(filename, str) and filename.startswith("/") else state_dir
    what = os.strerror(error.errno)
    if error.errno == errno.ENOSPC:
        what = describe_full(state_dir)
    return AkiosError(what, str(path), _NEXT[error.errno])


def describe_full(directory: Path) -> str:
    """Why nothing can be written below ``directory``: no bytes, or no inodes."""
    numbers = os.statvfs(directory)
    if numbers.f_files and not numbers.f_favail:
        return f"No space left on device: all {numbers.f_files} inodes of its file system are used"
    return os.strerror(errno.ENOSPC)
