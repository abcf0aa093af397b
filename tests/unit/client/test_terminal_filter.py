"""What a cage left behind does not drive the terminal of whoever reads it."""

from __future__ import annotations

import re

import pytest
from akiosctl.terminal_filter import Tamer
from hypothesis import given
from hypothesis import strategies as st

HOSTILE = {
    "retitle": b"\x1b]0;owned\x07", "answer": b"\x1b[c\x1b[6n", "clipboard": b"\x1b]52;c;cm0gLXJm\x1b\\",
    "device control": b"\x1bP$qm\x1b\\", "screen": b"\x1b[2J\x1b[H", "keys": b'\x1b["ls";13p',
    "eight bits": b"\xc2\x9b2J", "reset": b"\x1bc", "back": b"safe\x08\x08\x08\x08evil",
    "long": b"\x1b[" + b"0;" * 100 + b"m",
}  # fmt: skip


def tame(*pieces: bytes) -> bytes:
    tamer = Tamer()
    return b"".join(map(tamer.feed, pieces)) + tamer.finish()


def drives(text: bytes) -> bool:
    """Whether anything but text, line ends, tabs and colours is left."""
    left = re.sub(rb"\x1b\[[0-9;:]*m", b"", text).decode("utf-8", "replace")
    return any((ord(c) < 32 and c not in "\t\n\r") or 127 <= ord(c) < 160 for c in left)


@pytest.mark.parametrize("name", HOSTILE)
def test_what_drives_a_terminal_is_shown(name: str) -> None:
    assert drives(HOSTILE[name]) or name == "long"
    assert not drives(tame(HOSTILE[name])) and b"\\x" in tame(HOSTILE[name])


def test_text_and_colours_are_left_alone() -> None:
    text = "plain\ttext\r\n\x1b[1;38;5;9mrød\x1b[0m 日本 \\x1b\n".encode()
    assert tame(text) == text + b"\x1b[0m"


@given(
    st.lists(
        st.sampled_from(
            [b"\x1b", b"[", b"3", b";", b"1m", b"m", b"J", b"\xc2", b"\x9b", b"\xa0", b"x", b"]"]
        )
    )
)
def test_it_does_not_matter_where_it_is_cut(pieces: list[bytes]) -> None:
    whole = tame(b"".join(pieces))
    assert tame(*pieces) == whole and not drives(whole)
