"""What a user's git configuration means for a run: which settings matter, and that what is
remembered is no older.
"""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from akiosctl import git_lacks, git_user
from akiosctl.changes.git_config import parse_config
from akiosctl.git_lacks import find_lacks
from akiosctl.git_user import GitUser, general_files, look


@pytest.mark.parametrize(("text", "lacks"), [
    ("[core]\nautocrlf = input", ["core.autocrlf"]),
    ("[core]\nautocrlf = false", []),
    ("[core]\nautocrlf = no", []),
    ("[core]\nautocrlf", ["core.autocrlf"]),
    ("[core]\nautocrlf = true\nautocrlf = false", []),
    ("[commit]\ngpgSign = on", ["commit.gpgsign"]),
    ("[init]\ndefaultBranch = master\n[user]\nname = x\n[color]\nui = never\n[alias]\nx = y", []),
    ("[init]\ndefaultBranch = main", ["init.defaultbranch"]),
    ('[filter "lfs"]\nclean = git-lfs clean\nrequired\n[filter "none"]\nrequired', ["filter.lfs"]),
    ('[merge "ours"]\ndriver = true\n[merge]\nff = only', ["merge.ff", "merge.ours"]),
    ("", []),
])  # fmt: skip
def test_which_settings_matter(text: str, lacks: list[str]) -> None:
    assert find_lacks(parse_config(text.encode())) == lacks


@pytest.mark.parametrize(("env", "files"), [
    ({}, ["/etc/gitconfig", "/h/.config/git/config", "/h/.gitconfig"]),
    ({"XDG_CONFIG_HOME": "/x"}, ["/etc/gitconfig", "/x/git/config", "/h/.gitconfig"]),
    ({"GIT_CONFIG_NOSYSTEM": "1", "GIT_CONFIG_GLOBAL": "/g"}, ["/g"]),
    ({"GIT_CONFIG_SYSTEM": "/s"}, ["/s", "/h/.config/git/config", "/h/.gitconfig"]),
])  # fmt: skip
def test_which_files_are_read(env: dict[str, str], files: list[str]) -> None:
    assert general_files("/h", env) == files


class Place:
    def __init__(self, base: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.home, self.workspace = base / "home", base / "work"
        (self.workspace / ".git").mkdir(parents=True)
        self.home.mkdir()
        monkeypatch.setenv("XDG_CACHE_HOME", str(base / "cache"))
        self.env = {"GIT_CONFIG_NOSYSTEM": "1"}

    def look(self, **more: str) -> GitUser:
        found = look(str(self.workspace), str(self.home), self.env, **more)
        if found.ignore is not None:
            os.close(found.ignore[1])
        return found


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Place:
    return Place(tmp_path, monkeypatch)


def test_what_is_remembered_follows_every_file_it_came_from(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    read: list[int] = []
    real = git_lacks.summarise
    monkeypatch.setattr(git_lacks, "summarise", lambda *words: read.append(1) or real(*words))
    (place.home / ".gitconfig").write_text("[include]\npath = more\n[include]\npath = absent\n")
    (place.home / "more").write_text("[core]\nautocrlf = true\n")
    assert [place.look().warning.count("core.autocrlf") for _ in range(3)] == [1, 1, 1] and len(
        read
    ) == 1
    (place.home / "more").write_text("[core]\nautocrlf = false\n")
    assert place.look().warning == "" and place.look().warning == "" and len(read) == 2
    (place.home / "absent").write_text("[tag]\ngpgSign = true\n")
    assert "tag.gpgsign" in place.look().warning and len(read) == 3


def test_where_the_rules_stand_inside(place: Place) -> None:
    (place.home / ".config/git").mkdir(parents=True)
    (place.home / ".config/git/ignore").write_text("*.env\n")
    found = place.look()
    assert found.ignore is not None and found.ignore[0] == f"{place.home}/.config/git/ignore"
    found = place.look(inside_config_home="/inside/config")
    assert found.ignore is not None and found.ignore[0] == "/inside/config/git/ignore"
    (place.workspace / ".git").rmdir()
    assert place.look() == GitUser(), "no repository, no rules"


@pytest.mark.parametrize("kind", ["directory", "fifo", "large", "absent", "unreadable"])
def test_what_are_no_rules(place: Place, kind: str) -> None:
    path = place.home / ".config/git/ignore"
    path.parent.mkdir(parents=True)
    if kind == "directory":
        path.mkdir()
    elif kind == "fifo":
        os.mkfifo(path)
    elif kind != "absent":
        path.write_text("*\n" * (1 << 20 if kind == "large" else 1))
        path.chmod(0 if kind == "unreadable" else 0o644)
    if kind == "unreadable" and os.geteuid() == 0:
        pytest.skip("root reads everything")
    assert place.look().ignore is None


def test_a_driver_counts_where_attributes_name_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.home / ".gitconfig").write_text(
        '[filter "lfs"]\nclean = x\n[filter "other"]\nclean = x\n'
    )
    assert place.look().warning == ""
    (place.workspace / "a/node_modules/b").mkdir(parents=True)
    (place.workspace / "a/node_modules/b/.gitattributes").write_text("* filter=other\n")
    (place.workspace / "a/.gitattributes").write_text("*.bin diff=lfs\tfilter=lfs -text\n")
    assert place.look().warning.endswith(": filter.lfs")
    monkeypatch.setattr(git_user, "_MAX_DIRECTORIES", 1)
    assert place.look().warning.endswith(": filter.lfs, filter.other"), (
        "too much to look through: told"
    )
