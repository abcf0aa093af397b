"""What an agent wrote is below akiosd's state directory when its end is told, or the end says that
some of it is lost: its disk is an image there, which takes room seconds after a write was answered.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import Daemon
from tests.e2e.image_disk import on_image
from tests.e2e.resources import wait_until

WRITE = """
import sys, time
with open("small", "w") as file:
    file.write("small")
with open("big", "wb", buffering=0) as file:
    print("writes", flush=True)
    for number in range(int(sys.argv[1])):
        file.write(bytes([number % 255 + 1]) * (1 << 20))
        time.sleep(0.01)
print("wrote", flush=True)
"""
MIB, SIZE = 160, 512 << 20


@pytest.fixture
def small(tmp_path: Path) -> Iterator[Daemon]:
    """A daemon whose state directory is a file system of 512 MiB."""
    daemon = Daemon("pools: {userns: 2}\n")
    with on_image(daemon, tmp_path / "image", daemon.state, SIZE, "-m", "0"):
        yield daemon


def free(daemon: Daemon) -> int:
    numbers = os.statvfs(daemon.state)
    return numbers.f_bavail * numbers.f_frsize


def leave(daemon: Daemon, room: int) -> Path:
    """Take all room but that."""
    ballast = daemon.state / "ballast"
    with ballast.open("ab") as file:
        os.posix_fallocate(file.fileno(), 0, ballast.stat().st_size + free(daemon) - room)
    return ballast


def start(
    daemon: Daemon, workspace: Path, code: str = WRITE, stdin: int = subprocess.DEVNULL
) -> subprocess.Popen[str]:
    """A run that has begun to write."""
    agent: subprocess.Popen[str] = daemon.popen(
        *("run", "--workspace", workspace, "--", "python3", "-c", code, str(MIB)),
        cwd=workspace, stdin=stdin, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        text=True,
    )  # fmt: skip
    assert agent.stdout is not None and agent.stdout.readline() == "writes\n"
    return agent


def listed(daemon: Daemon) -> dict[str, Any]:
    found = json.loads(daemon.ctl("ps", "--all", "--json").stdout)
    assert isinstance(found[0], dict)
    return found[0]


def states(daemon: Daemon) -> list[dict[str, Any]]:
    found = json.loads(daemon.ctl("ps", "--json").stdout)
    assert isinstance(found, list)
    return found


def is_frozen(daemon: Daemon) -> bool:
    """Whether the kernel says so of a cage that akiosd wants to stand still."""
    for one in states(daemon):
        found = list(Path("/sys/fs/cgroup").glob(f"**/{one['cage']}/cgroup.events"))
        if one["state"] == "paused" and found:
            return all("frozen 1" in path.read_text() for path in found)
    return False


def stands_still(daemon: Daemon) -> bool:
    found = listed(daemon)
    return found["state"] == "paused" and "will be free on the file system" in found["reason"]


def test_a_cage_waits_for_room_and_loses_nothing(small: Daemon) -> None:
    workspace = small.workspace()
    ballast = leave(small, 96 << 20)
    agent = start(small, workspace)
    try:
        assert wait_until(lambda: stands_still(small), 60)
        assert str(small.state) in listed(small)["reason"]
        for words in (("ps",), ("top", "--once")):
            told = small.ctl(*words).stdout
            assert "stands still: once the data of all cages is on disk, " in told, told
        doctor = small.ctl("doctor", "--fix-hints")
        assert doctor.returncode == 1 and "no cage can begin: No space left" in doctor.stdout
        assert f"df -h {small.state}" in doctor.stdout, doctor.stdout
        refused = small.run("true")
        assert refused.returncode == 125 and "No space left on device" in refused.stderr
        assert "quotas.keep_free_bytes" in refused.stderr and str(small.state) in refused.stderr
        ballast.unlink()
        out, err = agent.communicate(timeout=60)
    finally:
        agent.kill()
    assert (agent.returncode, out) == (0, "wrote\n"), err
    # Whoever waits for it is told why nothing happens.
    still, goes_on = err.index("stands still: "), err.index("goes on")
    assert still < goes_on < err.index("files changed"), err
    assert "no cage can begin" not in small.ctl("doctor").stdout, "the control: with room"
    done = small.ctl("commit", cwd=workspace)
    assert done.returncode == 0, done.stderr
    assert (workspace / "small").read_text() == "small"
    with (workspace / "big").open("rb") as file:
        for number in range(MIB):
            assert file.read(1 << 20) == bytes([number % 255 + 1]) * (1 << 20)
        assert not file.read(1)


def test_what_is_lost_is_said_and_never_committed(small: Daemon) -> None:
    workspace = small.workspace()
    leave(small, 96 << 20)
    agent = start(small, workspace)
    try:
        assert wait_until(lambda: stands_still(small), 60)
        # Another program of this machine takes the last room: what the agent wrote has none.
        ballast = leave(small, 0)
        cage = listed(small)["cage"]
        # To bring it to the disk would lose it, and there may be room again.
        seen = small.ctl("diff", cage, cwd=workspace)
        assert seen.returncode == 125 and "stands still" in seen.stderr, seen.stderr
        assert small.ctl("stop", "--kill", cage).returncode == 0
        _, err = agent.communicate(timeout=60)
    finally:
        agent.kill()
    assert agent.returncode == 125
    assert f"the file system of {small.state} did not take all that it wrote" in err, err
    assert f"akiosctl discard {cage}" in err and "commit ·" not in err, err
    ballast.unlink()
    assert wait_until(lambda: listed(small)["state"] == "ended")
    for verb in ("diff", "commit"):
        done = small.ctl(verb, cage, cwd=workspace)
        assert done.returncode == 125 and "is lost" in done.stderr, (verb, done)
    assert not list(workspace.iterdir())
    end = [record for record in small.events(cage) if record["kind"] == "end"]
    assert "did not take" in json.dumps(end), end
    # A restart does not make it whole; where not even a name is left of it, there is nothing.
    small.stop()
    small.start()
    done = small.ctl("commit", cage, cwd=workspace)
    assert done.returncode == 125, done
    assert "is lost" in done.stderr or "has no changes" in done.stderr, done.stderr


HOSTILE = """
import mmap, os, time
block = mmap.mmap(-1, 512 << 10)
big = os.open(os.path.expanduser("~/big"), os.O_WRONLY | os.O_CREAT | os.O_DIRECT)
print("writes", flush=True)
while True:
    os.write(big, block)
    time.sleep(0.002)  # less than 256 MiB a second: a busy machine looks late
"""
REWRITES = """
import os, time
with open(os.path.expanduser("~/same"), "wb", buffering=0) as file:
    file.write(bytes(40 << 20))
    os.fsync(file.fileno())
    print("writes", flush=True)
    while True:
        file.seek(0)
        file.write(bytes(40 << 20))
        print("again", flush=True)
"""


def test_who_takes_no_more_room_goes_on_beside_one_who_takes_all(small: Daemon) -> None:
    """The second writes past all memory of the kernel's, so it never has anything to write."""
    leave(small, 160 << 20)
    agents = []
    try:
        agents.append(start(small, small.workspace(), REWRITES))
        # What it has is known to akiosd before the other begins, also on a busy machine.
        assert agents[0].stdout is not None
        for _ in range(20):
            assert agents[0].stdout.readline() == "again\n"
        agents.append(start(small, small.workspace(), HOSTILE))
        assert wait_until(lambda: any(one["state"] == "paused" for one in states(small)), 60)
        assert free(small) > 0
        [still] = [one for one in states(small) if one["state"] == "paused"]
        assert "~/big" in " ".join(still["argv"]), still
        for _ in range(20):
            assert agents[0].stdout.readline() == "again\n"
        assert sum(one["state"] == "running" for one in states(small)) == 1
        # What stands still hears of no signal: the first one ends it.
        agents[1].send_signal(signal.SIGINT)
        assert agents[1].wait(30) in (130, 137)
    finally:
        for agent in agents:
            agent.kill()


HIDES = """
import os, sys, time
home = os.path.expanduser("~")
block = bytes(range(1, 129)) * 8192
with open(home + "/one", "wb", buffering=0) as one:
    for _ in range(100):
        one.write(block)
    os.fsync(one.fileno())
two = os.open(home + "/two", os.O_RDWR | os.O_CREAT)
if {hidden}:
    os.posix_fallocate(two, 0, 100 << 20)
    os.fsync(two)
    os.unlink(home + "/one")
    os.sync()
print("writes", flush=True)
sys.stdin.readline()
for _ in range(100):
    os.write(two, block)
    time.sleep(0.005)
print("wrote", flush=True)
sys.stdin.readline()
"""


MINE = "open('mine', 'w').write('mine'); print('writes', flush=True); input()"
"""A neighbour, who writes little."""


def tell(agent: subprocess.Popen[str]) -> None:
    assert agent.stdin is not None
    agent.stdin.write("go\n")
    agent.stdin.flush()


def assert_mine_is_whole(daemon: Daemon, workspace: Path) -> None:
    done = daemon.ctl("commit", cwd=workspace)
    assert done.returncode == 0 and (workspace / "mine").read_text() == "mine", done.stderr


@pytest.mark.parametrize("hidden", [True, False])
def test_room_that_a_disk_does_not_tell_of_is_nobodys(small: Daemon, hidden: bool) -> None:
    """Its image has blocks that it uses no more, and it writes over some that the image has not."""
    innocent = small.workspace()
    agents = [start(small, small.workspace(), HIDES.format(hidden=hidden), stdin=subprocess.PIPE)]
    try:
        leave(small, 60 << 20)
        agents.append(start(small, innocent, MINE, stdin=subprocess.PIPE))
        tell(agents[0])
        assert wait_until(lambda: any(one["state"] == "paused" for one in states(small)), 60)
        os.sync()  # as the kernel does by itself after half a minute
        assert free(small) > 0
        [still] = [one for one in states(small) if one["state"] == "paused"]
        assert "/two" in " ".join(still["argv"]), still
        _, err = agents[1].communicate("\n", timeout=60)
    finally:
        for agent in agents:
            agent.kill()
            agent.wait(60)
    assert agents[1].returncode == 0, err
    assert_mine_is_whole(small, innocent)


ONE_CALL = """
import mmap, os, time
block = mmap.mmap(-1, 1 << 20)
big = os.open(os.path.expanduser("~/big"), os.O_WRONLY | os.O_CREAT | {flags})
print("writes", flush=True)
input()
while (found := os.statvfs(os.path.expanduser("~"))).f_bavail * found.f_frsize > {allowed}:
    time.sleep(0.01)  # akiosd looks again once other programs of the host took room
try:
    print("wrote", os.writev(big, [block] * 300), flush=True)
except OSError as error:
    print("wrote", -error.errno, flush=True)
"""


@pytest.mark.parametrize("flags", ["0", "os.O_DIRECT"])
def test_one_call_takes_no_more_than_there_is(small: Daemon, flags: str) -> None:
    """A call that is under way goes on when its process is to stand still."""
    innocent = small.workspace()
    agents = [
        start(
            small,
            small.workspace(),
            ONE_CALL.format(flags=flags, allowed=160 << 20),
            stdin=subprocess.PIPE,
        ),
        start(small, innocent, MINE, stdin=subprocess.PIPE),
    ]
    try:
        before = leave(small, 160 << 20)
        tell(agents[0])
        # Past the kernel's memory it asks for all of its room at once, and is refused.
        assert wait_until(lambda: is_frozen(small) or agents[0].poll() is not None, 60)
        os.sync()  # as the kernel does by itself after half a minute
        assert free(small) > 0
        _, err = agents[1].communicate("\n", timeout=60)
        before.unlink()
        told = agents[0].communicate(timeout=60)
    finally:
        for agent in agents:
            agent.kill()
            agent.wait(60)
    assert agents[1].returncode == 0, err
    assert_mine_is_whole(small, innocent)
    assert agents[0].returncode == 0, told
    assert int(told[0].split()[1]) < 300 << 20, told


@pytest.mark.parametrize("flags", ["0", "os.O_DIRECT"])
def test_control_with_room_one_call_writes_all(small: Daemon, flags: str) -> None:
    source = ONE_CALL.format(flags=flags, allowed=1 << 40)
    agent = start(small, small.workspace(), source, stdin=subprocess.PIPE)
    try:
        assert agent.communicate("go\n", timeout=60)[0] == f"wrote {300 << 20}\n"
    finally:
        agent.kill()


def test_an_agent_cannot_hide_what_was_lost_behind_a_restart(small: Daemon) -> None:
    """By asking itself first, so that the kernel has told somebody."""
    workspace = small.workspace()
    ask = """
import ctypes, os, time
libc = ctypes.CDLL(None)
home = os.open(os.path.expanduser("~"), os.O_RDONLY)
open("more", "w").close()
while libc.syncfs(home) == 0:
    time.sleep(0.1)
print("told", flush=True)
time.sleep(600)
"""
    leave(small, 96 << 20)
    agent = start(small, workspace, WRITE + ask)
    try:
        assert agent.stdout is not None
        assert wait_until(lambda: stands_still(small), 60)
        cage = listed(small)["cage"]
        ballast = leave(small, 0)
        os.sync()  # as the kernel does by itself after half a minute; who asks it is told nothing
        ballast.unlink()
        assert agent.stdout.readline() == "wrote\n" and agent.stdout.readline() == "told\n"
        small.stop(signal.SIGKILL)
        small.start()
        assert wait_until(lambda: listed(small)["state"] == "running", 60)
        assert small.ctl("stop", "--kill", cage).returncode == 0
        _, err = agent.communicate(timeout=60)
    finally:
        agent.kill()
    assert agent.returncode == 125 and "did not take all that it wrote" in err, err
    done = small.ctl("commit", cage, cwd=workspace)
    assert done.returncode == 125 and "is lost" in done.stderr, done.stderr


def test_control_with_room_the_same_end_keeps_what_was_written(small: Daemon) -> None:
    workspace = small.workspace()
    ballast = leave(small, 96 << 20)
    agent = start(small, workspace)
    try:
        assert wait_until(lambda: stands_still(small), 60)
        ballast.unlink()
        cage = listed(small)["cage"]
        assert small.ctl("stop", "--kill", cage).returncode == 0
        _, err = agent.communicate(timeout=60)
    finally:
        agent.kill()
    assert agent.returncode in (0, 137) and "did not take" not in err, err
    assert small.ctl("commit", cage, cwd=workspace).returncode == 0
    assert (workspace / "small").read_text() == "small"
