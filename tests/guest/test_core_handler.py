"""A host's core handler runs as root on a dump of the process that crashed: it never gets to see
one of a cage.

The handler is the guest's own; ``core_pattern`` of a machine that matters is not written.
"""

from __future__ import annotations

import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until

PATTERN = Path("/proc/sys/kernel/core_pattern")
# ulimit asks for the limit that programs like ssh-agent take.
CRASH = "ulimit -S -c 0; kill -SEGV $$"


@pytest.fixture
def seen(tmp_path: Path) -> Iterator[Path]:
    """Where the handler leaves a file for each process it was started for, named by its number on
    the host.
    """
    tmp_path.chmod(0o755)
    found, handler = tmp_path / "seen", tmp_path / "handler"
    found.mkdir()
    handler.write_text(f"#!/bin/sh\ncat >/dev/null\ntouch {found}/$1-$2\n")
    handler.chmod(0o755)
    before = PATTERN.read_text()
    PATTERN.write_text(f"|{handler} %P %u")
    try:
        yield found
    finally:
        PATTERN.write_text(before)


def crash_outside(uid: int) -> None:
    done = subprocess.run(["sh", "-c", CRASH], user=uid, group=uid)
    assert done.returncode == -signal.SIGSEGV


def test_the_hosts_handler_does_not_run_on_a_cage(daemon: Daemon, seen: Path) -> None:
    for script in (
        CRASH,
        "kill -SEGV $$",
        "python3 -c 'import os; os.kill(os.getpid(), 6)'; kill -ABRT $$",
    ):
        assert daemon.run("sh", "-c", script).returncode in (139, 134)
    # The control, afterwards: it runs for a limit of 0, and by then it would have run for the
    # others, too.
    crash_outside(1000)
    assert wait_until(lambda: len(list(seen.iterdir())) >= 1, 120)
    assert [path.name.split("-")[1] for path in seen.iterdir()] == ["1000"]
