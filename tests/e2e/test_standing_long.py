"""Standing cages, where it takes long: many of them, many kills, and what is left on the disk."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import BIN, NOBODY, Daemon
from tests.e2e.resources import wait_until
from tests.e2e.survival import kill_and_start
from tests.e2e.terminal import Terminal
from tests.e2e.test_standing_cages import Standing
from tests.e2e.test_standing_down import destroyed

pytestmark = pytest.mark.named_set("standing")
MARKER = b"marker-of-what-is-to-be-gone-"


@pytest.fixture
def private() -> Iterator[Daemon]:
    # What is written fills its disk: cages are to be left no room on purpose.
    own = Daemon("quotas: {cages_per_user: 200, cages_total: 200, keep_free_bytes: 0}\n")
    try:
        yield own.start()
    finally:
        own.close()


def test_a_hundred_are_up_at_once(private: Daemon) -> None:
    project = private.workspace(uid=NOBODY)
    names, took = [f"n{number}" for number in range(100)], []
    free = available()
    for name in names:
        begun = time.monotonic()
        done = private.ctl("cage", "up", name, uid=NOBODY, cwd=project)
        took.append(time.monotonic() - begun)
        assert done.returncode == 0, done.stderr
    for name in names[::10]:
        done = private.ctl("exec", name, "echo", name, uid=NOBODY, cwd=project)
        assert done.stdout == f"{name}\n", done.stderr
    listed = json.loads(private.ctl("cage", "list", "--json", uid=NOBODY).stdout)
    assert [one["state"] for one in listed] == ["up"] * 100
    used = free - available()
    begun = time.monotonic()
    done = private.ctl("cage", "down", "--fast", *names, uid=NOBODY, cwd=project, timeout=600)
    assert done.returncode == 0, done.stderr
    assert json.loads(private.ctl("cage", "list", "--json", uid=NOBODY).stdout) == []
    print(
        f"\ncage up: p50 {statistics.median(took) * 1000:.0f} ms, longest {max(took) * 1000:.0f} ms;"
        f" 100 down in {time.monotonic() - begun:.1f} s; memory of the host: {used // 1024} MiB less"
        " available"
    )


def available() -> int:
    """Memory that the kernel could give, in KiB (proc_meminfo(5))."""
    for line in Path("/proc/meminfo").read_text().splitlines():
        if line.startswith("MemAvailable:"):
            return int(line.split()[1])
    raise AssertionError("this kernel does not say what is available")


def test_twenty_at_once_and_one_with_a_terminal(private: Daemon) -> None:
    standing = Standing(private, "work")
    begun = time.monotonic()
    assert standing.run("true").returncode == 0
    alone = time.monotonic() - begun
    begun = time.monotonic()
    clients = [standing.popen("true") for _ in range(20)]
    assert [one.wait(120) for one in clients] == [0] * 20
    together = time.monotonic() - begun
    begun = time.monotonic()
    with Terminal(private, "exec", "work", "--", "sh", "-c", "tty", uid=NOBODY) as term:
        term.expect("/dev/pts/")
        assert term.process.wait(60) == 0
    print(
        f"\nrun --cage: one {alone * 1000:.0f} ms, 20 at once {together * 1000:.0f} ms in all;"
        f" exec with a terminal {(time.monotonic() - begun) * 1000:.0f} ms"
    )
    standing.down("--discard")


def test_down_is_killed_anywhere_and_given_again(private: Daemon) -> None:
    dice = random.Random(14)
    for _ in range(10):
        standing = Standing(private, "work")
        given = standing.project / "data/input/given"
        given.write_text("given")
        many = "for n in $(seq 60); do head -c 20000 /dev/urandom >data/output/$n; done"
        assert standing.run("sh", "-c", many).returncode == 0
        client = private.popen("cage", "down", "work", uid=NOBODY, cwd=standing.project)
        time.sleep(dice.uniform(0.0, 1.2))  # anywhere is what is asked
        client.kill()
        client.wait()
        again = standing.ctl("cage", "down", "work")
        gone = "no standing cage" in again.stderr  # akiosd had all it needed, and went on alone
        assert again.returncode == 0 or gone, again.stderr
        assert wait_until(lambda: len(destroyed(private, standing.cage)) == 1)  # noqa: B023
        assert os.listdir(standing.project / "data/output") == []
        assert given.read_text() == "given"
        assert not (private.state / "cages" / standing.cage).exists()


def test_ten_kills_of_akiosd_end_no_program(private: Daemon) -> None:
    standing = Standing(private, "work")
    counts = (
        "n=0; while [ ! -e data/output/stop ]; do n=$((n+1)); echo $n; sleep 0.01; done; exit {}"
    )
    clients = [
        # Without a buffer: what readline took into one, communicate would not see.
        standing.popen("sh", "-c", counts.format(number), stdout=subprocess.PIPE, bufsize=0)
        for number in range(10)
    ]
    for client in clients:
        assert client.stdout is not None and client.stdout.readline() == b"1\n"
    for _ in range(10):
        kill_and_start(private)
    (standing.project / "data/output/stop").touch()
    for number, client in enumerate(clients):
        out, _ = client.communicate(timeout=120)
        lines = [int(line) for line in out.split()]
        assert (client.returncode, lines) == (number, list(range(2, len(lines) + 2)))
    ended = [one["exit_code"] for one in standing.records("program_ended")]
    assert sorted(ended) == list(range(10))
    assert private.ctl("ledger", "verify", "--all").returncode == 0
    standing.down("--discard")


def calls_of(daemon: Daemon, standing: Standing, trace: Path, *flags: str) -> list[str]:
    """The system calls on the one file of the output, in order, as words."""
    trace.touch()
    trace.chmod(0o666)
    words = ("strace", "-f", "-yy", "-e", "trace=pwrite64,fsync,unlinkat", "-o", trace)
    command = (BIN / "akiosctl", "--socket", daemon.socket, "cage", "down", standing.name, *flags)
    options = daemon.as_user(NOBODY)
    done = subprocess.run([*words, *command], capture_output=True, cwd=standing.project, **options)
    assert done.returncode == 0, done.stderr
    found = []
    for line in trace.read_text().splitlines():
        if "data/output/one>" in line or '"one"' in line:
            call = re.search(r"(pwrite64|fsync|unlinkat)\(", line)
            assert call is not None
            zeros = call[1] == "pwrite64" and '"\\0\\0\\0\\0' in line
            found.append("zeros" if zeros else {"pwrite64": "random"}.get(call[1], call[1]))
    return found


@pytest.mark.skipif(shutil.which("strace") is None, reason="strace is not installed")
def test_the_calls_of_a_wipe_stand_in_their_order(private: Daemon, tmp_path: Path) -> None:
    write = "head -c 5000 /dev/urandom >data/output/one"
    for flags, wanted in (
        (("--passes", "2"), "random fsync random fsync zeros fsync unlinkat"),
        (("--fast",), "unlinkat"),
    ):
        standing = Standing(private, "work")
        assert standing.run("sh", "-c", write).returncode == 0
        trace = private.base / "trace"
        assert calls_of(private, standing, trace, *flags) == wanted.split()
        trace.unlink()


def marked(image: Path) -> int:
    """How often the marker stands in the raw bytes of a file system."""
    subprocess.run(["sync"], check=True)
    found, tail = 0, b""
    with image.open("rb") as file:
        while block := file.read(1 << 22):
            found += (tail + block).count(MARKER) - tail.count(MARKER)
            tail = block[-len(MARKER) :]
    return found


@pytest.mark.parametrize("flags", [("--passes", "1"), ("--fast",)])
def test_what_was_wiped_is_gone_from_the_raw_disk(private: Daemon, flags: tuple[str, ...]) -> None:
    """On a disk without any room left; unlinked only, it is still there: the control."""
    image, place = private.base / "image", private.base / "mounted"
    place.mkdir()
    subprocess.run(["truncate", "-s", "64M", image], check=True)
    subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
    subprocess.run(["mount", "-o", "loop", image, place], check=True)
    try:
        os.chown(place, NOBODY, NOBODY)
        up = private.ctl("cage", "up", "full", "--workspace", place, uid=NOBODY, cwd=place)
        assert up.returncode == 0, up.stderr
        write = (
            f"for n in $(seq 3000); do echo {MARKER.decode()}$n; done >data/output/m; sync;"
            " cat /dev/zero >data/output/fill"
        )
        done = private.ctl("run", "--cage", "full", "--", "sh", "-c", write, uid=NOBODY, cwd=place)
        assert "No space left" in done.stderr
        assert marked(image) >= 3000
        down = private.ctl("cage", "down", "full", *flags, uid=NOBODY, cwd=place)
        assert down.returncode == 0, down.stderr
        assert os.listdir(place / "data/output") == []
        assert (marked(image) == 0) == ("--fast" not in flags)
    finally:
        assert wait_until(lambda: subprocess.run(["umount", place]).returncode == 0)
