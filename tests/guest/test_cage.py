"""A whole run on Debian's own kernel, with systemd's shared mounts: layers, attacks, changes, the
end of akiosd and its keeper.
"""

from __future__ import annotations

import json
import os
import signal
from pathlib import Path

from tests.e2e import resources
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.resources import wait_until

LAYERS = {
    "identity",
    "namespaces",
    "memory",
    "pids",
    "cpu",
    "disk",
    "landlock",
    "seccomp",
    "ledger",
}


def test_every_layer_of_this_host_is_enforced(daemon: Daemon) -> None:
    done = daemon.ctl("doctor", "--json")
    posture = json.loads(done.stdout)["posture"]
    assert {layer["layer"] for layer in posture if layer["status"] == "enforced"} >= LAYERS
    assert [layer for layer in posture if layer["status"] != "enforced"] == []


def test_a_command_runs_as_root_and_as_a_user(daemon: Daemon) -> None:
    for uid in (0, NOBODY):
        done = daemon.run(
            "sh", "-c", "id -u; touch ~/x /tmp/x new; exit 7", uid=uid, flags=["--discard"]
        )
        assert (done.stdout, done.returncode) == ("1000\n", 7), done.stderr


def test_no_mount_passes_between_the_cage_and_the_host(daemon: Daemon) -> None:
    """Everything here is mounted shared, as systemd does it: what is cloned from there must not
    stay a peer.
    """
    assert "shared:" in Path("/proc/self/mountinfo").read_text()
    before = resources.mounts()
    done = daemon.run("cat", "/proc/self/mountinfo")
    assert [
        line for line in done.stdout.splitlines() if "shared:" in line or "master:" in line
    ] == []
    assert resources.mounts() <= before


def test_changes_are_shown_and_committed(daemon: Daemon) -> None:
    workspace = daemon.workspace(uid=NOBODY)
    (workspace / "keep").mkdir()
    (workspace / "keep" / "file").write_text("old\n")
    (workspace / "gone").write_text("x")
    for path in (workspace / "keep", workspace / "keep" / "file", workspace / "gone"):
        os.chown(path, NOBODY, NOBODY)
    command = "echo new >>keep/file; rm gone; mv keep kept; ln -s kept/file link; mkdir empty"
    done = daemon.run("sh", "-c", command, cwd=workspace, uid=NOBODY, flags=["--json"])
    assert done.returncode == 0, done.stderr
    cage = json.loads(done.stderr.splitlines()[-1])["cage"]
    assert (workspace / "gone").exists() and not (workspace / "kept").exists()
    diff = daemon.ctl("diff", cage, uid=NOBODY, cwd=workspace)
    assert diff.returncode == 0 and "gone" in diff.stdout and "kept" in diff.stdout, diff.stderr
    committed = daemon.ctl("commit", cage, uid=NOBODY, cwd=workspace)
    assert committed.returncode == 0, committed.stderr
    assert (workspace / "kept" / "file").read_text() == "old\nnew\n"
    assert sorted(path.name for path in workspace.iterdir()) == ["empty", "kept", "link"]
    assert (workspace / "kept" / "file").stat().st_uid == NOBODY
    assert wait_until(lambda: not (daemon.state / "disk" / "pool" / cage).exists())


ATTACKS = {
    "mount": "mount -t tmpfs none /tmp",
    "unshare": "unshare -U true",
    "user and mount namespaces": "unshare -Urm true",
    "core_pattern": "echo '|/tmp/x' >/proc/sys/kernel/core_pattern",
    "sysrq": "! test -c /proc/sysrq-trigger",  # the null device stands there
    "the root of init": "ls /proc/1/root/",
    "the memory of init": "head -c 1 /proc/1/mem",
    "a device": "mknod /tmp/vda b 254 0",
    "sys": "ls /sys/kernel",
    "shadow": "cat /etc/shadow",
    "chroot": "chroot / true",
    "the disk of the host": "cat /dev/vda",
    "cgroup files": "ls /sys/fs/cgroup/",
    "kernel log": "dmesg",
    "clock": "date -s 2001-01-01",
    "host name": "hostname other",
    "setuid root": "chmod u+s /tmp/x",
    "address": "ip link set lo down",
}


def test_attacks_from_a_shell_fail(daemon: Daemon) -> None:
    """All in one cage, as a process costs much here; each prints its name only if it succeeded."""
    lines = [f"({command}) >/dev/null 2>&1 && echo '{name}'" for name, command in ATTACKS.items()]
    done = daemon.run("sh", "-c", "\n".join(["cp /bin/true /tmp/x", *lines, "echo done"]))
    assert done.stdout in ("done\n", "setuid root\ndone\n"), done.stdout
    # A set-uid bit may be set on a file that no one can ever run with it.
    run_it = (
        "cp /usr/bin/id /tmp/id; chmod 4755 /tmp/id; /tmp/id -u; grep NoNewPrivs /proc/self/status"
    )
    bit = daemon.run("sh", "-c", run_it)
    assert bit.stdout.split() == ["1000", "NoNewPrivs:", "1"]


def test_nothing_is_left_after_a_kill_and_a_restart(daemon: Daemon) -> None:
    mounts = resources.mounts()
    done = daemon.run(
        "sh",
        "-c",
        "trap '' TERM; (setsid sleep 9999 &) ; touch /tmp/x; sleep 9999",
        flags=["--detach"],
    )
    cage = done.stdout.strip()
    assert wait_until(lambda: len(resources.caged_processes()) >= 3)
    assert (daemon.state / "disk" / "pool" / cage).is_dir()
    daemon.stop(signal.SIGKILL)
    daemon.end_keeper()  # or the cage would wait for the next akiosd
    assert wait_until(lambda: not resources.caged_processes())
    daemon.start()
    assert not (daemon.state / "disk" / "pool" / cage).exists()
    assert not [path for path in resources.cgroups(daemon) if cage in path]
    assert {line.split()[4] for line in resources.mounts()} <= {line.split()[4] for line in mounts}
    assert daemon.ctl("ledger", "verify").returncode == 0
    assert daemon.ctl("ledger", "verify", cage).returncode == 0
    assert daemon.run("true").returncode == 0
