"""Programs and copies that meet a restart of akiosd: what was not begun is, once; what was is never
begun twice; and no file is there in part.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest

from akiosctl import Cage, CageError
from akiosctl.begin_program import make_token
from akiosd.cage.programs import MAX_ENDED
from akiosd.wire.messages import Program, Rejoin
from tests.e2e import forgetful_daemon
from tests.e2e.daemon import Daemon
from tests.e2e.raw_client import frame, greeted, read_until
from tests.e2e.resources import wait_until
from tests.e2e.survival import kill_and_start, small_daemon

SIZE = 96 << 20
COUNTS = "echo once >>counted; cat; exit 6"


@pytest.fixture
def private() -> Iterator[Daemon]:
    with small_daemon() as daemon:
        yield daemon


@pytest.fixture
def project(private: Daemon) -> Path:
    where = private.workspace()
    done = private.ctl("cage", "up", "work", cwd=where)
    assert done.returncode == 0, done.stderr
    return where


def inside(daemon: Daemon, project: Path, command: str) -> str:
    done = daemon.ctl("exec", "-T", "work", "--", "sh", "-c", command, cwd=project)
    assert done.returncode == 0, done.stderr
    return str(done.stdout)


def states(daemon: Daemon) -> list[str]:
    status = json.loads(daemon.ctl("cage", "status", "work", "--json").stdout)
    return [one["state"] for one in status["programs"]]


def the_id(daemon: Daemon) -> str:
    (info,) = json.loads(daemon.ctl("cage", "list", "--json").stdout)
    return str(info["cage"])


def has_asked(process: subprocess.Popen[bytes]) -> bool:
    """Whether it waits for an answer: it has connected, and sleeps (proc_pid_wchan is not for
    everybody, so its state is looked at several times).
    """
    state = Path(f"/proc/{process.pid}/stat").read_text().rpartition(")")[2].split()[0]
    return state == "S" and bool(list(Path(f"/proc/{process.pid}/fd").glob("[3-9]")))


@pytest.mark.parametrize("words", ["exec", "read", "write"])
def test_what_is_asked_of_an_akiosd_that_is_killed_is_done_by_the_next(
    private: Daemon, project: Path, words: str
) -> None:
    """It stands still while it is asked, so nothing is begun before."""
    (project / "mine").write_bytes(bytes(range(256)) * 4096)
    asks = {
        "exec": ("exec", "-T", "work", "--", "sh", "-c", COUNTS),
        "read": ("cp", "work:counted", "out"),
        "write": ("cp", "mine", "work:data/output/theirs"),
    }[words]
    inside(private, project, "echo before >counted")
    assert private.process is not None
    private.process.send_signal(signal.SIGSTOP)
    client = private.popen(
        *asks, cwd=project, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE
    )
    assert wait_until(lambda: has_asked(client))
    kill_and_start(private)
    out, said = client.communicate(b"typed", timeout=60)
    if words == "exec":
        assert (client.returncode, out) == (6, b"typed"), said
        assert inside(private, project, "cat counted") == "before\nonce\n"
    elif words == "read":
        assert client.returncode == 0, said
        assert (project / "out").read_text() == "before\n"
    else:
        assert client.returncode == 0, said
        whole = (project / "mine").read_bytes()
        assert (project / "data/output/theirs").read_bytes() == whole
    assert [one for one in os.listdir(project) if one.startswith(".akios-")] == []


def asks_to_count(daemon: Daemon, project: Path) -> tuple[Program, Path]:
    """A request for a program that runs on, and the file where each beginning is a line."""
    script = b"echo once >>data/output/counted; exec sleep 1000"
    argv, place = (b"sh", b"-c", script), os.fsencode(project)
    ask = Program(id=1, cage=the_id(daemon), argv=argv, command=b"/bin/sh", cwd=place, token=b"t")
    return ask, project / "data/output/counted"


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGUSR2])
def test_a_program_whose_start_was_lost_is_ended_and_not_begun_twice(
    private: Daemon, project: Path, signo: int
) -> None:
    """Whether akiosd was killed, or made way for another."""
    ask, counted = asks_to_count(private, project)
    with greeted(private) as client:
        client.sendall(frame(ask))
        assert wait_until(counted.exists)
        private.stop(signo)
        private.start()
    with greeted(private) as client:
        client.sendall(frame(ask))
        said = read_until(client, {"error", "started"})
        assert said["m"] == "error" and said["begun"] is True
        assert "is not begun again by itself" in str(said["what"])
        assert states(private) == ["ended"]
        assert counted.read_text() == "once\n"
    with greeted(private) as client:  # the control: another word is another program
        client.sendall(frame(msgspec.structs.replace(ask, token=b"u")))
        assert read_until(client, {"error", "started"})["m"] == "started"
        assert wait_until(lambda: counted.read_text() == "once\nonce\n")


def test_who_asks_with_the_token_of_a_program_that_runs_does_not_end_it(
    private: Daemon, project: Path
) -> None:
    """Its client is connected, to the akiosd that began it, or again to the next one."""
    ask, counted = asks_to_count(private, project)
    with greeted(private) as first:
        first.sendall(frame(ask))
        started = read_until(first, {"error", "started"})
        assert started["m"] == "started" and wait_until(counted.exists)
        for _ in range(2):
            with greeted(private) as second:
                second.sendall(frame(ask))
                said = read_until(second, {"error", "started"})
                assert said["m"] == "error" and said["begun"] is True
                assert "its client is connected, and it goes on" in str(said["what"])
                assert "restarted" not in str(said["what"])
        assert states(private) == ["running"]
        private.stop(signal.SIGUSR2)
        private.start()
        with greeted(private) as again:
            rejoin = Rejoin(id=1, cage=ask.cage, program=started["program"])
            again.sendall(frame(rejoin))
            assert read_until(again, {"error", "started"})["m"] == "started"
            with greeted(private) as second:
                second.sendall(frame(ask))
                said = read_until(second, {"error", "started"})
                assert said["m"] == "error" and "it goes on" in str(said["what"])
            assert states(private) == ["running"]
    # The control: without its client it is ended, and not begun again.
    assert wait_until(lambda: states(private) == ["ended"])
    with greeted(private) as second:
        second.sendall(frame(ask))
        assert read_until(second, {"error", "started"})["begun"] is True
    assert counted.read_text() == "once\n"


@pytest.mark.parametrize("restarts", [1, 2])
def test_a_program_that_has_ended_is_not_begun_twice_however_often_akiosd_is_restarted(
    private: Daemon, project: Path, restarts: int
) -> None:
    """Its client never read the answer; others run more programs than akiosd remembers the ends
    of, under each akiosd.
    """
    script = b"echo once >>data/output/counted"
    place = os.fsencode(project)
    argv, token = (b"sh", b"-c", script), make_token()
    ask = Program(id=1, cage=the_id(private), argv=argv, command=b"/bin/sh", cwd=place, token=token)
    counted = project / "data/output/counted"
    with greeted(private) as client:
        client.sendall(frame(ask))
        assert wait_until(counted.exists) and wait_until(lambda: states(private) == ["ended"])
        private.stop(signal.SIGKILL)
        private.start()
    for number in range(restarts):
        if number:
            kill_and_start(private)
        for _ in range(MAX_ENDED + 2):
            inside(private, project, "true")
    with greeted(private) as client:
        client.sendall(frame(ask))
        said = read_until(client, {"error", "started"})
        assert said["m"] == "error" and said["begun"] is True
        assert counted.read_text() == "once\n"
    with greeted(private) as client:  # the control: another word is another program
        client.sendall(frame(msgspec.structs.replace(ask, token=make_token())))
        assert read_until(client, {"error", "started"})["m"] == "started"
        assert wait_until(lambda: counted.read_text() == "once\nonce\n")


def test_what_was_asked_for_before_all_that_is_known_is_not_begun() -> None:
    """Nobody knows whether it was; the client is told so, and what is new is begun."""
    with small_daemon(prefix=[sys.executable, forgetful_daemon.__file__]) as private:
        project = private.workspace()
        done = private.ctl("cage", "up", "work", cwd=project)
        assert done.returncode == 0, done.stderr
        place, argv = os.fsencode(project), (b"sh", b"-c", b"echo once >>data/output/counted")
        cage, token = the_id(private), make_token()
        ask = Program(id=1, cage=cage, argv=argv, command=b"/bin/sh", cwd=place, token=token)
        counted = project / "data/output/counted"
        with greeted(private) as client:
            client.sendall(frame(ask))
            assert read_until(client, {"ended", "error"})["m"] == "ended"
        for _ in range(MAX_ENDED + 2):
            inside(private, project, "true")
        kill_and_start(private)
        with greeted(private) as client:
            client.sendall(frame(ask))
            said = read_until(client, {"error", "started"})
            assert said["m"] == "error" and said["begun"] is True
            assert "nobody knows whether it was begun" in str(said["what"])
        assert counted.read_text() == "once\n"
        assert inside(private, project, "echo new") == "new\n"  # the control


def parts(directory: Path) -> list[str]:
    return [one for one in os.listdir(directory) if one.startswith(".akios-")]


@pytest.mark.parametrize("fate", ["akiosd is restarted", "the client is killed"])
@pytest.mark.parametrize("way", ["in", "out"])
def test_in_the_midst_of_a_copy_there_is_no_part_under_its_name(
    private: Daemon, project: Path, way: str, fate: str
) -> None:
    place = project / "data/output" if way == "in" else project
    (project / "big").write_bytes(os.urandom(SIZE))
    words = ("big", "work:data/output/copy") if way == "in" else ("work:big", "copy")
    (place / "copy").write_text("as it was")
    client = private.popen("cp", *words, cwd=project, stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    while not parts(place):
        assert time.monotonic() < until and client.poll() is None
    client.send_signal(signal.SIGSTOP)
    assert parts(place) and (place / "copy").read_text() == "as it was"
    if fate == "the client is killed":
        client.kill()
        client.communicate()
        assert wait_until(lambda: states(private) == ["ended"])
        assert (place / "copy").read_text() == "as it was"
        return
    kill_and_start(private)
    client.send_signal(signal.SIGCONT)
    _, said = client.communicate(timeout=90)
    assert client.returncode == 0, said
    assert (place / "copy").read_bytes() == (project / "big").read_bytes()
    assert parts(place) == []


@pytest.mark.parametrize("signo", [signal.SIGKILL, signal.SIGINT])
def test_in_the_midst_of_a_copy_into_a_directory_its_files_are_as_they_were(
    private: Daemon, project: Path, signo: int
) -> None:
    place = project / "data/output"
    (project / "tree/sub").mkdir(parents=True)
    (project / "tree/sub/big").write_bytes(os.urandom(SIZE))
    inside(
        private, project, "cd data/output; mkdir -p tree/sub; echo old | tee tree/sub/big tree/x"
    )
    client = private.popen("cp", "tree", "work:data/output", cwd=project, stderr=subprocess.PIPE)
    until = time.monotonic() + 30
    while not parts(place):
        assert time.monotonic() < until and client.poll() is None
    client.send_signal(signo)
    client.communicate()
    assert wait_until(lambda: set(states(private)) == {"ended"})
    assert (place / "tree/sub/big").read_text() == "old\n"
    # Whoever is ended at once may leave what it had begun, under a name that says so.
    left = parts(place)
    done = private.ctl("cp", "tree", "work:data/output", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (place / "tree/sub/big").read_bytes() == (project / "tree/sub/big").read_bytes()
    assert (place / "tree/x").read_text() == "old\n" and parts(place) == left


def test_a_copy_reaches_another_file_system_below_its_directory(
    private: Daemon, project: Path
) -> None:
    (project / "from/data/output").mkdir(parents=True)
    (project / "from/data/output/given").write_text("new")
    (project / "from/data/beside").write_text("new")
    devices = "test $(stat -c %d data) != $(stat -c %d data/output) && echo old >data/output/given"
    inside(private, project, devices)
    done = private.ctl("cp", "from/data", "work:.", cwd=project)
    assert done.returncode == 0, done.stderr
    assert (project / "data/output/given").read_text() == "new"
    inside(private, project, 'test "$(cat data/beside)" = new && test ! -e data/output/.akios*')
    assert parts(project / "data/output") == []


def test_a_file_is_written_whole_or_not_at_all(private: Daemon, project: Path) -> None:
    """What cannot be replaced is written to directly: through a link, to a second name, a pipe."""
    own = "data/output"
    inside(private, project, f"cd {own}; umask 077; echo old >a; ln -s a link; echo old >b; ln b c")
    cage = Cage(socket=str(private.socket))
    cage.id, cage.workspace = the_id(private), str(project)
    for name in ("a", "new", "link", "b"):
        cage.write(f"{own}/{name}", f"to {name}")
    cage.write("/dev/null", "nowhere")
    place = project / own
    assert {name: (place / name).read_text() for name in ("a", "new", "b", "c")} == {
        "a": "to link", "new": "to new", "b": "to b", "c": "to b",
    }  # fmt: skip
    assert (place / "link").is_symlink() and (place / "a").stat().st_mode & 0o777 == 0o600
    assert parts(place) == []
    with pytest.raises(CageError, match="it is read-only in the cage"):
        cage.write("/usr/none/a", "x")
    assert cage.read(f"{own}/new") == b"to new"
