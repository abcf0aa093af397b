"""POSIX access lists (acl(5)) of directories, as the extended attribute holds them: read, mapped, written.

The attribute is ``struct posix_acl_xattr_header`` and entries of ``include/uapi/linux/posix_acl_xattr.h``, little
endian whatever the machine is.
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
    """The access list of an open file (O_PATH is enough), empty when it has none.  OSError."""
    try:
        return os.getxattr(f"/proc/self/fd/{fd}", _ATTRIBUTE)
    except OSError as error:
        if error.errno in _NONE:
            return b""
        raise


def map_acl(data: bytes, map_uid: Callable[[int], int], map_gid: Callable[[int], int]) -> bytes:
    """The same list for mapped ids.  ``struct.error`` when it is none."""
    entries = []
    for tag, perm, number in _ENTRY.iter_unpack(data[_HEADER.size :]):
        if tag in (_USER, _GROUP):
            number = (map_uid if tag == _USER else map_gid)(number)
        entries.append((tag, perm, number))
    # The kernel wants entries of one tag in the order of their ids.
    entries.sort(key=lambda entry: (entry[0], entry[2]))
    return data[: _HEADER.size] + b"".join(_ENTRY.pack(*entry) for entry in entries)


def write_acl(path: str, data: bytes) -> None:
    """Give ``path`` this access list; its mode follows.  OSError."""
    os.setxattr(path, _ATTRIBUTE, data, follow_symlinks=False)
