"""Which cage a verb means: without a name the newest of the directory it is given in, never one of
another.
"""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from akiosctl.client import Client
from akiosd.daemon.cages.pending_changes import KeptCage
from akiosd.kernel.scm_rights import close_fds
from akiosd.wire.messages import Bind, Ended, Run
from tests.e2e.daemon import NOBODY, Daemon
from tests.e2e.terminal import Terminal

CALLERS = [pytest.param(0, id="root"), pytest.param(NOBODY, id="user")]


def run(daemon: Daemon, where: Path, script: str, *, uid: int = NOBODY, code: int = 0) -> str:
    """Run a shell script in ``where`` as a person would; the cage's name."""
    done = daemon.ctl("run", "--json", "--", "sh", "-c", script, uid=uid, cwd=where)
    assert done.returncode == code, done.stderr
    return str(json.loads(done.stderr.splitlines()[-1])["cage"])


def verb(
    daemon: Daemon, where: Path, *words: str, uid: int = NOBODY
) -> subprocess.CompletedProcess[str]:
    return daemon.ctl(*words, uid=uid, cwd=where)


@pytest.mark.parametrize("uid", CALLERS)
@pytest.mark.parametrize(
    "words", [("commit",), ("diff",), ("discard",), ("logs",), ("attach",), ("commit", "last")]
)
def test_a_verb_in_one_directory_does_not_touch_another(
    daemon: Daemon, uid: int, words: tuple[str, ...]
) -> None:
    one, other = daemon.workspace("one-", uid=uid), daemon.workspace("other-", uid=uid)
    (one / "data").write_text("precious")
    os.chown(one / "data", uid, -1)
    changed = run(daemon, one, "rm data; touch new", uid=uid)
    idle = run(daemon, other, "true", uid=uid)
    done = verb(daemon, other, *words, uid=uid)
    assert done.returncode == 125 and idle in done.stderr and "Traceback" not in done.stderr
    assert (one / "data").read_text() == "precious" and list(other.iterdir()) == []
    third = daemon.workspace("third-", uid=uid)
    done = verb(daemon, third, *words, uid=uid)
    assert done.returncode == 125 and idle in done.stderr and str(other) in done.stderr, (
        "named, with its place"
    )
    assert changed in verb(daemon, one, "ps", uid=uid).stdout, "the changes still wait"
    done = verb(daemon, one, "commit", uid=uid)
    assert done.returncode == 0 and changed in done.stdout and str(one) in done.stdout, done.stderr
    assert [path.name for path in one.iterdir()] == ["new"]


@pytest.mark.parametrize("uid", CALLERS)
def test_the_newest_is_meant_changed_or_not(daemon: Daemon, uid: int) -> None:
    """An older one with changes is offered by its name, never taken."""
    where = daemon.workspace(uid=uid)
    first = run(daemon, where, "touch first", uid=uid)
    second = run(daemon, where, "true", uid=uid)
    for words in (("commit",), ("diff",), ("discard",)):
        done = verb(daemon, where, *words, uid=uid)
        assert (
            done.returncode == 125
            and second in done.stderr
            and f"you may mean {first}" in done.stderr
        )
    assert list(where.iterdir()) == []
    assert verb(daemon, where, "commit", first, uid=uid).returncode == 0
    assert [path.name for path in where.iterdir()] == ["first"]
    assert verb(daemon, where, "commit", first, uid=uid).returncode == 125, "once"


def test_a_run_that_failed_to_start_leaves_nothing_to_take(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    first = run(daemon, where, "touch first")
    (where / "bad").write_text("#!/nowhere/at/all\n")
    (where / "bad").chmod(0o755)
    done = daemon.ctl("run", "--", "./bad", uid=NOBODY, cwd=where)
    assert done.returncode in (126, 127), done.stderr
    done = verb(daemon, where, "commit")
    assert done.returncode == 125 and "has no changes" in done.stderr and first in done.stderr
    assert sorted(path.name for path in where.iterdir()) == ["bad"]
    waiting = [row["cage"] for row in json.loads(verb(daemon, where, "ps", "--json").stdout)]
    assert first in waiting
    assert verb(daemon, where, "discard", first).returncode == 0


@pytest.mark.parametrize("command", [b"/nowhere/program", b"/usr/bin/true"])
def test_what_was_prepared_for_an_agent_that_never_began_is_no_change_of_its(
    daemon: Daemon, command: bytes
) -> None:
    """A place for a bind is made in the workspace's upper layer.  The control: an agent that began
    leaves it there.
    """
    where, tools = daemon.workspace(), daemon.workspace("tools-")
    path = os.fsencode(where)
    request = Run(
        argv=(command,),
        command=command,
        cwd=path,
        workspace=path,
        home=b"/home/agent",
        user_name="agent",
        binds=(Bind(path + b"/made", 1),),
    )
    fds = [os.open(place, os.O_PATH | os.O_DIRECTORY) for place in (where, tools)]
    with Client(str(daemon.socket)) as client:
        client.send(request, fds)
        close_fds(fds)
        while not isinstance(message := (received := client.receive()).message, Ended):
            close_fds(received.fds)
    assert (message.exit_code == 0) == message.changes == (command == b"/usr/bin/true"), message
    done = verb(daemon, where, "diff", uid=0)
    assert (done.returncode == 0) == message.changes and message.cage in done.stderr
    if message.changes:
        assert verb(daemon, where, "discard", uid=0).returncode == 0


def test_a_directory_is_itself_and_not_its_name(daemon: Daemon) -> None:
    """Through a link and after a rename it is the same; another one under the old name is not, nor
    one below it.
    """
    where = daemon.workspace(uid=NOBODY)
    (where / "below").mkdir()
    os.chown(where / "below", NOBODY, -1)
    cage = run(daemon, where, "touch new")
    link, away = where.with_name(where.name + "-link"), where.with_name(where.name + "-away")
    link.symlink_to(where)
    assert f"{cage} in {where}" in verb(daemon, link, "diff").stderr
    where.rename(away)
    where.mkdir()
    os.chown(where, NOBODY, -1)
    for place in (where, away / "below"):
        done = verb(daemon, place, "commit")
        assert done.returncode == 125 and cage in done.stderr, done.stderr
    done = verb(daemon, away, "commit")
    assert done.returncode == 0 and str(away) in done.stdout, done.stderr
    assert (
        sorted(path.name for path in away.iterdir()) == ["below", "new"]
        and list(where.iterdir()) == []
    )


def test_a_directory_made_again_is_another_also_after_a_restart(private: Daemon) -> None:
    """A removed directory's number goes to the next one; only the time it was made tells them
    apart.

    The record is changed instead of waiting for the number to come back; the control puts the true
    time back.
    """
    where = private.workspace(uid=NOBODY)
    cage = run(private, where, "touch new")
    record = private.state / "cages" / cage / "kept.msgpack"
    private.stop()
    truth = record.read_bytes()
    kept = msgspec.msgpack.decode(truth, type=KeptCage)
    assert kept.workspace_born_ns and kept.info.directory, "this file system keeps the time"
    born = kept.workspace_born_ns - 1
    info = msgspec.structs.replace(
        kept.info, directory=msgspec.structs.replace(kept.info.directory, born_ns=born)
    )
    record.write_bytes(
        msgspec.msgpack.encode(msgspec.structs.replace(kept, info=info, workspace_born_ns=born))
    )
    private.start()
    for words in (("commit",), ("commit", cage)):
        done = verb(private, where, *words)
        assert done.returncode == 125 and list(where.iterdir()) == [], done.stdout
    private.stop()
    record.write_bytes(truth)
    private.start()
    assert verb(private, where, "commit").returncode == 0 and (where / "new").exists()


def test_a_renamed_directory_is_found_after_a_restart(private: Daemon) -> None:
    where = private.workspace(uid=NOBODY)
    cage = run(private, where, "touch new")
    idle = run(private, other := private.workspace(uid=NOBODY), "true")
    private.stop()
    private.start()
    away = where.with_name(where.name + "-away")
    where.rename(away)
    done = verb(private, away, "commit")
    assert done.returncode == 0 and cage in done.stdout and str(away) in done.stdout, done.stderr
    assert [path.name for path in away.iterdir()] == ["new"]
    done = verb(private, other, "commit")
    assert (
        done.returncode == 125 and f"{idle}, the last cage here, has no changes" in done.stderr
    ), done.stderr


def test_the_beginning_of_a_name_must_be_long_enough_to_write(daemon: Daemon) -> None:
    where = daemon.workspace(uid=NOBODY)
    cage = run(daemon, where, "touch new")
    for beginning in (cage[:4], cage[2:5]):
        for word in ("commit", "discard"):
            done = verb(daemon, where, word, beginning)
            assert done.returncode == 125 and list(where.iterdir()) == [], done.stdout
    done = verb(daemon, where, "commit", cage[2:9])
    assert done.returncode == 0 and (where / "new").exists(), done.stderr


def test_root_settles_a_users_cage_by_its_whole_name_and_with_the_users_rights(
    daemon: Daemon,
) -> None:
    where = daemon.workspace(uid=NOBODY)
    (where / "of-root").mkdir(mode=0o755)
    os.chown(where / "of-root", 0, 0)
    cage = run(daemon, where, "mv of-root was; mkdir of-root; touch of-root/new mine")
    for words in ((), (cage[:8],)):
        done = verb(daemon, where, "commit", *words, uid=0)
        assert done.returncode == 125, done.stdout
        assert (where / "of-root").exists() and not (where / "mine").exists()
    other = run(daemon, again := daemon.workspace(uid=NOBODY), "touch mine")
    done = verb(daemon, again, "commit", other, uid=0)
    assert done.returncode == 0 and other in done.stdout and str(again) in done.stdout, done.stderr
    assert (again / "mine").stat().st_uid == NOBODY, "the user's rights wrote it"
    done = verb(daemon, where, "commit", cage, uid=0)
    assert done.returncode == 125, "what the user may not do there, root does not do for them"
    assert not (where / "mine").exists()
    assert verb(daemon, where, "discard", cage, uid=0).returncode == 0


@pytest.fixture
def unkept() -> Iterator[Daemon]:
    """A daemon whose cages end with it, however it ends."""
    own = Daemon("restart: {come_back_s: 0}\n")
    try:
        yield own.start()
    finally:
        own.close()


def test_what_an_agent_did_outlives_a_killed_daemon(unkept: Daemon) -> None:
    """The control: what had been written to the cage's private /tmp and home is no change of the
    workspace.
    """
    where, idle = unkept.workspace(uid=NOBODY), unkept.workspace(uid=NOBODY)
    (where / "old").write_text("old")
    os.chown(where / "old", NOBODY, -1)
    script = "echo agent > new; rm old; touch ~/x /tmp/x; echo did; exec sleep 600"
    working = unkept.popen(
        "run", "--", "sh", "-c", script, uid=NOBODY, cwd=where, stdout=subprocess.PIPE, text=True
    )
    resting = unkept.popen(
        "run",
        "--",
        "sh",
        "-c",
        "touch ~/x; echo did; exec sleep 600",
        uid=NOBODY,
        cwd=idle,
        stdout=subprocess.PIPE,
        text=True,
    )
    for process in (working, resting):
        assert process.stdout is not None and process.stdout.readline() == "did\n"
    unkept.stop(signal.SIGKILL)
    for process in (working, resting):
        assert process.wait(30) != 0
    unkept.start()
    rows = {
        row["workspace"]: row
        for row in json.loads(verb(unkept, where, "ps", "--all", "--json").stdout)
    }
    assert (
        rows[str(where)]["changes"] and "akiosd ended without a word" in rows[str(where)]["reason"]
    )
    assert not rows[str(idle)]["changes"]
    done = verb(unkept, where, "commit")
    assert done.returncode == 0, done.stderr
    assert {path.name: path.read_text() for path in where.iterdir()} == {"new": "agent\n"}
    done = verb(unkept, idle, "commit")
    assert done.returncode == 125 and "has no changes" in done.stderr


@pytest.mark.parametrize("word", ["commit", "discard"])
def test_more_than_a_screenful_is_asked_about_on_a_terminal(daemon: Daemon, word: str) -> None:
    """The control: one more row on the screen, and nothing is asked."""
    where = daemon.workspace(uid=NOBODY)
    cage = run(daemon, where, "for n in 1 2 3 4 5 6 7; do touch $n; done")
    words = (word, "--yes") if word == "commit" else (word,)
    with Terminal(daemon, word, cage, uid=NOBODY, size=(8, 90)) as terminal:
        terminal.expect(rf"7 changes of {cage} (to|in) {re.escape(str(where))}\? \[y/N\] ")
        terminal.type("\n")
        terminal.expect("nothing was done")
        assert terminal.wait() == 125
    assert list(where.iterdir()) == []
    with Terminal(
        daemon, *words, cage, uid=NOBODY, size=(8 if word == "commit" else 9, 90)
    ) as terminal:
        terminal.expect(f"{cage}.* {re.escape(str(where))}")
        assert terminal.wait() == 0
    assert len(list(where.iterdir())) == (7 if word == "commit" else 0)


def test_root_looks_at_anothers_changes_with_that_users_rights(daemon: Daemon) -> None:
    """A user's link is opened with the user's rights; the control: with root's, what it leads to
    counts.
    """
    where = daemon.workspace(uid=NOBODY)
    secret = daemon.base / "only-root-reads-this"
    secret.write_text("[core]\n\thooksPath = tools\n")
    secret.chmod(0o600)
    (where / ".git").mkdir()
    (where / ".git" / "config").symlink_to(secret)
    for path in (where / ".git", where / ".git" / "config"):
        os.chown(path, NOBODY, -1, follow_symlinks=False)
    changed = run(daemon, where, "mkdir tools; touch tools/x")
    seen = [verb(daemon, where, "diff", changed, "--json", uid=uid) for uid in (0, NOBODY)]
    assert (
        seen[0].returncode == 0
        and "hooksPath" not in seen[0].stdout
        and seen[0].stdout == seen[1].stdout
    )
    secret.chmod(0o644)
    assert "hooksPath" in verb(daemon, where, "diff", changed, "--json", uid=0).stdout
    assert verb(daemon, where, "discard", changed).returncode == 0
