"""The Debian package in use, by users of each group, on a machine with systemd.

Runs in the guest (`tests/vm/package`) behind `test_install`, and under autopkgtest, which knows
neither conftest.py nor the packages of PyPI: nothing but pytest is needed here.
"""

from __future__ import annotations

import json
import os
import select
import subprocess
from pathlib import Path

import pytest

from tests.package.machine import cage, join_groups, limit_of, make_users, run, sh

EATS = "b = bytearray(); exec('while 1: b += bytes(1 << 20)')"
FORKS = "import os, time\nfor n in range(99):\n  if not os.fork(): time.sleep(60); os._exit(0)"
SPINS = (
    "import time\nbegun, used = time.monotonic(), time.process_time()\n"
    "while time.process_time() - used < 0.6: pass\n"
    "print((time.process_time() - used) / (time.monotonic() - begun))"
)
PYTHON = ("/usr/bin/python3", "-c")
MIB = 1 << 20


@pytest.fixture(scope="module", autouse=True)
def users() -> None:
    if not Path("/usr/lib/akios/bin/akiosd").exists():
        pytest.skip("the package is not installed on this machine")
    make_users()
    join_groups()


def test_every_unit_that_says_when_to_start_is_enabled() -> None:
    shipped = sh("dpkg", "-L", "akios").stdout.split()
    units = [Path(name) for name in shipped if "/systemd/system/" in name]
    units = [unit for unit in units if unit.is_file() and unit.suffix != ".conf"]
    assert "akiosd.service" in {unit.name for unit in units}
    for unit in units:
        state = sh("systemctl", "is-enabled", unit.name, ok=False).stdout.strip()
        lines = unit.read_text(encoding="utf-8").splitlines()  # a comment may name it, too
        wanted = "enabled" if "[Install]" in lines else "static"
        assert state == wanted, unit.name
        assert sh("systemctl", "is-failed", unit.name, ok=False).stdout.strip() != "failed"


def test_limits_of_a_cage_are_those_of_cgroup_v2() -> None:
    """The kernel's own files say so, in a group that the cage's process is in."""
    limits = ("--memory", "96M", "--pids", "20", "--cpu", "30%")
    run("--detach", "--name", "held", *limits, "--", "sleep", "600")
    pid = int(cage("held")["pid"])
    assert limit_of(pid, "memory.max")[1] == str(96 * MIB)
    assert limit_of(pid, "memory.swap.max")[1] == "0"
    assert limit_of(pid, "pids.max")[1] == "20"
    quota, period = limit_of(pid, "cpu.max")[1].split()
    assert int(quota) / int(period) == 0.3
    sh("akiosctl", "stop", "held", user="dev")
    with pytest.raises(AssertionError, match="nothing limits"):  # the control: not in a cage
        limit_of(os.getpid(), "memory.max")


def test_a_user_of_the_group_runs_a_cage_whose_limits_hold() -> None:
    seen = run("--", "sh", "-c", "echo caged $(id -u)")
    assert seen.stdout == "caged 1000\n"
    eaten = run("--memory", "96M", "--", *PYTHON, EATS, ok=False)
    assert eaten.returncode == 137 and "memory limit 96 MiB" in eaten.stderr
    forked = run("--pids", "20", "--", *PYTHON, FORKS, ok=False)
    assert forked.returncode == 1 and "BlockingIOError" in forked.stderr
    assert float(run("--cpu", "20%", "--", *PYTHON, SPINS).stdout) < 0.35
    write = ("dd", "if=/dev/zero", "of=big", "bs=1M", "count=64")
    filled = run("--disk", "32M", "--discard", "--", *write, ok=False)
    assert filled.returncode == 1, filled.stderr
    assert "No space left" in filled.stderr or "quota exceeded" in filled.stderr


def test_without_the_cage_nothing_of_that_is_refused() -> None:
    # The controls: the same programs, outside, as the same user.
    assert sh(*PYTHON, "bytearray(160 << 20)", user="dev").returncode == 0
    assert sh(*PYTHON, FORKS.replace("60", "0"), user="dev").returncode == 0
    assert float(sh(*PYTHON, SPINS, user="dev").stdout) > 0.5
    assert sh("dd", "if=/dev/zero", "of=big", "bs=1M", "count=64", user="dev").returncode == 0
    Path("/home/dev/work/big").unlink()


def test_a_monitor_sees_events_and_runs_nothing() -> None:
    words = ["runuser", "-u", "mon", "--", "/usr/bin/akiosctl", "events", "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd="/home/mon") as follower:
        assert follower.stdout is not None
        # Until the follower has subscribed, what happens is not told to it.
        while not select.select([follower.stdout], [], [], 0)[0]:
            assert follower.poll() is None
            run("--discard", "--", "true")
        assert json.loads(follower.stdout.readline())["kind"]
        follower.terminate()
    refused = run("--", "true", user="mon", ok=False)
    assert refused.returncode == 125 and "akios" in refused.stderr


def test_a_user_outside_is_refused_in_words_until_they_are_let_in() -> None:
    for verb in (("run", "--", "true"), ("ps",), ("events", "--follow")):
        outside = sh("akiosctl", *verb, user="other", ok=False)
        assert outside.returncode == 125, outside
        assert "may not use akiosd" in outside.stderr, outside.stderr
        assert "usermod -aG akios" in outside.stderr, outside.stderr
    sh("usermod", "-aG", "akios", "other")
    assert run("--", "echo", "let in", user="other").stdout == "let in\n"
    sh("gpasswd", "-d", "other", "akios")


def test_the_ledger_holds() -> None:
    verified = sh("akiosctl", "ledger", "verify")
    assert "OK" in verified.stdout


def test_a_restart_serves_again_and_a_stop_ends_what_ran() -> None:
    run("--detach", "--name", "stays", "--", "sleep", "600")
    before, first = cage("stays"), sh("systemctl", "show", "-P", "MainPID", "akiosd").stdout
    sh("systemctl", "restart", "akiosd")
    assert sh("systemctl", "show", "-P", "MainPID", "akiosd").stdout != first
    assert (cage("stays")["cage"], cage("stays")["pid"]) == (before["cage"], before["pid"])
    assert Path("/proc", str(before["pid"])).exists()
    assert run("--", "echo", "again").stdout == "again\n"
    sh("systemctl", "stop", "akiosd")  # the control
    assert not Path("/proc", str(before["pid"])).exists()
    sh("systemctl", "start", "akiosd")
    listed = json.loads(sh("akiosctl", "ps", "--all", "--json", user="dev").stdout)
    assert "akiosd stopped" in next(one["reason"] for one in listed if one["name"] == "stays")


def test_the_journal_can_be_read() -> None:
    journal = sh("journalctl", "-u", "akiosd", "-o", "cat", "--no-pager").stdout
    assert "ready" in journal and "Traceback" not in journal
    assert "do not outlive" not in journal  # akios-keeper could be started
