"""Every limit ends, or stops, what passes it; the host stays well and the report names the limit
and how far it went.

The greedy programs are bounded by the cage's own limits, so that a broken limit fails the test, not
the machine.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon

MIB, GIB = 1 << 20, 1 << 30

EAT_MEMORY = """
import sys
held = []
for step in range(int(sys.argv[1])):
    held.append(b"x" * (1 << 20))
"""
# Reserves the bulk with fallocate(2), which the file system counts like written data, and writes
# the rest.
FILL = """
import errno, os, sys
fd = os.open(sys.argv[1], os.O_CREAT | os.O_WRONLY)
size, step = 0, 64 << 20
while size < 3 << 30:
    try:
        os.posix_fallocate(fd, size, step)
        size += step
    except OSError as error:
        if error.errno not in (errno.ENOSPC, errno.EDQUOT):
            raise
        if step == 4096:
            break
        step //= 2
try:
    for _ in range(1024):
        size += os.pwrite(fd, b"x" * 4096, size)
    print("not full")
except OSError as error:
    print(size, errno.errorcode[error.errno])
"""
FORK = """
import errno, os, time
made = 0
try:
    while made < 3000:
        if os.fork() == 0:
            time.sleep(60)
            os._exit(0)
        made += 1
except OSError as error:
    print(made, errno.errorcode[error.errno])
"""
FILL_PIPES = """
import os
held = []
while True:
    pipe = os.pipe()
    os.set_blocking(pipe[1], False)
    held.append(pipe)
    try:
        while True:
            os.write(pipe[1], b"x" * 65536)
    except BlockingIOError:
        pass
"""
FILL_SOCKETS = """
import socket
held = []
while True:
    pair = socket.socketpair()
    pair[0].setblocking(False)
    pair[0].setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 1 << 20)
    held.append(pair)
    try:
        while True:
            pair[0].send(b"x" * 65536)
    except BlockingIOError:
        pass
"""
FILL_MEMFD = """
import os
fd = os.memfd_create("x")
while True:
    os.write(fd, b"x" * (1 << 20))
"""


def policy(daemon: Daemon, limits: str) -> list[str]:
    """Flags for a policy with these limits."""
    path = daemon.workspace("policy") / "policy.yaml"
    path.write_text(f"version: 1\nlimits: {{{limits}}}\n")
    path.chmod(0o644)
    return ["--policy", str(path)]


def assert_killed(report: dict[str, Any], kind: str) -> None:
    assert (report["kind"], report["exit_code"]) == (kind, 137), report


def assert_host_is_well(daemon: Daemon) -> None:
    assert daemon.run("true").returncode == 0


SURVIVE = """
import os, sys, time
child = os.fork()
if child == 0:
    open("/proc/self/oom_score_adj", "w").write("1000")
    held = [b"x" * (1 << 20) for _ in range(int(sys.argv[1]))]
    os._exit(0)
os.waitpid(child, 0)
print("the child is gone", flush=True)
time.sleep(60)
"""


# ---- the default policy, no flags ----------------------------------------------------------------


def test_four_gib_of_memory_are_stopped(daemon: Daemon) -> None:
    report = daemon.report("python3", "-c", EAT_MEMORY, "4096")
    assert_killed(report, "memory")
    assert report["reason"] == "killed: memory limit 2 GiB reached, peak 2 GiB, 1 OOM kill"
    assert report["usage"]["memory_peak"] <= report["usage"]["memory_limit"] == 2 * GIB
    assert_host_is_well(daemon)


@pytest.mark.parametrize("place", ["/tmp/fill", "fill", "/root/fill"])
def test_three_gib_of_files_are_stopped(daemon: Daemon, place: str) -> None:
    if place.startswith("/root"):
        place = "~/fill"
    done = daemon.run(
        "sh", "-c", f'python3 -c "$1" {place}', "sh", FILL, flags=["--json", "--discard"]
    )
    size, error = done.stdout.split()
    assert error in ("ENOSPC", "EDQUOT")
    assert int(size) <= 2 * GIB
    assert "disk limit 2" in done.stderr and "was reached" in done.stderr, done.stderr
    assert_host_is_well(daemon)


def test_three_thousand_processes_are_stopped(daemon: Daemon) -> None:
    done = daemon.run("python3", "-c", FORK, flags=["--json"], uid=NOBODY)
    made, error = done.stdout.split()
    assert (int(made) <= 1023, error) == (True, "EAGAIN")
    assert "limit of 1024 processes was reached, 1 fork refused" in done.stderr
    assert_host_is_well(daemon)


def test_shared_memory_is_stopped(daemon: Daemon) -> None:
    """At half of the memory limit, or where the policy says."""
    fill = "head -c 4G /dev/zero >/dev/shm/x; stat -c %s /dev/shm/x"
    where = daemon.workspace()
    for limit in (128 * MIB, 24 * MIB):
        done = daemon.run("sh", "-c", fill, flags=["--memory", "256M"], cwd=where)
        assert "No space left" in done.stderr
        assert int(done.stdout) == limit
        (where / "akios.yaml").write_text("version: 1\nlimits: {shm: 24M}\n")


def test_a_killed_run_prints_its_reason(daemon: Daemon) -> None:
    done = daemon.run("python3", "-c", EAT_MEMORY, "256", flags=["--memory", "64M"])
    assert done.returncode == 137
    assert (
        done.stderr.splitlines()[-1]
        == "akios: killed: memory limit 64 MiB reached, peak 64 MiB, 1 OOM kill"
    )


# ---- memory that is not the heap -----------------------------------------------------------------


def test_memory_in_files_without_a_name_counts(daemon: Daemon) -> None:
    assert_killed(daemon.report("python3", "-c", FILL_MEMFD, flags=["--memory", "128M"]), "memory")


def test_memory_in_shm_counts(daemon: Daemon) -> None:
    where = daemon.workspace()
    (where / "akios.yaml").write_text("version: 1\nlimits: {memory: 32M, shm: 512M}\n")
    assert_killed(
        daemon.report("sh", "-c", "head -c 512M /dev/zero >/dev/shm/x", cwd=where), "memory"
    )


@pytest.mark.parametrize("program", [FILL_PIPES, FILL_SOCKETS], ids=["pipes", "sockets"])
def test_memory_in_kernel_buffers_counts(daemon: Daemon, program: str) -> None:
    flags = ["--memory", "28M"]
    assert_killed(daemon.report("python3", "-c", program, flags=flags), "memory")


def test_every_process_of_the_cage_dies_with_it(daemon: Daemon) -> None:
    command = 'sleep 1234 & (trap "" TERM HUP; sleep 1234) & exec python3 -c "$1" 256'
    report = daemon.report("sh", "-c", command, "sh", EAT_MEMORY, flags=["--memory", "64M"])
    assert_killed(report, "memory")
    assert b"sleep\x001234" not in command_lines()


def command_lines() -> bytes:
    found = b""
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            found += Path("/proc", pid, "cmdline").read_bytes()
        except OSError:
            continue
    return found


# ---- time ----------------------------------------------------------------------------------------


def test_wall_clock(daemon: Daemon) -> None:
    report = daemon.report("sleep", "600", flags=["--timeout", "1s"])
    assert_killed(report, "wall_clock")
    assert report["reason"].startswith("killed: wall clock limit 1 s reached, ran 1")


def test_cpu_time_of_all_processes_together(daemon: Daemon) -> None:
    spin = "(while :; do :; done) & while :; do :; done"
    report = daemon.report("sh", "-c", spin, flags=policy(daemon, "cpu_time: 1s"))
    assert_killed(report, "cpu_time")
    assert report["usage"]["user_ns"] + report["usage"]["system_ns"] >= 10**9
    assert report["reason"].startswith("killed: CPU time limit 1 s reached, used 1")


# ---- output --------------------------------------------------------------------------------------


def test_output_is_cut_at_its_limit(daemon: Daemon) -> None:
    done = daemon.run("yes", flags=["--json", *policy(daemon, "output: 1M")])
    assert len(done.stdout) == MIB
    assert '"kind": "output"' in done.stderr
    assert "output limit 1 MiB reached" in done.stderr


def test_output_and_errors_count_together(daemon: Daemon) -> None:
    limit = policy(daemon, "output: 100K")
    within = daemon.run("sh", "-c", "head -c 60K /dev/zero; head -c 40K /dev/zero >&2", flags=limit)
    assert within.returncode == 0
    beyond = daemon.run(
        "sh", "-c", "head -c 60K /dev/zero; head -c 41K /dev/zero >&2; sleep 600", flags=limit
    )
    assert beyond.returncode == 137
    assert len(beyond.stdout) + beyond.stderr.count("\0") == 100 << 10


def test_output_to_a_terminal_counts(daemon: Daemon) -> None:
    assert_killed(daemon.report("yes", flags=["-t", *policy(daemon, "output: 64K")]), "output")


def test_output_of_a_detached_cage_counts(daemon: Daemon) -> None:
    cage = daemon.run("yes", flags=["--detach", *policy(daemon, "output: 1M")]).stdout.strip()
    # It may be over before anybody asks.
    daemon.ctl(
        "attach", cage, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, capture_output=False
    )
    end = [record for record in daemon.events(cage) if record["kind"] == "end"]
    assert [record["reason"] for record in end] == ["killed: output limit 1 MiB reached"]


# ---- rlimits -------------------------------------------------------------------------------------


def test_open_files_and_file_size(daemon: Daemon) -> None:
    flags = policy(daemon, "open_files: 64, file_size: 1M")
    done = daemon.run(
        "sh", "-c", "ulimit -Hn; ulimit -Hc; head -c 2M /dev/zero >~/x; stat -c %s ~/x", flags=flags
    )
    assert done.stdout.split() == ["64", "0", str(MIB)]
    opened = daemon.run("python3", "-c", "import os\nwhile True: os.dup(0)", flags=flags)
    assert "Too many open files" in opened.stderr


def test_a_share_of_a_processor(daemon: Daemon) -> None:
    """The group's own count of CPU time over the time that passed inside, both read inside."""
    spin = """
import resource, time
begin = time.monotonic()
while time.monotonic() - begin < 2:
    pass
usage = resource.getrusage(resource.RUSAGE_SELF)
print((usage.ru_utime + usage.ru_stime) / (time.monotonic() - begin))
"""
    done = daemon.run("python3", "-c", spin, flags=["--cpu", "20%"])
    assert 0.10 <= float(done.stdout) <= 0.27, done.stderr


def test_limits_cannot_be_widened_by_the_caller(daemon: Daemon) -> None:
    done = daemon.run("true", flags=["--memory", "64G"], uid=NOBODY)
    assert done.returncode == 125
    assert "--memory 64G is above" in done.stderr


@pytest.mark.parametrize("attempt", range(9))
def test_a_cage_dies_whole_when_one_of_its_processes_is_killed_for_memory(
    daemon: Daemon, attempt: int
) -> None:
    """The one that would live on waits a minute: without the end of the whole cage the run takes as
    long.
    """
    report = daemon.report(
        "python3", "-c", SURVIVE, "256", flags=["--memory", "64M", "--timeout", "30s"]
    )
    assert_killed(report, "memory")


def test_a_program_whose_children_stay_within_memory_lives_on(daemon: Daemon) -> None:
    done = daemon.run(
        "python3", "-c", SURVIVE.replace("time.sleep(60)", ""), "16", flags=["--memory", "64M"]
    )
    assert (done.returncode, done.stdout) == (0, "the child is gone\n"), done.stderr
