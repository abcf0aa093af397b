"""What a user's git configuration means for a run: what of it goes in, what is left out and told,
and that what is remembered is no older.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosctl import git_lacks, git_user
from akiosctl.changes.git_config import Setting, parse_config
from akiosctl.git_conditions import Repository, is_met
from akiosctl.git_lacks import find_lacks, find_missing, flatten, is_kept, write_config
from akiosctl.git_user import GitUser, general_files, look

WORK = Repository((b"/h/work/x/.git",), b"fix/one", (b"https://git.example/team/x.git",))


def lacks(text: str, *there: str) -> list[str]:
    settings = parse_config(text.encode())
    missing = find_missing(settings, lambda command: command.split()[0] in there)
    return find_lacks(settings, missing)


@pytest.mark.parametrize(("text", "named"), [
    ("[core]\nautocrlf = input", []),
    ("[core]\nhooksPath = ~/hooks", ["core.hookspath"]),
    ("[commit]\ngpgSign = on", ["commit.gpgsign"]),
    ("[commit]\ngpgSign", ["commit.gpgsign"]),
    ("[commit]\ngpgSign = true\ngpgSign = no", []),
    ("[tag]\ngpgSign = 1\n[init]\ntemplateDir = ~/t", ["init.templatedir", "tag.gpgsign"]),
    ("[credential]\nhelper = store\n[color]\nui = never\n[alias]\nx = y", []),
    ('[filter "lfs"]\nclean = git-lfs clean\nrequired\n[filter "none"]\nrequired', ["filter.lfs"]),
    ('[filter "l"]\nclean = gone\nclean = here', []),
    ('[merge "ours"]\ndriver = true\n[merge]\nff = only', ["merge.ours"]),
    ("", []),
])  # fmt: skip
def test_which_settings_are_missed(text: str, named: list[str]) -> None:
    assert lacks(text, "here") == named


@pytest.mark.parametrize(("text", "kept"), [
    ("[user]\nname = A\nsigningKey = K\n[credential]\nhelper = store", ["user.name"]),
    ("[core]\neol = lf\nsshCommand = x\npager = x\neditor = x\nfsmonitor = x", ["core.eol"]),
    ("[alias]\ns = !x\n[include]\npath = x\n[http]\nextraHeader = secret\nproxy = x", []),
    ('[url "https://t:secret@h/"]\ninsteadOf = https://h/\n[diff "x"]\ntextconv = x\nbinary', ["diff.*.binary"]),
    ('[filter "a"]\nclean = here\nrequired\n[filter "b"]\nclean = gone\nrequired',
     ["filter.*.clean", "filter.*.required"]),
    ("[gpg]\nprogram = x\n[commit]\ngpgSign\ntemplate = x\ncleanup = strip", ["commit.cleanup"]),
    ("[sendemail]\nsmtpPass = secret\n[github]\ntoken = secret\n[safe]\ndirectory = *", []),
])  # fmt: skip
def test_what_goes_in_runs_nothing_and_holds_no_secret(text: str, kept: list[str]) -> None:
    settings = parse_config(text.encode())
    missing = find_missing(settings, lambda command: command == "here")
    assert [one.name for one in settings if is_kept(one, missing)] == kept


TEXT = st.binary(max_size=12).filter(lambda data: b"\0" not in data and b"\r" not in data)


@given(st.lists(st.tuples(TEXT, st.none() | TEXT), max_size=5))
def test_what_is_written_is_read_as_it_was(pairs: list[tuple[bytes, bytes | None]]) -> None:
    settings = [Setting("diff", name.replace(b"\n", b""), "binary", value) for name, value in pairs]
    assert parse_config(write_config(settings)) == settings


def test_git_itself_reads_what_is_written(tmp_path: Path) -> None:
    value = b' a "b" \\ c\td # ; \n e '
    (tmp_path / "c").write_bytes(write_config([Setting("user", None, "name", value)]))
    command = ["git", "config", "-f", "c", "-z", "user.name"]
    done = subprocess.run(command, cwd=tmp_path, capture_output=True, check=True)
    assert done.stdout == value + b"\0"


@pytest.mark.parametrize(("condition", "met"), [
    ("gitdir:~/work/", True), ("gitdir:~/play/", False), ("gitdir:/h/work/x/.git", True),
    ("gitdir:ork/", False),
    ("gitdir:work/", True), ("gitdir:**/x/**", True), ("gitdir:/h/*/x/", True), ("gitdir:/h/*/.git", False),
    ("gitdir:~/WORK/", False), ("gitdir/i:~/WORK/", True), ("gitdir:./work/", True), ("gitdir:/h/w[op]rk/", True),
    ("gitdir:/h/w[!o]rk/", False), ("onbranch:fix/", True), ("onbranch:fix/*", True), ("onbranch:fix", False),
    ("onbranch:*", False), ("hasconfig:remote.*.url:https://git.example/**", True),
    ("hasconfig:remote.*.url:https://else/**", False), ("hasconfig:user.name:x", False), ("other:x", False),
])  # fmt: skip
def test_conditions_of_includes(condition: str, met: bool) -> None:
    assert is_met(condition.encode(), b"/h/.gitconfig", WORK, b"/h") is met


@pytest.mark.parametrize(
    "condition", ["gitdir:work/", "gitdir:**/wo?k/**", "gitdir/i:WORK/", "onbranch:m*/"]
)
def test_git_itself_finds_the_same(tmp_path: Path, condition: str) -> None:
    """The control of the table: real git, on the same conditions."""
    place = tmp_path.resolve() / "work/x"
    place.mkdir(parents=True)
    (tmp_path / ".gitconfig").write_text(f'[includeIf "{condition}"]\n path = more\n')
    (tmp_path / "more").write_text("[user]\n name = met\n")
    env = {"HOME": str(tmp_path), "PATH": os.environ["PATH"], "GIT_CONFIG_NOSYSTEM": "1"}
    for command in (("init", "-qb", "main/x"), ("config", "user.name")):
        done = subprocess.run(["git", *command], cwd=place, env=env, capture_output=True, text=True)
    repository = Repository((os.fsencode(place / ".git"),), b"main/x")
    found = is_met(condition.encode(), os.fsencode(tmp_path / ".gitconfig"), repository, b"/h")
    assert found == (done.stdout == "met\n"), done.stderr


def test_includes_stand_where_they_are_named(tmp_path: Path) -> None:
    (tmp_path / "a").write_text(
        "[user]\nname = first\n[include]\npath = b\n[user]\nemail = last\n"
        f'[includeIf "gitdir:{tmp_path}/no/"]\npath = c\n'
    )
    (tmp_path / "b").write_text("[user]\nname = second\nemail = middle\n[include]\npath = a\n")
    (tmp_path / "c").write_text("[user]\nname = never\n")
    flat = flatten([os.fsencode(tmp_path / "a")], b"/h", Repository())
    values = [one.value for one in flat.settings if one.section == "user"]
    assert values[:3] == [b"first", b"second", b"middle"] and values[-1] == b"last"
    assert b"never" not in values and not flat.by_state


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
        for shown in found.shown:
            os.close(shown.fd)
        return found

    def paths(self, **more: str) -> list[str]:
        return [shown.path for shown in self.look(**more).shown]

    def warning(self) -> str:
        return "\n".join(self.look().warnings)


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
    (place.home / "more").write_text("[commit]\ngpgSign = true\n")
    assert [place.warning().count("commit.gpgsign") for _ in range(3)] == [1, 1, 1]
    assert len(read) == 1
    (place.home / "more").write_text("[commit]\ngpgSign = false\n")
    assert place.warning() == "" and place.warning() == "" and len(read) == 2
    (place.home / "absent").write_text("[tag]\ngpgSign = true\n")
    assert "tag.gpgsign" in place.warning() and len(read) == 3


def test_a_condition_on_the_branch_is_asked_anew(place: Place) -> None:
    (place.home / ".gitconfig").write_text('[includeIf "onbranch:side"]\npath = more\n')
    (place.home / "more").write_text("[user]\nname = x\n")
    (place.workspace / ".git/HEAD").write_text("ref: refs/heads/main\n")
    assert place.paths() == []
    (place.workspace / ".git/HEAD").write_text("ref: refs/heads/side\n")
    assert place.paths() == ["/etc/gitconfig"]


def test_where_the_rules_stand_inside(place: Place) -> None:
    rules = place.home / ".config/git"
    rules.mkdir(parents=True)
    (rules / "ignore").write_text("*.env\n")
    (rules / "attributes").write_text("*.bin -text\n")
    assert place.paths() == [f"{rules}/ignore", f"{rules}/attributes"]
    inside = place.paths(inside_config_home="/inside/config")
    assert inside == ["/inside/config/git/ignore", "/inside/config/git/attributes"]
    (place.workspace / ".git").rmdir()
    assert place.look() == GitUser(), "no repository, no rules"


def test_borrowed_objects_are_told(place: Place) -> None:
    info = place.workspace / ".git/objects/info"
    info.mkdir(parents=True)
    (info / "alternates").write_text(f"# x\n{place.workspace}/lib/.git/objects\n")
    assert place.warning() == "", "what the workspace holds is there"
    (info / "alternates").write_text("/srv/git/big.git/objects\n")
    assert "borrows from /srv/git/big.git/objects" in place.warning()


def test_only_this_workspace_is_named_as_safe(place: Place) -> None:
    (place.home / ".gitconfig").write_text(
        f"[safe]\ndirectory = /other/project\ndirectory = {place.workspace}\n"
    )
    (shown,) = look(str(place.workspace), str(place.home), place.env).shown
    try:
        text = Path(f"/proc/self/fd/{shown.fd}").read_text()
    finally:
        os.close(shown.fd)
    assert str(place.workspace) in text and "/other/project" not in text


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
    assert place.paths() == []


def test_a_driver_counts_where_attributes_name_it(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    (place.home / ".gitconfig").write_text(
        '[filter "lfs"]\nclean = not-here x\n[filter "other"]\nclean = not-here y\n'
    )
    assert place.warning() == ""
    (place.workspace / "a/node_modules/b").mkdir(parents=True)
    (place.workspace / "a/node_modules/b/.gitattributes").write_text("* filter=other\n")
    (place.workspace / "a/.gitattributes").write_text("*.bin diff=lfs\tfilter=lfs -text\n")
    assert place.warning().endswith(": filter.lfs")
    monkeypatch.setattr(git_user, "_MAX_DIRECTORIES", 1)
    assert place.warning().endswith(": filter.lfs, filter.other"), "too much to look through: told"
