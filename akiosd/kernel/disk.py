"""The disk of a cage: one budget for the overlay's upper layer, the home and ``/tmp``.

Where the kernel has project quota, all cages share one pool file system and each directory in it
has its own project id; elsewhere each cage has a sparse image of its own.  Mounts of images are
detached: nothing stands in the host's mount table, and a crash of the daemon leaves nothing
mounted.  Both need loop devices; :mod:`akiosd.kernel.memory_disk` is for where there are none.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import struct
import threading
from collections.abc import Collection
from pathlib import Path
from typing import Protocol

from akiosd.errors import KernelError
from akiosd.kernel import loop, mounts, syscalls
from akiosd.kernel.acl import write_acl
from akiosd.kernel.fds import Fd
from akiosd.kernel.programs import find_program, run_program

IMAGE = "disk.img"
"""Name of the image in the cage's directory, on hosts where each cage has one of its own."""
_DIRECTORIES = ("upper", "work", "home", "tmp", "sealed")
# All names of a directory lie in the kernel while it is read through an overlay; this is some
# 400,000 (ext4(5)).
_OPTIONS = {"max_dir_size_kb": str(16 << 10)}
_DATA = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV

# include/uapi/linux/fs.h, include/uapi/linux/quota.h
_FS_IOC_FSGETXATTR = 0x801C581F
_FS_IOC_FSSETXATTR = 0x401C5820
_FITRIM = 0xC0185879
_FS_XFLAG_PROJINHERIT = 0x200
_FSXATTR = struct.Struct("<IIIII8x")
_PRJQUOTA = 2
_Q_GETQUOTA, _Q_SETQUOTA = 0x800007, 0x800008
_DQBLK = struct.Struct("<QQQQQQQQI4x")
_QIF_BLIMITS, _QIF_ILIMITS = 1, 4
_FULL_MARGIN = 1 << 20
MAX_TEMPLATES = 8


class Slot:
    """One cage's disk: a mounted tree that holds ``upper work home tmp sealed``.

    Whoever holds it owns ``mount``. ``sealed`` stays empty: it is the second layer of overlays that
    have no upper one. ``size`` is in bytes; ``image`` is None in a quota pool.
    """

    def __init__(self, mount: Fd, size: int, directory: Path, image: Path | None) -> None:
        self.mount = mount
        self.size = size
        self.directory = directory
        self.image = image
        self._bound: int | None = None
        """Blocks of it that nobody gets, of those that are free for a cage; None where another
        akiosd may have said so.
        """
        # The kernel tells each open file once of a write that failed since it was opened, so what
        # an agent asks for meanwhile takes nothing from this one (errseq_t, lib/errseq.c).
        flags = os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC
        self.failures = Fd(os.open(".", flags, dir_fd=mount.fileno()))
        """What :meth:`sync` asks; whoever goes on with the slot takes it along."""

    def prepare(self, agent: int, display: int) -> None:
        """Make the directories; home belongs to the uid ``agent``, ``/tmp`` to ``display`` (host
        ids).
        """
        top = self.mount.fileno()
        for name in _DIRECTORIES:
            os.mkdir(name, 0o700, dir_fd=top)
        self.give_home(agent, agent)
        self._own("tmp", display, display, 0o1777)

    def give_home(self, uid: int, gid: int) -> None:
        """Give the home directory to these host ids."""
        self._own("home", uid, gid, 0o700)

    def prepare_upper(self, uid: int, gid: int, mode: int, acl: bytes) -> None:
        """An overlay shows its root with the upper layer's owner, mode and access list.

        They alone decide who may go in, so they must be those of the tree below.
        """
        self._own("upper", uid, gid, mode, acl)

    def prepare_overlay(self, number: int, uid: int, gid: int, mode: int, acl: bytes) -> None:
        """Upper and work directory of one more overlay, for a bind that may be written to."""
        for name in (f"w{number}", f"w{number}/upper", f"w{number}/work"):
            os.mkdir(name, 0o700, dir_fd=self.mount.fileno())
        # Its owner has no number in the id map of a view, where not even root may pass it then.
        os.chmod(f"w{number}", 0o711, dir_fd=self.mount.fileno())
        self._own(f"w{number}/upper", uid, gid, mode, acl)

    def _own(self, name: str, uid: int, gid: int, mode: int, acl: bytes = b"") -> None:
        os.chown(name, uid, gid, dir_fd=self.mount.fileno(), follow_symlinks=False)
        os.chmod(name, mode, dir_fd=self.mount.fileno())
        if acl:
            write_acl(f"/proc/self/fd/{self.mount.fileno()}/{name}", acl)

    def space(self) -> tuple[int, int]:
        """(used, limit) in bytes, as the kernel counts them; (0, 0) once it is unmounted."""
        if self.mount.closed:
            return 0, 0
        # With project quota, statfs of the directory counts the project (ext4_statfs_project).
        numbers = os.fstatvfs(self.mount.fileno())
        limit, free = numbers.f_blocks * numbers.f_frsize, numbers.f_bfree * numbers.f_frsize
        # ext4 keeps some clusters back (free, not available), and nobody gets the very last one:
        # that is full.
        full = free - _kept_back(numbers) * numbers.f_frsize < _FULL_MARGIN
        return (limit if full else limit - free), limit

    def allow(self, more: int) -> bool:
        """Let ``more`` bytes of it, or a quarter less, be taken at most until this is called again,
        also by calls that are under way; whether it has more than that.  Raises OSError.
        """
        if self.mount.closed:
            return False
        numbers = os.fstatvfs(self.mount.fileno())
        free, blocks = self._free_blocks(numbers), more // numbers.f_frsize
        is_bound = blocks < free
        bound = free - blocks if is_bound else 0
        # A quarter less is left as it is: this is called hundreds of times a second.
        is_near = self._bound and is_bound and blocks * 3 <= (free - self._bound) * 4 <= blocks * 4
        if bound != self._bound and not is_near:
            self._hold_back(numbers, bound)
            self._bound = bound
        return is_bound

    def _free_blocks(self, numbers: os.statvfs_result) -> int:
        return max(numbers.f_bfree - _kept_back(numbers), 0)

    def _hold_back(self, numbers: os.statvfs_result, blocks: int) -> None:
        # Documentation/ABI/testing/sysfs-fs-ext4: even root gets none of them, and what was
        # written already is not bound by them.
        device = os.fstat(self.mount.fileno()).st_dev
        where = os.readlink(f"/sys/dev/block/{os.major(device)}:{os.minor(device)}")
        with open(f"/sys/fs/ext4/{os.path.basename(where)}/reserved_clusters", "w") as file:
            file.write(str(_kept_back(numbers) + blocks))

    def room_taken(self) -> tuple[int, int]:
        """(what it takes or is about to take of the file system below, of that what it has not
        taken yet) in bytes; the second is 0 in a quota pool, which counts for all.
        """
        used, _ = self.space()
        if self.image is None or self.mount.closed:
            return used, 0
        allocated = self.image.stat().st_blocks * 512  # stat(2)
        return max(used, allocated), max(used - allocated, 0)

    def is_empty(self, *uppers: str) -> bool:
        """Whether nothing was written to the workspace's upper layer, nor to these further ones."""
        return all(self._has_nothing(upper) for upper in ("upper", *uppers))

    def _has_nothing(self, upper: str) -> bool:
        fd = os.open(upper, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC, dir_fd=self.mount.fileno())
        try:
            with os.scandir(fd) as entries:
                return next(entries, None) is None
        finally:
            os.close(fd)

    def sync(self) -> None:
        """Wait until all that was written there is written below, too.

        Raises OSError, once for each failure, where some of it was not, now or since the slot was
        made: nothing tells which.  What an agent writes is in memory first, and whether an image
        finds room for it shows only then.
        """
        syscalls.syncfs(self.failures.fileno())

    def release(self) -> None:
        """Unmount; the data stays until :meth:`destroy`."""
        self.failures.close()
        self.mount.close()

    def destroy(self) -> None:
        """Unmount and remove the data."""
        self.release()
        if self.image is not None:
            self.image.unlink(missing_ok=True)
        else:
            remove_tree(self.directory)


def _kept_back(numbers: os.statvfs_result) -> int:
    """What ext4 keeps for itself unless it is told otherwise (ext4_calculate_resv_clusters)."""
    return min(numbers.f_blocks // 50, 4096)


def used_of(numbers: os.statvfs_result) -> int:
    """Bytes that are used of a file system (statvfs(3)); with project quota, where ``numbers`` are
    of a directory, by its project (ext4_statfs_project).
    """
    return (numbers.f_blocks - numbers.f_bfree) * numbers.f_frsize


class PoolSlot(Slot):
    """A directory of a pool, with a quota."""

    def space(self) -> tuple[int, int]:
        """As of any, also while its quota is lower than the disk is."""
        if self.mount.closed:
            return 0, 0
        used = used_of(os.fstatvfs(self.mount.fileno()))
        return (self.size if self.size - used < _FULL_MARGIN else used), self.size

    def _free_blocks(self, numbers: os.statvfs_result) -> int:
        return max(self.size - used_of(numbers), 0) // numbers.f_frsize

    def _hold_back(self, numbers: os.statvfs_result, blocks: int) -> None:
        fd = self.failures.fileno()
        project = _FSXATTR.unpack(fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))[3]
        limit = (self.size - blocks * numbers.f_frsize) >> 10
        data = _DQBLK.pack(limit, limit, 0, 0, 0, 0, 0, 0, _QIF_BLIMITS)
        _quotactl(fd, _Q_SETQUOTA, project, bytearray(data))


class Disks(Protocol):
    """How this host bounds the disks of cages."""

    kind: str
    is_filled_later: bool
    """Whether what an agent has written takes room of the state directory only later, and may then
    find none.
    """
    is_shared: bool
    """Whether all disks are in one image."""

    def unwritten(self) -> int:
        """Bytes that an image for all has still to take, beside what each slot says; below 0 where
        it has more than is used.
        """
        ...

    def create(self, directory: Path, size: int) -> Slot:
        """A new disk of ``size`` bytes for the cage whose directory this is; the slot is the
        caller's.
        """
        ...

    def reopen(self, directory: Path, size: int) -> Slot:
        """The disk that an ended cage left."""
        ...

    def reopen_in_use(self, directory: Path, size: int) -> Slot:
        """The disk of a cage that runs, mounted once more; for looking at."""
        ...

    def adopt(self, directory: Path, size: int, mount: Fd) -> Slot:
        """The disk of a cage that runs, by the mount of it that another akiosd had; ``mount`` is
        the slot's.
        """
        ...

    def remove_others(self, names: Collection[str]) -> None:
        """Remove the disks of all cages but these."""

    def punch_free(self) -> bool:
        """Free the space of removed disks in an image that they share; False when its file system
        cannot.
        """

    def not_overwritten(self) -> str:
        """What overwriting a disk's files does not reach, in words; "" for nothing."""
        ...

    def close(self) -> None:
        """Unmount what all cages share."""
        ...


def _mkfs(image: Path, size: int, *options: str) -> None:
    if find_program("mkfs.ext4") is None:
        raise KernelError("mkfs.ext4 is not installed", "disk", "install e2fsprogs")
    fd = os.open(image, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    os.ftruncate(fd, size)
    os.close(fd)
    done = run_program(
        "mkfs.ext4", "-q", "-F", "-m", "0", "-O", "^resize_inode", *options, str(image)
    )
    if done.returncode != 0:
        image.unlink(missing_ok=True)
        raise KernelError(f"mkfs.ext4 failed: {done.stderr.strip()}", str(image))


class Images:
    """A sparse ext4 image for each cage, copied from a template of the same size."""

    kind = "an image of its own"
    is_filled_later = True
    is_shared = False

    def __init__(self, base: Path) -> None:
        self._base = base
        for leftover in base.glob("*.new"):
            leftover.unlink()

    def _template(self, size: int) -> Path:
        path = self._base / f"template-{size}.img"
        try:
            os.utime(path)
        except FileNotFoundError:
            # Several threads make disks at once.
            fresh = path.with_suffix(f".{threading.get_ident()}.new")
            # No journal: the disk lives as long as one run, and its loss is the run's loss.
            _mkfs(
                fresh,
                size,
                "-O",
                "^has_journal,^metadata_csum",
                "-E",
                "lazy_itable_init=1,root_owner=0:0",
            )
            fresh.rename(path)
            self._forget_templates()
        return path

    def _forget_templates(self) -> None:
        """Keep the templates that were used last: callers choose the sizes, so their number must be
        bounded.
        """
        found: list[tuple[int, Path]] = []
        for path in self._base.glob("template-*.img"):
            with contextlib.suppress(FileNotFoundError):
                found.append((path.stat().st_mtime_ns, path))
        for _, path in sorted(found)[:-MAX_TEMPLATES]:
            path.unlink(missing_ok=True)

    def create(self, directory: Path, size: int) -> Slot:
        """A new, empty disk of at least 8 MiB in ``directory``; OSError where it cannot be made."""
        size = max(size, 8 << 20)
        image = directory / IMAGE
        for more_tries in reversed(range(MAX_TEMPLATES)):
            try:
                _copy_sparse(self._template(size), image)
                break
            except FileNotFoundError:
                # Forgotten by another thread between these two.
                if not more_tries or not directory.exists():
                    raise
        return self._mount(directory, image, size)

    def reopen(self, directory: Path, size: int) -> Slot:
        """Mount what an ended cage left.  FileNotFoundError when it left nothing."""
        return self._mount(directory, directory / IMAGE, size)

    def reopen_in_use(self, directory: Path, size: int) -> Slot:
        """A mount of the device again shows the same file system (mount(2))."""
        image = directory / IMAGE
        with Fd(os.open(image, os.O_RDWR | os.O_CLOEXEC)) as backing:
            device = loop.find(backing.fileno())
        if device is None:
            raise FileNotFoundError(errno.ENOENT, "the image is bound to no loop device")
        with device:
            source = f"/proc/self/fd/{device.fileno()}"
            mount = mounts.fs_mount(
                "ext4", {"source": source, **_OPTIONS}, _DATA | mounts.MOUNT_ATTR_NOATIME
            )
        return Slot(mount, size, directory, image)

    def adopt(self, directory: Path, size: int, mount: Fd) -> Slot:
        """The image that is mounted there."""
        return Slot(mount, size, directory, directory / IMAGE)

    def _mount(self, directory: Path, image: Path, size: int) -> Slot:
        with Fd(os.open(image, os.O_RDWR | os.O_CLOEXEC)) as backing:
            device, path = loop.attach(backing.fileno())
        with device:
            mount = mounts.fs_mount(
                "ext4", {"source": path, **_OPTIONS}, _DATA | mounts.MOUNT_ATTR_NOATIME
            )
        return Slot(mount, size, directory, image)

    def remove_others(self, names: Collection[str]) -> None:
        """Remove the images of all cages that are not in ``names``."""
        for image in self._base.parent.glob(f"cages/*/{IMAGE}"):
            if image.parent.name not in names:
                image.unlink()

    def punch_free(self) -> bool:
        """True: an image is removed as a whole, so its blocks are free at once."""
        return True  # nothing is shared: an image goes as a whole

    def unwritten(self) -> int:
        """Each slot says its own."""
        return 0

    def not_overwritten(self) -> str:
        """Nothing: the image is overwritten as a whole."""
        return ""

    def close(self) -> None:
        """Nothing is held."""


def _copy_sparse(source: Path, target: Path) -> None:
    """Copy the data of a sparse file and keep its holes; the target is new and 0600."""
    with Fd(os.open(source, os.O_RDONLY | os.O_CLOEXEC)) as from_fd:
        size = os.fstat(from_fd.fileno()).st_size
        with Fd(
            os.open(target, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        ) as to_fd:
            os.ftruncate(to_fd.fileno(), size)
            at = 0
            while at < size:
                try:
                    at = os.lseek(from_fd.fileno(), at, os.SEEK_DATA)
                except OSError as error:
                    if error.errno == errno.ENXIO:
                        return  # only holes from here on
                    raise
                end = os.lseek(from_fd.fileno(), at, os.SEEK_HOLE)
                while at < end:
                    at += os.copy_file_range(from_fd.fileno(), to_fd.fileno(), end - at, at, at)


class QuotaPool:
    """One image mounted once with project quota; a directory and a project id for each cage."""

    kind = "project quota"
    is_filled_later = True
    is_shared = True

    def __init__(self, base: Path, size: int) -> None:
        self._mount_point, self._image = base / "pool", base / "pool.img"
        self._mount_point.mkdir(mode=0o700, exist_ok=True)
        if not os.path.ismount(self._mount_point):
            self._mount_pool(self._image, size)
        self._root = Fd(os.open(self._mount_point, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        try:
            self._set_quota(1, 1 << 20)
        except OSError:
            self.close()
            raise

    def _mount_pool(self, image: Path, size: int) -> None:
        if not image.exists():
            _mkfs(
                image,
                size,
                "-O",
                "quota,project,^has_journal",
                "-E",
                "quotatype=prjquota,lazy_itable_init=1",
            )
        with Fd(os.open(image, os.O_RDWR | os.O_CLOEXEC)) as backing:
            bound = loop.find(backing.fileno())
            device, path = (
                (bound, f"/proc/self/fd/{bound.fileno()}")
                if bound is not None
                else loop.attach(backing.fileno())
            )
        options = {"source": path, "prjquota": "", **_OPTIONS}
        with device, mounts.fs_mount("ext4", options, _DATA | mounts.MOUNT_ATTR_NOATIME) as mount:
            mounts.move_mount(mount.fileno(), -100, os.fsencode(self._mount_point))

    def _set_quota(self, project: int, size: int) -> None:
        # Limits count in blocks of 1 KiB; one inode for every 8 KiB, at least a thousand.
        blocks, inodes = size >> 10, max(1000, size >> 13)
        data = _DQBLK.pack(blocks, blocks, 0, inodes, inodes, 0, 0, 0, _QIF_BLIMITS | _QIF_ILIMITS)
        _quotactl(self._root.fileno(), _Q_SETQUOTA, project, bytearray(data))

    def create(self, directory: Path, size: int) -> Slot:
        """A new, empty directory in the pool, named as ``directory`` is, with a quota of ``size``
        bytes.
        """
        where = self._mount_point / directory.name
        where.mkdir()
        # Its owner has no id in some of the mounts that show it; only root gets this far on the
        # host.
        where.chmod(0o755)
        # The inode number is unique while the directory exists, and small enough for a project id.
        project = where.stat().st_ino & 0x7FFFFFFF
        fd = os.open(where, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            flags = _FSXATTR.unpack(fcntl.ioctl(fd, _FS_IOC_FSGETXATTR, bytes(_FSXATTR.size)))[0]
            fcntl.ioctl(
                fd,
                _FS_IOC_FSSETXATTR,
                _FSXATTR.pack(flags | _FS_XFLAG_PROJINHERIT, 0, 0, project, 0),
            )
        finally:
            os.close(fd)
        self._set_quota(project, size)
        return self._slot(where, size)

    def reopen(self, directory: Path, size: int) -> Slot:
        """The disk that an ended cage left; OSError when it left none."""
        return self._slot(self._mount_point / directory.name, size)

    def reopen_in_use(self, directory: Path, size: int) -> Slot:
        """The same directory of the pool."""
        return self.reopen(directory, size)

    def adopt(self, directory: Path, size: int, mount: Fd) -> Slot:
        """The directory of the pool that is mounted there."""
        return PoolSlot(mount, size, self._mount_point / directory.name, None)

    def _slot(self, where: Path, size: int) -> Slot:
        tree = mounts.open_tree(self._root.fileno(), os.fsencode(where.name))
        mounts.set_attr(tree.fileno(), set=_DATA)
        return PoolSlot(tree, size, where, None)

    def remove_others(self, names: Collection[str]) -> None:
        """Remove the directories of all cages that are not in ``names``."""
        for path in self._mount_point.iterdir():
            if path.name not in names and path.name != "lost+found":
                remove_tree(path)

    def punch_free(self) -> bool:
        """Give the pool's free blocks back to the file system below; whether that worked."""
        return punch_free(self._root.fileno())

    def unwritten(self) -> int:
        """What is used in the pool and not yet allocated in its image."""
        used = used_of(os.fstatvfs(self._root.fileno()))
        return used - self._image.stat().st_blocks * 512

    def not_overwritten(self) -> str:
        """Free blocks belong to no file."""
        return "what the agent itself had removed, in free blocks of the image that all cages share"

    def close(self) -> None:
        """Close the pool's root and unmount the pool."""
        self._root.close()
        run_program("umount", str(self._mount_point))


def _quotactl(fd: int, command: int, project: int, data: bytearray) -> None:
    number = ((command << 8) | _PRJQUOTA) & 0xFFFFFFFF
    syscalls.quotactl_fd(fd, number, project, data)


def punch_free(fd: int) -> bool:
    """FITRIM (ioctl_list(2), fstrim(8)): free blocks of a loop-mounted file system become holes in
    its image.
    """
    try:
        fcntl.ioctl(fd, _FITRIM, struct.pack("=QQQ", 0, (1 << 64) - 1, 0))
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.ENOTTY):
            raise
        return False
    return True


def remove_tree(path: Path) -> None:
    """Remove a tree that an agent made, of any depth; Python's own function fails on very deep
    ones.
    """
    # Work for a cage that is gone: it does not have the daemon's precedence.
    run_program("nice", "-n", "10", "rm", "-rf", "--one-file-system", "--", str(path))
