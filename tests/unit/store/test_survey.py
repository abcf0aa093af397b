"""Trees that are deeper than paths reach, deeper than descriptors, or that cannot be read."""

from __future__ import annotations

import os
import resource
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from akiosd.errors import LedgerError
from akiosd.store.survey import survey
from akiosd.store.wipe import How, empty, overwrite, wipe
from tests.unit.deep import SECRET, dig, directory_for_deep_trees

DEPTH = 1200


@pytest.fixture
def deep() -> Iterator[Path]:
    with directory_for_deep_trees() as made:
        yield made


@pytest.fixture
def few_descriptors() -> Iterator[None]:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (min(200, hard), hard))
    yield
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


@pytest.mark.parametrize(("depth", "name"), [(DEPTH, "dddd"), (40, "n" * 255)])
@pytest.mark.usefixtures("few_descriptors")
def test_a_tree_of_any_depth_is_wiped(deep: Path, depth: int, name: str) -> None:
    target = deep / "cage"
    target.mkdir()
    file = dig(target, depth, name)
    done = wipe(target)
    assert (done.files, done.bytes, target.exists()) == (1, len(SECRET), False)
    assert os.pread(file, 100, 0) == bytes(len(SECRET))
    os.close(file)


def test_the_control_is_deeper_than_paths_and_frames(deep: Path) -> None:
    os.close(dig(deep, DEPTH))
    assert os.pathconf(deep, "PC_PATH_MAX") < 5 * DEPTH and sys.getrecursionlimit() < DEPTH
    with pytest.raises(OSError, match="File name too long"):
        os.stat("/".join([str(deep), *["dddd"] * DEPTH, "f"]))


def test_a_tree_of_any_depth_is_emptied_and_overwritten(deep: Path) -> None:
    file = dig(deep, DEPTH)
    overwrite(deep, How())
    assert os.pread(file, 100, 0) == bytes(len(SECRET))
    os.close(file)
    fd = os.open(deep, os.O_RDONLY)
    done = empty(fd, How(fast=True))
    os.close(fd)
    assert (done.files, done.left, os.listdir(deep)) == (1, (), [])


def test_names_of_what_is_lifted_may_be_taken(deep: Path) -> None:
    target = deep / "cage"
    target.mkdir()
    for number in range(1, 40):
        (target / f".akios-lifted-{number}").write_bytes(SECRET)
    os.close(dig(target, 200))
    assert wipe(target).files == 40 and not target.exists()


def test_who_only_looks_moves_nothing_and_says_what_was_not_seen(deep: Path) -> None:
    os.close(dig(deep, 200))
    fd = os.open(deep, os.O_RDONLY)
    (unseen,) = [item for item in survey(fd, repairs=False) if item.kind == "unseen"]
    assert unseen.path.count("/") < 70 and "too deep" in unseen.why
    assert os.listdir(deep) == ["dddd"]
    os.close(fd)


def test_a_directory_that_cannot_be_read_is_told_and_the_rest_is_wiped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("bad", "good"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "f").write_bytes(SECRET)
    bad, real = os.stat(tmp_path / "bad").st_ino, os.listdir

    def listdir(fd: int) -> list[str]:
        if os.fstat(fd).st_ino == bad:
            raise OSError(5, "Input/output error")
        return real(fd)

    monkeypatch.setattr(os, "listdir", listdir)
    fd = os.open(tmp_path, os.O_RDONLY)
    done = empty(fd, How())
    os.close(fd)
    assert (done.files, done.left) == (1, (("bad", "Input/output error"),))
    assert real(tmp_path) == ["bad"]
    with pytest.raises(LedgerError, match="cannot be looked into: Input/output error") as caught:
        wipe(tmp_path)
    assert caught.value.where == str(tmp_path / "bad")
