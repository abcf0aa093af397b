"""The calls of mount.c: options are read to their length and not beyond."""

from __future__ import annotations

import errno
import os

import pytest
from akiosd.kernel._shim import lib

pytestmark = [pytest.mark.root, pytest.mark.skipif(os.geteuid() != 0, reason="needs root")]


def make(options: bytes, size: int) -> int:
    """A detached tmpfs, closed again; 0, or what mount.c says."""
    fd = int(lib.akios_fs_mount(b"tmpfs", options, size, 0))
    if fd >= 0:
        os.close(fd)
    return min(fd, 0)


def test_options_are_read_to_their_length() -> None:
    whole = b"size\x0064k\0nr_inodes\x008\0"
    assert make(whole, len(whole)) == 0 and make(b"", 0) == 0  # the control
    for size in range(1, len(whole)):
        # Cut inside the first option, behind it, inside the second: only what ends with an option
        # is one.
        wanted = 0 if size == len(b"size\x0064k\0") else -errno.EINVAL
        assert make(whole, size) == wanted, size
    assert make(b"no_such_option\0\0", 16) == -errno.EINVAL
