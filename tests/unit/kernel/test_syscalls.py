"""Every system call of ours says what the kernel said, and the strict opens stay where they were
told to.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosd.errors import KernelError
from akiosd.kernel import syscalls
from akiosd.kernel.refusals import named_refusal


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "in" / "deep").mkdir(parents=True)
    (tmp_path / "in" / "deep" / "file").write_text("inside")
    (tmp_path / "out").write_text("outside")
    (tmp_path / "in" / "link").symlink_to("deep")
    (tmp_path / "in" / "away").symlink_to("../out")
    fd = os.open(tmp_path / "in", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    yield fd
    os.close(fd)


def test_a_strict_open_stays_below_its_directory(tree: int) -> None:
    for path, number in (
        (b"link/file", errno.ELOOP),
        (b"away", errno.ELOOP),
        (b"../out", errno.EXDEV),
    ):
        os.close(os.open(path, os.O_RDONLY, dir_fd=tree))  # the control: a plain open is led there
        for resolve in (syscalls.RESOLVE_NO_LINKS, syscalls.RESOLVE_STRICT):
            with pytest.raises(OSError) as refused:
                syscalls.openat2(tree, path, os.O_RDONLY, resolve=resolve)
            assert refused.value.errno == number and refused.value.filename == path
    fd = syscalls.openat2(tree, b"deep/file", os.O_RDONLY)
    assert os.read(fd, 10) == b"inside" and not os.get_inheritable(fd)
    os.close(fd)
    fd = syscalls.open_directory(tree, b"", readable=True)
    assert sorted(os.listdir(fd)) == ["away", "deep", "link"]
    os.close(fd)
    with pytest.raises(ValueError):
        syscalls.openat2(tree, b"deep\0x", os.O_RDONLY)


def test_only_the_strictest_open_refuses_a_mount() -> None:
    root = os.open("/", os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        os.close(
            syscalls.openat2(root, b"proc/stat", os.O_RDONLY, resolve=syscalls.RESOLVE_NO_LINKS)
        )
        with pytest.raises(OSError) as refused:
            syscalls.openat2(root, b"proc/stat", os.O_RDONLY, resolve=syscalls.RESOLVE_STRICT)
        assert refused.value.errno == errno.EXDEV
    finally:
        os.close(root)


def test_what_is_refused_is_an_error_with_the_kernels_number(tree: int) -> None:
    directory = os.open(".", os.O_RDONLY | os.O_DIRECTORY, dir_fd=tree)
    try:
        syscalls.renameat2(directory, b"link", directory, b"other", syscalls.RENAME_NOREPLACE)
        with pytest.raises(FileExistsError):
            syscalls.renameat2(directory, b"other", directory, b"away", syscalls.RENAME_NOREPLACE)
    finally:
        os.close(directory)
    for call in (
        lambda: syscalls.syncfs(-1),
        lambda: syscalls.pidfd_getfd(-1, 0),
        lambda: syscalls.landlock_restrict_self(-1),
        lambda: syscalls.quotactl_fd(-1, 0, 0, bytearray(8)),
        lambda: syscalls.name_to_handle_at(-2),
    ):
        with pytest.raises(OSError) as refused:
            call()
        assert refused.value.errno == errno.EBADF
    with pytest.raises(OSError) as refused:
        syscalls.prctl(1 << 30)
    assert refused.value.errno == errno.EINVAL


def test_bytes_are_passed_to_prctl_by_their_address() -> None:
    task = f"/proc/self/task/{os.getpid()}/comm"
    before = Path(task).read_bytes().strip()
    try:
        syscalls.prctl(syscalls.PR_SET_NAME, b"sixteen and more letters")
        assert Path(task).read_text() == "sixteen and mor\n"
    finally:
        syscalls.prctl(syscalls.PR_SET_NAME, before)


def test_a_refusal_is_told_in_our_words() -> None:
    with pytest.raises(KernelError) as told, named_refusal("capset", "capabilities"):
        syscalls.syncfs(-1)
    assert told.value.errno == errno.EBADF and told.value.what.endswith(
        "capset: Bad file descriptor"
    )
