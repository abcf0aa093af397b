"""What the kernel counts for each user: no cage uses up another's share, or root's.

A user namespace charges its owner as well; were that root, all cages and the host would share one
number.
"""

from __future__ import annotations

import ctypes
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager

import pytest

from tests.e2e.daemon import NOBODY, OTHER, Daemon

# The control's only: no daemon of another test and no process of the host has it.
LONELY = 64999

TAKE_INOTIFY = """
import ctypes, sys
libc, made = ctypes.CDLL(None), 0
while made < 100_000 and libc.inotify_init1(0) >= 0:
    made += 1
print(made, flush=True)
sys.stdin.readline()
"""
# To itself, and blocked: each stays queued.
TAKE_SIGNALS = """
import ctypes, os, signal, sys
libc, sent = ctypes.CDLL(None), 0
signal.pthread_sigmask(signal.SIG_BLOCK, {40})
while sent < 1_000_000 and libc.sigqueue(os.getpid(), 40, None) == 0:
    sent += 1
print(sent, flush=True)
sys.stdin.readline()
"""
NUMBERS = {"inotify instances": TAKE_INOTIFY, "queued signals": TAKE_SIGNALS}
_PIPES = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}


@contextmanager
def held(process: subprocess.Popen[str]) -> Iterator[int]:
    """How many ``process`` took; it keeps them until the end of the block."""
    assert process.stdin is not None and process.stdout is not None
    with process:
        yield int(process.stdout.readline())
        process.stdin.close()


def take_in_cage(daemon: Daemon, script: str, uid: int) -> subprocess.Popen[str]:
    where = daemon.workspace(uid=uid)
    flags = ["run", "--quiet", "--discard", "--workspace", where]
    return daemon.popen(*flags, "--", "python3", "-c", script, cwd=where, uid=uid, **_PIPES)


def take_outside(script: str, *words: str) -> subprocess.Popen[str]:
    ids = {"user": LONELY, "group": NOBODY, "extra_groups": []}
    return subprocess.Popen([*words, sys.executable, "-c", script], **ids, **_PIPES)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("name", NUMBERS)
def test_one_cage_does_not_use_up_what_others_have(daemon: Daemon, name: str) -> None:
    script = NUMBERS[name]
    # The control: two processes of one user share the number, whatever namespaces of theirs they
    # run in.
    with (
        held(take_outside(script)) as one,
        held(take_outside(script, "unshare", "--user", "--ipc")) as other,
    ):
        assert one > other == 0
    with held(take_in_cage(daemon, script, NOBODY)) as first:
        with (
            held(take_in_cage(daemon, script, NOBODY)) as second,
            held(take_in_cage(daemon, script, OTHER)) as third,
        ):
            assert first == second == third > 0 and root_may_still_watch()


def root_may_still_watch() -> bool:
    libc = ctypes.CDLL(None)
    fd = libc.inotify_init1(0)
    return bool(fd >= 0 and libc.close(fd) == 0)
