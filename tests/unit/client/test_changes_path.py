"""Names by which a program of the agent's would run in place of the system's."""

from __future__ import annotations

import os
from pathlib import Path

import pytest
from akiosctl.changes import Change, ChangeKind, Diff, Entry, EntryType
from akiosctl.changes.path_survey import survey_path


def added(*paths: bytes, kind: EntryType = EntryType.FILE, target: bytes = b"") -> Diff:
    entry = Entry(kind, 0o755, 0, 0, 0, 1, 1, 1, 0, 0, target)
    return Diff(tuple(Change(ChangeKind.ADDED, path, None, entry) for path in paths))


def rows(
    root: Path, diff: Diff, path: str = "", text: str = "", links: dict[bytes, bytes] | None = None
) -> set[bytes]:
    (root / ".envrc").write_text(text)
    env = {b"PATH": os.fsencode(path)}
    return {
        row.base
        for row in survey_path(os.fsencode(root.resolve()), [b".envrc"], links or {}, diff, env)
    }


@pytest.mark.parametrize(("path", "text", "place"), [
    ("{}/tools:/usr/bin", "", "tools"), ("/usr/bin:./tools", "", "tools"), ("tools", "", "tools"),
    ("", "PATH_add tools", "tools"), ("", "export PATH=$PWD/tools:$PATH", "tools"),
    ("", 'PATH="./tools:$PATH"', "tools"),
    ("", "path_add PATH a tools", "tools"), ("", '_.path = ["./a", "./tools"]', "tools"),
    ("", "layout node", "node_modules/.bin"),
])  # fmt: skip
def test_a_name_of_the_systems_in_a_directory_of_path(
    tmp_path: Path, path: str, text: str, place: str
) -> None:
    names = [os.fsencode(f"{place}/{name}") for name in ("sh", "no-such-program-at-all")]
    found = rows(tmp_path, added(*names, b"elsewhere/sh"), path.format(tmp_path.resolve()), text)
    assert found == {names[0]}
    assert rows(tmp_path, added(*names)) == set(), "the control: nothing leads there"


@pytest.mark.parametrize("path", [".:/usr/bin", "/usr/bin:", "{}"])
def test_the_directory_itself(tmp_path: Path, path: str) -> None:
    """What is a directory there runs under no name, whatever the system has."""
    (tmp_path / "test").mkdir()
    assert rows(tmp_path, added(b"ls", b"test/x", b"sub/ls"), path.format(tmp_path.resolve())) == {
        b"ls"
    }
    assert rows(tmp_path, added(b"ls"), f"/usr/bin:{tmp_path.parent}") == set(), (
        "the control: it only lies there"
    )


def test_what_stands_there_already_and_links_on_the_way(tmp_path: Path) -> None:
    """An existing name may be a link to what the agent changes; a directory of PATH may be or
    become one.
    """
    (tmp_path / "tools").mkdir()
    (tmp_path / "tools" / "sh").symlink_to("../wrapper")
    assert rows(tmp_path, added(b"wrapper"), "tools") == {b"tools/sh"}
    (tmp_path / "bin").symlink_to("tools")
    assert b"bin/ls" in rows(tmp_path, added(b"tools/ls"), "bin", links={b"bin": b"tools"})
    assert rows(tmp_path, added(b"out", kind=EntryType.SYMLINK, target=b"tools"), "out") >= {b"out"}
