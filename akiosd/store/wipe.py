"""Erases files: overwritten with random bytes, synced, with zeros, synced, then unlinked;
directories synced.

``survey`` looks, ``plan_wipe`` decides (pure), ``wipe`` does. A link is removed, never followed. A
mount below the directory refuses the whole wipe before its first byte. A wipe that was stopped is
done again from the start.
"""

from __future__ import annotations

import errno
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from akiosd.errors import LedgerError
from akiosd.kernel.syscalls import sync_directory
from akiosd.store.survey import Found, allow, open_below, survey

_CHUNK = 1 << 20
_ROUNDS = 8
_AGAIN = "destroy again: sudo akiosctl ledger destroy CAGE, or akiosctl discard --wipe CAGE"
_CHECK_DISK = f"check its disk and its mount (dmesg; findmnt -T FILE), then {_AGAIN}"


@dataclass(frozen=True)
class How:
    """``passes`` of random bytes before the zeros.  ``fast``: nothing is overwritten, only
    unlinked.
    """

    passes: int = 1
    fast: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.passes <= 35:
            raise ValueError("between 1 and 35 passes")

    def __str__(self) -> str:
        return "unlinked" if self.fast else f"random x{self.passes}, zeros, unlinked"

    @classmethod
    def parse(cls, text: str) -> How:
        """The inverse of ``str``, for a wipe that continues after a stop; any other text means one
        pass.
        """
        match = re.fullmatch(r"random x(\d{1,2}), zeros, unlinked", text)
        return cls(fast=True) if text == "unlinked" else cls(passes=int(match[1]) if match else 1)


@dataclass(frozen=True)
class Step:
    """``overwrite`` and ``unlink`` a file, ``sync`` and ``remove`` a directory that is empty by
    then.  ``others`` are the names that a file to be overwritten has here besides.
    """

    do: Literal["overwrite", "unlink", "sync", "remove"]
    path: str
    node: tuple[int, int] = (0, 0)
    others: tuple[str, ...] = ()


@dataclass(frozen=True)
class Wiped:
    """What was done: ``files`` removed, ``bytes`` overwritten.  ``spared`` files have a name
    elsewhere, so only their name here is gone.
    """

    files: int
    bytes: int
    spared: tuple[str, ...] = ()


def spared_by(found: Sequence[Found]) -> tuple[str, ...]:
    """Files that also have a name outside the directory: overwriting them would destroy data of
    others.
    """
    inside: dict[tuple[int, int], int] = {}
    for item in found:
        inside[item.node] = inside.get(item.node, 0) + 1
    return tuple(
        item.path for item in found if item.kind == "file" and item.names > inside[item.node]
    )


def plan_wipe(found: Sequence[Found], how: How, directory: Path | None = None) -> list[Step]:
    """The steps in order: files first, each directory once it is empty, the directory itself ("")
    last.

    Raises ``LedgerError``, naming its place below ``directory``, when anything found is a mount.
    """
    for item in found:
        if item.kind == "mount":
            raise LedgerError(
                "something is mounted there; nothing was wiped",
                _full(directory, item.path),
                f"unmount it (umount PATH), then {_AGAIN}",
            )
    spared, steps = set(spared_by(found)), list[Step]()
    names: dict[tuple[int, int], list[str]] = {}
    for item in found:
        if item.kind == "file" and not how.fast and item.path not in spared:
            names.setdefault(item.node, []).append(item.path)
    steps += [
        Step("overwrite", path, node, tuple(others)) for node, (path, *others) in names.items()
    ]
    steps += [
        Step("unlink", item.path, item.node) for item in found if item.kind not in ("dir", "unseen")
    ]
    folders = sorted(
        (item for item in found if item.kind == "dir"),
        key=lambda item: (-_depth(item.path), item.path),
    )
    # Names that went are on the disk before their directory goes; of thousands of directories that
    # hold nothing but each other not each is synced.
    filled = {"", *(step.path.rpartition("/")[0] for step in steps)}
    for item in folders:
        if item.path in filled:
            steps.append(Step("sync", item.path, item.node))
        steps.append(Step("remove", item.path, item.node))
    return steps


def _full(directory: Path | None, path: str) -> str:
    return str(directory / path) if directory is not None else path


def _depth(path: str) -> int:
    return path.count("/") + 1 if path else 0


def wipe(
    directory: Path, how: How | None = None, random: Callable[[int], bytes] = os.urandom
) -> Wiped:
    """Wipe ``directory`` and everything below it; does nothing when it does not exist.

    Raises ``LedgerError``: before anything was touched when something is mounted below; afterwards
    when a file could not be overwritten, which then stays while the others are wiped.
    """
    how = how or How()
    root = _open_root(directory)
    if root is None:
        return Wiped(0, 0)
    try:
        found = survey(root)
        steps = plan_wipe(found, how, directory)
        _refuse_unseen(found, directory)
        written = _Run(directory, root, random, how.passes).run(steps)
    finally:
        os.close(root)
    os.rmdir(directory)
    sync_directory(directory.parent)
    return Wiped(sum(item.kind == "file" for item in found), written, spared_by(found))


@dataclass(frozen=True)
class Emptied:
    """What became of a directory's content: ``files`` are gone, ``bytes`` of them overwritten.

    ``spared`` have a name elsewhere, ``failed`` could not be overwritten for the reason beside
    them: of both only the name here is gone.  ``left`` is still there, and why.
    """

    files: int = 0
    bytes: int = 0
    spared: tuple[str, ...] = ()
    failed: tuple[tuple[str, str], ...] = ()
    left: tuple[tuple[str, str], ...] = ()


def empty(root: int, how: How, random: Callable[[int], bytes] = os.urandom) -> Emptied:
    """Wipe everything below the open directory ``root``, which stays; what cannot be overwritten is
    unlinked all the same.

    What others put there meanwhile is wiped, too, a bounded number of times.  Raises
    ``LedgerError`` before anything was touched when something is mounted below.
    """
    directory = Path(os.readlink(f"/proc/self/fd/{root}"))
    done = Emptied()
    for _ in range(_ROUNDS):
        try:
            found = survey(root)
        except OSError as error:
            return replace(done, left=((".", error.strerror or str(error)),))
        if len(found) == 1:
            break
        steps = plan_wipe(found, how, directory)
        steps = [step for step in steps if step.path or step.do == "sync"]
        run = _Run(directory, root, random, how.passes)
        failed, left = run.run_all(steps)
        unseen = tuple((item.path, item.why) for item in found if item.kind == "unseen")
        gone = {step.path for step in steps if step.do == "unlink"} - {path for path, _ in left}
        left += unseen
        done = Emptied(
            done.files + sum(item.kind == "file" and item.path in gone for item in found),
            done.bytes + run.written,
            done.spared + spared_by(found),
            done.failed + failed,
            left,
        )
        if left:
            break
    return done


def look(directory: Path) -> list[Found]:
    """What ``wipe`` would find there.  Raises ``LedgerError`` when it would refuse."""
    root = _open_root(directory)
    if root is None:
        return []
    try:
        found = survey(root)
    finally:
        os.close(root)
    plan_wipe(found, How(), directory)
    _refuse_unseen(found, directory)
    return found


def _refuse_unseen(found: Sequence[Found], directory: Path) -> None:
    for item in found:
        if item.kind == "unseen":
            raise LedgerError(
                f"this directory cannot be looked into: {item.why}; nothing was wiped",
                _full(directory, item.path),
                _CHECK_DISK,
            )


def overwrite(directory: Path, how: How, names: Sequence[str] | None = None) -> Wiped:
    """Overwrite the files below ``directory`` without unlinking them; only ``names`` directly in
    it, if given.

    Raises ``LedgerError`` as ``wipe`` does.
    """
    root = _open_root(directory)
    if root is None:
        return Wiped(0, 0)
    try:
        found = [item for item in survey(root) if names is None or item.path in names]
        _refuse_unseen(found, directory)
        steps = [step for step in plan_wipe(found, how, directory) if step.do == "overwrite"]
        written = _Run(directory, root, os.urandom, how.passes, keeps=True).run(steps)
    finally:
        os.close(root)
    return Wiped(len(steps), written, spared_by(found))


def _open_root(directory: Path) -> int | None:
    try:
        return os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC)
    except FileNotFoundError:
        return None
    except NotADirectoryError:
        raise LedgerError(
            "a file or a link is where the directory should be; nothing was wiped",
            str(directory),
            f"look at it (ls -l PATH), move it away, then {_AGAIN}",
        ) from None


_WORDS = {
    "unlink": "the file could not be removed",
    "sync": "the directory could not be written to the disk",
    "remove": "the directory could not be removed",
}


@dataclass
class _Run:
    directory: Path
    root: int
    random: Callable[[int], bytes]
    passes: int
    keeps: bool = False
    """Whether names stay."""
    written: int = 0
    _gone: set[str] = field(default_factory=set)

    def run(self, steps: Sequence[Step]) -> int:
        left: dict[tuple[int, int], tuple[str, OSError]] = {}
        for step in steps:
            if step.node in left:
                continue
            try:
                self._do(step)
            except OSError as error:
                if step.do != "overwrite":
                    if left and error.errno == errno.ENOTEMPTY:
                        continue
                    raise LedgerError(
                        f"{_WORDS[step.do]}: {error.strerror}",
                        _full(self.directory, step.path),
                        _CHECK_DISK,
                    ) from error
                left[step.node] = (step.path, error)
        if left:
            path, cause = next(iter(left.values()))
            raise LedgerError(
                f"files that could not be overwritten: {len(left)}; of the first: {cause.strerror}",
                _full(self.directory, path),
                _CHECK_DISK,
            ) from cause
        return self.written

    def run_all(
        self, steps: Sequence[Step]
    ) -> tuple[tuple[tuple[str, str], ...], tuple[tuple[str, str], ...]]:
        """Do every step, whatever becomes of the others: (what was not overwritten, what is still
        there), each with its reason.
        """
        failed: list[tuple[str, str]] = []
        left: list[tuple[str, str]] = []
        for step in steps:
            try:
                self._do(step)
            except FileNotFoundError:
                continue  # gone is what it was to be
            except OSError as error:
                why = error.strerror or str(error)
                if step.do == "overwrite":
                    failed.append((step.path, why))
                elif error.errno != errno.ENOTEMPTY:
                    left.append((step.path, why))
        return tuple(failed), tuple(left)

    def _do(self, step: Step) -> None:
        if step.do == "overwrite":
            self._overwrite(step)
        elif step.do == "sync":
            fd = open_below(self.root, step.path or ".", os.O_RDONLY | os.O_DIRECTORY)
            try:
                os.fsync(fd)
            finally:
                os.close(fd)
        elif step.path:
            self._remove(step)

    def _remove(self, step: Step) -> None:
        """One name in its directory, which is opened without following a link: whoever writes there
        meanwhile may have put one in the place of a directory on the way.
        """
        if step.path in self._gone:
            return
        directory, _, name = step.path.rpartition("/")
        parent = open_below(self.root, directory or ".", os.O_PATH | os.O_DIRECTORY)
        try:
            status = os.stat(name, dir_fd=parent, follow_symlinks=False)
            if (status.st_dev, status.st_ino) != step.node:
                raise OSError(errno.ESTALE, "it was replaced meanwhile", step.path)
            if step.do == "unlink":
                os.unlink(name, dir_fd=parent)
            else:
                os.rmdir(name, dir_fd=parent)
        finally:
            os.close(parent)

    def _overwrite(self, step: Step) -> None:
        """A name may have been renamed while we looked, and was met twice then, or the file was
        given one elsewhere since: so it is written only when no other is left.
        """
        fd, names = self._open_any(step)
        try:
            for path in [] if self.keeps else names:
                try:
                    self._remove(Step("unlink", path, step.node))
                    self._gone.add(path)
                except OSError:
                    pass  # it is told, or gone, when its own turn comes
            status = os.fstat(fd)
            if status.st_nlink > (1 + len(names) if self.keeps else 1):
                raise OSError(errno.EMLINK, "it has a name elsewhere", step.path)
            extents = list(data_extents(fd, status.st_size))
            if not extents:
                return  # nothing was ever written to it, or nothing is left of it
            for fill in [*[self.random] * self.passes, bytes]:
                for start, end in extents:
                    _fill(fd, start, end, fill)
                os.fsync(fd)
            self.written += sum(end - start for start, end in extents)
        finally:
            os.close(fd)

    def _open_any(self, step: Step) -> tuple[int, list[str]]:
        """By the first of its names that is still there, and the others."""
        names = [step.path, *step.others]
        for number, path in enumerate(names, 1):
            try:
                fd = self._open(path)
            except OSError:
                if number == len(names):
                    raise
                continue
            status = os.fstat(fd)
            if (status.st_dev, status.st_ino) == step.node:
                return fd, [name for name in names if name != path]
            os.close(fd)
        raise OSError(errno.ESTALE, "it was replaced meanwhile", step.path)

    def _open(self, path: str) -> int:
        flags = os.O_WRONLY | os.O_NOFOLLOW | os.O_NONBLOCK
        try:
            return open_below(self.root, path, flags)
        except PermissionError:
            allow(self.root, path, 0o600)
            return open_below(self.root, path, flags)


def data_extents(fd: int, size: int) -> Iterator[tuple[int, int]]:
    """(start, end) of the parts of a file that have blocks: a sparse file of terabytes must not be
    written full (lseek(2)).
    """
    end = 0
    while end < size:
        try:
            start = os.lseek(fd, end, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:
                return
            raise
        end = min(os.lseek(fd, start, os.SEEK_HOLE), size)
        yield start, end


def _fill(fd: int, start: int, end: int, fill: Callable[[int], bytes]) -> None:
    while start < end:
        view = memoryview(fill(min(_CHUNK, end - start)))
        while view:
            done = os.pwrite(fd, view, start)
            view, start = view[done:], start + done
