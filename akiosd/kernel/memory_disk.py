"""The disk of a cage where there are no loop devices, as in many containers: a tmpfs of a fixed
size (tmpfs(5)).

It is as bounded as an image, but it is memory: its pages count against the cage's memory limit
while the cage runs, and changes that wait are lost when akiosd ends.  Each is mounted below the
state directory, so that an ended cage's changes can be mounted again, also after a crash of akiosd.
"""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Collection
from pathlib import Path

from akiosd.errors import KernelError
from akiosd.kernel import loop, mounts, syscalls
from akiosd.kernel.disk import IMAGE, Disks, Images, QuotaPool, Slot, used_of
from akiosd.kernel.fds import Fd

_ATTRS = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
_LEAST = 8 << 20
# Of this machine's memory, for the changes of all cages that wait together.
_MOST_WAITING = 0.5


def open_disks(state_dir: Path, pool_size: int) -> Disks:
    """The best way that this host offers: quota pool, else images, else memory.

    Raises KernelError when an image is to be made and cannot.
    """
    base = state_dir / "disk"
    base.mkdir(mode=0o700, exist_ok=True)
    try:
        loop.check()
    except OSError as error:
        return Memory(base, f"{error.filename or 'loop devices'}: {error.strerror}")
    try:
        return QuotaPool(base, pool_size)
    except (OSError, KernelError):
        return Images(base)


class MemorySlot(Slot):
    """A disk in memory, mounted at ``directory``."""

    def allow(self, more: int) -> bool:
        """It takes none of the room of the state directory."""
        return False

    def destroy(self) -> None:
        """Unmount it everywhere; its pages are free with the last process that uses them."""
        self.release()
        _unmount(self.directory)


class Memory:
    """A tmpfs for each cage, mounted in a directory below ``base``."""

    is_filled_later = is_shared = False

    def __init__(self, base: Path, why: str) -> None:
        """``why``: what is missing for something better, in words."""
        self._base = base / "memory"
        self._base.mkdir(mode=0o700, exist_ok=True)
        self.kind = f"tmpfs, in memory: changes that wait end with akiosd (no loop devices: {why})"

    def create(self, directory: Path, size: int) -> Slot:
        """A new, empty disk of at least 8 MiB.

        OSError ENOSPC when what waits for a commit takes half of the memory already.
        """
        size = max(size, _LEAST)
        self._check_room()
        where = self._base / directory.name
        where.mkdir(mode=0o700)
        # One inode for every 8 KiB, at least a thousand: names are memory too.
        options = {"size": str(size), "nr_inodes": str(max(1000, size >> 13)), "mode": "0755"}
        try:
            with mounts.fs_mount("tmpfs", options, _ATTRS | mounts.MOUNT_ATTR_NOATIME) as mount:
                mounts.move_mount(mount.fileno(), -100, os.fsencode(where))
        except OSError:
            where.rmdir()
            raise
        return self._slot(where, size)

    def reopen(self, directory: Path, size: int) -> Slot:
        """The disk that an ended cage left.

        FileNotFoundError when it left none here, KernelError when it left an image.
        """
        image, where = directory / IMAGE, self._base / directory.name
        if image.exists():
            what = "the changes are in an image, and there are no loop devices to mount it"
            raise KernelError(
                what,
                str(image),
                "modprobe loop; in a container, give it /dev/loop-control",
                errno=errno.ENODEV,
            )
        if not os.path.ismount(where):
            raise FileNotFoundError(errno.ENOENT, "its disk was in memory and is gone", str(where))
        return self._slot(where, size)

    def reopen_in_use(self, directory: Path, size: int) -> Slot:
        """The same mount."""
        return self.reopen(directory, size)

    def adopt(self, directory: Path, size: int, mount: Fd) -> Slot:
        """The same tmpfs."""
        return MemorySlot(mount, size, self._base / directory.name, None)

    def _slot(self, where: Path, size: int) -> Slot:
        with Fd(os.open(where, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)) as top:
            tree = mounts.open_tree(top.fileno())
        mounts.set_attr(tree.fileno(), set=_ATTRS)
        return MemorySlot(tree, size, where, None)

    def _check_room(self) -> None:
        used = 0
        for where in self._base.iterdir():
            with contextlib.suppress(FileNotFoundError):
                numbers = os.statvfs(where)
                if os.path.ismount(where):
                    used += used_of(numbers)
        if used > _MOST_WAITING * os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE"):
            raise OSError(
                errno.ENOSPC, "changes that wait, in memory, take half of it", str(self._base)
            )

    def remove_others(self, names: Collection[str]) -> None:
        """Unmount the disks of all cages that are not in ``names``."""
        for where in self._base.iterdir():
            if where.name not in names:
                _unmount(where)

    def punch_free(self) -> bool:
        """True: removed pages are free at once."""
        return True

    def unwritten(self) -> int:
        """What is written has its room at once, or is refused."""
        return 0

    def not_overwritten(self) -> str:
        """The kernel clears a page before it gives it to somebody else."""
        return "what the agent itself had removed, in memory that the kernel clears"

    def close(self) -> None:
        """Unmount all: what is in them ends here."""
        self.remove_others(())


def _unmount(where: Path) -> None:
    """Detach the mount, and remove its directory; a cage that still has it keeps its own mount."""
    with contextlib.suppress(OSError):
        syscalls.umount_detach(where)
    with contextlib.suppress(OSError):
        where.rmdir()
