"""Ended cages are still there for a while: by name, with their end, their output and their
changes.
"""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import pytest

from akiosctl.client import Client
from akiosd.wire.messages import CageInfo, Cages, List
from tests.e2e.daemon import NOBODY, OTHER, Daemon
from tests.e2e.test_which_cage import verb

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]


def run(daemon: Daemon, where: Path, *words: str, uid: int = NOBODY) -> str:
    """Run as a person would, in ``where``; the cage's id."""
    done = daemon.ctl("run", "--json", *words, uid=uid, cwd=where)
    return str(json.loads(done.stderr.splitlines()[-1])["cage"])


def rows(daemon: Daemon, uid: int = NOBODY) -> dict[str, dict[str, Any]]:
    done = daemon.ctl("ps", "--all", "--json", uid=uid)
    assert done.returncode == 0, done.stderr
    return {row["cage"]: row for row in json.loads(done.stdout)}


@pytest.mark.parametrize("uid", CALLERS)
def test_a_name_leads_to_a_cage_of_ones_own(daemon: Daemon, uid: int) -> None:
    where = daemon.workspace(uid=uid)
    name = f"build-{uid}"
    first = run(daemon, where, "--name", name, "--", "touch", "new", uid=uid)
    taken = verb(daemon, where, "run", "--name", name, "--", "true", uid=uid)
    assert taken.returncode == 125 and first in taken.stderr and "changes" in taken.stderr
    other = verb(daemon, daemon.workspace(uid=OTHER), "commit", name, uid=OTHER)
    assert other.returncode == 125 and first not in other.stderr, "nobody else's"
    if uid:
        as_root = verb(daemon, where, "commit", name, uid=0)
        assert as_root.returncode == 125 and not (where / "new").exists(), as_root.stdout
    done = verb(daemon, where, "commit", name, uid=uid)
    assert done.returncode == 0 and first in done.stdout and (where / "new").exists(), done.stderr
    second = run(daemon, where, "--name", name, "--", "touch", "newer", uid=uid)
    assert f"{second} in {where}" in verb(daemon, where, "diff", name, uid=uid).stderr
    assert f"{second} in {where}" in verb(daemon, where, "diff", "last", uid=uid).stderr
    before = verb(daemon, where, "diff", "last~1", uid=uid)
    assert (
        f"last~1 means {first} in this directory, and that cage has no changes" in before.stderr
    ), before.stderr
    assert verb(daemon, where, "discard", name, uid=uid).returncode == 0
    assert not (where / "newer").exists()
    bad = verb(daemon, where, "run", "--name", "last~1", "--", "true", uid=uid)
    assert bad.returncode == 125 and "--name" in bad.stderr


@pytest.mark.parametrize("uid", CALLERS)
def test_an_ended_cage_is_told_about_also_after_a_restart(private: Daemon, uid: int) -> None:
    where, other = private.workspace(uid=uid), private.workspace(uid=OTHER)
    ended = run(private, where, "--name", f"it-{uid}", "--", "sh", "-c", "exit 3", uid=uid)
    killed = run(private, where, "--", "sh", "-c", "kill -9 $$", uid=uid)
    run(private, where, "--", "true", uid=uid)
    kept = run(private, where, "--", "touch", "new", uid=uid)
    theirs = run(private, other, "--", "true", uid=OTHER)
    before = rows(private, uid)
    private.stop()
    private.start()
    after = rows(private, uid)
    assert {name: row for name, row in before.items() if row["uid"] == uid} == {
        name: row for name, row in after.items() if row["uid"] == uid
    }
    assert after[ended]["exit_code"] == 3 and after[ended]["name"] == f"it-{uid}"
    assert after[ended]["argv"] == ["sh", "-c", "exit 3"] and after[ended]["ended_ns"]
    assert after[killed]["exit_code"] == 137 and after[kept]["expires_ns"]
    assert (theirs in after) == (uid == 0), "a user never sees another's"
    shown = verb(private, where, "ps", "--all", uid=uid).stdout
    assert (
        "exited 3" in shown and "(exit status 137)" in shown and "waiting, go in 90 days" in shown
    )
    assert verb(private, where, "discard", kept, uid=uid).returncode == 0
    assert rows(private, uid)[kept]["settled"] == "discarded"


def test_a_kill_in_the_middle_of_an_end_loses_nothing_of_it(private: Daemon) -> None:
    """As if akiosd had died after the log had the end and before anything else did."""
    where = private.workspace(uid=NOBODY)
    cage = run(private, where, "--", "sh", "-c", "touch new; exit 5")
    directory = private.state / "cages" / cage
    private.stop()
    (directory / "kept.msgpack").rename(directory / "running.msgpack")
    private.start()
    row = rows(private)[cage]
    assert (row["exit_code"], row["reason"], row["changes"]) == (5, "exited 5", True)
    assert verb(private, where, "commit", cage).returncode == 0 and (where / "new").exists()


@pytest.mark.parametrize("uid", CALLERS)
@pytest.mark.parametrize("how", [(), ("--detach",), ("--discard",), ("--no-logs",)])
def test_what_it_wrote_can_be_read_after_its_end(
    daemon: Daemon, uid: int, how: tuple[str, ...]
) -> None:
    where = daemon.workspace(uid=uid)
    script = "touch new; echo one; echo two >&2; sleep 0.2; echo three"
    done = verb(daemon, where, "run", *how, "--", "sh", "-c", script, uid=uid)
    assert done.returncode == 0, done.stderr
    done = verb(daemon, where, "logs", "--follow", uid=uid)
    if how == ("--no-logs",):
        assert done.returncode == 125 and "nothing that" in done.stderr and not done.stdout
        return
    assert sorted(done.stdout.split()) == ["one", "three", "two"], done.stderr
    assert verb(daemon, where, "logs", "--tail", "1", uid=uid).stdout == "three\n"
    pieces = verb(daemon, where, "logs", "--json", uid=uid).stdout.splitlines()
    assert "".join(json.loads(piece)["text"] for piece in pieces).endswith("three\n")
    times = [json.loads(piece)["time_ns"] for piece in pieces]
    assert times == sorted(times) and verb(daemon, where, "logs", "--since", "1h", uid=uid).stdout
    cage = next(row["cage"] for row in rows(daemon, uid).values() if row["workspace"] == str(where))
    other = verb(daemon, where, "logs", cage, uid=OTHER)
    assert other.returncode == 125 and not other.stdout, "the user's own only"


def test_output_without_end_is_cut_in_the_middle_and_ends_nothing(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    script = "echo begins; head -c 60000000 /dev/zero | tr '\\0' x; echo; echo ends"
    done = verb(daemon, where, "run", "--", "sh", "-c", script)
    assert done.returncode == 0 and len(done.stdout) > 60_000_000, "nothing is missing here"
    done = verb(daemon, where, "logs")
    assert done.stdout.startswith("begins\nxxx") and done.stdout.endswith("x\nends\n")
    assert len(done.stdout) < 5 << 20
    missing = "bytes of output"
    assert missing in done.stderr or missing in done.stdout


def test_following_goes_on_over_a_restart(private: Daemon) -> None:
    where = private.workspace(uid=NOBODY)
    cage = verb(
        private, where, "run", "--detach", "--", "sh", "-c", "echo up; exec sleep 600"
    ).stdout.strip()
    logs = private.popen(
        "logs", "-f", cage, uid=NOBODY, cwd=where, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    events = private.popen(
        *("events", "-f", "--json", "--since", "1h"),
        uid=NOBODY,
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    try:
        assert logs.stdout is not None and logs.stdout.readline() == b"up\n"
        assert events.stdout is not None
        kinds = set[str]()
        while "birth" not in kinds:
            kinds.add(json.loads(events.stdout.readline())["kind"])
        private.stop()
        private.start()
        assert logs.wait(60) == 0, logs.communicate()[1]
        newer = run(private, where, "--", "true")
        for line in iter(events.stdout.readline, ""):
            record = json.loads(line)
            if record["kind"] == "birth" and record["cage"] == newer:
                break
        else:
            raise AssertionError("it ended")
    finally:
        for process in (logs, events):
            process.kill()
        _, said = events.communicate()
        logs.communicate()
    told = [line for line in said.splitlines() if "akiosd is" in line]
    assert told == ["akios: akiosd is gone; waiting until it is back", "akios: akiosd is back"]
    assert verb(private, where, "logs", cage).stdout == "up\n"


def test_nobody_sees_an_end_before_its_exit_code(private: Daemon) -> None:
    """Asked all the time, also between its last process and its last record."""
    where, seen = private.workspace(), list[int]()
    with Client(str(private.socket)) as client:
        for number in range(1, 21):
            words = ("run", "-q", "--detach", "--", "sh", "-c", "sleep 0.1; exit 3")
            assert private.ctl(*words, cwd=where).returncode == 0
            ended: list[CageInfo] = []
            while len(ended) < number:
                reply, _ = client.call(List(everyone=True), Cages)
                here = [one for one in reply.cages if one.workspace == bytes(where)]
                ended = [one for one in here if one.ended_ns]
                seen += [one.exit_code for one in ended]
    assert set(seen) == {3}
