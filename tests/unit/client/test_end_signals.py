"""SIGTERM and SIGHUP end a verb as Ctrl-C does, but for one that is ignored."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

WAITS = """
import signal, sys, time
from akiosctl.end_signals import end_as_interrupts_do, status_of
if "nohup" in sys.argv:
    signal.signal(signal.SIGHUP, signal.SIG_IGN)
end_as_interrupts_do()
try:
    print("ready", flush=True)
    sys.stdin.readline()
    print("went on", flush=True)
except KeyboardInterrupt as error:
    # Whoever ends a session sends both.
    signal.raise_signal(signal.SIGTERM)
    signal.raise_signal(signal.SIGHUP)
    print("undone", flush=True)
    sys.exit(status_of(error))
"""


@pytest.mark.parametrize(
    ("words", "number", "status", "said"),
    [
        ([], signal.SIGTERM, 143, "undone\n"),
        ([], signal.SIGHUP, 129, "undone\n"),
        (["nohup"], signal.SIGHUP, 0, "went on\n"),
        (["nohup"], signal.SIGTERM, 143, "undone\n"),
    ],
)
def test_it_undoes_what_it_began_once(
    words: list[str], number: signal.Signals, status: int, said: str
) -> None:
    pipe = subprocess.PIPE
    command = [sys.executable, "-c", WAITS, *words]
    with subprocess.Popen(command, stdin=pipe, stdout=pipe, text=True) as process:
        assert process.stdout is not None and process.stdout.readline() == "ready\n"
        process.send_signal(number)
        out, _ = process.communicate("\n", timeout=60)
    assert (process.returncode, out) == (status, said)


ONCE = """
import contextlib, signal, sys
from akiosctl.end_signals import end_as_interrupts_do, ended_once, status_of
end_as_interrupts_do()
with ended_once() if "once" in sys.argv else contextlib.nullcontext():
    try:
        signal.raise_signal(signal.SIGTERM)
    except KeyboardInterrupt as error:
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGINT):
            signal.raise_signal(number)
        print("undone", flush=True)
        status = status_of(error)
try:
    signal.raise_signal(signal.SIGINT)
except KeyboardInterrupt:
    print("as before", flush=True)
sys.exit(status)
"""


@pytest.mark.parametrize("word", ["once", "control"])
def test_what_is_ended_once_is_not_cut_short_by_another(word: str) -> None:
    command = [sys.executable, "-c", ONCE, word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    if word == "once":
        assert (done.returncode, done.stdout) == (143, "undone\nas before\n"), done.stderr
    else:
        assert "undone" not in done.stdout and "KeyboardInterrupt" in done.stderr


HELD = """
import signal, sys
from akiosctl.end_signals import held_back
try:
    with held_back() as let_end:
        signal.raise_signal(signal.SIGINT)
        with held_back() as inner:
            print("held", flush=True)
        if "asks" in sys.argv:
            let_end()
        print("whole", flush=True)
except KeyboardInterrupt:
    print("ended", flush=True)
"""


@pytest.mark.parametrize(
    ("word", "said"), [("asks", "held\nended\n"), ("never", "held\nwhole\nended\n")]
)
def test_one_that_is_held_back_raises_where_it_is_asked_about_or_at_the_end(
    word: str, said: str
) -> None:
    command = [sys.executable, "-c", HELD, word]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60)
    assert done.stdout == said, done.stderr
