"""Git's index read from values: every index git writes passes, none passes by which git would write
into ``.git``.
"""

from __future__ import annotations

import hashlib
import os
import shutil
import struct
import subprocess
from pathlib import Path

import pytest
from akiosctl.changes.git_index import find_objection, object_to_head, object_to_packed

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="there is no git")

NAMES = [
    "a",
    "dir/file",
    "dir/sub/file with space",
    "x" * 200,
    "dir/.gitignore",
    "dir/.github/w",
    "é",
    "a\\b",
]
FORMATS = ["sha1", "sha256"]


def git(where: Path, *words: str) -> None:
    env = {"PATH": os.environ["PATH"], "HOME": "/nonexistent", "GIT_CONFIG_NOSYSTEM": "1"}
    subprocess.run(["git", *words], cwd=where, env=env, check=True, capture_output=True)


def make_index(where: Path, names: list[str], kind: str, *settings: str) -> bytes:
    git(where, "init", "-q", f"--object-format={kind}")
    for name in names:
        (where / name).parent.mkdir(parents=True, exist_ok=True)
        (where / name).write_text(name)
    options = [word for setting in settings for word in ("-c", setting)]
    git(where, *options, "add", "--", *names)
    return (where / ".git" / "index").read_bytes()


def exchange(index: bytes, old: bytes, new: bytes, kind: str) -> bytes:
    digest = hashlib.new(kind)
    body = index[: -digest.digest_size].replace(old, new)
    assert body != index[: -digest.digest_size]
    digest.update(body)
    return body + digest.digest()


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("version", ["2", "3", "4"])
def test_what_git_writes_passes(tmp_path: Path, kind: str, version: str) -> None:
    make_index(tmp_path, NAMES, kind)
    git(tmp_path, "update-index", "--index-version", version)
    if version == "3":
        git(tmp_path, "update-index", "--skip-worktree", "a")
    index = (tmp_path / ".git" / "index").read_bytes()
    assert index[4:8] == struct.pack(">I", int(version)) and find_objection(index) == ""
    git(tmp_path, "update-index", "--split-index")
    for path in (tmp_path / ".git").glob("*index*"):
        assert find_objection(path.read_bytes()) == "", path


@pytest.mark.parametrize("kind", FORMATS)
@pytest.mark.parametrize("version", ["2", "4"])
@pytest.mark.parametrize(("old", "new"), [
    (b"abcd/", b".git/"), (b"abcd/", b".GiT/"), (b"abcd/", b"../a/"), (b"abcd/", b"/abc/"), (b"abcd/", b"./a//"),
    (b"abcd/", b".git\\"), (b"abcd/x", b"abc/.."), (b"abcde/x/y", b"abc/.git/"),
])  # fmt: skip
def test_where_git_must_not_write_it_is_refused(
    tmp_path: Path, kind: str, version: str, old: bytes, new: bytes
) -> None:
    index = make_index(tmp_path, ["abcd/x", "abcde/x/y"], kind, f"index.version={version}")
    assert find_objection(index) == ""
    if old in index:  # in version 4 only what differs from the name before stands there
        assert "git would write" in find_objection(exchange(index, old, new, kind))


@pytest.mark.parametrize("kind", FORMATS)
def test_a_table_of_offsets_that_leads_elsewhere_is_no_index(tmp_path: Path, kind: str) -> None:
    """Git follows it with several threads: other entries could lie where nobody looks."""
    index = make_index(tmp_path, ["a", "b", "c"], kind)
    size = hashlib.new(kind).digest_size

    def with_table(offset: int, count: int) -> bytes:
        table = struct.pack(">4sIIII", b"IEOT", 12, 1, offset, count)
        return index[:-size] + table + index[-size:]

    assert find_objection(with_table(12, 3)) == ""
    assert "cannot be read" in find_objection(with_table(20, 3))
    assert "cannot be read" in find_objection(with_table(12, 2))


def test_names_without_end_are_refused() -> None:
    """In version 4 each may be one byte longer than the last: a few megabytes hold more than memory
    does.
    """
    entry = b"\0" * 60 + struct.pack(">H", 0x0FFF) + b"\0a\0"
    first = [b"\0" * 60 + struct.pack(">H", length) + b"\0a\0" for length in range(1, 0x0FFF)]
    data = struct.pack(">4sII", b"DIRC", 4, 100_000) + b"".join(first) + entry * 95_906 + b"\0" * 20
    assert "cannot be read" in find_objection(data)


@pytest.mark.parametrize(
    "data", [b"DIRC", b"DIRC\0\0\0\x02\0\0\0\x01", b"DIRC\0\0\0\x09\0\0\0\0" + b"\0" * 32]
)
def test_what_cannot_be_read_is_refused(data: bytes) -> None:
    assert "cannot be read" in find_objection(data)


@pytest.mark.parametrize("name", ["main", "fix/#12-it's", "a-(b)&c"])
def test_names_of_references_that_no_prompt_runs(name: str) -> None:
    line, oid = name.encode(), b"0" * 40
    assert object_to_head(b"ref: refs/heads/" + line + b"\n") == object_to_head(oid + b"\n") == ""
    assert (
        object_to_packed(b"# pack-refs with: peeled $\n" + oid + b" refs/heads/" + line + b"\n")
        == ""
    )
    for active in (b"$(x)", b"`x`", b"${x}"):
        assert "prompt" in object_to_head(b"ref: refs/heads/" + line + active + b"\n")
        assert "prompt" in object_to_packed(
            oid + b" refs/tags/ok\n" + oid + b" refs/tags/" + line + active + b"\n"
        )
