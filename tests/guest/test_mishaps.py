"""What befalls a host, while the service runs and a cage works: its disk is full, its clock jumps."""

from __future__ import annotations

import json
import os
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.resources import wait_until
from tests.guest.service import CTL, ctl, journal, serving, show

pytestmark = pytest.mark.named_set("mishaps")
STATE = Path("/var/lib/akios")
WORK = "n=0; while :; do n=$((n+1)); rm -f $n; done"
"""An agent whose every step is in the log."""
DAY_S = 86_400


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Its state directory is a file system of its own, of 384 MiB."""
    image = tmp_path_factory.mktemp("disk") / "image"
    with image.open("wb") as file:
        file.truncate(384 << 20)
    subprocess.run(["mkfs.ext4", "-q", "-F", image], check=True)
    STATE.mkdir(exist_ok=True)
    subprocess.run(["mount", "-o", "loop", image, STATE], check=True)
    try:
        with serving():
            yield
    finally:
        subprocess.run(["umount", STATE], check=True)


@pytest.fixture
def cage(service: None, tmp_path: Path) -> Iterator[str]:
    """One that works, until the test ends."""
    ctl(
        "run", "--detach", "--name", "works", "--workspace", str(tmp_path), "--", "bash", "-c", WORK
    )
    (line,) = json.loads(ctl("ps", "--json"))
    yield str(line["cage"])
    subprocess.run([*CTL, "stop", "--kill", "works"], cwd="/", check=True)
    assert wait_until(lambda: not json.loads(ctl("ps", "--json")))


def freezer(cage: str) -> str:
    """What the kernel says of the cage's groups, each line of their cgroup.events."""
    found = Path("/sys/fs/cgroup").glob(f"**/{cage}/**/cgroup.events")
    return "".join(path.read_text() for path in found)


def fill() -> Path:
    ballast = STATE / "ballast"
    with ballast.open("ab", buffering=0) as file:
        for step in (1 << 20, 4096):
            with pytest.raises(OSError, match="No space"):
                while True:
                    file.write(b"x" * step)
    assert os.statvfs(STATE).f_bavail == 0
    return ballast


def works_on(cage: str) -> bool:
    """Whether its log grows."""
    before = len(ctl("events", "--json", "--cage", cage).splitlines())
    return wait_until(
        lambda: len(ctl("events", "--json", "--cage", cage).splitlines()) > before, 120
    )


def runs_another(workspace: Path) -> bool:
    return ctl("run", "--workspace", str(workspace), "--", "echo", "caged") == "caged\n"


def test_a_cage_waits_while_the_disk_is_full(cage: str, tmp_path: Path) -> None:
    assert works_on(cage) and "frozen 1" not in freezer(cage)
    first = show("MainPID")
    ballast = fill()
    try:
        assert wait_until(lambda: "frozen 1" in freezer(cage), 120), freezer(cage)
        (line,) = json.loads(ctl("ps", "--json"))
        assert line["cage"] == cage
        assert show("ActiveState") == "active"
    finally:
        ballast.unlink()
    assert wait_until(lambda: "frozen 1" not in freezer(cage), 120)
    assert works_on(cage) and runs_another(tmp_path)
    assert show("MainPID") == first and "the disk is full: cages are paused" in journal()
    assert ctl("ledger", "verify", "--all").endswith(" 0 bad\n")


def prune() -> subprocess.CompletedProcess[str]:
    """What is destroyed for its age, if anything is."""
    words = [*CTL, "ledger", "prune", "--older-than", "1d", "--dry-run"]
    return subprocess.run(words, cwd="/", capture_output=True, text=True, timeout=300)


def test_a_clock_that_jumps_ages_nothing(cage: str, tmp_path: Path) -> None:
    assert prune().returncode == 0  # the control
    started, wall = time.monotonic(), time.time()
    try:
        for days in (3, -4):
            time.clock_settime(time.CLOCK_REALTIME, time.time() + days * DAY_S)
            assert works_on(cage) and runs_another(tmp_path)
            refused = prune()
            assert refused.returncode != 0 and "clock of this host jumped" in refused.stderr
    finally:
        time.clock_settime(time.CLOCK_REALTIME, wall + time.monotonic() - started)
    assert works_on(cage) and runs_another(tmp_path)
    records = ctl("events", "--json", "--cage", cage).splitlines()
    times = [json.loads(line)["ts"] for line in records]
    assert times != sorted(times), "the control: the clock did go back"
    assert "nothing is destroyed by age for a day" in journal()
    assert ctl("ledger", "verify", "--all").endswith(" 0 bad\n")
