"""A cage that writes to a directory of its user's stands still before the file system is full: on
no disk of its own, it is bounded by no budget.
"""

from __future__ import annotations

import errno
import json
import os
import signal
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from akiosd.values.units import format_size
from tests.e2e.daemon import Daemon
from tests.e2e.image_disk import on_image
from tests.e2e.resources import wait_until

SIZE = 768 << 20
FLOOR = SIZE // 20
WRITE = """
import os, sys, time
with open(sys.argv[1], "wb", buffering=0) as file:
    print("writes", flush=True)
    try:
        while True:
            file.write(bytes(1 << 20))
            time.sleep(0.005)
    except OSError as error:
        print("stopped by errno", error.errno, flush=True)
"""
DIRECT = ("--allow-degraded", "--mode", "rw-direct")


@contextmanager
def small_project(tmp_path: Path, settings: str, size: int = SIZE) -> Iterator[tuple[Daemon, Path]]:
    """A daemon, and a project on a file system of ``size`` bytes."""
    daemon = Daemon(f"pools: {{userns: 2}}\n{settings}", "allow_widening: true\n")
    project = daemon.workspace()
    with on_image(daemon, tmp_path / "image", project, size, "-m", "0"):
        yield daemon, project


def free(directory: Path) -> int:
    numbers = os.statvfs(directory)
    return numbers.f_bavail * numbers.f_frsize


def listed(daemon: Daemon) -> dict[str, str]:
    """The one cage of the daemon."""
    found = json.loads(daemon.ctl("ps", "--json").stdout)
    assert isinstance(found[0], dict)
    return found[0]


def is_still(directory: Path) -> bool:
    """Whether nothing was written for a quarter of a second, in which the writer writes 50 MiB."""
    before = free(directory)
    time.sleep(0.25)
    return free(directory) == before


def stands_still(daemon: Daemon, project: Path) -> bool:
    return listed(daemon)["state"] == "paused" and is_still(project)


@contextmanager
def writing(daemon: Daemon, project: Path, *words: str) -> Iterator[subprocess.Popen[bytes]]:
    """``akiosctl run WORDS -- the writer``, which has begun."""
    command = ("run", *words, "--", "python3", "-c", WRITE)
    file = project / ("data/output/big" if "--cage" in words else "big")
    writer = daemon.popen(*command, str(file), cwd=project, stdout=subprocess.PIPE)
    try:
        assert writer.stdout is not None and b"writes" in writer.stdout.readline()
        yield writer
    finally:
        writer.kill()
        writer.communicate()


def begun_with(daemon: Daemon) -> list[int]:
    """How many cages each akiosd found when it was ready."""
    lines = (json.loads(line) for line in daemon.log.read_text().splitlines())
    return [one["cages"] for one in lines if one["event"] == "ready"]


def test_a_standing_cage_leaves_room_and_goes_on(tmp_path: Path) -> None:
    with small_project(tmp_path, "") as (daemon, project):
        assert daemon.ctl("cage", "up", "one", cwd=project).returncode == 0
        output = project / "data/output"
        with writing(daemon, project, "--cage", "one") as writer:
            assert wait_until(lambda: stands_still(daemon, project), 60), listed(daemon)
            assert 0 < free(project) < FLOOR
            why = listed(daemon)["reason"]
            numbers = os.statvfs(project)
            kept = format_size(numbers.f_blocks * numbers.f_frsize // 20)
            assert f"{kept} must stay free there" in why and str(output) in why
            status = daemon.ctl("cage", "status", "one", cwd=project).stdout
            assert f"stands still: {why}" in status
            assert "a cage stands still" in daemon.log.read_text()
            # Another akiosd does not let it go on.
            daemon.stop(signal.SIGKILL)
            daemon.start()
            assert wait_until(lambda: begun_with(daemon) == [0, 1])
            assert wait_until(lambda: stands_still(daemon, project), 60)
            assert free(project) > 0
            refused = daemon.ctl("cage", "up", "two", cwd=project)
            assert refused.returncode == 125
            assert "quotas.keep_free_bytes" in refused.stderr and "df -h" in refused.stderr
            # With room it does.
            os.truncate(output / "big", 0)
            assert wait_until(lambda: listed(daemon)["state"] == "running", 60)
            assert listed(daemon)["reason"] == ""
            assert wait_until(lambda: not is_still(project), 60)
            assert writer.poll() is None
        assert daemon.ctl("cage", "down", "one", cwd=project).returncode == 0


def test_a_run_that_writes_to_the_project_leaves_room(tmp_path: Path) -> None:
    with small_project(tmp_path, "") as (daemon, project):
        with writing(daemon, project, *DIRECT) as writer:
            assert wait_until(lambda: stands_still(daemon, project), 60)
            assert 0 < free(project) < FLOOR
            assert daemon.ctl("stop", "--kill", listed(daemon)["cage"]).returncode == 0
            assert writer.wait(60) == 137


ONE_CALL = """
import mmap, os, sys
block = mmap.mmap(-1, 1 << 20)
big = os.open(sys.argv[1], os.O_WRONLY | os.O_CREAT)
print("wrote", os.writev(big, [block] * 650) >> 20, flush=True)
"""


@pytest.mark.parametrize("keep_free", ["", "quotas: {keep_free_bytes: 0}\n"])
@pytest.mark.parametrize("mode", ["output", "direct"])
def test_who_writes_on_in_one_call_is_ended(tmp_path: Path, mode: str, keep_free: str) -> None:
    """Nothing may stay free in the control, where it writes all."""
    size, room = 8 << 30, 700 << 20
    with small_project(tmp_path, keep_free, size) as (daemon, project):
        with (project / "ballast").open("wb") as ballast:
            os.posix_fallocate(ballast.fileno(), 0, free(project) - room)
        words, place = ("run", *DIRECT), "big"
        if mode == "output":
            assert daemon.ctl("cage", "up", "one", cwd=project).returncode == 0
            words, place = ("run", "--cage", "one"), "data/output/big"
        done = daemon.ctl(*words, "--", "python3", "-c", ONE_CALL, place, cwd=project, timeout=120)
        os.sync()
        if keep_free:
            assert (done.returncode, done.stdout) == (0, "wrote 650\n"), done.stderr
            return
        assert done.returncode == 137 and "did not stop writing" in done.stderr, done.stderr
        assert free(project) > 0


@pytest.mark.parametrize("mode", ["output", "direct"])
def test_the_control_fills_it(tmp_path: Path, mode: str) -> None:
    with small_project(tmp_path, "quotas: {keep_free_bytes: 0}\n") as (daemon, project):
        words = ("run", *DIRECT, "--", "python3", "-c", WRITE, "big")
        if mode == "output":
            assert daemon.ctl("cage", "up", "one", cwd=project).returncode == 0
            words = ("run", "--cage", "one", "--", "python3", "-c", WRITE, "data/output/big")
        done = daemon.ctl(*words, cwd=project, timeout=120)
        assert f"stopped by errno {errno.ENOSPC}" in done.stdout, done.stderr
        assert free(project) < 1 << 20
