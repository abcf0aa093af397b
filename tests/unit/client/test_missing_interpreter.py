"""The interpreter that a script or a program names, where that is what is missing."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from akiosctl.missing_interpreter import explain_missing


def script(directory: Path, content: bytes) -> str:
    path = directory / "tool"
    path.write_bytes(content)
    path.chmod(0o755)
    return str(path)


@pytest.mark.parametrize(
    ("content", "words"),
    [
        (b"#!/opt/none/python3\n", "needs /opt/none/python3, which is not on this host"),
        (b"#! /opt/none/env -S x y\n", "needs /opt/none/env, which is not on this host"),
        (b"#!/bin/sh\r\necho\n", "carriage return"),
        (b"#!/bin/sh\n", "needs /bin/sh, which is not shown inside the cage"),
        (b"#!\n", ""),
        (b"echo\n", ""),
        (b"", ""),
        (b"\x7fELF\x02\x01" + b"\xff" * 58, ""),
    ],
)
def test_what_a_script_needs_is_named(tmp_path: Path, content: bytes, words: str) -> None:
    path = script(tmp_path, content)
    assert words in explain_missing(path) and bool(explain_missing(path)) == bool(words)


def test_what_a_program_needs_is_named(tmp_path: Path) -> None:
    """A program for another C library; the control is this Python's own loader."""
    data = Path(os.path.realpath(sys.executable)).read_bytes()
    start = data.index(b"/lib64/ld-")
    loader = data[start : data.index(b"\0", start)]
    assert f"needs {loader.decode()}, which is not shown" in explain_missing(script(tmp_path, data))
    musl = b"/lib/ld-musl-x86_64.so.1"[: len(loader)].ljust(len(loader), b"x")
    changed = data[:start] + musl + data[start + len(loader) :]
    assert f"needs {musl.decode()}, which is not on this host" in explain_missing(
        script(tmp_path, changed)
    )


def test_of_what_cannot_be_read_nothing_is_said(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "fifo")
    assert [
        explain_missing(str(path)) for path in (tmp_path / "none", tmp_path, tmp_path / "fifo")
    ] == ["", "", ""]
