"""What an undone commit put back, kept beside the user's other state:
``$XDG_STATE_HOME/akios/put-back/CAGE``.

Putting a file back gives it a new ctime, and by that alone it would pass for one that the user
changed since the cage started: the same commit would be in conflict with its own undo. So the
stamps are kept, with the ctime in them. Whoever changes such an inode afterwards gives it another
ctime, whatever times they set, and is seen as before.

It is believed only where the user, or root, wrote it, and no agent gets there: a home directory is
no workspace. Whoever forged it would have to know device, inode and, to the nanosecond, the ctime
of an edit to come.
"""

from __future__ import annotations

import os
import secrets
import stat
import time
from collections.abc import Collection
from contextlib import suppress
from pathlib import Path

import msgspec

from akiosctl.changes.model import Stamp
from akiosctl.render import note
from akiosctl.run_policy import user_directory
from akiosd.values.ids import is_cage_id

_MOST_BYTES = 128 << 20
_KEPT_S = 90 * 86400.0
"""Who commits later than that is told of conflicts that are none."""


def read_put_back(cage: str) -> frozenset[Stamp]:
    """What undone commits of this cage put back; empty where nothing can be believed."""
    try:
        fd = os.open(_place(cage), os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (OSError, ValueError):
        return frozenset()
    with open(fd, "rb") as file:
        status = os.fstat(fd)
        is_own = status.st_uid in (os.geteuid(), 0) and not status.st_mode & 0o022
        if not (stat.S_ISREG(status.st_mode) and is_own and status.st_size <= _MOST_BYTES):
            return frozenset()
        try:
            return frozenset(msgspec.json.decode(file.read(_MOST_BYTES), type=list[Stamp]))
        except (OSError, msgspec.MsgspecError):
            return frozenset()


def keep_put_back(cage: str, stamps: Collection[Stamp]) -> None:
    """Add to it.  Where that fails, says what comes of it."""
    try:
        place = _place(cage)
        place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(place.parent)
        # Of an inode that was put back before, the last ctime is the one it has.
        whole = {stamp[:2]: stamp for stamp in (*read_put_back(cage), *stamps)}
        new = place.with_name(f"{place.name}.{secrets.token_hex(8)}")
        fd = os.open(new, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        try:
            with open(fd, "wb") as file:
                file.write(msgspec.json.encode(list(whole.values())))
            os.replace(new, place)
        except OSError:
            new.unlink(missing_ok=True)
            raise
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        note(
            f"the {len(stamps)} files that were put back cannot be remembered ({why}): the next"
            " commit calls them changed since the cage started; if you changed none of them, commit"
            " with --force"
        )


def forget_put_back(cage: str) -> None:
    """The cage has no changes any more."""
    with suppress(OSError, ValueError):
        _place(cage).unlink()


def _place(cage: str) -> Path:
    if not is_cage_id(cage):
        raise ValueError(f"{cage!r} is no cage")
    return Path(user_directory("XDG_STATE_HOME", ".local/state")) / "put-back" / cage


def _sweep(directory: Path) -> None:
    """Of cages whose changes akiosd removed by itself."""
    before = time.time() - _KEPT_S
    for path in directory.iterdir():
        with suppress(OSError):
            if path.lstat().st_mtime < before:
                path.unlink()
