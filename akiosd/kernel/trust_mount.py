"""The trust files of a cage (host's roots, the cage's own authority) in a small file system of
their own.

Made before a run, as a detached mount; it goes away with its last descriptor, or with the cage in
which it is mounted.
"""

from __future__ import annotations

import os
from collections.abc import Mapping

from akiosd.kernel import mounts
from akiosd.kernel.fds import Fd
from akiosd.kernel.java_store import JavaStore, read_pem
from akiosd.values.trust import AUTHORITY_NAME, BUNDLE_NAME, JAVA_NAME

# Debian, Arch and Alpine; Red Hat; SUSE; the BSD name that some use.
_HOST_BUNDLES = (
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/ssl/cert.pem",
)
_MAX_BYTES = 8 << 20
_ATTRS = mounts.MOUNT_ATTR_NOSUID | mounts.MOUNT_ATTR_NODEV | mounts.MOUNT_ATTR_NOEXEC

Identity = tuple[int, int, int, int]
Seen = tuple[Identity | None, bytes]
"""Which file of the host, and what was added to it."""
Parts = tuple[bytes, ...]
"""The content of a file in parts, never joined: most of it is large, and the same for all cages."""


class HostRoots:
    """The host's trusted certificates, and those that the administrator adds; read again when their
    file has changed.

    A host without any is no error: the gateway verifies upstreams, and the cage needs only its own
    authority.
    """

    def __init__(self, paths: tuple[str, ...] = _HOST_BUNDLES) -> None:
        self._paths = paths
        self.seen: Seen | None = None
        self.pem = self.added = b""
        self.java = JavaStore(())

    def refresh(self, added: bytes = b"") -> Seen:
        """Read the file again if it or ``added`` (PEM) has changed; returns what tells one content
        from another.  Raises OSError.
        """
        path, identity = self._look()
        seen = (identity, added)
        if seen != self.seen:
            with open(path, "rb") as file:
                self.pem = b"\n".join(part for part in (file.read(_MAX_BYTES), added) if part)
            self.java = JavaStore(read_pem(self.pem))
            self.seen, self.added = seen, added
        return seen

    def _look(self) -> tuple[str, Identity | None]:
        for path in self._paths:
            try:
                found = os.stat(path)
            except OSError:
                continue
            if found.st_size:
                return path, (found.st_dev, found.st_ino, found.st_mtime_ns, found.st_size)
        return os.devnull, None


def make_tree(roots: HostRoots, pem: bytes, der: bytes, owner: int) -> Fd:
    """A detached, read-only tmpfs with the three files of :mod:`akiosd.values.trust`; the
    descriptor is the caller's.

    ``pem`` and ``der`` are the certificate of the cage's authority; ``owner`` is the host uid of
    the files. Raises OSError.
    """
    files = store_files(roots, pem, der)
    options = {
        "mode": "0555",
        "uid": str(owner),
        "gid": str(owner),
        "nr_inodes": "8",
        "size": str(size_of(files)),
    }
    tree = mounts.fs_mount("tmpfs", options, _ATTRS)
    try:
        for name, parts in files.items():
            write_file(tree.fileno(), name, parts, owner)
        mounts.set_attr(tree.fileno(), set=mounts.MOUNT_ATTR_RDONLY)
    except BaseException:
        tree.close()
        raise
    return tree


def store_files(roots: HostRoots, pem: bytes, der: bytes) -> dict[str, Parts]:
    """Name → content of the three files."""
    return {
        BUNDLE_NAME: (pem, roots.pem),
        # For programs that add it to roots of their own: what the host does not trust by itself.
        AUTHORITY_NAME: (pem, roots.added),
        JAVA_NAME: roots.java.with_authority(der),
    }


def size_of(files: Mapping[str, Parts]) -> int:
    """Bytes that a tmpfs needs for ``files``."""
    return sum((sum(map(len, parts)) + 4095) // 4096 for parts in files.values()) * 4096


def write_file(directory: int, path: str, parts: Parts, owner: int) -> None:
    """Make a file that everybody may read and nobody write.  Raises OSError."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC
    with Fd(os.open(path, flags, 0o444, dir_fd=directory)) as file:
        for part in parts:
            view = memoryview(part)
            while view:
                view = view[os.write(file.fileno(), view) :]
        # The daemon's umask is 077.
        os.fchmod(file.fileno(), 0o444)
        if owner != os.geteuid():
            os.fchown(file.fileno(), owner, owner)
