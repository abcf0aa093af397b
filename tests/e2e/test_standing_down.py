"""What becomes of a standing cage's data: taken down, after a restart of akiosd, and after one of
the host.
"""

from __future__ import annotations

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.daemon import NOBODY, Daemon, die_with_parent
from tests.e2e.resources import wait_until
from tests.e2e.survival import kill, kill_and_start
from tests.e2e.test_standing_cages import Standing


@pytest.fixture
def standing(private: Daemon) -> Iterator[Standing]:
    made = Standing(private, "work")
    yield made
    made.ctl("cage", "down", "work", "--discard", "--fast")


def destroyed(daemon: Daemon, cage: str) -> list[dict[str, Any]]:
    """The tombstones of a cage in the host's log."""
    done = daemon.ctl("ledger", "show", "--json")
    assert done.returncode == 0, done.stderr
    lines = map(json.loads, done.stdout.splitlines())
    return [line for line in lines if line["kind"] == "cage_destroyed" and line["cage"] == cage]


def tree(directory: Path) -> dict[str, str]:
    return {
        str(path.relative_to(directory)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(directory.rglob("*"))
        if path.is_file()
    }


HOSTILE = """
import os, socket
os.chdir("data/output")
for name, text in {"plain": b"secret" * 1000, "unreadable": b"hidden", "linked": b"inside"}.items():
    open(name, "wb").write(text)
os.chmod("unreadable", 0)
os.symlink("../input/given", "leads")
os.symlink("/etc/passwd", "away")
os.mkfifo("fifo")
socket.socket(socket.AF_UNIX).bind("socket")
with open("sparse", "wb") as file:
    file.truncate(1 << 40)
    file.write(b"x")
os.makedirs("deep/er")
open("deep/er/file", "w").write("deep")
os.chmod("deep/er", 0)
os.link("linked", "twice")
print("made", flush=True)
n = 0
while True:
    n += 1
    open(f"written-{n % 50}", "w").write(str(n))
"""


def test_down_under_load_destroys_what_was_named_and_nothing_else(standing: Standing) -> None:
    project, private = standing.project, standing.daemon
    (project / "data/input/given").write_text("given")
    (project / "code.py").write_text("print()")
    elsewhere = project / "elsewhere"
    elsewhere.write_text("outside")
    os.chown(elsewhere, NOBODY, NOBODY)
    before = tree(project)
    client = standing.popen("python3", "-c", HOSTILE, stdout=subprocess.PIPE)
    assert client.stdout is not None and client.stdout.readline() == b"made\n"
    os.link(elsewhere, project / "data/output/mine")
    foreseen = standing.ctl("cage", "down", "work", "--dry-run", "--json")
    (told,) = json.loads(foreseen.stdout)
    assert told["dry_run"] and told["files"] > 5 and told["spared"] == ["mine"]
    assert client.poll() is None  # it was only asked
    done = standing.ctl("cage", "down", "work")
    assert done.returncode == 0, done.stderr
    assert client.wait(60) == 137
    assert list((project / "data/output").iterdir()) == []
    assert tree(project) == before and elsewhere.read_text() == "outside"
    assert "mine" in done.stdout and done.stderr.count("flash storage") == 1
    assert not (private.state / "cages" / standing.cage).exists()
    (stone,) = destroyed(private, standing.cage)
    assert "random x1, zeros, unlinked" in stone["method"]
    assert "not overwritten, as they have names elsewhere: mine" in stone["method"]
    assert private.ctl("ledger", "verify").returncode == 0
    assert "no standing cage" in standing.ctl("cage", "status", "work").stderr


SWAPS = """
import os, sys
output, outside = sys.argv[1:]
os.chdir(output)
turn = 0
while True:
    turn += 1
    for way in (
        lambda: os.rename("tree", f"tree-{turn}"),
        lambda: os.symlink(outside, "tree"),
        lambda: os.unlink("tree"),
        lambda: os.rename(f"tree-{turn}", "tree"),
        lambda: os.link(outside + "/marker", "tree/a/x"),
        lambda: os.rename("tree/a/x", "tree/z/x"),
        lambda: os.rename("tree/z/x", "tree/a/y"),
        lambda: os.unlink("tree/a/y"),
        lambda: (os.mkdir("tree"), os.mkdir("tree/a"), os.mkdir("tree/z")),
        lambda: [os.link(outside + "/marker", f"tree/{n % 7}-{n}") for n in range(turn, turn + 5)],
    ):
        try:
            way()
        except OSError:
            pass
    if turn == 50:
        print("swaps", flush=True)
"""


def test_down_amid_swaps_touches_nothing_outside(standing: Standing) -> None:
    """An agent writes, and another process of the user's renames and links what is being wiped; the
    control is a file of the agent's, whose blocks are zero afterwards.
    """
    project = standing.project
    outside = standing.daemon.workspace(uid=NOBODY)
    marker = outside / "marker"
    marker.write_text("as it was" * 1000)
    os.chown(marker, NOBODY, NOBODY)
    agent = standing.popen("python3", "-c", HOSTILE, stdout=subprocess.PIPE)
    assert agent.stdout is not None and agent.stdout.readline() == b"made\n"
    output = project / "data/output"
    for name in ("tree/a", "tree/z"):
        (output / name).mkdir(parents=True)
    for path in (output / "tree", output / "tree/a", output / "tree/z"):
        os.chown(path, NOBODY, NOBODY)
    (output / "control").write_bytes(b"secret" * 1000)
    os.chown(output / "control", NOBODY, NOBODY)
    before = tree(outside)
    with (output / "control").open("rb") as control:
        swaps = subprocess.Popen(
            [sys.executable, "-c", SWAPS, output, outside],
            stdout=subprocess.PIPE, preexec_fn=die_with_parent, **standing.daemon.as_user(NOBODY),
        )  # fmt: skip
        try:
            assert swaps.stdout is not None and swaps.stdout.readline() == b"swaps\n"
            done = standing.ctl("cage", "down", "work", "--discard")
        finally:
            swaps.kill()
            swaps.wait()
        assert agent.wait(60) == 137
        assert tree(outside) == before, done.stderr
        assert control.read() == bytes(6000)
    assert done.returncode == 0, done.stderr


def test_the_output_stays_where_that_is_asked(standing: Standing) -> None:
    assert standing.run("sh", "-c", "echo made >data/output/made").returncode == 0
    standing.down("--keep-output")
    assert (standing.project / "data/output/made").read_text() == "made\n"
    (stone,) = destroyed(standing.daemon, standing.cage)
    assert stone["method"].endswith("data/output: kept")


def test_the_output_of_two_cages_goes_with_the_last(standing: Standing) -> None:
    """The control: alone in its project a cage takes its output with it."""
    assert standing.ctl("cage", "up", "other").returncode == 0
    assert standing.run("sh", "-c", "echo made >data/output/made").returncode == 0
    made = standing.project / "data/output/made"
    foreseen = standing.ctl("cage", "down", "other", "--dry-run")
    assert "would be kept, as it is that of work too" in foreseen.stdout
    done = standing.ctl("cage", "down", "other")
    assert done.returncode == 0 and "kept, as it is that of work too" in done.stdout
    assert made.read_text() == "made\n"
    standing.down()
    assert not made.exists()


def test_a_dry_run_foresees_that_uncommitted_work_is_in_the_way(standing: Standing) -> None:
    running = standing.ctl("cage", "down", "work", "--dry-run")
    assert running.returncode == 0 and "where it changed the project besides" in running.stdout
    assert standing.run("sh", "-c", "echo new >code").returncode == 0
    first = standing.ctl("cage", "down", "work")
    assert first.returncode == 125 and "it was killed, and nothing destroyed" in first.stderr
    assert "work is down" in standing.ctl("cage", "pause", "work").stderr
    foreseen = standing.ctl("cage", "down", "work", "--dry-run")
    again = standing.ctl("cage", "down", "work")
    assert foreseen.returncode == again.returncode == 125
    assert "nothing would be destroyed" in foreseen.stderr
    assert "nothing was destroyed" in again.stderr
    control = standing.ctl("cage", "down", "work", "--dry-run", "--discard")
    assert control.returncode == 0 and "would be destroyed" in control.stdout


def test_work_that_nobody_committed_is_not_destroyed_by_the_way(standing: Standing) -> None:
    assert standing.run("sh", "-c", "echo new >code; echo x >data/output/x").returncode == 0
    refused = standing.ctl("cage", "down", "work")
    assert refused.returncode == 125 and "uncommitted changes outside data/output" in refused.stderr
    assert (standing.project / "data/output/x").exists()
    assert "is down" in standing.run("true").stderr
    assert standing.ctl("commit", standing.cage).returncode == 0
    standing.down()
    assert (standing.project / "code").read_text() == "new\n"
    assert not (standing.project / "data/output/x").exists()


def test_what_somebody_looks_at_is_not_taken_down_under_them(standing: Standing) -> None:
    """The control: once the reader of the diff is done, it goes."""
    script = "i=0; while [ $i -lt 9000 ]; do echo x >long-name-$i; i=$((i+1)); done"
    assert standing.run("sh", "-c", script).returncode == 0
    assert standing.ctl("cage", "down", "work").returncode != 0  # killed, and has changes
    reader = standing.daemon.popen(
        *("diff", "-p"), uid=NOBODY, cwd=standing.project,
        stdout=subprocess.PIPE, stderr=subprocess.DEVNULL,
    )  # fmt: skip
    assert reader.stdout is not None and reader.stdout.read(1)
    down = ("cage", "down", "work", "--discard", "--fast")
    refused = standing.ctl(*down)
    assert refused.returncode == 125 and "another diff or commit is open" in refused.stderr
    reader.stdout.read()
    assert reader.wait(60) == 0
    reader.stdout.close()
    assert standing.ctl(*down).returncode == 0


def test_a_killed_down_is_given_again(standing: Standing) -> None:
    """At whatever moment it is killed, what is left is found by the next one."""
    many = "cd data/output; touch $(seq 8000); for n in $(seq 50); do date >$n; done"
    assert standing.run("sh", "-c", many).returncode == 0
    output = standing.project / "data/output"
    all_of_them = len(os.listdir(output))
    down = ("cage", "down", "work", "--passes", "3")
    client = standing.daemon.popen(
        *down, uid=NOBODY, cwd=standing.project, stdout=subprocess.DEVNULL
    )
    assert wait_until(lambda: len(os.listdir(output)) < all_of_them)
    client.kill()
    client.wait()
    assert 0 < len(os.listdir(output)) < all_of_them == 8_000
    assert "is down" in standing.run("true").stderr
    standing.down()
    assert os.listdir(output) == []
    assert len(destroyed(standing.daemon, standing.cage)) == 1


def test_several_at_once_destroy_it_once(private: Daemon) -> None:
    """So does one that is given again while akiosd still works for one that was killed."""
    for _ in range(4):
        standing = Standing(private, "work")
        many = "for n in $(seq 60); do head -c 20000 /dev/urandom >data/output/$n; done"
        assert standing.run("sh", "-c", many).returncode == 0
        pipe, down = subprocess.PIPE, ("cage", "down", "work")
        begun = [
            private.popen(*down, uid=NOBODY, cwd=standing.project, stdout=pipe, stderr=pipe)
            for _ in range(4)
        ]
        told = [one.communicate(timeout=60)[1].decode() for one in begun]
        failed = [words for one, words in zip(begun, told, strict=True) if one.returncode]
        assert len(failed) < len(begun), failed
        assert all("no standing cage" in words for words in failed), failed
        assert len(destroyed(private, standing.cage)) == 1
        assert os.listdir(standing.project / "data/output") == []


def test_a_link_in_the_place_of_the_output_is_not_followed(standing: Standing) -> None:
    project = standing.project
    (project / "data/output").rename(project / "data/away")
    (project / "precious").mkdir()
    (project / "precious/file").write_text("kept")
    os.symlink("../precious", project / "data/output")
    done = standing.ctl("cage", "down", "work")
    assert done.returncode == 125 and "nothing was wiped" in done.stderr
    assert (project / "precious/file").read_text() == "kept"
    (project / "data/output").unlink()
    (project / "data/away").rename(project / "data/output")
    standing.down()


def test_programs_outlive_a_restart_of_akiosd(private: Daemon) -> None:
    standing = Standing(private, "lasting")
    counts = "n=0; while [ $n -lt 300 ]; do n=$((n+1)); echo $n; sleep 0.02; done; exit 7"
    client = standing.popen("sh", "-c", counts, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    lost = standing.popen("sh", "-c", "echo up; exec sleep 1000", stdout=subprocess.PIPE)
    try:
        for one in (client, lost):
            assert one.stdout is not None and one.stdout.readline()
        kill(private)
        # It ends while nobody is there, and a signal to it waits.
        lost.send_signal(signal.SIGTERM)
        private.start()
        out, words = client.communicate(timeout=90)
        assert [int(line) for line in out.split()] == list(range(2, 301))
        assert client.returncode == 7, words
        assert lost.wait(60) == 128 + signal.SIGTERM
        assert standing.run("true").returncode == 0
        assert standing.ctl("cage", "pause", "lasting").returncode == 0
        kill_and_start(private)
        assert "is paused" in standing.run("true").stderr
        assert standing.ctl("cage", "resume", "lasting").returncode == 0
        assert standing.run("sh", "-c", "exit 3").returncode == 3
    finally:
        standing.down("--discard")
    assert len(destroyed(private, standing.cage)) == 1


def test_what_a_program_was_is_in_the_log_once(private: Daemon) -> None:
    standing = Standing(private, "logged")
    assert [standing.run("sh", "-c", f"exit {code}").returncode for code in (0, 4)] == [0, 4]
    kill_and_start(private)
    assert standing.run("/nonexistent").returncode == 127
    started = [(one["program"], one["argv"][2]) for one in standing.records("program_started")]
    assert started == [(1, "exit 0"), (2, "exit 4")]
    ended = [(one["program"], one["exit_code"]) for one in standing.records("program_ended")]
    assert ended == [(1, 0), (2, 4), (3, 127)]
    assert standing.ctl("stop", "--kill", standing.cage).returncode == 0
    (end,) = standing.records("end")
    assert end["programs"] == 3
    standing.down()


@pytest.mark.parametrize(
    "changes", [pytest.param(False, marks=pytest.mark.named_set("standing")), True]
)
def test_after_a_restart_of_the_host_it_is_down_with_its_data(changes: bool) -> None:
    """As akiosd meets it: nothing is kept, the cage is gone, its record is there."""
    daemon = Daemon("restart: {come_back_s: 0}\n").start()
    try:
        standing = Standing(daemon, "work")
        script = "echo x >data/output/x" + ("; echo y >code" if changes else "")
        assert standing.run("sh", "-c", script).returncode == 0
        kill_and_start(daemon)
        (info,) = json.loads(standing.ctl("cage", "list", "--json").stdout)
        assert (info["state"], info["changes"], info["cage"]) == ("down", changes, standing.cage)
        assert "is down" in standing.run("true").stderr
        taken = standing.ctl("cage", "up", "work")
        assert taken.returncode == 125 and "down with its data" in taken.stderr
        assert (standing.project / "data/output/x").exists()
        if changes:
            assert standing.ctl("commit", standing.cage).returncode == 0
        standing.down()
        assert list((standing.project / "data/output").iterdir()) == []
        assert standing.ctl("cage", "up", "work").returncode == 0
    finally:
        daemon.close()


def test_copies_go_in_and_come_out(standing: Standing, tmp_path: Path) -> None:
    tmp_path.chmod(0o777)
    source = standing.daemon.workspace(uid=NOBODY)
    (source / "d/e").mkdir(parents=True)
    (source / "d/e/file").write_text("text")
    (source / "d/run").write_text("#!/bin/sh\n")
    (source / "d/run").chmod(0o755)
    os.symlink("e/file", source / "d/link")
    assert standing.ctl("cp", str(source / "d"), "work:/tmp").returncode == 0
    inside = standing.run("sh", "-c", "cat /tmp/d/e/file /tmp/d/link; test -x /tmp/d/run")
    assert (inside.returncode, inside.stdout) == (0, "texttext")
    done = standing.ctl("cp", "work:/tmp/d", str(source / "back"))
    assert done.returncode == 0, done.stderr
    assert (source / "back/e/file").read_text() == "text"
    assert os.readlink(source / "back/link") == "e/file"
    assert (source / "back/run").stat().st_mode & 0o777 == 0o755
    assert (source / "back/e/file").stat().st_uid == NOBODY


def test_a_copy_follows_no_link_out(standing: Standing) -> None:
    project = standing.project
    victim = project / "victim"
    victim.write_text("mine")
    os.chown(victim, NOBODY, NOBODY)
    made = (
        "mkdir -p /tmp/t/sub; cd /tmp/t; ln -s /etc/passwd abs; ln -s ../../up up;"
        " ln -s sub in; echo evil >sub/victim; mkfifo pipe; echo evil >victim"
    )
    assert standing.run("sh", "-c", made).returncode == 0
    target = project / "target"
    target.mkdir()
    os.symlink(victim, target / "victim")  # as somebody may have left it there
    os.symlink(project, target / "sub")
    for path in (target, target / "victim", target / "sub"):
        os.chown(path, NOBODY, NOBODY, follow_symlinks=False)
    done = standing.ctl("cp", "work:/tmp/t/victim", str(target / "victim"))
    assert done.returncode == 125 and "cannot be written" in done.stderr
    done = standing.ctl("cp", "work:/tmp/t/sub", str(target / "sub2"))
    assert (done.returncode, (target / "sub2/victim").read_text()) == (0, "evil\n")  # the control
    done = standing.ctl("cp", "work:/tmp/t", str(project / "whole"))
    assert done.returncode == 1 and done.stderr.count("leads out") == 2
    assert sorted(os.listdir(project / "whole")) == ["in", "sub", "victim"]
    assert victim.read_text() == "mine"


def test_policy_of_the_cage_bounds_its_programs_together(private: Daemon) -> None:
    standing = Standing(private, "small", "--pids", "20")
    try:
        hold = standing.popen(
            *("sh", "-c", "for n in $(seq 12); do sleep 1000 & done; echo up; wait"),
            stdout=subprocess.PIPE,
        )
        assert hold.stdout is not None and hold.stdout.readline() == b"up\n"
        more = "for n in $(seq 12); do sleep 0.1 & done; wait; echo done"
        assert "done" not in standing.run("sh", "-c", more).stdout
        hold.kill()
        hold.wait()
    finally:
        standing.down("--discard", "--fast")


def test_a_socket_outside_is_left_alone(standing: Standing) -> None:
    """Beside the output, in the same directory, stands something of the user's."""
    beside = standing.project / "data/beside"
    with socket.socket(socket.AF_UNIX) as made:
        os.chdir(standing.project / "data")
        made.bind("beside")
        os.chdir("/")
        standing.down()
    assert beside.is_socket()
