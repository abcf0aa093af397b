"""Files that cages and the host see alike are no way between them: no watch, lock, socket or pipe
crosses.

Each action is done three times: by the host and a cage, by two cages, and, as the control, by the
host and a process that sees the same files through a read-only bind, where it crosses.
"""

from __future__ import annotations

import fcntl
import json
import os
import socket
import struct
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.e2e.attacks import crossing
from tests.e2e.caged import Caged, caged
from tests.e2e.daemon import Daemon
from tests.e2e.test_identity import Standing

SOURCE = Path(crossing.__file__)
ON_A_BIND = 'mount --bind "$1" "$1" && mount -o remount,ro,bind "$1" && exec "$2" "$3"'


class Place:
    """A directory that cages see: a file, a listening socket and a pipe that the host holds
    open.
    """

    def __init__(self, parent: Path) -> None:
        self.directory = Path(tempfile.mkdtemp(prefix="akios-test-", dir=parent))
        self.directory.chmod(0o755)
        self.file, self.socket, self.pipe = (
            self.directory / name for name in ("file", "socket", "pipe")
        )
        self.file.write_bytes(bytes(4096))
        self.listening = socket.socket(socket.AF_UNIX)
        self.listening.bind(str(self.socket))
        self.listening.listen()
        os.mkfifo(self.pipe)
        for path in (self.file, self.socket, self.pipe):
            path.chmod(0o666)
        self.writing = os.open(self.pipe, os.O_RDWR | os.O_NONBLOCK)

    def close(self) -> None:
        self.listening.close()
        os.close(self.writing)
        for path in (self.file, self.socket, self.pipe):
            path.unlink()
        self.directory.rmdir()


@pytest.fixture(scope="module")
def system() -> Iterator[Place]:
    """Below /usr: of the system, shown to every cage."""
    place = Place(Path("/usr/local"))
    yield place
    place.close()


@pytest.fixture(scope="module")
def named(daemon: Daemon) -> Iterator[Place]:
    """A directory of which the policy shows its file alone."""
    place = Place(daemon.base)
    yield place
    place.close()


@pytest.fixture(scope="module")
def cages(daemon: Daemon, named: Place) -> Iterator[tuple[Caged, Caged]]:
    def start() -> AbstractContextManager[Caged]:
        return caged(daemon, source=SOURCE, files=[named.file])

    with start() as one, start() as two:
        yield one, two


class Outside:
    """The same program, on a bind of a directory."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self._process = process

    def do(self, expression: str) -> Any:
        assert self._process.stdin is not None and self._process.stdout is not None
        self._process.stdin.write(f"{expression}\n")
        self._process.stdin.flush()
        return json.loads(self._process.stdout.readline())


@contextmanager
def on_a_bind(directory: Path) -> Iterator[Outside]:
    command = [
        "unshare",
        "--mount",
        "sh",
        "-ec",
        ON_A_BIND,
        "sh",
        str(directory),
        sys.executable,
        str(SOURCE),
    ]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as process:
        assert process.stdout is not None and process.stdout.readline() == "up\n"
        yield Outside(process)


@pytest.fixture(params=["usr", "a file of the policy"])
def place(request: pytest.FixtureRequest, system: Place, named: Place) -> Place:
    return system if request.param == "usr" else named


def test_what_others_do_with_a_file_is_not_told(cages: tuple[Caged, Caged], place: Place) -> None:
    """The watcher itself opens it last: that it sees, and nothing else."""
    path = str(place.file)
    with on_a_bind(place.directory) as outside:
        seers = [*cages, outside]
        assert [seer.do(f"start_watching({path!r})") for seer in seers] == ["", "", ""]
        with place.file.open("r+b", buffering=0) as file:
            file.write(file.read(1))
        heard = [set(seer.do(f"seen({path!r})")) for seer in seers]
    assert heard[:2] == [{"opened", "closed"}] * 2
    assert heard[2] > {"read", "written", "closed written"}, "the control"


def test_programs_that_others_run_are_not_told(cages: tuple[Caged, Caged]) -> None:
    program = "/usr/bin/true"
    assert cages[0].do(f"start_watching({program!r})") == ""
    with on_a_bind(Path("/usr/bin")) as outside:
        assert outside.do(f"start_watching({program!r})") == ""
        subprocess.run([program], check=True)
        assert "read" in outside.do(f"seen({program!r})")
    assert "read" not in cages[0].do(f"seen({program!r})")


@pytest.mark.parametrize("lock", ["flock", "ofd_lock"])
def test_a_lock_is_the_cages_own(cages: tuple[Caged, Caged], place: Place, lock: str) -> None:
    """Neither does one of the host keep a cage waiting, nor the other way, nor one cage another."""
    take, path = f"{lock}({str(place.file)!r})", str(place.file)
    seen, let_go = f"ofd_seen({path!r})", f"let_go({path!r})"
    with place.file.open("r+b") as file, on_a_bind(place.directory) as outside:
        hold(file.fileno(), lock)
        assert outside.do(take) == "EAGAIN", "the control"
        assert [cage.do(take) for cage in cages] == ["", ""]
        assert [cage.do(seen) for cage in cages] == [False, False]
        outside.do(let_go)
    with place.file.open("r+b") as file:
        hold(file.fileno(), lock)  # while both cages hold theirs
    with on_a_bind(place.directory) as outside, place.file.open("r+b") as file:
        assert outside.do(take) == ""
        with pytest.raises(BlockingIOError):
            hold(file.fileno(), lock)
    assert [cage.do(let_go) for cage in cages] == [None, None]


def hold(fd: int, lock: str) -> None:
    """Without waiting; BlockingIOError."""
    if lock == "flock":
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    else:
        wanted = struct.pack(crossing._LOCK, fcntl.F_WRLCK, 0, 0, 0, 0)
        fcntl.fcntl(fd, crossing.F_OFD_SETLK, wanted)


@pytest.mark.parametrize(
    "path",
    ["/etc/profile", "/etc/passwd", "/etc/ssl/cert.pem", "/usr/bin/env", "/proc/self/ns/time"],
)
def test_two_cages_lock_the_same_name_and_not_the_same_file(
    cages: tuple[Caged, Caged], path: str
) -> None:
    take = f"flock({path!r})"
    assert [cage.do(take) for cage in cages] == ["", ""]
    assert [cage.do(f"let_go({path!r})") for cage in cages] == [None, None]


def test_one_file_of_a_cages_etc_is_not_the_hosts(
    cages: tuple[Caged, Caged], daemon: Daemon
) -> None:
    """Cages of all users share the copies of what was chosen; the copies themselves are the
    control.
    """
    take = "flock('/etc/profile')"
    copies = [*(daemon.state / "etc").glob("*/profile")]
    with copies[0].open() as one, copies[-1].open() as two:
        hold(one.fileno(), "flock")
        with pytest.raises(BlockingIOError):
            hold(two.fileno(), "flock")
        assert cages[0].do(take) == ""
    assert cages[0].do("let_go('/etc/profile')") is None


def test_a_socket_of_the_host_does_not_answer(cages: tuple[Caged, Caged], system: Place) -> None:
    connect = f"connect({str(system.socket)!r})"
    with on_a_bind(system.directory) as outside:
        assert outside.do(connect) == ""
    assert {cage.do(connect) for cage in cages} == {"ECONNREFUSED"}


def test_a_pipe_of_the_host_is_not_the_cages(cages: tuple[Caged, Caged], system: Place) -> None:
    read = f"read_fifo({str(system.pipe)!r})"
    os.write(system.writing, b"one")
    with on_a_bind(system.directory) as outside:
        assert outside.do(read) == "one"
    os.write(system.writing, b"two")
    assert [cage.do(read) for cage in cages] == ["", ""]
    assert os.read(system.writing, 100) == b"two"


def test_a_file_is_shown_without_what_stands_beside_it(
    cages: tuple[Caged, Caged], named: Place
) -> None:
    assert cages[0].do(f"os.listdir({str(named.directory)!r})") == ["file"]
    assert cages[0].do(f"said(lambda: os.open({str(named.file)!r}, os.O_WRONLY))") in (
        "EROFS",
        "EACCES",
    )


def test_a_system_that_was_changed_under_a_cage_is_said(daemon: Daemon) -> None:
    """Its overlays show old and new files mixed."""

    def listed() -> bool:
        cages = json.loads(daemon.ctl("ps", "--json").stdout)
        return next(bool(found["outdated"]) for found in cages if found["cage"] == cage.cage)

    with Standing(daemon, 0) as cage:
        assert not listed(), "the control"
        with tempfile.TemporaryDirectory(prefix="akios-test-", dir="/usr/local/bin"):
            while not listed():
                pass
        assert "/usr changed: restart it" in daemon.ctl("ps").stdout
        kinds = [record["kind"] for record in daemon.events(cage.cage)]
    assert kinds.count("system_changed") == 1


@pytest.mark.parametrize(
    ("path", "what"), [("eventfd", "anonymous kernel objects"), ("/usr/bin/env", "futex")]
)
def test_what_is_still_shared_is_written_down(
    cages: tuple[Caged, Caged], path: str, what: str
) -> None:
    """When one of these fails, the kernel has closed a way: take it out of SECURITY.md."""
    one, two = cages
    if what == "futex":
        one.tell(f"futex({path!r}, 'wait', 30)")
        while not two.do(f"futex({path!r}, 'wake', 1)"):
            pass
        assert one.hear() == 0
    else:
        assert [cage.do(f"flock({path!r})") for cage in cages] == ["", "EAGAIN"]
    assert what in (Path(__file__).parents[2] / "SECURITY.md").read_text()
