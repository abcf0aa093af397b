"""``discard --wipe`` on a real daemon, seen from below: the image of its state directory is
searched byte by byte.
"""

from __future__ import annotations

import json
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.image_disk import on_image
from tests.e2e.resources import wait_until

# In files that stay, in one that is removed again, in one that grows and is cut short, and in what
# is printed.  The
# mark is put together here, so that neither command line nor workspace holds it.
AGENT = """
import os, sys
mark = ("MA" + "RK-" + sys.argv[1] + "-").encode() * 200
for name in ("stays", "removed", "cut", "/tmp/temporary", os.path.expanduser("~/home")):
    with open(name, "wb") as file:
        file.write(mark)
        os.fsync(file.fileno())
os.unlink("removed")
os.truncate("cut", 3)
sys.stdout.buffer.write(mark)
"""


@pytest.fixture
def image(tmp_path: Path) -> Iterator[tuple[Daemon, Path]]:
    """A daemon whose state directory is a file system in an image."""
    daemon, path = Daemon("pools: {userns: 2}\n"), tmp_path / "image"
    with on_image(daemon, path, daemon.state, 256 << 20):
        yield daemon, path


def marks(daemon: Daemon, image: Path) -> Counter[str]:
    """How often each cage's mark is in the image, in files or in free blocks."""
    subprocess.run(["sync", "-f", daemon.state], check=True)
    return Counter(found.decode() for found in re.findall(rb"MARK-([a-z]+)-", image.read_bytes()))


def run_agent(daemon: Daemon, word: str) -> str:
    workspace = daemon.workspace()
    (workspace / "agent.py").write_text(AGENT)
    done = daemon.run("/usr/bin/python3", "agent.py", word, flags=["--detach"], cwd=workspace)
    assert done.returncode == 0, done.stderr
    cage = str(done.stdout.strip())

    def has_ended() -> bool:
        return any(found["cage"] == cage and found["changes"] for found in listed(daemon))

    assert wait_until(has_ended)
    return cage


def listed(daemon: Daemon) -> list[dict[str, Any]]:
    found: list[dict[str, Any]] = json.loads(daemon.ctl("--json", "ps", "--all").stdout)
    return [cage for cage in found if cage["state"] == "ended"]


def test_of_what_a_wiped_cage_changed_and_printed_nothing_is_left(
    image: tuple[Daemon, Path],
) -> None:
    daemon, path = image
    wiped, plain = run_agent(daemon, "wiped"), run_agent(daemon, "plain")
    before = marks(daemon, path)
    assert before["wiped"] >= 800 and before["plain"] >= 800  # the control
    done = daemon.ctl("discard", plain)
    assert done.returncode == 0 and "not overwritten" in done.stderr
    assert marks(daemon, path)["plain"] > 0, (
        "a plain discard only unlinks: the search sees what that leaves"
    )
    done = daemon.ctl("discard", "--wipe", wiped)
    assert done.returncode == 0, done.stderr
    # With project quota all cages share an image, whose free blocks are another's: that is said.
    own_image = "image that all cages share" not in done.stderr
    assert ("not overwritten" in done.stderr) is not own_image, done.stderr
    assert marks(daemon, path)["wiped"] <= (0 if own_image else 400)


def test_one_whose_client_leaves_is_done_all_the_same(daemon: Daemon) -> None:
    workspace = daemon.workspace()
    writes = "head -c 90000000 /dev/urandom > new"
    daemon.run("sh", "-c", writes, flags=("--disk", "400M", "--name", "left"), cwd=workspace)
    [cage] = [found["cage"] for found in listed(daemon) if found["name"] == "left"]
    notes = daemon.state / "cages" / cage
    assert (notes / "kept.msgpack").exists()
    client = daemon.popen("discard", "--wipe", cage, stderr=subprocess.DEVNULL)
    while (notes / "kept.msgpack").exists():
        assert client.poll() is None
    client.kill()
    assert client.wait() == -9, "the wipe was over before its client was killed"
    assert wait_until(
        lambda: not next(one["changes"] for one in listed(daemon) if one["cage"] == cage), 100
    )
    again = daemon.ctl("discard", cage)
    assert again.returncode != 0 and "overwritten" not in again.stderr, again.stderr
