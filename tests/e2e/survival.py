"""Helpers of the tests in which akiosd ends and its cages do not."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.e2e.daemon import Daemon

SEVERAL = "n=0; while [ $n -lt {} ]; do n=$((n+1)); echo $n; sleep 0.02; done; exit 7"
"""An agent that counts aloud, and ends with 7."""
UNTIL_TOLD = "echo up; while [ ! -e go ]; do sleep 0.02; done; {}"
"""An agent that does something once there is a file ``go`` in its workspace."""


@contextmanager
def small_daemon(config: str = "", **more: Any) -> Iterator[Daemon]:
    """A daemon that prepares little, and runs until the end; ``more`` as for :class:`Daemon`."""
    daemon = Daemon("pools: {userns: 2}\n" + config, **more)
    try:
        yield daemon.start()
    finally:
        daemon.close()


def begin(
    daemon: Daemon,
    command: str,
    *flags: str,
    workspace: Path | None = None,
    stdin: int = subprocess.DEVNULL,
) -> subprocess.Popen[bytes]:
    """A client whose agent has written its first line, which is read."""
    where = workspace or daemon.workspace()
    client: subprocess.Popen[bytes] = daemon.popen(
        *("run", "--json", *flags, "--workspace", where, "--", "sh", "-c", command),
        stdin=stdin,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=daemon.base,
        bufsize=0,
    )
    assert client.stdout is not None
    assert client.stdout.readline(), client.communicate()[1]
    return client


def kill_and_start(daemon: Daemon) -> None:
    kill(daemon)
    daemon.start()


def kill(daemon: Daemon) -> None:
    assert daemon.stop(signal.SIGKILL) == -signal.SIGKILL


def report(words: bytes) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(words.splitlines()[-1])
    return found


def the_cage(daemon: Daemon) -> str:
    """The only cage that runs."""
    (line,) = json.loads(daemon.ctl("ps", "--json").stdout)
    return str(line["cage"])


def verified(daemon: Daemon) -> bool:
    """Whether every log is what its roots say."""
    done = daemon.ctl("ledger", "verify", "--all")
    assert done.returncode == 0, done.stdout + done.stderr
    return True


def host_ends(daemon: Daemon) -> dict[str, str]:
    """Cage → reason of its end, in the host's log."""
    done = daemon.ctl("ledger", "show", "--json")
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return {line["cage"]: line["reason"] for line in lines if line["kind"] == "cage_end"}


def keeper_pid(daemon: Daemon) -> int:
    """The keeper that listens for this daemon; 0 for none.  Its parent may be any process."""
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            try:
                program = os.readlink(entry / "exe")
                if program.endswith("akios-keeper") and _listens(entry, daemon):
                    return int(entry.name)
            except OSError:
                continue
    return 0


def _listens(process: Path, daemon: Daemon) -> bool:
    path = str(daemon.base / "run" / "keeper.sock")
    rows = [line.split() for line in Path("/proc/net/unix").read_text().splitlines()]
    inodes = {f"socket:[{row[6]}]" for row in rows if row[-1] == path}
    return any(os.readlink(fd) in inodes for fd in (process / "fd").iterdir())
