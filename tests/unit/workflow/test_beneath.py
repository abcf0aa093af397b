"""A step uses what its ``paths`` name, also after an earlier step put links there."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from akiosd.errors import AkiosError
from akiosd.workflow.steps.beneath import Place


@pytest.fixture
def workspace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    monkeypatch.chdir(tmp_path)
    for name in ("secret", "a/out/sub"):
        (tmp_path / name).mkdir(parents=True)
    (tmp_path / "secret/key").write_text("secret")
    (tmp_path / "a/out/key").write_text("own")
    (tmp_path / "a/out/sub/key").write_text("own")
    yield tmp_path


def read(path: str, *allowed: str) -> str:
    with Place(path, allowed) as place:
        fd = place.open_regular(os.O_RDONLY)
    with open(fd) as file:
        return file.read()


def replace_directory(there: Path) -> None:
    os.rename(there / "a/out", there / "a/before")
    os.symlink("../secret", there / "a/out")


def replace_parent(there: Path) -> None:
    os.rename(there / "a", there / "b")
    (there / "secret/out").mkdir()
    os.rename(there / "secret/key", there / "secret/out/key")
    os.symlink("secret", there / "a")


def replace_by_here(there: Path) -> None:
    os.rename(there / "a/out", there / "a/before")
    (there / "a/key").write_text("secret")
    os.symlink(".", there / "a/out")


def replace_file(there: Path) -> None:
    os.unlink(there / "a/out/key")
    (there / "a/out/other").write_text("secret")
    os.symlink("other", there / "a/out/key")


@pytest.mark.parametrize(
    ("allowed", "attack"),
    [
        ("a/out", replace_directory),
        ("a/out", replace_parent),
        ("a/out", replace_by_here),
        ("a/out/key", replace_file),
        ("a/out/key", replace_directory),
    ],
)
def test_a_link_in_the_place_of_what_is_allowed_leads_nowhere(
    workspace: Path, allowed: str, attack: Callable[[Path], None]
) -> None:
    assert read("a/out/key", allowed) == "own"
    absolute = f"{workspace}/{allowed}"
    attack(workspace)
    assert (workspace / "a/out/key").read_text() == "secret"  # the control: another would follow
    for name in (allowed, absolute):
        with pytest.raises(AkiosError, match="links"):
            read("a/out/key", name)
        with pytest.raises(AkiosError, match="links"), Place("a/out/key", [name]) as place:
            place.replace(b"written")
    assert "secret" in {path.read_text() for path in workspace.rglob("*") if path.is_file()}


def test_below_what_is_allowed_links_are_followed_as_long_as_they_stay(workspace: Path) -> None:
    os.symlink("sub/key", workspace / "a/out/link")
    os.symlink("../../secret/key", workspace / "a/out/away")
    assert read("a/out/link", "a/out") == "own"
    with pytest.raises(AkiosError, match="leads out"):
        read("a/out/away", "a/out")
