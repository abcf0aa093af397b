"""The /etc of cages: the host's part is there once, and what a caller chooses costs little."""

from __future__ import annotations

import os
from pathlib import Path

from akiosd.kernel import cage_etc


def regular(base: Path) -> dict[str, int]:
    """Inode numbers by path, of what is a file."""
    found = {}
    for directory, _, names in os.walk(base):
        for path in (Path(directory, name) for name in names):
            if path.is_file() and not path.is_symlink():
                found[str(path.relative_to(base))] = path.stat().st_ino
    return found


def test_two_users_share_what_is_the_hosts(tmp_path: Path) -> None:
    one, other = (
        cage_etc.make(tmp_path, name, f"/home/{name}", 1000, 1000) for name in ("one", "other")
    )
    first, second = regular(one), regular(other)
    own = {path for path in first if first[path] != second[path]}
    assert own == set(cage_etc._accounts("one", "/", 1000, 1000)) and len(first) > len(own)
    assert (one / "passwd").read_text().startswith("one:x:1000:1000:one:/home/one:")
    assert (other / "passwd").read_text().startswith("other:")
    assert not any(".new" in path.name for path in tmp_path.iterdir())
    modes = {
        stat.st_mode & 0o7022
        for stat in (path.stat() for path in one.rglob("*") if not path.is_symlink())
    }
    assert modes == {0}, "nobody but root writes here"


def test_it_is_made_once(tmp_path: Path) -> None:
    made = cage_etc.make(tmp_path, "one", "/home/one", 1000, 1000)
    before = made.stat().st_ino
    assert (
        cage_etc.make(tmp_path, "one", "/home/one", 1000, 1000) == made
        and made.stat().st_ino == before
    )
    assert cage_etc.make(tmp_path, "one", "/home/one", 0, 0) != made


def test_nothing_of_an_earlier_daemon_stays(tmp_path: Path) -> None:
    cage_etc.make(tmp_path / "etc", "one", "/home/one", 1000, 1000)
    cage_etc.sweep(tmp_path / "etc")
    assert list((tmp_path / "etc").iterdir()) == []
    cage_etc.sweep(tmp_path / "never made")
