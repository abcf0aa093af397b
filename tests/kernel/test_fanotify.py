"""Events of executed and written files, on a file system of the test's own that is mounted
nowhere.
"""

from __future__ import annotations

import ctypes
import fcntl
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.errors import KernelError
from akiosd.kernel import mounts
from akiosd.kernel.fanotify import FileEvents, parse_events
from akiosd.kernel.fds import Fd
from akiosd.policy.compile.mounts import FAN_CLOSE_WRITE, FAN_OPEN_EXEC

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: marks whole mounts")
FAN_MARK_ADD, FAN_MARK_MOUNT = 0x1, 0x10
F_SETLEASE = 1024
OWNER, OTHER_OWNER = 1_999_999_901, 1_999_999_902
libc = ctypes.CDLL(None, use_errno=True)


class Watched:
    def __init__(self) -> None:
        self.tree: Fd = mounts.fs_mount("tmpfs", {"size": str(64 << 20)})
        self.path = Path(f"/proc/self/fd/{self.tree.fileno()}")
        self.events = FileEvents(OWNER)
        mask, group = ctypes.c_uint64(FAN_OPEN_EXEC | FAN_CLOSE_WRITE), self.events.group.fileno()
        if libc.fanotify_mark(group, FAN_MARK_ADD | FAN_MARK_MOUNT, mask, self.tree.fileno(), b"."):
            raise OSError(ctypes.get_errno(), "fanotify_mark")

    def take(self) -> tuple[list[tuple[str, bytes, int]], int]:
        """All that waits: (use, name, count), and how many were lost."""
        found, lost = [], 0
        while True:
            events, missed = self.events.read()
            found += [(event.use, event.path.rpartition(b"/")[2], event.count) for event in events]
            lost += missed
            if not events and not missed:
                return found, lost


@pytest.fixture
def watched() -> Iterator[Watched]:
    one = Watched()
    yield one
    one.events.close()
    one.tree.close()


def test_what_is_written_and_executed_is_told_in_order(watched: Watched) -> None:
    shutil.copy("/usr/bin/true", watched.path / "program")
    subprocess.run([watched.path / "program"], check=True, pass_fds=[watched.tree.fileno()])
    (watched.path / "program").read_bytes()
    (watched.path / "file").write_bytes(b"x")
    assert watched.take() == (
        [("written", b"program", 1), ("executed", b"program", 1), ("written", b"file", 1)],
        0,
    )
    assert watched.take() == ([], 0)


def test_a_pipe_is_never_opened_for_us(watched: Watched) -> None:
    """Whoever waits for the other end of a pipe would take us for it."""
    os.mkfifo(watched.path / "pipe")
    os.close(os.open(watched.path / "pipe", os.O_RDWR))
    (watched.path / "file").write_bytes(b"x")
    assert watched.take() == ([("written", b"file", 1)], 0)


def test_more_than_the_queue_holds_is_said(watched: Watched) -> None:
    bound = int(Path("/proc/sys/fs/fanotify/max_queued_events").read_text())
    if bound > 1 << 16:
        pytest.skip("this host's queue is larger than a test should fill")
    for number in range(bound + 100):
        os.close(os.open(f"{number}", os.O_WRONLY | os.O_CREAT, dir_fd=watched.tree.fileno()))
    found, lost = watched.take()
    assert len(found) == bound and lost == 1
    (watched.path / "later").write_bytes(b"x")
    assert watched.take() == ([("written", b"later", 1)], 0)


def test_a_file_that_cannot_be_opened_for_us_is_said(watched: Watched) -> None:
    """A lease makes the kernel refuse; what stands behind it comes all the same."""
    signal.signal(signal.SIGIO, signal.SIG_IGN)
    for name in ("one", "leased", "two"):
        (watched.path / name).write_bytes(b"x")
    fd = os.open(watched.path / "leased", os.O_RDONLY)
    fcntl.fcntl(fd, F_SETLEASE, fcntl.F_WRLCK)
    found, lost = watched.take()
    os.close(fd)
    assert lost == 1 and [name for _, name, _ in found] == [b"one", b"two"]


def test_each_owner_has_groups_of_its_own() -> None:
    """As many cages as the kernel lets one user have groups would be few, and root's other programs
    need theirs.
    """
    bound = int(Path("/proc/sys/fs/fanotify/max_user_groups").read_text())
    if bound > 1024:
        pytest.skip("this host lets a user have more groups than a test should make")
    before = [
        Path(f"/proc/self/task/{thread}/status").read_text()
        for thread in os.listdir("/proc/self/task")
    ]
    made = [FileEvents(OWNER) for _ in range(bound)]
    try:
        with pytest.raises(KernelError, match="Too many open files"):
            FileEvents(OWNER)
        FileEvents(OTHER_OWNER).close()
    finally:
        for one in made:
            one.close()
    assert os.geteuid() == 0
    identity = [line for line in before[0].splitlines() if line.startswith(("Uid", "CapEff"))]
    assert set(identity) <= set(Path("/proc/self/status").read_text().splitlines())


def test_equal_events_in_a_row_are_one(watched: Watched) -> None:
    for _ in range(3):
        (watched.path / "file").write_bytes(b"x")
    [(use, name, count)] = watched.take()[0]
    assert (use, name) == ("written", b"file") and count >= 1


def test_a_record_with_both_uses_is_two() -> None:
    head = (24 + 8).to_bytes(4, "little") + (FAN_OPEN_EXEC | FAN_CLOSE_WRITE).to_bytes(4, "little")
    raw = (
        head
        + (7).to_bytes(4, "little")
        + (2).to_bytes(4, "little")
        + (5).to_bytes(2, "little")
        + bytes(6)
    )
    events = parse_events(raw + b"/file" + bytes(3))
    assert [(event.use, event.pid, event.path, event.count) for event in events] == [
        ("executed", 7, b"/file", 2),
        ("written", 7, b"/file", 2),
    ]
