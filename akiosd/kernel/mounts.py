"""Mounts by descriptor: detached trees, id maps, new file systems (open_tree(2), mount_setattr(2),
fsopen(2)).

Every function raises OSError with the kernel's errno.  A returned :class:`Fd` is the caller's; a
detached tree that was not attached anywhere goes away when its last descriptor is closed, so a
crash of the daemon leaves no mount behind.
"""

from __future__ import annotations

import os
from collections.abc import Callable

from akiosd.kernel import _shim
from akiosd.kernel.fds import Fd
from akiosd.values.plan import encode_options

# include/uapi/linux/mount.h
MOUNT_ATTR_RDONLY = 0x01
MOUNT_ATTR_NOSUID = 0x02
MOUNT_ATTR_NODEV = 0x04
MOUNT_ATTR_NOEXEC = 0x08
MOUNT_ATTR_NOATIME = 0x10
OPEN_TREE_CLONE = 1
AT_EMPTY_PATH = 0x1000
AT_RECURSIVE = 0x8000

_MS_PRIVATE = 1 << 18
"""Clones of a shared mount are its peers: what is mounted in one appears in all, also on the
host.
"""

_lib = _shim.lib


def check(value: int, call: str) -> int:
    """Raise OSError, naming ``call``, when ``value`` is -errno; else return it."""
    if value < 0:
        raise OSError(-value, f"{call}: {os.strerror(-value)}")
    return value


def open_tree(dirfd: int, path: bytes = b"", *, recursive: bool = False) -> Fd:
    """Clone the mount at ``path`` (``b""``: at ``dirfd`` itself) into a detached tree.

    It is a peer of a shared original until :func:`set_attr`.
    """
    flags = OPEN_TREE_CLONE | AT_EMPTY_PATH | (AT_RECURSIVE if recursive else 0)
    return Fd(check(_lib.akios_open_tree(dirfd, path, flags), "open_tree"))


def set_attr(
    fd: int, *, set: int = 0, clear: int = 0, userns_fd: int = -1, recursive: bool = False
) -> None:
    """mount_setattr(2) on the mount ``fd`` stands for, which also leaves its peer group: it becomes
    private.

    ``userns_fd`` ≥ 0 makes it idmapped (once, while detached).
    """
    check(
        _lib.akios_mount_setattr(
            fd, AT_RECURSIVE if recursive else 0, set, clear, _MS_PRIVATE, userns_fd
        ),
        "mount_setattr" if userns_fd < 0 else "mount_setattr(idmap)",
    )


def fs_mount(kind: str, options: dict[str, str], attrs: int = 0) -> Fd:
    """fsopen, fsconfig, fsmount: a new detached mount.  An option with an empty value is a flag."""
    data = encode_options(options)
    return Fd(check(_lib.akios_fs_mount(kind.encode(), data, len(data), attrs), f"mount {kind}"))


def move_mount(fd: int, to_dirfd: int, to_path: bytes = b"") -> None:
    """Attach the detached mount ``fd`` at ``to_path`` below ``to_dirfd`` (move_mount(2))."""
    check(_lib.akios_move_mount(fd, to_dirfd, to_path), "move_mount")


def clone_idmapped(
    fd: int, userns_fd: int, attrs: int, clone: Callable[[int], Fd] = open_tree
) -> Fd:
    """A detached clone of the tree at ``fd`` with ``attrs`` set and ids mapped by ``userns_fd`` (<
    0: unmapped).
    """
    tree = clone(fd)
    try:
        set_attr(tree.fileno(), set=attrs, userns_fd=userns_fd)
    except OSError:
        tree.close()
        raise
    return tree
