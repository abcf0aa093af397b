"""``top`` on a real terminal, with a real akiosd that goes away and comes back."""

from __future__ import annotations

import json
import os
import re
import select
import time
from collections.abc import Iterator

import pyte
import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.terminal import Terminal

MARKUP = "[bold red]seen[/]"
COMMAND = f'echo "{MARKUP}"; exec sleep 1000 # \x1b[31m\x07'


class Screen(Terminal):
    """What a person sees of it, worked out by another terminal emulator."""

    def __init__(self, daemon: Daemon, *words: str, size: tuple[int, int] = (24, 80)) -> None:
        super().__init__(daemon, *words, uid=NOBODY, size=size)
        self.shown = pyte.Screen(size[1], size[0])
        self._stream = pyte.ByteStream(self.shown)
        self.raw = b""

    def look(self, wanted: str) -> str:
        """Wait until the screen shows ``wanted``, a regular expression over its lines."""
        deadline = time.monotonic() + self.patience_s
        while True:
            text = "\n".join(self.shown.display)
            if re.search(wanted, text):
                return text
            left = deadline - time.monotonic()
            if left <= 0 or not select.select([self.master], [], [], left)[0]:
                raise AssertionError(f"{wanted!r} was not seen; there was\n{text}")
            data = os.read(self.master, 1 << 16)
            self.raw += data
            # pyte takes a private mode for others without the question mark (CSI > u, CSI ? $ p).
            self._stream.feed(re.sub(rb"\x1b\[[?>][\d;]*(?:u|\$p)", b"", data))


@pytest.fixture(scope="module")
def cage(private: Daemon) -> Iterator[str]:
    """A cage of nobody's that runs, whose command is full of what drives terminals."""
    place = private.workspace(uid=NOBODY)
    words = ("run", "-d", "--name", "odd", "--workspace", place, "--", "/bin/sh", "-c", COMMAND)
    done = private.ctl(*words, uid=NOBODY, cwd=place)
    assert done.returncode == 0, done.stderr
    yield done.stdout.strip()
    private.ctl("stop", "--kill", "odd", uid=NOBODY)


def test_once_beside_what_others_see(private: Daemon, cage: str) -> None:
    done = private.ctl("top", "--once", uid=NOBODY)
    assert done.returncode == 0, done.stderr
    assert "odd" in done.stdout and MARKUP in done.stdout and "\x1b" not in done.stdout
    (found,) = json.loads(private.ctl("top", "--json", uid=NOBODY).stdout)
    assert found["cage"] == cage and 0 < found["memory"] < found["memory_limit"]
    assert found["pids"] >= 2 and found["pids_limit"] == 1024 and found["disk_limit"] > 0
    assert json.loads(private.ctl("top", "--json", uid=OTHER).stdout) == [], "another user's"
    assert [one["cage"] for one in json.loads(private.ctl("top", "--json").stdout)] == [cage], (
        "root"
    )


def test_without_a_terminal_it_says_what_does_the_same(private: Daemon) -> None:
    done = private.ctl("top", uid=NOBODY)
    assert done.returncode == 125 and done.stdout == ""
    assert "needs a terminal" in done.stderr and "akiosctl top --once" in done.stderr


def test_a_session_at_a_terminal(private: Daemon, cage: str) -> None:
    with Screen(private, "top") as seen:
        text = seen.look(r"odd +running +0%")
        assert MARKUP in text and "\\x1b[31m\\x07" in text
        drawn = re.sub(rb"\x1b\]22;\w+\x07", b"", seen.raw)  # the form of the pointer
        assert b"\x07" not in drawn and b"\x1b[31m\\" not in drawn
        seen.type("\r")
        seen.look(r"\[1 calls\]")
        seen.type("4")
        seen.look(r"  birth  ")
        seen.type("\x1b")
        seen.look(r"1 running")
        seen.type("?")
        seen.look(r"akiosctl stop CAGE")
        seen.type("q")
        seen.look(r"1 running")
        seen.type("y")
        seen.look(r"copied: c-")
        assert b"\x1b]52;c;" in seen.raw
        seen.type("q")
        assert seen.wait() == 0 and seen.is_restored()


@pytest.mark.named_set("live")
def test_a_stop_is_asked_about_and_akiosd_may_go_and_come_back(private: Daemon, cage: str) -> None:
    with Screen(private, "top", size=(20, 60)) as seen:
        seen.look(r"odd +running")
        private.stop()
        seen.look(r"akiosd is away for")
        private.start()
        seen.look(r"akiosd is back")
        seen.look(r"0 running")
        place = private.workspace(uid=NOBODY)
        words = ("run", "-d", "--name", "later", "--workspace", place, "--", "/bin/sleep", "1000")
        assert private.ctl(*words, uid=NOBODY, cwd=place).returncode == 0
        seen.look(r"later +running")
        seen.type("G")
        seen.look(r"/bin/sleep 1000")
        seen.type("s")
        seen.look(r"Stop later")
        seen.type("n")
        seen.look(r"1 running")
        seen.type("s")
        seen.look(r"Stop later")
        seen.type("y")
        seen.look(r"later +exit")
        seen.type("\x03")
        assert seen.wait() == 0 and seen.is_restored()
