"""Printing a comparison whose every byte is hostile."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from akiosctl.changes import compare
from akiosctl.changes.render import (
    quote_path,
    render_list,
    render_patch,
    render_stat,
    to_json,
    unified,
    visible,
)
from hypothesis import given
from hypothesis import strategies as st


def test_quoting_is_that_of_git() -> None:
    assert quote_path(b"plain name.txt") == "plain name.txt"
    assert quote_path("grün".encode()) == "grün"
    assert quote_path(b'a\nb\t"\\\x1b[31m\xff') == r'"a\nb\t\"\\\033[31m\377"'
    assert quote_path("x\u202ey".encode()) == r'"x\342\200\256y"'


@given(st.binary(max_size=40))
def test_nothing_printed_can_drive_a_terminal(data: bytes) -> None:
    for text in (
        quote_path(data),
        visible(data.decode("utf-8", "surrogateescape").replace("\n", "")),
    ):
        text.encode("utf-8")
        assert not re.search("[\x00-\x08\x0a-\x1f\x7f-\x9f\u202a-\u202e\u2066-\u2069]", text)


def apply_patch(before: list[str], patch: list[str]) -> list[str]:
    """A strict reading of hunks: positions and context must be right."""
    result: list[str] = []
    position = 0
    for line in patch:
        if line.startswith("@@"):
            start, _, length = line.split()[1][1:].partition(",")
            first = int(start) - (length != "0")
            result += before[position:first]
            position = first
        elif line.startswith("\\"):
            continue
        elif line[0] == "+":
            result.append(line[1:])
        else:
            assert before[position] == line[1:]
            position += 1
            if line[0] == " ":
                result.append(line[1:])
    return result + before[position:]


@given(
    st.lists(st.sampled_from("abcde"), max_size=40), st.lists(st.sampled_from("abcde"), max_size=40)
)
def test_unified_hunks_rebuild_the_new_text(before: list[str], after: list[str]) -> None:
    patch = list(unified(before, after))
    assert apply_patch(before, patch) == after
    assert (patch == []) == (before == after)


def test_a_few_changes_in_a_long_file_give_small_hunks() -> None:
    before = [str(number) for number in range(5000)]
    after = [*before[:100], "x", *before[101:300], *before[310:]]
    patch = list(unified(before, after))
    assert len(patch) < 40 and apply_patch(before, patch) == after
    blocks = list(unified(before, [line + "!" for line in before]))
    assert apply_patch(before, blocks) == [line + "!" for line in before]


@pytest.mark.skipif(shutil.which("patch") is None, reason="needs patch(1)")
def test_patch_reads_what_is_printed(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        root.mkdir()
    lines = [f"line {number}" for number in range(60)]
    (old / "f").write_text("\n".join(lines) + "\n")
    (new / "f").write_text("\n".join([*lines[:10], "new", *lines[12:50], *lines[53:]]))
    (new / "added").write_text("one\ntwo\n")
    patch = "".join(line + "\n" for line in printed(old, new))
    subprocess.run(["patch", "-p1", "-s"], input=patch, cwd=old, text=True, check=True)
    assert (old / "f").read_text() == (new / "f").read_text()
    assert (old / "added").read_text() == "one\ntwo\n"


def printed(old: Path, new: Path) -> list[str]:
    old_fd, new_fd = os.open(old, os.O_PATH), os.open(new, os.O_PATH)
    try:
        diff = compare(old_fd, new_fd)
        return [line for change in diff.changes for line in render_patch(old_fd, new_fd, change)]
    finally:
        os.close(old_fd)
        os.close(new_fd)


def test_binary_long_and_link_contents_are_summed_up(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        root.mkdir()
    (new / "binary").write_bytes(b"\0" * 10)
    (new / "long").write_bytes(b"x\n" * 400_000)
    (new / "link").symlink_to("/etc/shadow")
    lines = printed(old, new)
    assert "(not shown as text: nothing became 10 B)" in lines
    assert "(not shown as text: nothing became 781.2 KiB)" in lines
    assert "+link to /etc/shadow" in lines


def test_list_stat_and_json(tmp_path: Path) -> None:
    old, new = tmp_path / "old", tmp_path / "new"
    for root in (old, new):
        root.mkdir()
        (root / "mode").write_text("x")
    (old / "before").write_text("same inode")
    os.link(old / "before", new / "after\n")
    (new / "mode").chmod(0o755)
    (new / "d").mkdir()
    old_fd, new_fd = os.open(old, os.O_PATH), os.open(new, os.O_PATH)
    diff = compare(old_fd, new_fd)
    os.close(old_fd)
    os.close(new_fd)
    assert list(render_list(diff, {b"d": "refused: why"})) == [
        'R before -> "after\\n"',
        "A d/  (refused: why)",
        "P mode  (mode 0644 became 0755)",
    ]
    assert render_stat(diff) == "2 added, 1 deleted, 1 with a new mode, 10 B to write"
    rows = json.loads(json.dumps(to_json(diff)))
    assert [row["kind"] for row in rows] == ["added", "deleted", "added", "mode"]
    assert rows[0]["path_base64"] == "YWZ0ZXIK" and rows[0]["renamed_from"] == "before"
