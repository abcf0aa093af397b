"""The two directories that akiosd works in: made when absent, otherwise accepted as they are or
refused.

Mode and owner of a directory that somebody else made are not changed, and nothing in it is removed,
because ``--state-dir`` and ``--runtime-dir`` may name any directory, ``/`` and ``/tmp`` among them.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Collection
from pathlib import Path

from akiosd.daemon.base.log import get_log
from akiosd.errors import AkiosError

_log = get_log("directories")
STATE_MODE, RUNTIME_MODE, CAGES_MODE = 0o711, 0o755, 0o711
_PARENT_MODE = 0o755
# A directory that holds one of these is a state directory; the lock is the first thing made in a
# new one.
_MARKS = ("lock", "ledger")
_NOBODYS = ("lost+found",)
_ELSEWHERE = "name another directory"


def make_state(path: Path) -> None:
    """Make or accept the state directory.

    Raises :class:`AkiosError` when it exists and is not akiosd's, or when others could change what
    is in it.
    """
    if not make(path, STATE_MODE):
        check_state(path)


def check_state(path: Path) -> None:
    """Accept a state directory that exists, or raise as :func:`make_state` does."""
    _accept(path, "--state-dir")
    foreign = find_foreign(os.listdir(path))
    if foreign:
        what = f"it holds {foreign!r} and no ledger: it is not a state directory of akiosd"
        raise AkiosError(
            what,
            str(path),
            "name an empty directory, or one that is not there yet, with --state-dir",
        )


def make_runtime(path: Path) -> None:
    """Make or accept the runtime directory.

    Raises :class:`AkiosError` when it exists and others could put sockets of their own into it.
    """
    if make(path, RUNTIME_MODE):
        return
    check_runtime(path)
    if not path.stat().st_mode & stat.S_IXOTH:
        _log.warning(
            "only root reaches the sockets", runtime_dir=str(path), next=f"chmod o+x {path}"
        )


def check_runtime(path: Path) -> None:
    """Accept a runtime directory that exists, or raise as :func:`make_runtime` does."""
    _accept(path, "--runtime-dir")


def check_makeable(path: Path) -> None:
    """Raises :class:`AkiosError` when a directory that is not there could not be made."""
    above = next(parent for parent in path.parents if os.path.lexists(parent))
    if not above.is_dir():
        raise AkiosError(_cannot(os.strerror(errno.ENOTDIR)), str(path), _ELSEWHERE)
    if os.statvfs(above).f_flag & os.ST_RDONLY:
        raise AkiosError(_cannot(os.strerror(errno.EROFS)), str(path), _ELSEWHERE)


def make(path: Path, mode: int) -> bool:
    """Make a directory with exactly this mode, and its parents; returns False when it exists
    already.
    """
    try:
        os.mkdir(path, 0o700)
    except FileExistsError:
        return False
    except FileNotFoundError:
        make(path.parent, _PARENT_MODE)
        return make(path, mode)
    except OSError as error:
        raise AkiosError(_cannot(str(error.strerror)), str(path), _ELSEWHERE) from None
    # The umask is 077.  By descriptor, for where others may write above it the name may lead
    # elsewhere by now.
    fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        if os.fstat(fd).st_uid == os.geteuid():
            os.fchmod(fd, mode)
    finally:
        os.close(fd)
    return True


def find_foreign(names: Collection[str]) -> str:
    """Something that shows that a directory with these names in it is not akiosd's; "" when nothing
    does.
    """
    if any(mark in names for mark in _MARKS):
        return ""
    return next((name for name in sorted(names) if name not in _NOBODYS), "")


def _cannot(why: str) -> str:
    return f"it cannot be made: {why}"


def _accept(path: Path, option: str) -> None:
    status = path.stat()
    if not stat.S_ISDIR(status.st_mode):
        raise AkiosError("it is not a directory", str(path), f"name another one with {option}")
    if os.statvfs(path).f_flag & os.ST_RDONLY:
        what = "its file system is mounted read-only"
        raise AkiosError(what, str(path), f"mount it for writing, or name another with {option}")
    if status.st_uid not in (0, os.geteuid()):
        what = f"it belongs to uid {status.st_uid}, who could change what is in it"
        raise AkiosError(what, str(path), f"name a directory of root's own with {option}")
    if status.st_mode & (stat.S_IWGRP | stat.S_IWOTH):
        what = f"users other than root may write to it (mode {stat.S_IMODE(status.st_mode):04o})"
        raise AkiosError(
            what, str(path), f"name a directory of its own with {option}: {path}/akios would do"
        )
