"""Cages that ended with changes: what is remembered of them until a commit or a discard, across restarts."""

from __future__ import annotations

import os
import shutil
from collections.abc import Collection
from pathlib import Path

import msgspec

from akiosd.kernel.disk import Disks
from akiosd.kernel.fds import Fd
from akiosd.wire.messages import CageInfo

_NAME = "kept.msgpack"


class Kept(msgspec.Struct, frozen=True, kw_only=True):
    """``owner``: (uid, gid) of the caller; ``workspace_id``: (device, inode) of the directory it was opened from."""

    info: CageInfo
    owner: tuple[int, int]
    inside: tuple[int, int]
    host_id: int
    host_gid: int
    disk_size: int
    workspace_id: tuple[int, int]
    protect: tuple[str, ...]


def save(directory: Path, kept: Kept) -> None:
    """Durable before the end is told: a crash must not lose an agent's work."""
    fresh = directory / (_NAME + ".new")
    with Fd(os.open(fresh, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)) as file:
        os.write(file.fileno(), msgspec.msgpack.encode(kept))
        os.fsync(file.fileno())
    fresh.rename(directory / _NAME)
    with Fd(os.open(directory, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)) as where:
        os.fsync(where.fileno())


def load_all(cages_dir: Path) -> dict[str, Kept]:
    """Every cage that still waits; what cannot be read is left alone and skipped."""
    found = {}
    for path in sorted(cages_dir.glob(f"*/{_NAME}")):
        try:
            found[path.parent.name] = msgspec.msgpack.decode(path.read_bytes(), type=Kept)
        except (OSError, msgspec.DecodeError):
            continue
    return found


def forget(directory: Path, disks: Disks, size: int) -> None:
    """Remove the changes; the cage's log stays."""
    image = directory / "disk.img"
    if image.exists():
        image.unlink()
    else:
        try:
            disks.reopen(directory, size).destroy()
        except OSError:
            pass  # nothing there: removed before a crash could say so
    (directory / _NAME).unlink(missing_ok=True)
    (directory / "output.log").unlink(missing_ok=True)


def sweep(cages_dir: Path, disks: Disks, logs: Collection[str]) -> None:
    """Remove what a killed daemon left: half-made cages, disks of cages that died with it without a word.

    ``logs`` are open: their directories are being written to, also where no tree is in them yet.
    """
    disks.remove_others({path.parent.name for path in cages_dir.glob(f"*/{_NAME}")})
    for directory in cages_dir.iterdir():
        if not directory.is_dir() or (directory / _NAME).exists() or directory.name in logs:
            continue
        if not (directory / "audit").exists() and not (directory / "audit.tar").exists():
            shutil.rmtree(directory, ignore_errors=True)
