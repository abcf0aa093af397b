"""The /etc of cages: the host's part is there once, and what a caller chooses costs little."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from akiosd.kernel import cage_etc
from akiosd.values.etc_names import why_not


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


def test_a_host_without_inodes_is_told_in_one_line(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def link(source: object, target: object, **_: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), source, None, target)

    monkeypatch.setattr(os, "link", link)
    with pytest.raises(OSError) as told:
        cage_etc.make(tmp_path, "one", "/home/one", 1000, 1000)
    assert told.value.errno == errno.ENOSPC and len(str(told.value)) < 400
    assert str(told.value.filename).startswith(str(tmp_path))


def test_nothing_of_an_earlier_daemon_stays(tmp_path: Path) -> None:
    cage_etc.make(tmp_path / "etc", "one", "/home/one", 1000, 1000)
    cage_etc.sweep(tmp_path / "etc")
    assert list((tmp_path / "etc").iterdir()) == []
    cage_etc.sweep(tmp_path / "never made")


def test_names_of_secrets_are_never_shown() -> None:
    refused = (
        "shadow shadow- gshadow sudoers sudoers.d sudoers.d/x ssl ssl/private ssh ssh/ssh_config krb5.keytab"
        " NetworkManager NetworkManager/system-connections/wifi wireguard/wg0.conf letsencrypt/live"
        " passwd hosts akios x/private/y x/id_ed25519 x/Secrets x/db_password.conf x/server.KEY npmrc"
    )
    assert [name for name in refused.split() if not why_not(name)] == []
    shown = (
        "maven maven/settings.xml man_db.conf chromium.d php/8.2/cli/php.ini keyboard sshfs.conf"
    )
    assert [name for name in shown.split() if why_not(name)] == [], "the control"


def test_what_many_callers_name_is_copied_once(tmp_path: Path) -> None:
    name = next(
        name
        for name in ("bindresvport.blacklist", "issue", "environment")
        if Path("/etc", name).is_file()
    )
    one, other = (
        cage_etc.make(tmp_path, user, "/home/a", 1000, 1000, (name,)) for user in ("one", "other")
    )
    assert (one / name).read_bytes() == Path("/etc", name).read_bytes()
    assert (one / name).stat().st_ino == (other / name).stat().st_ino
    plain = cage_etc.make(tmp_path, "one", "/home/a", 1000, 1000)
    assert not (plain / name).exists()
