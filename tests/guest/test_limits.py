"""Limits of a cage on unified cgroup v2 with every controller, and its disk on project quota.

Nothing here asserts a duration: the guest is ten times slower than a machine.  Programs are written
for the shell and the core utilities where that does, because starting Python takes a second here.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import wait_until

MIB = 1 << 20
CAP_SYS_RESOURCE = 24  # include/uapi/linux/capability.h
STUBBORN = """
trap '' TERM HUP INT QUIT
for n in 1 2 3 4 5; do (setsid sleep 9999 &) ; done
echo up
while :; do sleep 9999; done
"""


@pytest.fixture
def running(daemon: Daemon) -> Iterator[tuple[subprocess.Popen[bytes], Path]]:
    """A cage full of processes that ignore signals: (its client, its leaf)."""
    before = set(leaves(daemon))
    client = daemon.popen(
        "run",
        "--json",
        "--memory",
        "200M",
        "--pids",
        "50",
        "--cpu",
        "20%",
        "--workspace",
        daemon.workspace(),
        "--",
        "sh",
        "-c",
        STUBBORN,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        cwd=daemon.base,
    )
    with client:
        assert client.stdout is not None and client.stdout.readline() == b"up\n"
        [own] = set(leaves(daemon)) - before
        yield client, own
        client.kill()


def leaves(daemon: Daemon) -> list[Path]:
    """The leaves of the cages that run; those that wait for a run have some, too."""
    listed = daemon.ctl("ps", "--json")
    assert listed.returncode == 0, listed.stderr
    running = {cage["cage"] for cage in json.loads(listed.stdout)}
    return [path for path in map(Path, resources.cgroups(daemon)) if path.name in running]


def killed(report: dict[str, Any], kind: str) -> dict[str, Any]:
    assert (report["kind"], report["exit_code"]) == (kind, 137), report
    return report


# ---- what stands in the leaf ---------------------------------------------------------------------


def test_limits_stand_in_the_leaf(running: tuple[subprocess.Popen[bytes], Path]) -> None:
    _, leaf = running
    values = {
        name: (leaf / name).read_text().strip()
        for name in ("memory.max", "memory.swap.max", "memory.oom.group")
    }
    assert values == {"memory.max": str(200 * MIB), "memory.swap.max": "0", "memory.oom.group": "1"}
    assert (leaf / "pids.max").read_text().strip() == "50"
    assert (leaf / "cpu.max").read_text().split() == ["20000", "100000"]


def test_cgroup_kill_empties_a_cage_that_ignores_signals(
    daemon: Daemon, running: tuple[subprocess.Popen[bytes], Path]
) -> None:
    client, leaf = running
    processes = {int(pid) for pid in (leaf / "cgroup.procs").read_text().split()}
    assert len(processes) >= 7
    stopped = daemon.ctl("stop", leaf.name, "--kill")
    assert stopped.returncode == 0, stopped.stderr
    words = client.communicate(timeout=120)[1]
    report = json.loads(words.splitlines()[-1])
    assert report["kind"] == "stopped"
    # The end is told only after the leaf is empty.
    assert not processes & set(resources.processes())
    assert wait_until(lambda: not leaf.exists())


def is_empty(leaf: Path) -> bool:
    """akiosd removes it as soon as it is, also while it is looked at."""
    try:
        return "populated 0" in (leaf / "cgroup.events").read_text()
    except FileNotFoundError:
        return True


def test_how_long_cgroup_kill_takes_against_kill_one_by_one(
    running: tuple[subprocess.Popen[bytes], Path],
) -> None:
    """Under a second on a machine.  What emulation costs is shown by killing as many processes
    outside.
    """
    _, leaf = running
    outside = [subprocess.Popen(["sleep", "9999"]) for _ in range(7)]
    begin = os.times().elapsed
    for process in outside:
        process.kill()
    for process in outside:
        process.wait()
    single = os.times().elapsed - begin
    begin = os.times().elapsed
    (leaf / "cgroup.kill").write_text("1")
    assert wait_until(lambda: is_empty(leaf))
    whole = os.times().elapsed - begin
    print(f"cgroup.kill {whole:.2f} s, one by one outside {single:.2f} s")
    assert whole < 1 + 20 * single


# ---- memory --------------------------------------------------------------------------------------

EAT = "head -c 400M /dev/zero | tail -c 400M >/dev/null"


def test_memory_max_kills_inside_the_cage_only(daemon: Daemon) -> None:
    with subprocess.Popen(["sleep", "9999"]) as bystander:
        report = killed(daemon.report("sh", "-c", EAT, flags=["--memory", "64M"]), "memory")
        assert bystander.poll() is None
        bystander.kill()
    assert report[
        "reason"
    ] == "killed: memory limit 64 MiB reached, peak 64 MiB, 1 OOM kill" or re.fullmatch(
        r"killed: memory limit 64 MiB reached, peak 64 MiB, \d OOM kills", report["reason"]
    )
    assert report["usage"]["memory_limit"] == 64 * MIB
    assert 60 * MIB <= report["usage"]["memory_peak"] <= 64 * MIB
    assert report["usage"]["oom_kills"] >= 1


def test_the_whole_cage_dies_of_one_greedy_process(daemon: Daemon) -> None:
    command = f"(setsid sleep 7777 &) ; {EAT}; echo survived"
    done = daemon.run("sh", "-c", command, flags=["--memory", "64M", "--json"])
    assert (done.returncode, done.stdout) == (137, "")
    assert wait_until(lambda: not resources.caged_processes())


def test_memory_of_tmpfs_counts(daemon: Daemon) -> None:
    where = daemon.workspace()
    (where / "akios.yaml").write_text("version: 1\nlimits: {memory: 32M, shm: 64M}\n")
    report = daemon.report("sh", "-c", "head -c 60M /dev/zero >/dev/shm/x", cwd=where)
    killed(report, "memory")


# ---- processes -----------------------------------------------------------------------------------


def test_pids_max_stops_a_fork_bomb(daemon: Daemon) -> None:
    bomb = "bomb() { bomb | bomb & }; bomb; sleep 3; echo alive"
    report = daemon.report("bash", "-c", bomb, flags=["--pids", "40"])
    assert report["usage"]["pids_peak"] == report["usage"]["pids_limit"] == 40
    assert report["usage"]["pids_denied"] >= 1
    assert "limit of 40 processes was reached" in report["reason"]
    assert wait_until(lambda: not resources.caged_processes())


# ---- processor -----------------------------------------------------------------------------------


def test_cpu_max_20_percent(daemon: Daemon, running: tuple[subprocess.Popen[bytes], Path]) -> None:
    """Measured from outside: the leaf's own count over the wall clock, with two processes that
    never rest.
    """
    client = daemon.popen(
        "run",
        "--cpu",
        "20%",
        "--workspace",
        daemon.workspace(),
        "--",
        "sh",
        "-c",
        "(while :; do :; done) & while :; do :; done",
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.PIPE,
        cwd=daemon.base,
    )
    idle = running[1]
    with client:
        assert wait_until(lambda: bool(busy(daemon, idle)))
        spins = busy(daemon, idle)[0]
        shares = []
        for _ in range(3):
            begin, first = os.times().elapsed, used(spins)
            wait_until(lambda begin=begin: os.times().elapsed - begin >= 5)  # type: ignore[misc]
            shares.append((used(spins) - first) / 1e6 / (os.times().elapsed - begin))
        client.kill()
    print(f"shares of one processor: {[round(share, 3) for share in shares]}")
    assert 0.15 <= sorted(shares)[1] <= 0.25


def busy(daemon: Daemon, idle: Path) -> list[Path]:
    return [leaf for leaf in leaves(daemon) if leaf != idle and used(leaf) > 1e5]


def used(leaf: Path) -> float:
    """CPU time in µs."""
    for line in (leaf / "cpu.stat").read_text().splitlines() if leaf.exists() else []:
        if line.startswith("usage_usec"):
            return float(line.split()[1])
    return 0.0


# ---- disk ----------------------------------------------------------------------------------------


def test_the_disk_budget_is_project_quota_here(daemon: Daemon) -> None:
    done = daemon.ctl("doctor", "--json")
    layers = {layer["layer"]: layer for layer in json.loads(done.stdout)["posture"]}
    assert (layers["disk"]["status"], layers["disk"]["detail"]) == ("enforced", "project quota")


def test_the_daemon_holds_the_capability_that_ignores_quota(daemon: Daemon) -> None:
    assert daemon.process is not None
    lines = Path(f"/proc/{daemon.process.pid}/status").read_text().splitlines()
    effective = next(line.split()[1] for line in lines if line.startswith("CapEff:"))
    assert int(effective, 16) >> CAP_SYS_RESOURCE & 1


@pytest.mark.parametrize(
    "place", ["/tmp/fill", "fill", "$HOME/fill"], ids=["tmp", "workspace", "home"]
)
def test_the_disk_budget_binds(daemon: Daemon, place: str) -> None:
    command = f"head -c 64M /dev/zero >{place}; stat -c %s {place}"
    done = daemon.run("sh", "-c", command, flags=["--disk", "16M", "--json", "--discard"])
    assert "No space left" in done.stderr or "quota exceeded" in done.stderr
    assert 8 * MIB <= int(done.stdout) <= 16 * MIB
    report = json.loads(done.stderr.splitlines()[-1])
    assert report["usage"]["disk_limit"] == 16 * MIB
    assert "disk limit 16 MiB was reached" in report["reason"]


def test_all_parts_share_one_budget_also_by_copy_up(daemon: Daemon) -> None:
    workspace = daemon.workspace()
    with (workspace / "big").open("wb") as file:
        file.write(b"x" * (12 * MIB))
    command = "head -c 6M /dev/zero >/tmp/a && head -c 6M /dev/zero >~/b && echo y >>big; echo $?; stat -c %s big"
    done = daemon.run("sh", "-c", command, flags=["--disk", "16M", "--discard"], cwd=workspace)
    code, size = done.stdout.split()
    assert code != "0", "the copy of a lower file counts for the cage that changes it"
    assert int(size) == 12 * MIB
    assert (workspace / "big").stat().st_size == 12 * MIB


def test_inodes_are_limited_too(daemon: Daemon) -> None:
    done = daemon.run(
        "sh", "-c", "cd /tmp && seq 1 3000 | xargs mkdir; ls | wc -l", flags=["--disk", "8M"]
    )
    assert 500 <= int(done.stdout) <= 1024
    assert "No space left" in done.stderr or "quota" in done.stderr


def test_one_cage_does_not_use_the_room_of_another(daemon: Daemon) -> None:
    first = daemon.run("sh", "-c", "head -c 64M /dev/zero >fill; true", flags=["--disk", "16M"])
    assert first.returncode == 0
    second = daemon.run(
        "sh", "-c", "head -c 8M /dev/zero >fill; echo $?", flags=["--disk", "16M", "--discard"]
    )
    assert second.stdout == "0\n"


def test_the_disk_of_a_cage_is_gone_with_it_however_deep(daemon: Daemon) -> None:
    pool = daemon.state / "disk" / "pool"
    step = "path=$(printf 'd/%.0s' $(seq 1500)) && mkdir -p $path && cd $path"
    done = daemon.run("bash", "-c", f"cd /tmp && {step} && {step} && echo deep", flags=["--json"])
    assert done.stdout == "deep\n", done.stderr
    cage = json.loads(done.stderr.splitlines()[-1])["cage"]
    assert wait_until(lambda: not (pool / cage).exists())
