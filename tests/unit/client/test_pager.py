"""Long output on a terminal goes through a pager, and nothing in it can drive less(1)."""

from __future__ import annotations

import fcntl
import os
import pty
import re
import shutil
import struct
import subprocess
import sys
import termios
from pathlib import Path

import pytest

from akiosctl.pager import choose_pager

AKIOSCTL = Path(sys.executable).with_name("akiosctl")
LESS = "/usr/bin/less"


@pytest.mark.parametrize(
    ("environment", "less", "wanted"),
    [
        ({"TERM": "xterm"}, LESS, ([LESS], True)),
        ({"TERM": "xterm"}, None, ([], False)),
        ({"TERM": "dumb"}, LESS, ([], False)),
        ({}, LESS, ([], False)),
        ({"TERM": "xterm", "PAGER": ""}, LESS, ([], False)),
        ({"TERM": "xterm", "PAGER": "cat"}, LESS, ([], False)),
        ({"TERM": "xterm", "PAGER": "more"}, LESS, (["/bin/sh", "-c", "more"], False)),
        ({"TERM": "xterm", "PAGER": "less -S"}, LESS, (["/bin/sh", "-c", "less -S"], True)),
        ({"TERM": "xterm", "LESS": "S"}, LESS, ([LESS], False)),
        ({"TERM": "xterm", "LESS": "SR"}, LESS, ([LESS], True)),
    ],
)
def test_which_pager(
    environment: dict[str, str], less: str | None, wanted: tuple[list[str], bool]
) -> None:
    assert choose_pager(environment, less) == wanted


def on_a_terminal(*words: str, typed: bytes = b"", rows: int = 24, **variables: str) -> bytes:
    """What a person sees who starts akiosctl so and types, from the first output on."""
    master, slave = pty.openpty()
    fcntl.ioctl(slave, termios.TIOCSWINSZ, struct.pack("HHHH", rows, 100, 0, 0))
    process = subprocess.Popen(
        [AKIOSCTL, *words], stdin=slave, stdout=slave, stderr=slave, start_new_session=True,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "HOME": "/nonexistent", **variables},
        preexec_fn=lambda: fcntl.ioctl(0, termios.TIOCSCTTY, 0),
    )  # fmt: skip
    os.close(slave)
    seen = b""
    try:
        while data := os.read(master, 1 << 16):
            if not seen:
                os.write(master, typed)
            seen += data
    except OSError:
        pass  # its terminal is gone: it has left
    os.close(master)
    process.wait(60)
    return seen


def test_the_pager_gets_the_pages_and_may_do_nothing_else() -> None:
    seen = on_a_terminal(
        "protect", "patterns", PAGER='echo "[$LESSSECURE $LESS]"; sed "s/^/page: /"'
    )
    assert b"[1 FRX]" in seen and b"page: EMAIL" in seen
    assert re.search(rb"page: \d+ patterns", seen), "and the last line of it"


@pytest.mark.parametrize(
    "words",
    [("--no-pager", "protect", "patterns"), ("protect", "patterns", "--json"), ("--help",)],
)
def test_no_pager_where_none_is_wanted(words: tuple[str, ...]) -> None:
    seen = on_a_terminal(*words, PAGER="sed s/^/page:/")
    assert seen and b"page:" not in seen


def test_no_pager_in_a_pipe() -> None:
    done = subprocess.run(
        [AKIOSCTL, "protect", "patterns"], capture_output=True, timeout=60,
        env={"PATH": os.environ["PATH"], "TERM": "xterm", "PAGER": "sed s/^/page:/"},
    )  # fmt: skip
    assert done.returncode == 0 and b"patterns" in done.stdout and b"page:" not in done.stdout


def test_who_leaves_the_pager_early_sees_no_more() -> None:
    seen = on_a_terminal("protect", "patterns", PAGER="head -n 1")
    assert seen.count(b"\n") == 1 and b"Traceback" not in seen and b"Broken" not in seen


def test_a_text_cannot_drive_less(tmp_path: Path) -> None:
    """Control: the same bytes, given to the same less as they are, reach the terminal."""
    if shutil.which("less") is None:
        pytest.skip("less is not installed")
    hostile = b"\x1b]0;owned\x07\x1b[8mhidden\x1b[0m\x1b]8;;http://x\x1b\\link\x1b]8;;\x1b\\"
    notes = tmp_path / "notes"
    notes.write_bytes(b"mail ada@example.org" + hostile + b"\n")
    (tmp_path / "akios.yaml").write_text("version: 1\n")
    name = tmp_path / os.fsdecode(hostile.replace(b"/", b""))
    name.write_bytes(notes.read_bytes())
    seen = on_a_terminal("protect", "scan", "--show", str(name), PAGER="less -FRX")
    assert b"owned" in seen and b"1 found" in seen
    assert b"\x1b]" not in seen and b"\x1b[8m" not in seen
    raw = on_a_terminal("protect", "scan", str(name), PAGER=f"cat {notes} | less -FRX")
    assert b"\x1b[8mhidden" in raw
