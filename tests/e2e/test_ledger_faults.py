"""The real daemon with system calls of its ledger that fail or in which it is killed; then all
verifies.
"""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
from collections.abc import Iterator
from functools import cache
from pathlib import Path

import pytest

from akiosd.ledger.tiles import ENTRIES, Tile
from akiosd.store.fsck import fsck
from tests.e2e.daemon import BIN, Daemon
from tests.e2e.resources import wait_until

WORDS = "the-agents-own-words"

# What happens, in which call on which file below the state directory, and whether the daemon lives
# on.  Only checkpoints and WAL segments are renamed with renameat(2).
FAULTS: dict[str, tuple[str, str, str, bool]] = {
    "append: EIO in the write": ("pwrite64", "error=EIO", "ledger/wal/*.seg", False),
    "append: ENOSPC in the write": ("pwrite64", "error=ENOSPC", "ledger/wal/*.seg", False),
    "append: EIO in the sync": ("fdatasync", "error=EIO", "ledger/wal/*.seg", False),
    "append: ENOSPC in the sync": ("fdatasync", "error=ENOSPC", "ledger/wal/*.seg", False),
    "append: killed before the write": ("pwrite64", "signal=KILL", "ledger/wal/*.seg", False),
    "append: killed in the sync": ("fdatasync", "signal=KILL", "ledger/wal/*.seg", False),
    "publish: EIO in the write of a bundle": ("write", "error=EIO", "next bundle", False),
    "publish: ENOSPC in the write of a bundle": ("write", "error=ENOSPC", "next bundle", True),
    "publish: killed in the write of a bundle": ("write", "signal=KILL", "next bundle", False),
    "publish: EIO in the sync of a bundle": ("fsync", "error=EIO", "next bundle", False),
    "publish: ENOSPC in the sync of a bundle": ("fsync", "error=ENOSPC", "next bundle", False),
    "publish: killed in the sync of a bundle": ("fsync", "signal=KILL", "next bundle", False),
    "publish: EIO in the write of a checkpoint": (
        "write",
        "error=EIO",
        "ledger/host/checkpoint.tmp",
        False,
    ),
    "publish: ENOSPC in the write of a checkpoint": (
        "write",
        "error=ENOSPC",
        "ledger/host/checkpoint.tmp",
        True,
    ),
    "publish: EIO in the sync of a checkpoint": (
        "fsync",
        "error=EIO",
        "ledger/host/checkpoint.tmp",
        False,
    ),
    "publish: ENOSPC in the sync of a checkpoint": (
        "fsync",
        "error=ENOSPC",
        "ledger/host/checkpoint.tmp",
        False,
    ),
    "publish: EIO in the rename": ("renameat", "error=EIO", "", False),
    "publish: ENOSPC in the rename": ("renameat", "error=ENOSPC", "", True),
    "publish: killed in the write of a checkpoint": (
        "write",
        "signal=KILL",
        "ledger/host/checkpoint.tmp",
        False,
    ),
    "publish: killed in the sync of a checkpoint": (
        "fsync",
        "signal=KILL",
        "ledger/host/checkpoint.tmp",
        False,
    ),
    "publish: killed in the rename": ("renameat", "signal=KILL", "", False),
    "publish: killed in the sync of the directory": ("fsync", "signal=KILL", "ledger/host", False),
}


@cache
def can_inject() -> bool:
    strace = shutil.which("strace")
    command = [
        "strace",
        "-f",
        "-qq",
        "-e",
        "inject=getppid:error=EIO",
        "-e",
        "trace=getppid",
        "-o",
        os.devnull,
        "true",
    ]
    return (
        strace is not None
        and subprocess.run(command, stderr=subprocess.DEVNULL, check=False).returncode == 0
    )


@pytest.fixture(scope="module")
def akios() -> Iterator[Daemon]:
    if not can_inject():
        pytest.skip("strace cannot inject faults here")
    # Agents of an akiosd that failed are waited for.
    private = Daemon("restart: {come_back_s: 5}\n")
    try:
        yield private.start()
    finally:
        private.close()


def inject(
    akios: Daemon, call: str, fault: str, paths: list[Path], out: Path
) -> subprocess.Popen[str]:
    """strace on every thread of the daemon; returns once it is attached.  The fault strikes once,
    at the next call.
    """
    assert akios.process is not None
    where = [word for path in paths for word in ("-P", str(path))]
    command = [
        "strace",
        "-f",
        "-e",
        f"trace={call}",
        "-e",
        f"inject={call}:{fault}:when=1",
        *where,
        "-o",
        str(out),
    ]
    tracer = subprocess.Popen(
        [*command, "-p", str(akios.process.pid)], stderr=subprocess.PIPE, text=True
    )
    assert tracer.stderr is not None
    for line in tracer.stderr:
        if "attached" in line:
            return tracer
    raise AssertionError(f"strace did not attach: {tracer.wait()}")


def verify_all(state: Path) -> None:
    host = state / "ledger/host"
    assert fsck(host).exit_code == 0, fsck(host)
    for audit in state.glob("cages/*/audit"):
        report = fsck(audit, host=host)
        assert report.exit_code == 0, (audit, report)


def known_cages(akios: Daemon) -> set[str]:
    """Births that the host's log acknowledges, as the daemon tells them."""
    lines = akios.ctl("ledger", "show", "--kind", "cage_birth", "--json").stdout.splitlines()
    return {str(json.loads(line)["cage"]) for line in lines}


def paths_of(state: Path, pattern: str) -> list[Path]:
    """Also of files that are not there yet: strace compares names."""
    if pattern == "next bundle":
        size = int((state / "ledger/host/checkpoint").read_bytes().split(b"\n")[1])
        bundles = (divmod(later, 256) for later in range(size + 1, size + 100))
        tiles = (
            Tile(ENTRIES, full, width) if width else Tile(ENTRIES, full - 1)
            for full, width in bundles
        )
        return [state / "ledger/host" / tile.path for tile in tiles]
    return (sorted(state.glob(pattern)) or [state / pattern]) if pattern else []


@pytest.mark.parametrize("name", FAULTS)
def test_nothing_acknowledged_is_lost(akios: Daemon, tmp_path: Path, name: str) -> None:
    call, fault, pattern, lives = FAULTS[name]
    assert akios.run("true").returncode == 0
    before = known_cages(akios)
    paths = paths_of(akios.state, pattern)
    tracer = inject(akios, call, fault, paths, tmp_path / "trace")
    process = akios.process
    assert process is not None
    akios.run("true")
    akios.ctl("ledger", "verify")
    if lives:
        tracer.send_signal(signal.SIGINT)
        tracer.wait(300)
        assert process.poll() is None
        assert akios.run("true").returncode == 0
    else:
        code = process.wait(300)
        tracer.wait(300)
        assert code == (-signal.SIGKILL if "KILL" in fault else 1), akios.log.read_text()
        akios.process = None
        akios.start()
    if "KILL" not in fault:
        assert "INJECTED" in (tmp_path / "trace").read_text()
    assert before <= known_cages(akios)
    assert akios.ctl("ledger", "verify").returncode == 0
    assert akios.stop() == 0
    verify_all(akios.state)
    akios.start()


def test_killed_again_while_it_recovers(akios: Daemon, tmp_path: Path) -> None:
    assert akios.run("true").returncode == 0
    before = known_cages(akios)
    akios.stop(signal.SIGKILL)
    for call in ("syncfs", "pwrite64", "fdatasync", "renameat"):
        command = [
            "strace",
            "-f",
            "-qq",
            "-e",
            f"trace={call}",
            "-e",
            f"inject={call}:signal=KILL:when=1",
        ]
        daemon = BIN / "akiosd"
        done = subprocess.run(
            [*command, "-o", os.devnull, str(daemon), "--config", akios.config],
            capture_output=True,
            timeout=300,
            check=False,
        )
        assert done.returncode in (-signal.SIGKILL, 128 + signal.SIGKILL), done.stderr
    akios.start()
    assert before <= known_cages(akios)
    assert akios.stop() == 0
    verify_all(akios.state)
    akios.start()


@pytest.mark.parametrize("call", ["pwrite64", "unlinkat"])
def test_killed_between_the_tombstone_and_the_last_byte(
    akios: Daemon, tmp_path: Path, call: str
) -> None:
    cage = str(akios.report("true", WORDS)["cage"])
    assert akios.ctl("ledger", "verify", cage).returncode == 0
    folder = akios.state / "cages" / cage
    # pwrite64 is told by the file that is overwritten; unlinkat has only a name below an open
    # directory.
    paths = [folder / "audit/checkpoint"] if call == "pwrite64" else [folder]
    inject(akios, call, "signal=KILL", paths, tmp_path / "trace")
    process = akios.process
    assert process is not None
    assert akios.ctl("ledger", "destroy", cage).returncode == 125
    assert process.wait(300) == -signal.SIGKILL
    assert folder.exists()
    akios.process = None
    akios.start()
    assert not folder.exists()
    found = json.loads(akios.ctl("ledger", "verify", cage, "--json").stdout)
    assert (found["verdict"], found["exit_code"], found["anchored_to"]) == (
        "DESTROYED",
        0,
        "host log",
    )
    lines = akios.ctl("ledger", "show", "--kind", "cage_destroyed", "--json").stdout.splitlines()
    assert [json.loads(line)["cage"] for line in lines].count(cage) == 1
    segments = akios.state / "ledger/wal"
    assert wait_until(
        lambda: not any(WORDS.encode() in path.read_bytes() for path in segments.glob("*.seg"))
    )


@pytest.mark.parametrize("fault", ["error=EIO", "signal=KILL"])
def test_what_running_agents_did_outlives_a_ledger_that_failed(
    akios: Daemon, tmp_path: Path, fault: str
) -> None:
    """akiosd gives up, or is killed in the middle of it; nobody could write down how its cages
    ended.
    """
    where = akios.workspace()
    script = "echo agent > new; echo did; exec sleep 600"
    agent = akios.popen(
        "run", "--", "sh", "-c", script, cwd=where, stdout=subprocess.PIPE, text=True
    )
    assert agent.stdout is not None and agent.stdout.readline() == "did\n"
    tracer = inject(
        akios, "fdatasync", fault, paths_of(akios.state, "ledger/wal/*.seg"), tmp_path / "trace"
    )
    process = akios.process
    assert process is not None
    akios.run("true")
    process.wait(300)
    tracer.wait(300)
    agent.communicate(timeout=300)
    akios.process = None
    akios.start()
    done = akios.ctl("commit", cwd=where)
    assert done.returncode == 0 and "1 change of c-" in done.stdout, done.stderr
    assert [path.name for path in where.iterdir()] == ["new"]
