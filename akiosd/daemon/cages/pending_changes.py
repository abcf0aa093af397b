"""What is kept of a cage besides its log, in its directory, across restarts and kills of akiosd.

    running.msgpack   written before its agent begins
    kept.msgpack      it ended, and its changes wait for a commit or a discard
    ended.msgpack     it ended without changes, or they were settled; ``ps --all`` still knows it

A start finds in ``running`` what a killed daemon left: the overlay is on the cage's disk, so
nothing is lost.
"""

from __future__ import annotations

import errno
import os
import shutil
import time
from collections.abc import Collection, Iterator, Mapping
from pathlib import Path
from typing import Literal, TypeVar

import msgspec

from akiosd.errors import KernelError
from akiosd.kernel.disk import IMAGE, Disks
from akiosd.kernel.fds import Fd
from akiosd.kernel.syscalls import sync_directory
from akiosd.store.outgrown import DIRECTORY as OUTGROWN
from akiosd.values.ids import DirectoryId, is_cage_id
from akiosd.wire.messages import CageInfo

_RUNNING, KEPT, _ENDED = "running.msgpack", "kept.msgpack", "ended.msgpack"
OUTPUT = "output.log"
"""Name of the file with what an agent wrote; see :mod:`akiosd.wire.output`."""
_PATIENCE_S = 10.0
_PAUSE_S = 0.02
LOST = "killed: akiosd ended without a word"
LOST_WITH_HOST = "killed: the host stopped; what was written last may be missing"
_LOST_CODE = 137
GONE = "its changes are gone: their disk was in memory, or was removed"

Stored = TypeVar("Stored")
Settled = Literal["committed", "discarded", "expired"]
Told = tuple[int, int, str, str]
"""When a cage ended (Unix time in ns), its exit code, the reason, and why its changes are not
whole.
"""


class KeptCage(msgspec.Struct, frozen=True, kw_only=True):
    """An ended cage with changes.

    ``owner`` is (uid, gid) of the caller; ``workspace_id`` (device, inode) of the directory that it
    was opened from, ``workspace_born_ns`` when that was made (0: unknown). ``boot`` identifies the
    boot of the host in which it ran. ``git`` identifies the git directory that was shown with the
    workspace, ``git_upper`` is where its changes are on the cage's disk ("": there was none).
    ``discard``: its changes are not to be kept; ``lost``: why they are not whole, "" where they
    are.
    """

    info: CageInfo
    owner: tuple[int, int]
    inside: tuple[int, int]
    host_id: int
    host_gid: int
    disk_size: int
    workspace_id: tuple[int, int]
    protect: tuple[str, ...]
    workspace_born_ns: int = 0
    boot: str = ""
    discard: bool = False
    git: DirectoryId | None = None
    git_upper: str = ""
    lost: str = ""

    @property
    def directory(self) -> DirectoryId:
        """The identity of its workspace."""
        return DirectoryId(*self.workspace_id, self.workspace_born_ns)


def begin(directory: Path, kept: KeptCage) -> None:
    """The agent is about to begin.  Written to the page cache only, which survives akiosd, so no
    disk is waited for.
    """
    _write(directory / _RUNNING, msgspec.msgpack.encode(kept))


def save(directory: Path, kept: KeptCage) -> None:
    """Keep its changes.  Durable before the end is reported: a crash must not lose an
    agent's work.
    """
    _replace(directory / KEPT, msgspec.msgpack.encode(kept), durable=True)
    _put_aside(directory / _RUNNING)
    sync_directory(directory)


def end(directory: Path, info: CageInfo) -> None:
    """It left no changes, or they were settled.  Raises OSError where there is no room for that."""
    _replace(directory / _ENDED, msgspec.msgpack.encode(info))
    for name in (_RUNNING, KEPT):
        _put_aside(directory / name)


def drop(directory: Path) -> None:
    """It need not be remembered any more, nor what it wrote."""
    for name in (_ENDED, OUTPUT):
        _put_aside(directory / name)


def size_of_output(directory: Path) -> int:
    """Bytes that a cage's output takes on disk, 0 for none."""
    try:
        return (directory / OUTPUT).stat().st_blocks * 512  # stat(2)
    except OSError:
        return 0


def drop_output(directory: Path) -> None:
    """The cage is still known, what it wrote is not."""
    _put_aside(directory / OUTPUT)


def _put_aside(path: Path) -> None:
    """Move a file to where the ledger overwrites it before it is unlinked, because it holds the
    agent's command line.

    A file that is not there is fine.
    """
    aside = path.parent.parent.parent / OUTGROWN / f"{path.parent.name}.{path.name}"
    try:
        path.rename(aside)
    except FileNotFoundError:
        path.unlink(missing_ok=True)  # no ledger lies beside these cages


def _replace(path: Path, data: bytes, *, durable: bool = False) -> None:
    """Write a file whole, or leave what was there: a full disk, or a kill, leaves no half."""
    fresh = path.with_name(path.name + ".new")
    try:
        _write(fresh, data, durable=durable)
        fresh.rename(path)
    except OSError:
        fresh.unlink(missing_ok=True)
        raise


def _write(path: Path, data: bytes, *, durable: bool = False) -> None:
    flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
    with Fd(os.open(path, flags, 0o600)) as file:
        if os.write(file.fileno(), data) != len(data):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        if durable:
            os.fsync(file.fileno())


def load_all(cages_dir: Path) -> dict[str, KeptCage]:
    """Every cage whose changes wait; files that cannot be read are skipped and left alone."""
    return dict(_load(cages_dir, KEPT, KeptCage))


def load_ended(cages_dir: Path) -> list[CageInfo]:
    """Cages that ended without changes, or with changes that were settled."""
    return [info for _, info in _load(cages_dir, _ENDED, CageInfo)]


def _load(cages_dir: Path, name: str, kind: type[Stored]) -> Iterator[tuple[str, Stored]]:
    for path in sorted(cages_dir.glob(f"*/{name}")):
        try:
            yield path.parent.name, msgspec.msgpack.decode(path.read_bytes(), type=kind)
        except (OSError, msgspec.DecodeError):
            continue


def forget(directory: Path, disks: Disks, kept: KeptCage, settled: Settled) -> CageInfo:
    """Remove the changes of a cage; its log and its output stay.  Returns what is remembered."""
    image = directory / IMAGE
    if image.exists():
        image.unlink()
    else:
        try:
            disks.reopen(directory, kept.disk_size).destroy()
        except OSError:
            pass  # nothing there: removed before a crash could say so
    info = msgspec.structs.replace(kept.info, changes=False, settled=settled)
    end(directory, info)
    return info


def list_running(cages_dir: Path) -> list[str]:
    """Cages that ran when an earlier daemon was killed, or whose end it could not write down."""
    return [path.parent.name for path in sorted(cages_dir.glob(f"*/{_RUNNING}"))]


def recover(
    cages_dir: Path,
    disks: Disks,
    told: Mapping[str, Told],
    reasons: Mapping[str, str] = {},
    going_on: Collection[str] = (),
) -> list[str]:
    """Keep what agents had changed when an earlier daemon was killed; returns the names of their
    cages.

    ``told``: the ends that are in the cages' own logs: the daemon was killed between that and the
    note here. ``reasons``: why cages were ended at this start. Cages that are ``going_on`` are left
    alone. Blocking. Nothing runs in the others any more, except processes that wait for a file
    system that does not answer. Raises OSError when it cannot be written down.
    """
    found = []
    for name, kept in load_all(cages_dir).items():
        if _is_gone(cages_dir / name, disks, kept.disk_size):
            reason = f"{kept.info.reason}; {GONE}" if kept.info.reason else GONE
            end(cages_dir / name, msgspec.structs.replace(kept.info, changes=False, reason=reason))
    # For all together: a start that waited for each disk that stays in use would have no end.
    deadline = time.monotonic() + _PATIENCE_S
    for name, running in list(_load(cages_dir, _RUNNING, KeptCage)):
        if name in going_on:
            continue
        directory = cages_dir / name
        if (directory / KEPT).exists():
            _put_aside(directory / _RUNNING)
            continue
        reason = LOST if running.boot == read_boot() else LOST_WITH_HOST
        reason = reasons.get(name, reason)
        unknown = time.time_ns(), _LOST_CODE, reason, running.lost
        ended_ns, exit_code, reason, lost = told.get(name, unknown)
        info = msgspec.structs.replace(
            running.info,
            state="ended",
            ended_ns=ended_ns,
            exit_code=exit_code,
            reason=reason,
            pid=0,
        )
        if running.discard:
            end(directory, msgspec.structs.replace(info, settled="discarded"))
        elif _has_changes(directory, disks, running, deadline):
            save(
                directory,
                msgspec.structs.replace(
                    running, info=msgspec.structs.replace(info, changes=True), lost=lost
                ),
            )
            found.append(name)
        else:
            end(directory, info)
    return found


def list_torn(cages_dir: Path) -> list[str]:
    """Cages whose record could not be read by :func:`recover`: a power loss may leave half of a
    file.

    Their disks stay, because they may hold an agent's work.
    """
    return sorted(path.parent.name for path in cages_dir.glob(f"*/{_RUNNING}"))


def _is_gone(directory: Path, disks: Disks, size: int) -> bool:
    """Whether the disk of changes that wait is no more."""
    if (directory / IMAGE).exists():
        return False
    try:
        disks.reopen(directory, size).release()
    except FileNotFoundError:
        return True
    except (OSError, KernelError):
        return False  # not now: whoever asks for them is told why
    return False


def _has_changes(directory: Path, disks: Disks, running: KeptCage, deadline: float) -> bool:
    """Whether the disk of a cage holds changes; True when it cannot be read before ``deadline``, so
    that no work is lost.
    """
    while True:
        try:
            slot = disks.reopen(directory, running.disk_size)
        except (OSError, KernelError) as error:
            if error.errno == errno.ENOENT:
                return False
            # The kernel takes the dead cage's mounts down behind its last process.
            if error.errno != errno.EBUSY or time.monotonic() > deadline:
                return True
            time.sleep(_PAUSE_S)
            continue
        try:
            return not slot.is_empty(*filter(None, (running.git_upper,)))
        except OSError:
            return True
        finally:
            slot.release()


def read_boot() -> str:
    """A text that differs after every start of the host (random(4))."""
    return Path("/proc/sys/kernel/random/boot_id").read_text().strip()


def sweep(cages_dir: Path, disks: Disks, logs: Collection[str]) -> None:
    """Remove what a killed daemon left: half-made cages, and disks of cages without changes.

    Directories of ``logs``, which are open, stay, also where no tree is in them yet.
    """
    waiting = {
        path.parent.name for name in (KEPT, _RUNNING) for path in cages_dir.glob(f"*/{name}")
    }
    disks.remove_others(waiting)
    for directory in cages_dir.iterdir():
        if not is_cage_id(directory.name) or not directory.is_dir() or directory.name in waiting:
            continue
        logged = (directory / "audit").exists() or (directory / "audit.tar").exists()
        if not logged and directory.name not in logs:
            shutil.rmtree(directory, ignore_errors=True)
