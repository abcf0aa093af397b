"""The bytes of files: comparing two and copying one, in time proportional to the data, not to the
holes.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Callable

_CHUNK = 1 << 20
_AT_ONCE = 64 << 20
"""So much the kernel is asked to copy before ``pause`` is called."""


def _next_data(fd: int, offset: int, size: int) -> int:
    """The first offset at or after ``offset`` that may hold data; ``size`` when only a hole is
    left.  lseek(2).
    """
    try:
        return min(os.lseek(fd, offset, os.SEEK_DATA), size)
    except OSError as error:
        if error.errno == errno.ENXIO:
            return size
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP):
            return offset
        raise


def _next_hole(fd: int, offset: int, size: int) -> int:
    try:
        return min(os.lseek(fd, offset, os.SEEK_HOLE), size)
    except OSError as error:
        if error.errno in (errno.EINVAL, errno.EOPNOTSUPP, errno.ENXIO):
            return size
        raise


def _read_padded(fd: int, offset: int, length: int) -> bytes:
    """Exactly ``length`` bytes unless the file ends; pread may return fewer at a time."""
    data = os.pread(fd, length, offset)
    while len(data) < length:
        more = os.pread(fd, length - len(data), offset + len(data))
        if not more:
            break
        data += more
    return data


def same_content(one: int, other: int) -> bool:
    """Whether two regular files, open for reading, hold the same bytes.  A hole equals zeros."""
    size = os.fstat(one).st_size
    if size != os.fstat(other).st_size:
        return False
    offset = 0
    while offset < size:
        offset = min(_next_data(one, offset, size), _next_data(other, offset, size))
        length = min(_CHUNK, size - offset)
        if length and _read_padded(one, offset, length) != _read_padded(other, offset, length):
            return False
        offset += length
    return True


def copy_content(
    source: int, target: int, size: int, pause: Callable[[], object] = lambda: None
) -> None:
    """Copy ``size`` bytes into the empty file ``target``; holes stay holes.  Raises OSError
    (ENOSPC, EDQUOT, EFBIG), and what ``pause`` does, which is called now and then.
    """
    os.ftruncate(target, size)
    offset = _next_data(source, 0, size) if size else 0
    while offset < size:
        end = _next_hole(source, offset, size)
        if end <= offset:
            end = size
        _copy_range(source, target, offset, end, pause)
        offset = _next_data(source, end, size) if end < size else size


def _copy_range(
    source: int, target: int, offset: int, end: int, pause: Callable[[], object]
) -> None:
    by_kernel = True
    while offset < end:
        pause()
        if by_kernel:
            try:
                copied = os.copy_file_range(
                    source, target, min(_AT_ONCE, end - offset), offset, offset
                )
            except OSError as error:
                if error.errno not in (
                    errno.EXDEV,
                    errno.EINVAL,
                    errno.EOPNOTSUPP,
                    errno.ENOSYS,
                    errno.EPERM,
                ):
                    raise
                copied = 0
            if copied:
                offset += copied
                continue
            by_kernel = False
        data = os.pread(source, min(_CHUNK, end - offset), offset)
        if not data:
            return
        written = 0
        while written < len(data):
            written += os.pwrite(target, data[written:], offset + written)
        offset += len(data)
