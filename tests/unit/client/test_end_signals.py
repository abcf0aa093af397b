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
