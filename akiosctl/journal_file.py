"""Journals of workflows in the user's own state: ``$XDG_STATE_HOME/akios/workflows/RUN/journal``,
beside each the text of the workflow that was run.

A line is on the disk before what it announces begins, and before anything follows from what it
tells.  One process at a time writes a journal.
"""

from __future__ import annotations

import fcntl
import os
import time
from pathlib import Path
from typing import NamedTuple

import msgspec

from akiosctl.locks import is_locked
from akiosctl.run_policy import user_directory
from akiosd.errors import AkiosError
from akiosd.workflow.journal import (
    FIRST,
    Anchored,
    Begun,
    Finished,
    Line,
    encode_line,
    read_journal,
)

_NAME = "journal"
_TEXT = "workflow.yml"
_MAX = 1 << 30


def directory() -> Path:
    """Where all journals of this user lie."""
    return Path(user_directory("XDG_STATE_HOME", ".local/state")) / "workflows"


class Kept(NamedTuple):
    """A journal that is there."""

    run: str
    begun: Begun
    lines: tuple[Line, ...]
    head: str

    @property
    def status(self) -> str:
        """``success``, ``failed``, or ``unfinished``."""
        ends = [line for line in self.lines if not isinstance(line, Begun | Anchored)][-1:]
        return ends[0].status if ends and isinstance(ends[0], Finished) else "unfinished"


class GoingOnError(AkiosError):
    """Another process drives the run."""


class JournalFile:
    """An open journal; :meth:`append` returns once the line is durable.  Owns its descriptor."""

    def __init__(self, run: str, fd: int, head: str, lines: tuple[Line, ...]) -> None:
        self.run, self._fd = run, fd
        self.head, self.lines = head, lines

    @classmethod
    def create(cls, begun: Begun, text: bytes) -> JournalFile:
        """A new one, and a copy of the workflow's ``text``.  Raises :class:`AkiosError`."""
        place = directory() / begun.run
        try:
            place.mkdir(mode=0o700, parents=True)
            (place / _TEXT).write_bytes(text)
            fd = os.open(place / _NAME, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            _sync_directories(place)
        except OSError as error:
            raise _failed("made", place, error) from None
        journal = cls(begun.run, fd, FIRST, ())
        journal._lock()
        journal.append(begun)
        return journal

    @classmethod
    def open(cls, run: str) -> JournalFile:
        """One that is there, to go on with it: a torn last line is cut off.  Raises
        :class:`AkiosError`.
        """
        place = directory() / run / _NAME
        try:
            fd = os.open(place, os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW)
        except OSError as error:
            raise _failed("opened", place, error) from None
        journal = cls(run, fd, FIRST, ())
        try:
            journal._lock()
            found = read_journal(os.pread(fd, _MAX, 0), str(place))
            os.ftruncate(fd, found.size)
        except BaseException:
            journal.close()
            raise
        journal.head, journal.lines = found.head, found.lines
        return journal

    def append(self, line: Line) -> None:
        """Write a line and bring it to the disk.  Raises :class:`AkiosError`."""
        stamped = msgspec.structs.replace(line, ts=time.time_ns())
        data, head = encode_line(stamped, self.head)
        try:
            os.lseek(self._fd, 0, os.SEEK_END)
            view = memoryview(data)
            while view:
                view = view[os.write(self._fd, view) :]
            os.fsync(self._fd)
        except OSError as error:
            raise _failed("written", directory() / self.run / _NAME, error) from None
        self.head, self.lines = head, (*self.lines, stamped)

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._fd)

    def _lock(self) -> None:
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            raise GoingOnError(
                f"the run {self.run} has not ended yet",
                "--resume",
                "wait for its end, or stop it: ctrl-c where it runs",
            ) from None


def is_going_on(run: str) -> bool:
    """Whether a process has this journal, and so drives its run."""
    return is_locked(directory() / run / _NAME)


def list_kept() -> list[Kept]:
    """Every journal of this user that can be read, the oldest first."""
    read = (read_kept(run) for run in list_runs())
    return sorted((one for one in read if one is not None), key=lambda one: one.begun.ts)


def list_runs() -> list[str]:
    """The names of all runs that have a journal."""
    return [place.parent.name for place in directory().glob(f"*/{_NAME}")]


def read_kept(run: str) -> Kept | None:
    """The journal of ``run``; None where there is none that can be read."""
    place = directory() / run / _NAME
    try:
        lines, head, _ = read_journal(place.read_bytes(), str(place))
    except (OSError, AkiosError):
        return None  # whoever names it is told why
    if not lines or not isinstance(lines[0], Begun):
        return None
    return Kept(run, lines[0], lines, head)


def journal_identity(run: str) -> tuple[int, int]:
    """Which changes with each line of a journal; zeros where there is none."""
    try:
        status = (directory() / run / _NAME).stat()
    except OSError:
        return 0, 0
    return status.st_mtime_ns, status.st_size


def text_place(run: str) -> Path:
    """Where the workflow's text of a run is kept; runs of older versions have none."""
    return directory() / run / _TEXT


def _sync_directories(place: Path) -> None:
    for path in (place, place.parent, place.parent.parent):
        fd = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(fd)
        finally:
            os.close(fd)


def _failed(verb: str, place: Path, error: OSError) -> AkiosError:
    return AkiosError(
        f"the journal of the workflow cannot be {verb}: {error.strerror}",
        str(place),
        "check the mode and the room of that directory",
    )
