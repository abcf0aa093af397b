"""A layer is the image of the directories it goes over, holds the files that are there, and follows
no link.
"""

from __future__ import annotations

import os
import stat
import struct
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.kernel import acl, mounts
from akiosd.kernel.fds import Fd
from akiosd.kernel.overlay_layer import make_layer

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="needs root: makes mounts")
OWNER = 1 << 31
TIME = 1_700_000_000_123_456_789


@pytest.fixture
def tree(tmp_path: Path) -> Iterator[tuple[Path, Fd]]:
    """A directory with files of several owners, and the detached mount of it."""
    for name, mode, owner in (("a", 0o750, 1234), ("a/b", 0o2711, 4321), ("other", 0o755, 1)):
        (tmp_path / name).mkdir()
        os.chown(tmp_path / name, owner, owner + 1)
        (tmp_path / name).chmod(mode)
    for name in ("a/b/cacert.pem", "a/cacert.pem", "other/cacert.pem"):
        (tmp_path / name).write_text("the host's")
    for name in ("a/b", "a", "."):
        os.utime(tmp_path / name, ns=(TIME, TIME))
    fd = os.open(tmp_path, os.O_PATH | os.O_DIRECTORY)
    with Fd(fd) as directory, mounts.open_tree(directory.fileno()) as clone:
        yield tmp_path, clone


def listing(layer: Fd) -> dict[str, str | int]:
    """Path → what is in the file; of directories the mode."""
    root = f"/proc/self/fd/{layer.fileno()}"
    found: dict[str, str | int] = {}
    for directory, names, files in os.walk(root + "/."):
        for name in (*names, *files):
            path = os.path.join(directory, name)
            status = os.lstat(path)
            shown = path.removeprefix(root + "/./")
            found[shown] = stat.S_IMODE(status.st_mode) if name in names else Path(path).read_text()
    return found


def test_directories_are_alike_and_files_are_ours(tree: tuple[Path, Fd]) -> None:
    where, clone = tree
    entries = (
        (0x01, 7, 0xFFFFFFFF),
        (0x02, 5, 77),
        (0x04, 5, 0xFFFFFFFF),
        (0x10, 5, 0xFFFFFFFF),
        (0x20, 0, 0xFFFFFFFF),
    )
    listed = struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)
    try:
        acl.write_acl(str(where / "a"), listed)
    except OSError:
        listed = b""  # this file system has no access lists
    os.utime(where / "a", ns=(TIME, TIME))
    layer = make_layer(
        clone.fileno(), {"a/b/cacert.pem": (b"ours", b"!"), "a/cacert.pem": (b"more",)}, OWNER
    )
    assert layer is not None
    with layer:
        assert {name: what for name, what in listing(layer).items() if isinstance(what, str)} == {
            "a/b/cacert.pem": "ours!",
            "a/cacert.pem": "more",
        }
        for name in ("a", "a/b", "."):
            was, now = os.stat(where / name), os.stat(name, dir_fd=layer.fileno())
            for field in ("st_uid", "st_gid", "st_mode", "st_mtime_ns"):
                assert getattr(now, field) == getattr(was, field), (name, field)
        with Fd(os.open("a", os.O_PATH, dir_fd=layer.fileno())) as copy:
            assert acl.read_acl(copy.fileno()) == listed
        status = os.stat("a/cacert.pem", dir_fd=layer.fileno())
        assert (status.st_uid, stat.S_IMODE(status.st_mode)) == (OWNER, 0o444)
        with pytest.raises(OSError, match="Read-only"):
            os.open("new", os.O_CREAT | os.O_WRONLY, dir_fd=layer.fileno())
    assert (where / "a/cacert.pem").read_text() == "the host's"


def test_what_is_not_there_or_is_no_file_is_left_out(tree: tuple[Path, Fd], tmp_path: Path) -> None:
    where, clone = tree
    (where / "link").symlink_to("other")
    (where / "out").symlink_to("/etc")
    (where / "a/passwd").symlink_to("/etc/passwd")
    os.mkfifo(where / "a/fifo")
    absent = (
        "link/cacert.pem",
        "out/passwd",
        "a/passwd",
        "a/fifo",
        "a/b",
        "none",
        "none/cacert.pem",
        "a/cacert.pem/x",
    )
    assert make_layer(clone.fileno(), dict.fromkeys(absent, (b"x",)), OWNER) is None
    layer = make_layer(clone.fileno(), dict.fromkeys((*absent, "other/cacert.pem"), (b"x",)), OWNER)
    assert layer is not None
    with layer:
        assert listing(layer) == {"other": 0o755, "other/cacert.pem": "x"}


def test_nothing_stays_mounted(tree: tuple[Path, Fd]) -> None:
    before = Path("/proc/self/mountinfo").read_text()
    held = len(os.listdir("/proc/self/fd"))
    layer = make_layer(tree[1].fileno(), {"a/cacert.pem": (b"x",)}, OWNER)
    assert layer is not None
    layer.close()
    assert (
        Path("/proc/self/mountinfo").read_text() == before
        and len(os.listdir("/proc/self/fd")) == held
    )
