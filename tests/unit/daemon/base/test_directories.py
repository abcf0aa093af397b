"""Directories given to akiosd: what it made it may change, anything else stays as it is, also when
it is refused.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Callable
from pathlib import Path

import pytest
import trio

from akiosd.daemon.base.directories import find_foreign, make, make_runtime, make_state
from akiosd.daemon.sockets.serve_clients import open_unix_listener
from akiosd.errors import AkiosError


def tree(path: Path) -> list[tuple[str, int, int, int]]:
    found = sorted([path, *path.rglob("*")])
    return [
        (str(one), (status := one.lstat()).st_mode, status.st_uid, status.st_gid) for one in found
    ]


@pytest.mark.parametrize("umask", [0o077, 0o022, 0])
def test_what_is_made_has_its_mode_and_lets_users_through(tmp_path: Path, umask: int) -> None:
    before = os.umask(umask)
    try:
        make_state(tmp_path / "a" / "b" / "state")
        make_runtime(tmp_path / "c" / "run")
        assert make(tmp_path / "d", 0o700) and not make(tmp_path / "d", 0o755)
    finally:
        os.umask(before)
    wanted = {"a": 0o755, "a/b": 0o755, "a/b/state": 0o711, "c": 0o755, "c/run": 0o755, "d": 0o700}
    assert {name: stat.S_IMODE((tmp_path / name).stat().st_mode) for name in wanted} == wanted


@pytest.mark.parametrize("accept", [make_state, make_runtime])
@pytest.mark.parametrize("mode", [0o1777, 0o777, 0o775, 0o700, 0o755, 0o750, 0o2711])
def test_what_is_there_keeps_its_mode(
    tmp_path: Path, accept: Callable[[Path], None], mode: int
) -> None:
    place = tmp_path / "place"
    place.mkdir()
    place.chmod(mode)
    before = tree(tmp_path)
    if mode & 0o022:
        with pytest.raises(AkiosError, match="users other than root may write") as refused:
            accept(place)
        assert refused.value.where == str(place) and "place/akios would do" in refused.value.next
    else:
        accept(place)
    assert tree(tmp_path) == before


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root: gives a directory away")
@pytest.mark.parametrize("accept", [make_state, make_runtime])
def test_a_users_directory_is_refused(tmp_path: Path, accept: Callable[[Path], None]) -> None:
    place = tmp_path / "place"
    place.mkdir()
    os.chown(place, 1234, 1234)
    before = tree(tmp_path)
    with pytest.raises(AkiosError, match="belongs to uid 1234"):
        accept(place)
    assert tree(tmp_path) == before


def test_a_directory_that_holds_other_things_is_no_state_directory(tmp_path: Path) -> None:
    """A start removes what earlier ones left in ``etc``, ``disk`` and ``cages``: it must be known
    to be theirs.
    """
    for name in ("etc", "cages/pictures", "disk"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "precious").touch()
    before = tree(tmp_path)
    with pytest.raises(AkiosError, match="it holds 'cages' and no ledger"):
        make_state(tmp_path)
    assert tree(tmp_path) == before
    (tmp_path / "lock").touch()
    make_state(tmp_path)


@pytest.mark.parametrize(("names", "foreign"), [
    ([], ""), (["lost+found"], ""), (["lock", "etc"], ""), (["ledger", "README"], ""), (["etc", "usr"], "etc"),
    (["keys"], "keys"), ([".hidden"], ".hidden"),
])  # fmt: skip
def test_how_a_state_directory_is_known(names: list[str], foreign: str) -> None:
    assert find_foreign(names) == foreign


def test_a_link_in_the_place_of_what_was_made_is_not_followed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Where others may write above it: the control is the same without the link."""
    victim, place, real = tmp_path / "victim", tmp_path / "place", os.mkdir
    victim.mkdir(mode=0o700)

    def mkdir(path: Path, mode: int) -> None:
        real(path, mode)
        os.rmdir(path)
        os.symlink(victim, path)

    monkeypatch.setattr(os, "mkdir", mkdir)
    with pytest.raises(OSError, match=r"Not a directory|symbolic links"):
        make(place, 0o755)
    monkeypatch.undo()
    assert stat.S_IMODE(victim.stat().st_mode) == 0o700
    assert (
        make(tmp_path / "other", 0o755)
        and stat.S_IMODE((tmp_path / "other").stat().st_mode) == 0o755
    )


def test_only_a_dead_socket_is_replaced(tmp_path: Path) -> None:
    async def listen(path: Path) -> None:
        (await open_unix_listener(str(path))).socket.close()

    trio.run(listen, tmp_path / "s")
    trio.run(listen, tmp_path / "s")
    (tmp_path / "file").write_text("precious")
    with pytest.raises(AkiosError, match="another file is where"):
        trio.run(listen, tmp_path / "file")
    assert (tmp_path / "file").read_text() == "precious"
