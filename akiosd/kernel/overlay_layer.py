"""Makes an overlay layer that replaces a few files of a tree; the tree itself is not changed.

A mount over each file would do too, but the agent could see it: rm(1) and replacing the file would
fail.
"""

from __future__ import annotations

import errno
import os
import stat

from akiosd.kernel import acl, mounts
from akiosd.kernel.fds import Fd
from akiosd.kernel.syscalls import RESOLVE_NO_LINKS, open_directory
from akiosd.kernel.trust_mount import Parts, size_of, write_file

_ATTRS = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV
_ABSENT = (errno.ENOENT, errno.ENOTDIR, errno.ELOOP)


def make_layer(tree: int, files: dict[str, Parts], owner: int) -> Fd | None:
    """A detached tmpfs with ``files`` (path below ``tree`` → content), and the directories that
    lead to them.

    ``tree`` is the detached mount that the layer goes over, with its id map: the directories get
    the owners, modes, times and access lists that are seen through it. No link is followed; a path
    that is missing or no regular file is left out. None when none is left. The descriptor is the
    caller's. Raises OSError.
    """
    wanted = {path: parts for path, parts in files.items() if _is_file(tree, path)}
    if not wanted:
        return None
    inodes = 1 + sum(path.count("/") + 1 for path in wanted)
    options = {"mode": "0700", "size": str(size_of(wanted)), "nr_inodes": str(inodes + 1)}
    layer = mounts.fs_mount("tmpfs", options, _ATTRS)
    try:
        made: list[str] = []
        for path, parts in wanted.items():
            _make_way(layer.fileno(), path, made)
            write_file(layer.fileno(), path, parts, owner)
        for directory in (*reversed(made), "."):
            _make_alike(tree, layer.fileno(), directory)
        mounts.set_attr(layer.fileno(), set=mounts.MOUNT_ATTR_RDONLY)
    except BaseException:
        layer.close()
        raise
    return layer


def _is_file(tree: int, path: str) -> bool:
    parent, _, name = path.rpartition("/")
    try:
        with _open_beneath(tree, parent) as directory:
            return stat.S_ISREG(
                os.stat(name, dir_fd=directory.fileno(), follow_symlinks=False).st_mode
            )
    except OSError as error:
        if error.errno in _ABSENT:
            return False
        raise


def _open_beneath(root: int, path: str) -> Fd:
    return Fd(open_directory(root, os.fsencode(path), readable=False, resolve=RESOLVE_NO_LINKS))


def _make_way(layer: int, path: str, made: list[str]) -> None:
    parts = path.split("/")[:-1]
    for depth in range(1, len(parts) + 1):
        directory = "/".join(parts[:depth])
        if directory not in made:
            os.mkdir(directory, 0o700, dir_fd=layer)
            made.append(directory)


def _make_alike(tree: int, layer: int, directory: str) -> None:
    with _open_beneath(tree, directory if directory != "." else "") as original:
        found = os.fstat(original.fileno())
        listed = acl.read_acl(original.fileno())
    with _open_beneath(layer, directory if directory != "." else "") as copy:
        path = f"/proc/self/fd/{copy.fileno()}"
        os.chown(path, found.st_uid, found.st_gid)
        os.chmod(path, stat.S_IMODE(found.st_mode))
        if listed:
            acl.write_acl(path + "/.", listed)
        os.utime(path, ns=(found.st_atime_ns, found.st_mtime_ns))
