"""The Debian package on a machine with systemd, as an administrator meets it: installed, used by
users of each group, stopped, removed, purged.

Runs in the guest only (`tests/vm/package`), in the order of this file: each test goes on from what
the one before left.
"""

from __future__ import annotations

import grp
import json
import os
import select
import subprocess
from pathlib import Path

import pytest

DEB = sorted(Path(__file__).parents[2].glob(".vm-files/*.deb"))
EATS = "b = bytearray(); exec('while 1: b += bytes(1 << 20)')"
FORKS = "import os, time\nfor n in range(99):\n  if not os.fork(): time.sleep(60); os._exit(0)"
pytestmark = pytest.mark.skipif(not DEB, reason="no package was handed in (tests/vm/package)")


def sh(*command: str, user: str = "root", ok: bool = True) -> subprocess.CompletedProcess[str]:
    """A command as ``user``, from a login of their own, without the variables of this test."""
    words = command if user == "root" else ("runuser", "-u", user, "--", *command)
    done = subprocess.run(
        words,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        cwd=f"/home/{user}/work" if user != "root" else "/",
        env={"PATH": "/usr/sbin:/usr/bin:/sbin:/bin", "LC_ALL": "C.UTF-8"},
    )
    assert not ok or done.returncode == 0, f"{command}\n{done.stdout}\n{done.stderr}"
    return done


def run(*words: str, ok: bool = True) -> subprocess.CompletedProcess[str]:
    """``akiosctl run`` by a user of group akios."""
    return sh("akiosctl", "run", *words, user="dev", ok=ok)


def files() -> set[str]:
    """Every name below the places that packages and services write to."""
    found = sh("find", "/etc", "/usr", "/var", "/run/akios", "-xdev", ok=False).stdout
    passing = (
        "/var/log/",
        "/var/tmp/systemd-private-",
        "/var/cache/",
        "/var/lib/apt/",
        "/var/lib/dpkg/",
        "/var/lib/systemd/",
    )
    return {name for name in found.splitlines() if not name.startswith(passing)}


@pytest.fixture(scope="module")
def before() -> set[str]:
    for name, group in (("mon", "akios-monitor"), ("other", "nogroup")):
        sh("groupadd", "--system", "--force", group)
        sh("useradd", "--create-home", "--groups", group, name)
    for name in ("dev", "mon", "other"):
        sh("install", "-d", "-o", name, f"/home/{name}/work")
    return files()


def test_it_installs_and_runs(before: set[str]) -> None:
    sh("apt-get", "install", "-y", "--no-install-recommends", str(DEB[-1]))
    for group in ("akios", "akios-admin", "akios-monitor"):
        assert grp.getgrnam(group)
    assert sh("systemctl", "is-enabled", "akiosd").stdout == "enabled\n"
    assert sh("systemctl", "is-active", "akiosd").stdout == "active\n"
    assert sh("akiosctl", "--version").stdout == sh("akios", "--version").stdout
    # Bytecode lies there, so that no start has to compile.
    [shown] = Path("/usr/lib/akios/lib").glob("python3*/site-packages/akiosctl/__pycache__/cli.*")
    assert shown.stat().st_uid == 0


def test_a_user_of_the_group_runs_a_cage_with_limits_of_cgroup_v2() -> None:
    seen = run("--", "sh", "-c", "echo caged $(id -u)")
    assert seen.stdout == "caged 1000\n"
    eaten = run("--memory", "96M", "--", "/usr/bin/python3", "-c", EATS, ok=False)
    assert eaten.returncode == 137 and "memory limit 96 MiB" in eaten.stderr
    forked = run("--pids", "20", "--", "/usr/bin/python3", "-c", FORKS, ok=False)
    assert forked.returncode == 1 and "BlockingIOError" in forked.stderr
    write = ("dd", "if=/dev/zero", "of=big", "bs=1M", "count=64")
    filled = run("--disk", "32M", "--discard", "--", *write, ok=False)
    assert filled.returncode == 1, filled.stderr
    assert "No space left" in filled.stderr or "quota exceeded" in filled.stderr


def test_without_the_cage_nothing_of_that_is_refused() -> None:
    # The controls: the same programs, outside, as the same user.
    assert sh("/usr/bin/python3", "-c", "bytearray(160 << 20)", user="dev").returncode == 0
    assert sh("/usr/bin/python3", "-c", FORKS.replace("60", "0"), user="dev").returncode == 0
    assert sh("dd", "if=/dev/zero", "of=big", "bs=1M", "count=64", user="dev").returncode == 0
    Path("/home/dev/work/big").unlink()


def test_each_group_may_do_its_part_and_no_more() -> None:
    words = ["runuser", "-u", "mon", "--", "akiosctl", "events", "--follow", "--json"]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, cwd="/home/mon") as follower:
        assert follower.stdout is not None
        # Until the follower has subscribed, what happens is not told to it.
        while not select.select([follower.stdout], [], [], 0)[0]:
            assert follower.poll() is None
            run("--discard", "--", "true")
        assert json.loads(follower.stdout.readline())["kind"]
        follower.terminate()
    refused = sh("akiosctl", "run", "--", "true", user="mon", ok=False)
    assert refused.returncode == 125 and "akios" in refused.stderr
    outside = sh("akiosctl", "run", "--", "true", user="other", ok=False)
    assert outside.returncode == 125 and "group" in outside.stderr, outside.stderr


def test_the_journal_can_be_read() -> None:
    journal = sh("journalctl", "-u", "akiosd", "-o", "cat", "--no-pager").stdout
    assert "ready" in journal and "Traceback" not in journal
    out = os.environ.get("VM_OUT")
    if out:
        Path(out, "journal").write_text(
            sh("journalctl", "-u", "akiosd", "--no-pager").stdout, encoding="utf-8"
        )


def test_the_ledger_holds() -> None:
    verified = sh("akiosctl", "ledger", "verify")
    assert "OK" in verified.stdout


def test_a_restart_serves_again() -> None:
    first = sh("systemctl", "show", "-P", "MainPID", "akiosd").stdout
    sh("systemctl", "restart", "akiosd")
    assert sh("systemctl", "show", "-P", "MainPID", "akiosd").stdout != first
    assert run("--", "echo", "again").stdout == "again\n"


def test_removing_keeps_data_and_purging_does_not(before: set[str]) -> None:
    sh("apt-get", "remove", "-y", "akios")
    assert Path("/var/lib/akios/ledger").is_dir() and Path("/etc/akios/akiosd.yaml").is_file()
    assert not Path("/usr/bin/akiosctl").exists() and not Path("/usr/lib/akios").exists()
    assert sh("systemctl", "is-active", "akiosd", ok=False).returncode != 0
    sh("apt-get", "install", "-y", "--no-install-recommends", str(DEB[-1]))
    assert sh("akiosctl", "ledger", "verify").stdout.count("OK")
    sh("apt-get", "purge", "-y", "akios")
    left = files() - before
    # Groups stay, as Debian's policy has it: files of theirs may lie anywhere.
    assert {name for name in left if not name.startswith(("/etc/group", "/etc/gshadow"))} == set()
    assert sh("findmnt", "-rno", "TARGET").stdout.count("akios") == 0
