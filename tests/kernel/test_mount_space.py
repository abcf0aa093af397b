"""Another mount namespace is looked into, within a bound."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from akiosd.errors import KernelError
from akiosd.kernel.fds import Fd
from akiosd.kernel.mount_space import MountSpace, open_tree_of, own_name

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: namespaces are entered")

# Many mounts in a namespace of its own, made by one process.
MANY = """
import ctypes, sys
libc = ctypes.CDLL(None, use_errno=True)
for number in range(int(sys.argv[2])):
    if libc.mount(sys.argv[1].encode(), sys.argv[1].encode(), None, 4096, None) < 0:
        sys.exit(f"mount: {ctypes.get_errno()}")
print(flush=True)
sys.stdin.read()
"""


@contextmanager
def holding(directory: str, mounts: int) -> Iterator[int]:
    """The pid of a process in a mount namespace of its own, with so many binds of ``directory``."""
    command = ["unshare", "--mount", sys.executable, "-c", MANY, directory, str(mounts)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as holder:
        assert holder.stdin is not None and holder.stdout is not None
        try:
            assert holder.stdout.readline() == b"\n"
            yield holder.pid
        finally:
            holder.stdin.close()


def test_what_lies_there_is_cloned_there_and_nowhere_else(tmp_path: os.PathLike[str]) -> None:
    with holding(str(tmp_path), 1) as pid:
        there = Fd(os.open(f"/proc/{pid}/root{tmp_path}", os.O_PATH | os.O_CLOEXEC))
        with there:
            open_tree_of(pid, there.fileno()).close()
            with pytest.raises(OSError, match="Invalid argument"):
                open_tree_of(os.getpid(), there.fileno())
            space = MountSpace(pid)
            assert space.name != own_name() and f" {tmp_path} " in space.mountinfo
            space.close()
    assert os.readlink("/proc/self/ns/mnt") == own_name(), "no thread of ours has moved"
    for task in os.listdir("/proc/self/task"):
        assert os.readlink(f"/proc/self/task/{task}/ns/mnt") == own_name()


def test_a_namespace_full_of_mounts_is_not_read_to_its_end(tmp_path: os.PathLike[str]) -> None:
    with holding(str(tmp_path), 12) as pid:
        MountSpace(pid).close()
    with holding(str(tmp_path), 6000) as pid:
        with pytest.raises(KernelError, match="too much is mounted"):
            MountSpace(pid)


def test_a_process_that_cannot_be_seen_is_told_so() -> None:
    with pytest.raises(KernelError, match="cannot see your process"):
        MountSpace(0)
