"""A directory that is emptied: nothing in it stays, nothing outside is touched, all is told."""

from __future__ import annotations

import errno
import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosd.store.survey import survey
from akiosd.store.wipe import Emptied, How, empty


@pytest.fixture
def root(tmp_path: Path) -> Iterator[tuple[int, Path]]:
    directory = tmp_path / "output"
    directory.mkdir()
    fd = os.open(directory, os.O_RDONLY | os.O_DIRECTORY)
    yield fd, directory
    os.close(fd)


def test_whatever_lies_there_goes_and_what_it_leads_to_stays(
    root: tuple[int, Path], tmp_path: Path
) -> None:
    fd, directory = root
    outside = tmp_path / "outside"
    outside.write_text("kept")
    (directory / "plain").write_bytes(b"x" * 5000)
    os.symlink(outside, directory / "link")
    os.symlink(tmp_path, directory / "up")
    os.link(outside, directory / "mine")
    (directory / "two").write_text("two")
    os.link(directory / "two", directory / "names")
    os.mkfifo(directory / "fifo")
    with socket.socket(socket.AF_UNIX) as made:
        made.bind(str(directory / "socket"))
    with (directory / "sparse").open("wb") as file:
        file.truncate(1 << 42)
    (directory / "a/b").mkdir(parents=True)
    (directory / "a/b/deep").write_text("deep")
    done = empty(fd, How())
    assert list(directory.iterdir()) == [] and outside.read_text() == "kept"
    assert done.spared == ("mine",) and done.failed == done.left == ()
    assert done.files == 6 and done.bytes >= 5000 + len("two") + len("deep")


def test_it_was_overwritten_before_it_was_unlinked(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "file").write_text("secret")
    with (directory / "file").open("rb") as held:
        empty(fd, How())
        assert held.read() == bytes(6)
    (directory / "file").write_text("secret")
    with (directory / "file").open("rb") as held:
        empty(fd, How(fast=True))
        assert held.read() == b"secret"  # the control: only unlinked


def test_what_cannot_be_overwritten_is_unlinked_and_told(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "bad").write_text("x")
    (directory / "worse").write_text("x")

    def fails(size: int) -> bytes:
        raise OSError(errno.EIO, os.strerror(errno.EIO))

    done = empty(fd, How(), fails)
    assert list(directory.iterdir()) == []
    assert [path for path, _ in done.failed] == ["bad", "worse"] and done.bytes == 0


def test_an_empty_one_is_left_as_it_is(root: tuple[int, Path]) -> None:
    assert empty(root[0], How()) == Emptied()


def test_who_only_looks_changes_no_mode(root: tuple[int, Path]) -> None:
    fd, directory = root
    (directory / "closed").mkdir(mode=0)
    survey(fd, repairs=False)
    assert (directory / "closed").stat().st_mode & 0o777 == 0


def test_a_directory_that_becomes_a_link_meanwhile_leads_nowhere(
    root: tuple[int, Path], tmp_path: Path
) -> None:
    fd, directory = root
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "victim").write_text("kept")
    (directory / "aa").write_bytes(b"x" * 5000)
    (directory / "z").mkdir()
    (directory / "z/victim").write_text("x")

    def swap(size: int) -> bytes:
        if not (directory / "y").exists():
            (directory / "z").rename(directory / "y")
            os.symlink(outside, directory / "z")
        return os.urandom(size)

    done = empty(fd, How(), swap)
    assert (outside / "victim").read_text() == "kept" and done.left
    assert empty(fd, How()).left == () and os.listdir(directory) == []
    assert (outside / "victim").read_text() == "kept"


def test_a_name_that_is_met_twice_is_no_second_name(
    root: tuple[int, Path], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Somebody renames it from a directory that was looked at to one that was not yet."""
    fd, directory = root
    marker = tmp_path / "marker"
    marker.write_text("kept")
    (directory / "a").mkdir()
    (directory / "b").mkdir()
    os.link(marker, directory / "a/x")
    (directory / "a/own").write_bytes(b"x" * 5000)
    (directory / "a/one").write_bytes(b"x" * 5000)  # the control: both names are here
    os.link(directory / "a/one", directory / "b/two")
    controls = [os.open(directory / "a" / name, os.O_RDONLY) for name in ("one", "own")]
    real = os.listdir

    def listdir(place: int) -> list[str]:
        if os.readlink(f"/proc/self/fd/{place}").endswith("/b") and (directory / "a/x").exists():
            for name in ("x", "own"):
                (directory / "a" / name).rename(directory / "b" / name)
        return real(place)

    monkeypatch.setattr(os, "listdir", listdir)
    done = empty(fd, How())
    assert marker.read_text() == "kept"
    assert done.failed == (("a/x", "it has a name elsewhere"),)
    for control in controls:
        assert os.pread(control, 5000, 0) == bytes(5000)
        os.close(control)
    assert real(fd) == []


def test_a_name_that_is_made_elsewhere_meanwhile_keeps_its_content(
    root: tuple[int, Path], tmp_path: Path
) -> None:
    fd, directory = root
    for name in ("aa", "z"):
        (directory / name).write_bytes(b"x" * 5000)
    control = os.open(directory / "aa", os.O_RDONLY)

    def link(size: int) -> bytes:
        if not (tmp_path / "kept").exists():
            os.link(directory / "z", tmp_path / "kept")
        return os.urandom(size)

    done = empty(fd, How(), link)
    assert (tmp_path / "kept").read_bytes() == b"x" * 5000
    assert done.failed == (("z", "it has a name elsewhere"),)
    assert (os.pread(control, 5000, 0), os.listdir(fd)) == (bytes(5000), [])
    os.close(control)
