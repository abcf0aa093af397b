"""What akiosd asks about a tree that a client opened, without ever waiting for that tree's file
system.

A file system may be a program of the user's (FUSE) or a server that is away (NFS). Any question to
it can take for ever, and a process in the middle of one cannot be killed. So akiosd itself reads
only what the kernel has in memory, and asks everything else through a process of its own, which it
abandons when no answer comes (:func:`read_access`).
"""

from __future__ import annotations

import os
import re
import struct
from collections.abc import Iterable
from pathlib import Path

import msgspec
import trio

from akiosd.errors import CageFailedError
from akiosd.kernel import _shim, acl
from akiosd.kernel.fds import read_file
from akiosd.kernel.mounts import check
from akiosd.kernel.programs import open_python
from akiosd.values.ids import DirectoryId

ANSWER_S = 2.0
"""How long a file system may take to answer one question."""
MAX_UNANSWERED = 16
"""Questions that may be unanswered at once, of all users together: each is a process that cannot be
killed.
"""

FIND_HANGING = (
    r"list the mounts: grep -E ' (nfs4?|cifs|smb3|9p|ceph|fuse(blk|\.\S+)?) ' /proc/mounts;"
    " try each: timeout -s KILL 5 stat -f DIR; unmount those that hang: sudo umount -l DIR"
)

# File systems that answer from this machine's memory and disks.
LOCAL = frozenset(
    ("bcachefs", "btrfs", "erofs", "exfat", "ext2", "ext3", "ext4", "f2fs", "iso9660", "jfs",
     "ntfs3", "overlay", "ramfs", "squashfs", "tmpfs", "udf", "vfat", "xfs", "zfs")
)  # fmt: skip
# A layer may be an overlay itself; the kernel allows two storeys (FILESYSTEM_MAX_STACK_DEPTH).
_MAX_LAYERS = 2
_BETWEEN_LAYERS = re.compile(r"(?<!\\):+")
_ESCAPED, _OCTAL = re.compile(r"\\(.)"), re.compile(r"\\([0-7]{3})")
_ASK = Path(__file__).with_name("print_facts.py")
_ACCESS = struct.Struct("=III")
_ENTRY = struct.Struct("=QQ")
_unanswered = 0


class Known(msgspec.Struct, frozen=True):
    """What the kernel has in memory of an open file.  Mode and owner may be out of date; identity
    and file system are not.

    Ids are the host's. ``file_system`` is a name of filesystems(5), "" when the mount is in no
    mount namespace that was looked into. ``is_local``: it answers from this machine's memory and
    disks; of an overlay, every layer does. ``is_elsewhere``: it is not in akiosd's own namespace.
    """

    mode: int
    uid: int
    gid: int
    directory: DirectoryId
    file_system: str
    is_local: bool
    is_elsewhere: bool = False


def look(fds: Iterable[int]) -> tuple[Known, ...]:
    """What is known of each open file; never waits.  OSError when one is not open."""
    mountinfo = read_file("/proc/self/mountinfo").decode(errors="surrogateescape")
    return tuple(_look(fd, mountinfo) for fd in fds)


def look_elsewhere(fd: int, known: Known, mountinfo: str) -> Known:
    """What is known of a file that lies in another mount namespace, where ``mountinfo`` stands.

    Its user may have made that namespace, and mounts cover other mounts there: an overlay's layers
    are not believed to be local.
    """
    found = _look(fd, mountinfo)
    is_local = found.is_local and found.file_system != "overlay"
    return msgspec.structs.replace(found, is_local=is_local, is_elsewhere=True)


def identify(fd: int) -> DirectoryId:
    """The identity of the file that ``fd`` is open on; never waits."""
    return _look(fd, "").directory


def read_name(fd: int) -> bytes:
    """Its path as akiosd sees it; that of a removed directory ends in " (deleted)" (proc(5)).

    Never waits: the kernel reads the link from its own memory.
    """
    return os.readlink(b"/proc/self/fd/%d" % fd)


def _look(fd: int, mountinfo: str) -> Known:
    found = _shim.ffi.new("struct akios_known_stat *")
    check(_shim.lib.akios_known_stat(fd, found), "statx")
    device = os.makedev(found.dev_major, found.dev_minor)
    directory = DirectoryId(device, found.inode, found.born_s * 10**9 + found.born_ns)
    kind = find_file_system(mountinfo, found.mount_id)
    return Known(
        found.mode, found.uid, found.gid, directory, kind, is_local(mountinfo, found.mount_id)
    )


def find_file_system(mountinfo: str, mount_id: int) -> str:
    """The type of the mount with this id in ``/proc/self/mountinfo`` (proc(5)), without its
    subtype; ``""``: none.
    """
    found = _find_mount(mountinfo, mount_id)
    return found.kind if found is not None else ""


def is_local(mountinfo: str, mount_id: int) -> bool:
    """Whether no question to the mount with this id is put to another machine, or to a program.

    An overlay asks its layers, which mountinfo names by paths of the time when it was mounted: what
    they lie on now is the best that can be known, and what lies on nothing known is not local.
    """
    mount = _find_mount(mountinfo, mount_id)
    return mount is not None and _answers(_read_mounts(mountinfo), mount, _MAX_LAYERS)


class _Mount(msgspec.Struct, frozen=True):
    point: str
    kind: str
    options: str


def _answers(mounts: list[_Mount], mount: _Mount, depth: int) -> bool:
    if mount.kind != "overlay":
        return mount.kind in LOCAL
    below = [_find_covering(mounts, path) for path in _layers(mount.options)]
    return (
        depth > 0
        and bool(below)
        and all(found is not None and _answers(mounts, found, depth - 1) for found in below)
    )


def _layers(options: str) -> list[str]:
    """The paths of an overlay's layers: colons stand between them, one in a path has a backslash
    before it.
    """
    found = []
    for option in options.split(","):
        name, _, value = option.partition("=")
        if name.rstrip("+") in ("lowerdir", "datadir", "upperdir"):
            found += [
                _ESCAPED.sub(r"\1", path)
                for path in _BETWEEN_LAYERS.split(_unescape(value))
                if path
            ]
    return found


def _find_covering(mounts: list[_Mount], path: str) -> _Mount | None:
    """The mount that a path lies on: the deepest, and of several at one place the last."""
    if not path.startswith("/"):
        return None
    over = [mount for mount in mounts if f"{path}/".startswith(f"{mount.point.rstrip('/')}/")]
    return max(reversed(over), key=lambda mount: len(mount.point), default=None)


def _find_mount(mountinfo: str, mount_id: int) -> _Mount | None:
    start = f"{mount_id} "
    return next((_parse(line) for line in mountinfo.splitlines() if line.startswith(start)), None)


def _read_mounts(mountinfo: str) -> list[_Mount]:
    return [_parse(line) for line in mountinfo.splitlines() if " - " in line]


def _parse(line: str) -> _Mount:
    left, _, right = line.partition(" - ")
    kind, _, rest = right.partition(" ")
    return _Mount(_unescape(left.split(" ")[4]), kind.partition(".")[0], rest.partition(" ")[2])


def _unescape(text: str) -> str:
    """As seq_path writes it (proc_pid_mountinfo(5))."""
    return _OCTAL.sub(lambda found: chr(int(found[1], 8)), text)


class Access(msgspec.Struct, frozen=True):
    """Who may use a file: ``mode`` and host ids as of stat(2), and its access list
    (:mod:`akiosd.kernel.acl`).
    """

    mode: int
    uid: int
    gid: int
    acl: bytes


async def read_access(fd: int, known: Known, what: str) -> Access:
    """Who may use the open file ``fd``; ``known`` is what :func:`look` returned for it.

    Raises CageFailedError naming ``what`` when its file system does not answer, OSError when a
    local one refuses.
    """
    if known.is_local:
        return Access(known.mode, known.uid, known.gid, acl.read_acl(fd))
    data = await _ask(_ACCESS.size, f"{what}, on {known.file_system}", "access", fd)
    mode, uid, gid = _ACCESS.unpack_from(data)
    return Access(mode, uid, gid, data[_ACCESS.size :])


async def find_entry(fd: int, name: bytes, known: Known, what: str) -> tuple[int, int]:
    """(device, inode) of ``name`` in the directory ``fd``; no link is followed.  Raises as
    :func:`read_access` does.
    """
    if known.is_local:
        found = os.stat(name, dir_fd=fd, follow_symlinks=False)
        return found.st_dev, found.st_ino
    data = await _ask(_ENTRY.size, f"{what}, on {known.file_system}", "entry", fd, name)
    device, inode = _ENTRY.unpack_from(data)
    return device, inode


async def _ask(size: int, where: str, question: str, fd: int, name: bytes = b"") -> bytes:
    """At least ``size`` bytes of an answer of :mod:`akiosd.kernel.print_facts`."""
    global _unanswered
    if _unanswered >= MAX_UNANSWERED:
        raise CageFailedError(
            f"akiosd still waits for {_unanswered} answers of file systems",
            where,
            FIND_HANGING,
        )
    _unanswered += 1
    try:
        process = await open_python(_ASK, fd, question, name)
    except BaseException:
        _unanswered -= 1
        raise
    trio.lowlevel.spawn_system_task(_collect, process)
    try:
        return await _hear(process, size, where)
    finally:
        # It may be beyond the reach of any signal; then it dies when its file system does.
        process.kill()


async def _hear(process: trio.Process, size: int, where: str) -> bytes:
    assert process.stdout is not None
    data = b""
    async with process.stdout:
        with trio.move_on_after(ANSWER_S):
            async for part in process.stdout:
                data += part
            if await process.wait() == 0 and len(data) >= size:
                return data
            raise CageFailedError(
                "the file system of this path refuses to say what it is",
                where,
                "findmnt -T DIRECTORY tells what it is; mount a FUSE file system with -o"
                " allow_root, or root cannot read it",
            )
    hint = "see what serves it (findmnt -T DIRECTORY), and whether that runs and is reached"
    raise CageFailedError(f"its file system gave no answer within {ANSWER_S:g} s", where, hint)


async def _collect(process: trio.Process) -> None:
    global _unanswered
    await process.wait()
    _unanswered -= 1
