"""Protected names, escaping links and special bits, from values alone."""

from __future__ import annotations

import os

import pytest
from hypothesis import given
from hypothesis import strategies as st

from akiosctl.changes import (
    DEFAULT_PROTECTED,
    Change,
    ChangeKind,
    Diff,
    Entry,
    EntryType,
    Rules,
    find_refusals,
)
from akiosctl.changes.names import fold, protecting_pattern
from akiosctl.changes.protect import escapes
from akiosd.values.protected import NAMING_PROGRAMS, PROTECTED_NAMES, TABLE, why_protected


def entry(kind: EntryType = EntryType.FILE, mode: int = 0o644, target: bytes = b"") -> Entry:
    return Entry(kind, mode, 0, 0, 0, 1, 1, 1, 0, 0, target)


def added(path: bytes, new: Entry) -> Change:
    return Change(ChangeKind.ADDED, path, None, new)


@pytest.mark.parametrize(
    "path",
    [
        b".git/hooks", b".git/hooks/pre-commit", b"sub/repo/.git/hooks/x", b".git/config", b".bashrc", b"home/.zshrc",
        b".envrc", b"a/b/.envrc", b".mcp.json", b".claude/settings.json", b".claude", b".vscode/tasks.json",
        b"akios.yaml", b".GIT/Hooks/x", b".Git/CONFIG", b".g\xe2\x80\x8cit/config", b".ENVRC", b"git~1/hooks/x",
        b".pdbrc", b".Rprofile", b"sub/.yarnrc.yml", b".cursorrules", b".windsurfrules", b"my.code-workspace",
        b"mise.toml", b".mise/config.toml", b".tool-versions", b".npmrc", b".pnpmfile.cjs", b".cargo/config.toml",
        b".dir-locals.el", b".exrc", b".nvim.lua", b".idea/workspace.xml", b".devcontainer/x",
        b".irbrc", b"rust-toolchain", b".git./config", b".git /config", b"\xef\xbc\x8egit/config",
        b".git/modules/lib/hooks/x", b"\xff/.envrc", b".direnv/flake-profile-1.rc", b".git/remotes/origin",
        b".lfsconfig", b".bsp/sbt.json", b".ropeproject/config.py", b".vscode/c_cpp_properties.json",
        b".github/agents/x.md",
    ],
)  # fmt: skip
def test_protected(path: bytes) -> None:
    assert protecting_pattern(path, DEFAULT_PROTECTED) is not None


@pytest.mark.parametrize(
    "path",
    [
        b".git", b".git/HEAD", b".git/objects/ab/cdef", b".git/index", b"hooks/pre-commit", b"config", b"src/.github/x",
        b"my.bashrc", b".envrc.example", b".vscode/extensions.txt", b".gitignore", b"x/.git/hooksy", b"...", b" ",
        b"tasks.json", b"Makefile", b"package.json", b".editorconfig", b".gitattributes", b"CLAUDE.md", b"commondir",
        b".github/workflows/ci.yml", b"mise/notes", b"x.code-workspace.md",
    ],
)  # fmt: skip
def test_not_protected(path: bytes) -> None:
    assert protecting_pattern(path, DEFAULT_PROTECTED) is None


def test_every_row_of_the_table_says_why_and_from_where() -> None:
    assert len(set(PROTECTED_NAMES)) == len(PROTECTED_NAMES)
    assert all(row.names and len(row.why) > 20 and len(row.source) > 8 for row in TABLE)
    naming = [name.replace("*", "x").encode() for name in NAMING_PROGRAMS]
    assert [name for name in naming if protecting_pattern(name, PROTECTED_NAMES) is None] == []
    assert all(len(why_protected(name)) > 20 for name in PROTECTED_NAMES)


def test_a_refusal_says_what_acts_on_the_name() -> None:
    refused = find_refusals(
        Diff((added(b"a/.envrc", entry()), added(b"own.pem", entry()))), Rules((".envrc", "*.pem"))
    )
    assert (
        refused[0].reason == "protected name (.envrc): the shell runs it on entering the directory"
    )
    assert refused[1].reason == "protected name (*.pem): the policy names it"


def test_patterns_of_the_policy() -> None:
    patterns = ("/Makefile", "*.pem", "deploy/*/secret?")
    assert protecting_pattern(b"Makefile", patterns) == "/Makefile"
    assert protecting_pattern(b"sub/Makefile", patterns) is None
    assert protecting_pattern(b"a/b/c/d/e/Makefile", patterns) is None
    assert protecting_pattern(b"a/b/key.pem/below", patterns) == "*.pem"
    assert protecting_pattern(b"x/deploy/eu/secret1", patterns) == "deploy/*/secret?"
    assert protecting_pattern(b"deploy/eu/west/secret1", patterns) is None
    assert protecting_pattern(b"anything", ()) is None


@given(
    st.lists(
        st.sampled_from([b"a", b".git", b"hooks", b"config", b".GIT", b"x"]), min_size=1, max_size=8
    )
)
def test_shared_memory_gives_the_same_answers(parts: list[bytes]) -> None:
    known: dict[bytes, str | None] = {}
    for end in range(len(parts), 0, -1):
        path = b"/".join(parts[:end])
        folded = [fold(part) for part in parts[:end]]
        expected = any(
            folded[i] == ".git" and folded[i + 1] in ("hooks", "config") for i in range(end - 1)
        )
        assert bool(protecting_pattern(path, DEFAULT_PROTECTED, known)) == expected
        assert bool(protecting_pattern(path, DEFAULT_PROTECTED)) == expected


def test_git_itself_may_not_change_what_it_is() -> None:
    directory, file = entry(EntryType.DIRECTORY, 0o755), entry()
    link = entry(EntryType.SYMLINK, 0o777, b"elsewhere")
    for change in (
        added(b"sub/.git", file),
        added(b".git", link),
        Change(ChangeKind.DELETED, b".git", directory, None),
        Change(ChangeKind.TYPE, b".Git", directory, file),
    ):
        assert [r.path for r in find_refusals(Diff((change,)), Rules())] == [change.path]
    assert find_refusals(Diff((added(b"sub/.git", directory),)), Rules()) == []


def test_a_bare_repository_under_any_name() -> None:
    paths = [
        b"data",
        b"data/HEAD",
        b"data/config",
        b"data/hooks/post-update",
        b"data/objects/x",
        b"other/config",
    ]
    diff = Diff(tuple(added(path, entry()) for path in paths), frozenset({b"data"}))
    assert [r.path for r in find_refusals(diff, Rules())] == [
        b"data/HEAD",
        b"data/config",
        b"data/hooks/post-update",
    ]


def test_commondir_counts_where_git_would_read_it() -> None:
    """A directory with a HEAD beside it is a repository; the comparison says so."""
    diff = Diff(
        (added(b"data/commondir", entry()), added(b"data/HEAD", entry())), frozenset({b"data"})
    )
    assert [r.path for r in find_refusals(diff, Rules())] == [b"data/HEAD", b"data/commondir"]


def test_a_directory_does_not_become_a_repository_in_two_steps() -> None:
    """Its configuration was committed before, when nothing was a repository."""
    repository = frozenset({b"data"})
    for name in (b"HEAD", b"objects", b"refs"):
        assert find_refusals(Diff((added(b"data/" + name, entry()),), repository), Rules())
    old, new = entry(), entry(mode=0o600)
    for change in (
        Change(ChangeKind.MODIFIED, b"data/HEAD", old, new),
        added(b"data/refs/heads/x", new),
    ):
        assert find_refusals(Diff((change,), repository), Rules()) == [], (
            "one that was there goes on working"
        )


@pytest.mark.parametrize(
    "path",
    [
        b".git/worktrees/x/commondir", b".git/modules/libs/deep/er/config", b".git/modules/libs/er/hooks/post-checkout",
        b".git/modules/libs/er/modules/in/config", b"sub/.git/modules/a/b/commondir",
        b".GIT/Modules/a/b/CONFIG", b".git/worktrees/x/hooks", b".git/modules/a/b/info/attributes",
        b".git/modules/a/b/objects/info/alternates",
    ],
)  # fmt: skip
def test_repositories_inside_git(path: bytes) -> None:
    assert find_refusals(Diff((added(path, entry()),)), Rules())


@pytest.mark.parametrize(("path", "repository", "refused"), [
    (b".git/modules/a/refs/heads/config", b".git/modules/a", False),
    (b".git/modules/a/logs/refs/heads/hooks/x", b".git/modules/a", False),
    (b".git/worktrees/w/logs/refs/sequencer", b".git/worktrees/w", False),
    (b".git/modules/a/refs/heads/config", b"", True), (b".git/modules/refs/config", b".git/modules/refs", True),
    (b".git/modules/a/refs/config", b".git/modules/a/refs", True),
    (b".git/modules/refs/b/hooks", b".git/modules/refs/b", True),
])  # fmt: skip
def test_a_branch_of_a_repository_inside_git_is_called_as_it_likes(
    path: bytes, repository: bytes, refused: bool
) -> None:
    """Judged by place: what is below the references of a repository is none of its settings."""
    diff = Diff((added(path, entry()),), frozenset({repository}))
    assert bool(find_refusals(diff, Rules())) is refused


@pytest.mark.parametrize(("name", "mode", "refused"), [
    (b"docs.url", 0o644, False), (b"README.sample", 0o755, False), (b"README.md", 0o644, False),
    (b"docs.url", 0o755, True), (b"pre-commit", 0o644, True), (b"husky.local.sh", 0o644, True),
])  # fmt: skip
def test_what_templates_put_beside_hooks(name: bytes, mode: int, refused: bool) -> None:
    diff = Diff((added(b"new/.git/hooks/" + name, entry(mode=mode)),))
    assert bool(find_refusals(diff, Rules())) is refused


@pytest.mark.parametrize(
    "path",
    [
        b".git/modules/a/b/index", b".git/worktrees/x/HEAD", b"modules/a/config", b"x/hooks", b"data/commondir",
        b".git/hooks/pre-commit.sample", b".git/refs/heads/rust-toolchain", b".git/logs/refs/heads/crush.json",
    ],
)  # fmt: skip
def test_what_git_writes_itself_is_left_alone(path: bytes) -> None:
    assert find_refusals(Diff((added(path, entry()),)), Rules()) == []


@pytest.mark.parametrize(
    ("path", "target", "expected"),
    [
        (b"l", b"f", False), (b"l", b"./a/b", False), (b"d/l", b"../f", False), (b"d/e/l", b"../../f", False),
        (b"l", b"..", True), (b"d/l", b"../..", True), (b"l", b"a/..", True), (b"d/l", b"./../a/./../..", True),
        (b"l", b"/etc/passwd", True), (b"l", b"/", True), (b"l", b"/usr/bin/env", False), (b"l", b"/usrx", True),
        (b"l", b"/usr/../etc", True), (b"l", b"/work/p/x", False), (b"l", b"/work/p", False),
        (b"l", b"/work/p/../q", True), (b"l", b"/work/pq", True), (b"l", b"/proc/self/cwd", True), (b"l", b"", False),
    ],
)  # fmt: skip
def test_escapes(path: bytes, target: bytes, expected: bool) -> None:
    assert escapes(path, target, Rules(root=b"/work/p")) is expected


@given(st.lists(st.sampled_from(["a", "b", "..", ".", ""]), max_size=8), st.integers(0, 3))
def test_a_link_that_does_not_escape_never_leaves_lexically(parts: list[str], depth: int) -> None:
    path = "/".join(["d"] * depth + ["link"])
    target = "/".join(parts)
    if not target.startswith("/") and not escapes(path.encode(), target.encode(), Rules()):
        resolved = os.path.normpath(os.path.join("/root", os.path.dirname(path), target))
        assert resolved == "/root" or resolved.startswith("/root/")


def test_setgid_is_handed_down_by_directories_only() -> None:
    shared = entry(EntryType.DIRECTORY, 0o2775)
    diff = Diff((added(b"d", shared), added(b"d/e", shared), added(b"d/f", entry(mode=0o2755))))
    assert [r.path for r in find_refusals(diff, Rules())] == [b"d/f"]
    plain = entry(EntryType.DIRECTORY, 0o755)
    assert find_refusals(Diff((added(b"d", plain), added(b"d/e", shared))), Rules()) != []
    assert find_refusals(Diff((Change(ChangeKind.MODE, b"d", plain, shared),)), Rules()) != []
    assert find_refusals(Diff((Change(ChangeKind.MODE, b"d", shared, plain),)), Rules()) == []
