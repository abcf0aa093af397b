"""A host that has no loop devices in ``/dev``, or none at all: the disk of a cage is made otherwise,
has the same bound, and is named.
"""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import REPO, Daemon

NODES = "null:1:3 zero:1:5 full:1:7 random:1:8 urandom:1:9 tty:5:0"
STATIC_DEV = f"""
mount -t tmpfs -o mode=755 static /dev
for node in {NODES}; do
  IFS=: read -r name major minor <<<"$node"
  mknod -m 666 "/dev/$name" c "$major" "$minor"
done
exec "$@"
"""
# akiosd execs what is before it, so the namespace ends with it.
IN_STATIC_DEV = ("unshare", "--mount", "bash", "-ec", STATIC_DEV, "bash")
WITHOUT_LOOPS = (sys.executable, str(REPO / "tests" / "e2e" / "without_loops.py"))
FILL = "head -c 64M /dev/zero > big; code=$?; ls -l big | cut -d' ' -f5; exit $code"


def started(prefix: tuple[str, ...]) -> Iterator[Daemon]:
    own = Daemon(prefix=prefix)
    try:
        yield own.start()
    finally:
        own.close()


@pytest.fixture(scope="module")
def static_dev() -> Iterator[Daemon]:
    yield from started(IN_STATIC_DEV)


@pytest.fixture
def no_loops() -> Iterator[Daemon]:
    yield from started(WITHOUT_LOOPS)


def doctor(daemon: Daemon) -> str:
    found = json.loads(daemon.ctl("doctor", "--json").stdout)
    return next(state["detail"] for state in found["posture"] if state["layer"] == "disk")


def fill(daemon: Daemon) -> tuple[int, int, str]:
    """(exit code, bytes that fitted, posture of the disk) of an agent that writes 64 MiB into
    16.
    """
    done = daemon.run("sh", "-c", FILL, flags=["-v", "--disk", "16M", "--discard"])
    posture = [line for line in done.stderr.splitlines() if "disk: " in line]
    assert len(posture) == 1, done.stderr
    return done.returncode, int(done.stdout), posture[0]


def test_a_static_dev_is_enough(static_dev: Daemon, daemon: Daemon) -> None:
    assert static_dev.process is not None
    its_dev = Path(f"/proc/{static_dev.process.pid}/root/dev")
    assert sorted(os.listdir(its_dev)) == sorted(part.split(":")[0] for part in NODES.split())
    assert doctor(static_dev) == doctor(daemon), "as with every device"
    code, written, posture = fill(static_dev)
    assert code == 1 and 4 << 20 < written <= 16 << 20 and "enforced" in posture


def test_without_loop_devices_it_is_memory_of_the_same_size(
    no_loops: Daemon, daemon: Daemon
) -> None:
    said = doctor(no_loops)
    assert said.startswith("tmpfs, in memory") and "No such device" in said
    assert "tmpfs" not in doctor(daemon), "the control"
    code, written, posture = fill(no_loops)
    assert code == 1 and 4 << 20 < written <= 16 << 20
    assert "enforced (16 MiB, tmpfs, in memory" in posture


def test_what_waits_in_memory_is_committed_survives_a_crash_and_ends_with_a_stop(
    no_loops: Daemon,
) -> None:
    where = no_loops.workspace()
    for number in (1, 2, 3):
        assert no_loops.run("sh", "-c", f"echo {number} > {number}", cwd=where).returncode == 0
        if number == 1:
            assert no_loops.ctl("commit", "-y", cwd=where).returncode == 0
        elif number == 2:
            no_loops.stop(signal.SIGKILL)
            no_loops.start()
            assert "A 2" in no_loops.ctl("diff", cwd=where).stdout
            assert no_loops.ctl("commit", "-y", cwd=where).returncode == 0
    assert (where / "1").read_text() == "1\n" and (where / "2").read_text() == "2\n"
    assert str(no_loops.base) in Path("/proc/self/mountinfo").read_text(), "the third waits there"
    no_loops.stop()
    assert str(no_loops.base) not in Path("/proc/self/mountinfo").read_text()
    no_loops.start()
    gone = no_loops.ctl("diff", cwd=where)
    assert gone.returncode != 0 and "no changes" in gone.stderr
    assert "their disk was in memory" in no_loops.ctl("ps", "--all", "--json").stdout
