"""POSIX access control lists (acl(5)) as extended attributes: read, mapped to other ids, written.

The attribute is ``struct posix_acl_xattr_header`` and entries of
``include/uapi/linux/posix_acl_xattr.h``, little endian on every machine.
"""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable

_ATTRIBUTE = "system.posix_acl_access"
_HEADER = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP = 0x02, 0x08
_NONE = (errno.ENODATA, errno.EOPNOTSUPP)


def read_acl(fd: int) -> bytes:
    """The access control list of an open file (O_PATH is enough), b"" when it has none.  Raises
    OSError.
    """
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", _ATTRIBUTE)
    except OSError as error:
        if error.errno in _NONE:
            return b""
        raise


def map_acl(data: bytes, map_uid: Callable[[int], int], map_gid: Callable[[int], int]) -> bytes:
    """The list with its ids mapped.  Raises ``struct.error`` when ``data`` is no list."""
    entries = []
    for tag, perm, number in _ENTRY.iter_unpack(data[_HEADER.size :]):
        if tag in (_USER, _GROUP):
            number = (map_uid if tag == _USER else map_gid)(number)
        entries.append((tag, perm, number))
    # The kernel wants entries of one tag in the order of their ids.
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return data[: _HEADER.size] + b"".join(_ENTRY.pack(*entry) for entry in entries)


def write_acl(path: str, data: bytes) -> None:
    """Give ``path`` this list; its mode follows.  Raises OSError."""
    os.setxattr(path, _ATTRIBUTE, data, follow_symlinks=False)
