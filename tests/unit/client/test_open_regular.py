"""What a project's links lead to is opened only when it is a file: to open a device or a FIFO is to
use it.
"""

from __future__ import annotations

import ctypes
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from akiosctl import open_regular, policy_files, version_managers
from akiosctl.changes import host_paths
from akiosd.errors import AkiosError

_IN_OPEN = 0x20  # inotify(7); it is silent about O_PATH

READERS: list[Callable[[str], Any]] = [
    lambda path: host_paths.read_small(os.fsencode(path)),
    lambda path: open_regular.read_head(path, 9),
    version_managers._read,
    lambda path: policy_files.read_policy(Path(path)),
]


@pytest.fixture
def watch(tmp_path: Path) -> Iterator[Callable[[Path], Callable[[], bool]]]:
    libc = ctypes.CDLL(None, use_errno=True)
    fd = libc.inotify_init1(os.O_NONBLOCK | os.O_CLOEXEC)

    def begin(path: Path) -> Callable[[], bool]:
        assert libc.inotify_add_watch(fd, os.fsencode(path), _IN_OPEN) >= 0

        def was_opened() -> bool:
            try:
                return len(os.read(fd, 4096)) > 0
            except BlockingIOError:
                return False

        return was_opened

    yield begin
    os.close(fd)


@pytest.mark.parametrize("reader", range(len(READERS)))
@pytest.mark.parametrize("kind", ["file", "fifo"])
def test_only_files_are_opened(
    tmp_path: Path, watch: Callable[[Path], Callable[[], bool]], reader: int, kind: str
) -> None:
    """The control: a file is."""
    target, link = tmp_path / "target", tmp_path / "link"
    os.mkfifo(target) if kind == "fifo" else target.write_text("version: 1\n")
    link.symlink_to(target)
    was_opened = watch(target)
    try:
        READERS[reader](str(link))
    except AkiosError:
        assert kind == "fifo"
    assert was_opened() == (kind == "file")
