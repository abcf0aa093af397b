"""A program that answers one question about the file whose descriptor it is given, in native
integers.

``FD access``: mode, owner and group as three unsigned 32-bit integers, then the access control
list. ``FD entry NAME``: device and inode of ``NAME`` in the directory, as two 64-bit integers.

The file system may never answer (:mod:`akiosd.kernel.user_tree`) and so block this process for
ever; it therefore imports nothing of AKIOS and holds nothing.
"""

import errno
import os
import struct
import sys


def access(fd: int) -> bytes:
    """The answer to ``access``."""
    found = os.fstat(fd)
    try:
        listed = os.getxattr(f"/proc/self/fd/{fd}", "system.posix_acl_access")
    except OSError as error:
        if error.errno not in (errno.ENODATA, errno.EOPNOTSUPP):
            raise
        listed = b""
    return struct.pack("=III", found.st_mode, found.st_uid, found.st_gid) + listed


def entry(fd: int, name: bytes) -> bytes:
    """The answer to ``entry``."""
    found = os.stat(name, dir_fd=fd, follow_symlinks=False)
    return struct.pack("=QQ", found.st_dev, found.st_ino)


def main(words: list[str]) -> int:
    fd = int(words[0])
    try:
        sys.stdout.buffer.write(
            access(fd) if words[1] == "access" else entry(fd, os.fsencode(words[2]))
        )
    except OSError:
        return 1
    return 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
