"""Directories of cages that came without one: made for them, filled with files of the request, and
removed when no cage has them any more.

Which are in use is not remembered: akiosd knows the workspaces of the cages that are there, and
whoever makes one holds a lock on it until its cage is.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
import tempfile
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from http import HTTPStatus
from pathlib import Path

from akiosctl.api.problems import Refusal
from akiosctl.cages import list_cages
from akiosctl.client import Client
from akiosctl.locks import is_locked
from akiosd.errors import AkiosError
from akiosd.kernel.syscalls import RESOLVE_BENEATH, RESOLVE_NO_LINKS, openat2
from akiosd.store.wipe import How, empty

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_NEW = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
MOST = 1000
"""So many may be there at once; each token may have half of what the others leave."""
_MOST_MADE, _DEEPEST = 2000, 64
"""Directories of the files of one request, each a block on the disk; and how deep they may lie."""

File = tuple[str, bytes, bool]
"""Path below the directory, content, whether it may be executed."""


class Scratch:
    """Directories below ``base``, which belongs to the user of this server alone."""

    def __init__(self, base: Path) -> None:
        self.base = base

    def has(self, workspace: str) -> bool:
        """Whether this is one of them."""
        return os.path.dirname(workspace) == os.path.realpath(self.base)

    @contextmanager
    def make(self, owner: str, files: Sequence[File]) -> Iterator[str]:
        """A new one with ``files``, for the token ``owner``; it stays if a cage has it at the end.
        Raises :class:`AkiosError`.
        """
        try:
            self.base.mkdir(mode=0o700, parents=True, exist_ok=True)
            names = os.listdir(self.base)
            if not _has_room(owner, names):
                own = _count_own(owner, names)
                raise Refusal(
                    HTTPStatus.CONFLICT,
                    f"{len(names)} cages have a directory on this server, {own} of them of this"
                    " token, which can make no more now",
                    "files",
                    "end a cage: POST /api/v1/cages/ID/stop (a standing one: POST"
                    " /api/v1/cages/ID/down), or a workflow: POST /api/v1/workflows/runs/ID/stop",
                )
            place = tempfile.mkdtemp(prefix=_mark(owner), dir=self.base)
            fd = os.open(place, _DIRECTORY)
        except OSError as error:
            what = f"no directory can be made for the cage: {error.strerror}"
            raise AkiosError(what, str(self.base), "see whether its disk is full") from None
        try:
            fcntl.flock(fd, fcntl.LOCK_EX)
            made: set[str] = set()
            for path, data, executable in files:
                _write(fd, path, data, executable, made)
            yield place
        except BaseException:
            _remove(place)
            raise
        finally:
            os.close(fd)

    @contextmanager
    def keep(self, place: str) -> Iterator[None]:
        """One that is there stays while the block lasts.  Raises :class:`AkiosError`, also where
        somebody has it: who waited would go on with it when nobody asks for that any more.
        """
        try:
            fd = os.open(place, _DIRECTORY)
        except OSError as error:
            what = f"the directory of this run is gone: {error.strerror}"
            raise AkiosError(what, place, "begin a new run, with the same files") from None
        try:
            _lock(fd, place)
            if not os.path.exists(place):
                what = "the directory of this run is gone: newer ones of its token needed the room"
                raise AkiosError(what, place, "begin a new run, with the same files")
            yield
        finally:
            os.close(fd)

    def sweep(self, client: Client, kept: Sequence[str] = (), maker: str = "") -> None:
        """Remove those that no cage has any more, but for ``kept``; of these the last of the token
        ``maker``, too, as far as it needs room for one more.
        """
        try:
            names = os.listdir(self.base)
        except FileNotFoundError:
            return
        # Whoever holds the lock now may have a cage when akiosd is asked.
        free = [name for name in names if not is_locked(self.base / name)]
        used = {
            os.path.basename(os.fsdecode(cage.workspace))
            for cage in (list_cages(client) if free else ())
            if not cage.ended_ns or cage.changes or cage.standing
        }
        idle = [name for name in free if name not in used]
        held = [os.path.basename(place) for place in kept if self.has(place)]
        gone = [name for name in idle if name not in held]
        for name in gone:
            _remove(str(self.base / name))
        left = [name for name in names if name not in gone]
        spare = [name for name in held if maker and name.startswith(_mark(maker)) and name in idle]
        while spare and not _has_room(maker, left):
            left.remove(last := spare.pop())
            _remove_unless_locked(str(self.base / last))


def fits(most: int, own: int, others: int) -> bool:
    """Whether somebody who has ``own`` places may have one more, of ``most``: half of what the
    others leave, so that nobody keeps all others out.
    """
    return own < (most - others + 1) // 2


def _mark(owner: str) -> str:
    """How names of a token's directories begin.  Agents see them; no id of a token."""
    return f"cage-{hashlib.sha256(owner.encode()).hexdigest()[:8]}-"


def _count_own(owner: str, names: Collection[str]) -> int:
    return sum(name.startswith(_mark(owner)) for name in names)


def _has_room(owner: str, names: Collection[str]) -> bool:
    own = _count_own(owner, names)
    return fits(MOST, own, len(names) - own)


def _lock(fd: int, place: str) -> None:
    for _ in range(20):
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            time.sleep(0.05)  # who only asks whether it is locked has it for a moment
        else:
            return
    what = "a run in this directory has not ended yet"
    raise AkiosError(
        what, place, "wait for its end, or stop it: POST /api/v1/workflows/runs/ID/stop"
    )


def _write(directory: int, path: str, data: bytes, executable: bool, made: set[str]) -> None:
    """``made``: directories that are there already."""
    parts = path.split("/")
    if any(part in ("", ".", "..") for part in parts):
        what, next = (
            f"{path!r} is not a relative path without ..",
            "write it as in src/main.py",
        )
        raise Refusal(HTTPStatus.CONFLICT, what, "files", next)
    wanted = ["/".join(parts[:depth]) for depth in range(1, min(len(parts), _DEEPEST + 2))]
    new = [place for place in wanted if place not in made]
    if len(wanted) > _DEEPEST or len(made) + len(new) > _MOST_MADE:
        what = f"the files of one request have {_MOST_MADE} directories at most, {_DEEPEST} deep"
        raise Refusal(HTTPStatus.CONFLICT, what, "files", "send an archive, and unpack it inside")
    try:
        for place in new:
            try:
                os.mkdir(place, 0o755, dir_fd=directory)
            except FileExistsError:
                pass
            made.add(place)
        resolve = RESOLVE_NO_LINKS | RESOLVE_BENEATH
        fd = openat2(
            directory, os.fsencode(path), _NEW, 0o755 if executable else 0o644, resolve=resolve
        )
    except (OSError, ValueError) as error:
        why = getattr(error, "strerror", None) or str(error)
        what = f"{path!r} cannot be made: {why}"
        raise Refusal(
            HTTPStatus.CONFLICT,
            what,
            "files",
            "give each path once; a path cannot be both a file and a directory",
        ) from None
    with os.fdopen(fd, "wb") as file:
        file.write(data)


def _remove_unless_locked(place: str) -> None:
    """Who goes on with a run holds its directory; who comes later finds that it is gone."""
    with suppress(OSError):
        fd = os.open(place, _DIRECTORY)
        try:
            fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
            _remove(place)
        finally:
            os.close(fd)


def _remove(place: str) -> None:
    """What cannot go stays.  An agent may have made a tree deeper than shutil goes."""
    with suppress(OSError, AkiosError):
        fd = os.open(place, _DIRECTORY)
        try:
            empty(fd, How(fast=True))
        finally:
            os.close(fd)
        os.rmdir(place)
