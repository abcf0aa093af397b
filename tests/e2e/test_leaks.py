"""A thousand runs, a hundred at once, leave nothing behind but their logs; and so does a daemon
that is killed.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
from collections import Counter
from pathlib import Path

from akiosd.wire.messages import Ended
from tests.e2e import resources
from tests.e2e.daemon import Daemon
from tests.e2e.resources import POOL, wait_until
from tests.e2e.swarm import run_many

RUNS, AT_ONCE = 1000, 100
# Networks are made by fours, so that up to three are there in advance of the pool.
SPARE = Counter({"net:[]": 3})
# What stays of a cage without changes: its log, the key to verify it, and whose it was.
LEFT = frozenset({"audit", "audit.vkey", "owner"})
KEPT = frozenset({"audit", "audit.vkey", "owner", "kept.msgpack"})
"""Of a cage whose changes wait; its disk is an image beside them, or elsewhere."""
NOTES = frozenset({"ended.msgpack", "output.log"})
"""How a cage ended and what it wrote, for as long as akiosd.yaml says."""
REMEMBERED = 200
"""Ended cages of one user, where it says nothing."""
# Each agent leaves behind what it can: a file on each of its disks, a process of its own session, a
# held lock.
LITTER = "echo x >/tmp/x; echo x >/dev/shm/x; mkfifo /tmp/pipe; (setsid sleep 1000 &) ; exit 3"


def pid_of(daemon: Daemon) -> int:
    assert daemon.process is not None
    return daemon.process.pid


class Held:
    """Everything a daemon holds at one moment."""

    def __init__(self, daemon: Daemon) -> None:
        pid = pid_of(daemon)
        self.descriptors = resources.descriptors(pid)
        self.threads = resources.threads(pid)
        self.children = len(resources.descendants(pid))
        self.caged = len(resources.descendants(pid) & resources.caged_processes())
        self.cgroups = resources.used_cgroups(daemon)
        self.mounts = resources.mounts()
        self.devices = len(resources.backing(daemon))
        self.disks = {
            name
            for name, files in resources.cage_directories(daemon).items()
            if "disk.img" in files
        }
        self.memory_kib = int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * 4

    def leaked_since(self, before: Held) -> list[str]:
        """What is held now and was not before; threads of the worker cache end ten seconds after
        their last job.
        """
        found = [
            f"{count} × {kind}"
            for kind, count in (self.descriptors - before.descriptors - SPARE).items()
        ]
        found += [f"cgroup {path}" for path in self.cgroups]
        found += [f"mount {line}" for line in self.mounts - before.mounts if "akios" in line]
        for what in ("threads", "children", "caged", "devices"):
            now, then = getattr(self, what), getattr(before, what)
            if now > then:
                found.append(f"{what}: {now}, before {then}")
        if len(self.disks) > len(before.disks):
            found.append(f"disks of {sorted(self.disks - before.disks)}")
        return found


def verify_all(daemon: Daemon) -> Counter[str]:
    """Verdicts of the host's log and of every cage log on disk."""
    found: Counter[str] = Counter()
    names = [name for name, files in resources.cage_directories(daemon).items() if "audit" in files]
    for name in ["", *names]:
        done = daemon.ctl("ledger", "verify", "--json", *([name] if name else []))
        found[json.loads(done.stdout)["verdict"] if done.stdout else done.stderr] += 1
    return found


def test_a_thousand_runs_leave_nothing_but_their_logs(private: Daemon) -> None:
    workspace = private.workspace()
    argv = ["/bin/sh", "-c", LITTER]
    run_many(private.socket, workspace, argv, 20, 10)  # so that what is made once is made
    idle = {len(resources.cage_directories(private))}
    assert wait_until(lambda: not resources.used_cgroups(private))
    resources.rest(private)  # a cage whose log is not published yet looks like one that waits
    before = Held(private)
    ended: list[Ended] = run_many(private.socket, workspace, argv, RUNS, AT_ONCE)
    assert Counter((end.kind, end.exit_code) for end in ended) == {("exited", 3): RUNS}
    assert len({end.cage for end in ended}) == RUNS
    assert wait_until(lambda: not Held(private).leaked_since(before)), Held(private).leaked_since(
        before
    )

    def remembered() -> list[str]:
        """The last of a user's are; the others' files are put aside behind their ends."""
        files = resources.cage_directories(private)
        return [end.cage for end in ended if "ended.msgpack" in files[end.cage]]

    assert wait_until(lambda: len(remembered()) <= REMEMBERED), remembered()

    def left() -> set[frozenset[str]]:
        """Logs are published behind the ends, too."""
        directories = resources.cage_directories(private)
        return {frozenset(directories[end.cage] - NOTES) for end in ended}

    assert wait_until(lambda: left() == {LEFT}), left()
    directories = resources.cage_directories(private)
    # Beside those of the runs only what waits for the next ones.
    assert len(directories) - RUNS - min(idle) <= 8
    assert list(workspace.iterdir()) == []

    def grown_kib() -> int:
        return Held(private).memory_kib - before.memory_kib

    # What a crowd of a hundred leaves between what lives on: three thousand runs leave no more than
    # one does.
    assert wait_until(lambda: grown_kib() < 96 << 10), f"the daemon grew by {grown_kib()} KiB"


def test_its_ledger_verifies(private: Daemon) -> None:
    done = private.ctl("ledger", "verify", "--json")
    assert (done.returncode, json.loads(done.stdout)["verdict"]) == (0, "OK"), done.stderr
    some = [
        name for name, files in resources.cage_directories(private).items() if "audit" in files
    ][::100]
    for name in some:
        assert private.ctl("ledger", "verify", name).returncode == 0


def test_killed_and_started_again_it_takes_up_nothing_old() -> None:
    daemon = Daemon("restart: {come_back_s: 0}\n").start()
    try:
        mounts = resources.mounts()
        # What they changed is kept; all else of them is gone.
        command = "touch kept; (setsid sleep 1000 &) ; trap '' TERM HUP; echo up; sleep 1000 & wait"
        running = [
            daemon.popen(
                "run",
                "--workspace",
                daemon.workspace(),
                "--",
                "sh",
                "-c",
                command,
                stdout=subprocess.PIPE,
                stderr=subprocess.DEVNULL,
                stdin=subprocess.DEVNULL,
                cwd=daemon.base,
            )
            for _ in range(5)
        ]
        for client in running:
            assert client.stdout is not None and client.stdout.readline() == b"up\n"
        ours = resources.descendants(pid_of(daemon))
        assert len(ours & resources.caged_processes()) >= 15
        cgroups = resources.cgroups(daemon)
        daemon.stop(signal.SIGKILL)
        for client in running:
            assert client.wait(30) == 125
            assert client.stdout is not None
            client.stdout.close()
        assert wait_until(lambda: not ours & set(resources.processes())), (
            "processes outlive the daemon"
        )
        assert wait_until(lambda: not resources.backing(daemon)), "loop devices outlive the daemon"
        daemon.start()
        assert len(cgroups) >= 5
        assert resources.cgroups(daemon) & cgroups == set()
        assert {line for line in resources.mounts() - mounts if str(daemon.base) in line} <= pool(
            daemon
        )

        def left() -> int:
            return sum(
                files - NOTES - {"disk.img"} == KEPT
                for files in resources.cage_directories(daemon).values()
            )

        # Their logs are published in the daemon's own time.
        assert wait_until(lambda: left() == 5), resources.cage_directories(daemon)
        assert verify_all(daemon).keys() <= {"OK", "OK-RECOVERED"}
        assert daemon.run("true").returncode == 0
        ends = [event for event in host_log(daemon) if event["kind"] == "cage_end"]
        assert len(ends) == 6, (
            "an end for each cage that died with the daemon, and one for the run after"
        )
    finally:
        daemon.close()
    assert resources.backing(daemon) == set()
    assert resources.cgroups(daemon) == set()
    assert {line for line in resources.mounts() if str(daemon.base) in line} == set()


def pool(daemon: Daemon) -> set[str]:
    """The pool of disks with quota stands in the mount table while a daemon runs."""
    return {
        line
        for line in resources.mounts()
        if line.split()[4] == str(daemon.state / "disk" / "pool")
    }


def host_log(daemon: Daemon) -> list[dict[str, object]]:
    done = daemon.ctl("ledger", "show", "--json")
    assert done.returncode == 0, done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_a_killed_launcher_is_replaced(private: Daemon) -> None:
    run_many(
        private.socket, private.workspace(), ["/bin/true"], POOL + 2, 1
    )  # the pool knows its caller from now on
    before = resources.rest(private)
    for _ in range(3):
        # It comes back when a cage is made ahead, which is soon after one was used.
        assert wait_until(lambda: len(launchers_of(private)) == 1)
        launchers = launchers_of(private)
        os.kill(launchers[0], signal.SIGKILL)
        assert wait_until(lambda old=launchers[0]: old not in resources.processes())  # type: ignore[misc]
        assert private.run("sh", "-c", "exit 9").returncode == 9
    # A file that is being written at the moment is no leak: a moment later it is closed.
    assert wait_until(lambda: not resources.descriptors(pid_of(private)) - before - SPARE), (
        resources.descriptors(pid_of(private)) - before
    )


def launchers_of(daemon: Daemon) -> list[int]:
    return [pid for pid in resources.descendants(pid_of(daemon)) if is_launcher(pid)]


def is_launcher(pid: int) -> bool:
    try:
        # The children that it parked run the same program.
        return Path(f"/proc/{pid}/comm").read_text() == "akios-launcher\n"
    except OSError:
        return False


def test_a_running_cage_does_not_notice_that_its_launcher_died(private: Daemon) -> None:
    with private.popen(
        "run",
        "--workspace",
        private.workspace(),
        "--",
        "sh",
        "-c",
        "echo up; read line; echo $line; exit 5",
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        cwd=private.base,
    ) as client:
        assert client.stdout is not None and client.stdin is not None
        assert client.stdout.readline() == b"up\n"
        for pid in resources.descendants(pid_of(private)):
            if is_launcher(pid) and pid not in resources.caged_processes():
                os.kill(pid, signal.SIGKILL)
        client.stdin.write(b"still here\n")
        client.stdin.close()
        assert client.stdout.read() == b"still here\n"
        assert client.wait(30) == 5
