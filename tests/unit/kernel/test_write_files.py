"""Many files in one call: the native writer and the one in plain Python leave the same, also when
one file fails.
"""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from akiosd.kernel import write_files as native
from akiosd.store import durable
from akiosd.store.durable import FileWriter


@pytest.fixture
def folder(tmp_path: Path) -> Iterator[int]:
    (tmp_path / "below").mkdir()
    fd = os.open(tmp_path, os.O_RDONLY | os.O_DIRECTORY)
    yield fd
    os.close(fd)


@pytest.fixture(params=[native.write_files, durable.write_files], ids=["native", "python"])
def write_files(request: pytest.FixtureRequest) -> FileWriter:
    writer: FileWriter = request.param
    return writer


def test_files_are_made_and_overwritten(
    tmp_path: Path, folder: int, write_files: FileWriter
) -> None:
    (tmp_path / "old").write_bytes(b"longer than what comes")
    files = [
        ("new", b"1"),
        ("below/empty", b""),
        ("old", b"2"),
        ("below/\udcff\n", bytes(3 << 20)),
        ("new", b"3"),
    ]
    write_files(folder, files, 0o640)
    assert {path: (tmp_path / path).read_bytes() for path, _ in files} == dict(files)
    assert (tmp_path / "new").stat().st_mode & 0o777 == 0o640 & ~current_umask()


def current_umask() -> int:
    mask = os.umask(0)
    os.umask(mask)
    return mask


def test_the_first_that_fails_is_named_and_ends_it(
    tmp_path: Path, folder: int, write_files: FileWriter
) -> None:
    with pytest.raises(FileNotFoundError) as caught:
        write_files(folder, [("first", b"1"), ("nowhere/x", b"2"), ("last", b"3")], 0o600)
    assert caught.value.filename == "nowhere/x"
    assert sorted(path.name for path in tmp_path.iterdir()) == ["below", "first"]


def test_no_link_is_followed(tmp_path: Path, folder: int, write_files: FileWriter) -> None:
    (tmp_path / "link").symlink_to("below/target")
    with pytest.raises(OSError) as caught:
        write_files(folder, [("link", b"1")], 0o600)
    assert caught.value.errno == errno.ELOOP
    assert not (tmp_path / "below" / "target").exists()


def test_no_room_is_told_with_the_file(write_files: FileWriter) -> None:
    folder = os.open("/dev", os.O_RDONLY | os.O_DIRECTORY)
    try:
        with pytest.raises(OSError) as caught:
            write_files(folder, [("null", b"1"), ("full", b"2")], 0o600)
        assert (caught.value.errno, caught.value.filename) == (errno.ENOSPC, "full")
    finally:
        os.close(folder)


def test_nothing_to_write_is_no_error(folder: int, write_files: FileWriter) -> None:
    write_files(folder, [], 0o600)


def test_a_name_ends_where_it_says(tmp_path: Path, folder: int, write_files: FileWriter) -> None:
    with pytest.raises(ValueError, match="null"):
        write_files(folder, [("first\0second", b"1")], 0o600)
    assert not (tmp_path / "first").exists()
