"""Processes that will not die, that multiply, that look for others; and every call number there
is.
"""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import uuid
from pathlib import Path

import pytest

from akiosd.kernel import seccomp
from akiosd.values import syscalls as table
from tests.e2e.attacks.programs import Programs
from tests.e2e.daemon import NOBODY, Daemon

CALLERS = pytest.mark.parametrize("uid", [0, NOBODY])


def pids_with(mark: str) -> list[int]:
    """Processes of the whole machine that have ``mark`` in their command line."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if mark.encode() in path.read_bytes():
                found.append(int(path.parent.name))
        except OSError:
            continue
    return found


DAEMON = """
import os, signal, sys
for signo in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(signo, signal.SIG_IGN)
ready, up = os.pipe()
if os.fork() == 0:
    os.setsid()
    if os.fork() == 0:
        os.chdir("/")
        for fd in (0, 1, 2):
            os.close(fd)
        os.write(up, b"x")
        os.execv("/bin/sleep", [sys.argv[1], "1000"])
    os._exit(0)
os.read(ready, 1)
"""


@CALLERS
def test_daemons_do_not_outlive_the_run(daemon: Daemon, uid: int) -> None:
    mark = f"akios-{uuid.uuid4()}"
    control = subprocess.run([sys.executable, "-c", DAEMON, mark], timeout=30)
    [survivor] = pids_with(mark)
    os.kill(survivor, signal.SIGKILL)
    assert control.returncode == 0
    mark = f"akios-{uuid.uuid4()}"
    assert daemon.run("python3", "-c", DAEMON, mark, uid=uid).returncode == 0
    assert pids_with(mark) == []


STUBBORN = """
import os, signal, sys
for signo in set(signal.Signals) - {signal.SIGKILL, signal.SIGSTOP}:
    signal.signal(signo, signal.SIG_IGN)
stopped = os.fork()
if stopped == 0:
    os.setsid()
    os.kill(os.getpid(), signal.SIGSTOP)
os.waitpid(stopped, os.WUNTRACED)
if os.fork() == 0:
    while True: pass
print("up", flush=True)
while True: signal.pause()
"""


@CALLERS
def test_stopped_and_deaf_processes_are_killed(daemon: Daemon, uid: int) -> None:
    mark = f"akios-{uuid.uuid4()}"
    where = daemon.workspace(uid=uid)
    with daemon.popen(
        "run",
        "--workspace",
        where,
        "--",
        "python3",
        "-c",
        STUBBORN,
        mark,
        uid=uid,
        cwd=where,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as client:
        assert client.stdout is not None and client.stdout.readline() == "up\n"
        inside = [pid for pid in pids_with(mark) if pid != client.pid]
        assert len(inside) == 3
        stopped = daemon.ctl("stop", "--kill", "last", uid=uid, cwd=where)
        assert stopped.returncode == 0, stopped.stderr
        assert client.wait(30) == 137
    assert pids_with(mark) == []
    with subprocess.Popen(
        [sys.executable, "-c", STUBBORN, mark], stdout=subprocess.PIPE, start_new_session=True
    ) as control:
        assert control.stdout is not None and control.stdout.readline() == b"up\n"
        control.send_signal(signal.SIGTERM)
        os.kill(control.pid, 0)
        assert control.poll() is None and len(pids_with(mark)) == 3
        for pid in pids_with(mark):
            os.kill(pid, signal.SIGKILL)


FORKS = """
import os, time
made = 0
for _ in range(60):
    try:
        pid = os.fork()
    except OSError:
        break
    if pid == 0:
        time.sleep(100)
    made += 1
print(made, flush=True)
os.kill(0, 9)
"""


@CALLERS
def test_a_fork_bomb_meets_the_limit(daemon: Daemon, uid: int) -> None:
    control = subprocess.run(
        [sys.executable, "-c", FORKS], stdout=subprocess.PIPE, start_new_session=True
    )
    assert control.stdout == b"60\n"
    done = daemon.run("python3", "-c", FORKS, uid=uid, flags=["--pids", "20"])
    assert 10 <= int(done.stdout) < 20, done.stderr


@CALLERS
def test_two_cages_share_nothing(daemon: Daemon, programs: Programs, uid: int) -> None:
    where = programs.workspace("hold", uid=uid)
    everything = {
        "shm",
        "sem",
        "msg",
        "mqueue",
        "dev-shm",
        "tmp",
        "abstract",
        "path",
        "process",
        "held",
    }
    argv = ["bash", "-c", "exec -a akios-meet-holder ./hold"]
    piped = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with daemon.popen(
        "run", "--workspace", where, "--", *argv, uid=uid, cwd=where, **piped
    ) as holder:
        # Message queues have a file system of their own, where Landlock lets nothing be made.
        assert read_until_held(holder) == everything - {"mqueue"}
        assert daemon.run("./hold", "find", cwd=where, uid=uid).stdout == "held\n"
        here = subprocess.run([where / "hold", "find"], capture_output=True, text=True)
        assert set(here.stdout.split()) == {"held", "process"}, (
            "the host sees the processes of a cage, and no more"
        )
        holder.communicate(timeout=30)
    with subprocess.Popen(argv, cwd=where, **piped) as control:  # type: ignore[call-overload]
        assert read_until_held(control) == everything
        assert (
            set(
                subprocess.run(
                    [where / "hold", "find"], capture_output=True, text=True
                ).stdout.split()
            )
            == everything
        )
        assert daemon.run("./hold", "find", cwd=where, uid=uid).stdout == "held\n"
        control.communicate(timeout=30)


def read_until_held(process: subprocess.Popen[str]) -> set[str]:
    assert process.stdout is not None
    found: set[str] = set()
    while "held" not in found:
        line = process.stdout.readline()
        assert line, "it died"
        found.add(line.strip())
    return found


# ---- every number --------------------------------------------------------------------------------


@CALLERS
def test_every_call_with_zeros(daemon: Daemon, programs: Programs, uid: int) -> None:
    """What no kernel and no table knows is ENOSYS, what is denied EPERM; the daemon and the host's
    objects stay.
    """
    host = HostObjects()
    try:
        where = programs.workspace("zeros", uid=uid)
        results = try_zeros(daemon, "./zeros 0 1024", where, uid)
        assert len(results) == 1024
        # On a busy host 30 ms can pass before a call is answered, so whoever seems to wait and is
        # not one that may is asked again, and patiently.
        may_wait = {seccomp.resolve(name) for name in table.known_names()} - {
            seccomp.resolve(name) for name in (*table.DENIED, *table.ABSENT, *table.OPTIONAL)
        }
        again = [nr for nr, result in results.items() if result == "blocks" and nr not in may_wait]
        each = "; ".join(f"./zeros {nr} {nr + 1} 30000" for nr in again)
        results |= try_zeros(daemon, each, where, uid) if again else {}
        assert host.intact()
    finally:
        host.remove()
    numbers = {
        number: name for name in table.known_names() if (number := seccomp.resolve(name)) >= 0
    }
    unlisted = {
        nr: result for nr, result in results.items() if nr not in numbers and result != "-38"
    }
    assert unlisted == {}
    denied = {
        name: results[nr]
        for nr, name in numbers.items()
        if name in table.DENIED and results[nr] != "-1"
    }
    absent = {
        name: results[nr]
        for nr, name in numbers.items()
        if name in (*table.ABSENT, *table.OPTIONAL)
    }
    assert denied == {} and set(absent.values()) <= {"-38"}
    # The control: without a cage the calls do something, also those that are denied inside.
    control = subprocess.run([where / "zeros", "39", "40"], capture_output=True, text=True)
    assert control.stdout.split()[1].isdecimal() and results[39].isdecimal()
    assert daemon.run("true", uid=uid).returncode == 0


def try_zeros(daemon: Daemon, script: str, where: Path, uid: int) -> dict[int, str]:
    """Number → what zeros.c says of it."""
    done = daemon.run("sh", "-c", script, cwd=where, uid=uid, flags=["--discard"])
    assert done.returncode == 0, done.stderr
    return {int(nr): result for nr, result in (line.split() for line in done.stdout.splitlines())}


class HostObjects:
    """System V objects and a device node on the host: zeros are the ids and the modes that would
    hit them.
    """

    def __init__(self) -> None:
        self._libc = ctypes.CDLL(None, use_errno=True)
        self._shm = self._libc.shmget(0, 4096, 0o600)
        self._sem = self._libc.semget(0, 1, 0o600)
        self._msg = self._libc.msgget(0, 0o600)
        self._mode = os.stat("/dev/null").st_mode

    def intact(self) -> bool:
        buffer = ctypes.create_string_buffer(256)
        found = (
            self._libc.shmctl(self._shm, 2, buffer),
            self._libc.semctl(self._sem, 0, 2, buffer),
            self._libc.msgctl(self._msg, 2, buffer),
        )
        return found == (0, 0, 0) and os.stat("/dev/null").st_mode == self._mode

    def remove(self) -> None:
        self._libc.shmctl(self._shm, 0, None)
        self._libc.semctl(self._sem, 0, 0)
        self._libc.msgctl(self._msg, 0, None)
