"""Programs that akiosd starts, as root: found in fixed directories, told nothing of our
surroundings.

Three kinds: the system's, run to their end (:func:`run_program`); a script of ours that answers one
question (:func:`open_python`); and helpers that stay and serve requests on a socket
(:class:`HelperProcess`).
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

import trio

from akiosd.kernel import niceness, pidfd
from akiosd.kernel.fds import Fd, close_all

_DIRECTORIES = "/usr/sbin:/usr/bin:/sbin:/bin"
_LEAVE_S = 2
"""How long a helper may take to leave after its socket's end of file, before it is killed."""
_ENVIRONMENT = {"PATH": _DIRECTORIES, "LC_ALL": "C"}


def find_program(name: str) -> str | None:
    """The absolute path of one of the system's programs, whatever ``PATH`` says; None when it is
    not installed.
    """
    return shutil.which(name, path=_DIRECTORIES)


def run_program(name: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a system program to its end; returns status and output.

    It has no input, ``/`` as working directory and none of our variables. A path among the
    arguments must be absolute. Raises OSError when there is no such program.
    """
    return subprocess.run(
        [find_program(name) or os.path.join("/usr/bin", name), *arguments],
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        errors="replace",
        cwd="/",
        env=_ENVIRONMENT,
    )


async def open_python(script: Path, fd: int, *words: str | bytes) -> trio.Process:
    """Start a Python script of ours; its arguments are the number of ``fd``, then ``words``.

    The script may import only the standard library. It inherits that descriptor, no other, and no
    variable; its output is read from ``stdout`` of the returned process, which is the caller's.
    """
    return await trio.lowlevel.open_process(
        [sys.executable, "-I", "-S", str(script), str(fd), *words],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        pass_fds=[fd],
        cwd="/",
        env={},
    )


class HelperProcess:
    """A program of ours and the socket to it, on which it answers requests in their order.

    It gets its end of the socket (SOCK_SEQPACKET) as descriptor 3 and nothing else of what akiosd
    has open, and leaves at the end of file.  Whoever derives from this says in which words it asks,
    and starts the program again when it died.
    """

    def __init__(self, words: list[str], environment: Mapping[str, str]) -> None:
        """``words`` begin with the program's absolute path; ``environment`` is all of its
        variables.
        """
        self.words = words
        self._environment = environment
        self._pid = 0
        self._socket: trio.socket.SocketType | None = None

    @property
    def pid(self) -> int:
        """0 while there is none."""
        return self._pid

    def spawn(self) -> None:
        """Start it; OSError when that fails.

        From the main thread: parent-death signals, its own and those of what it clones, are tied to
        the thread that forked it (prctl(2), PR_SET_PDEATHSIG).
        """
        ours, theirs = socket.socketpair(
            socket.AF_UNIX, socket.SOCK_SEQPACKET | socket.SOCK_CLOEXEC
        )
        try:
            self._pid = spawn_helper(self.words, self._environment, theirs.fileno())
        except OSError:
            ours.close()
            raise
        finally:
            theirs.close()
        self._socket = trio.socket.from_stdlib_socket(ours)
        _be_ordinary_when_memory_is_short(self._pid)
        niceness.give_back(self._pid)

    async def close(self) -> None:
        """Close the socket, at which it leaves, and reap it; one that does not leave in time is
        killed.
        """
        if self._socket is not None:
            self._socket.close()
            self._socket = None
        if self._pid:
            pid, self._pid = self._pid, 0
            with Fd(os.pidfd_open(pid)) as process:
                with trio.move_on_after(_LEAVE_S) as patience:
                    await pidfd.wait_exit(process.fileno())
                if patience.cancelled_caught:
                    pidfd.send_signal(process.fileno(), signal.SIGKILL)
                    await pidfd.wait_exit(process.fileno())


def spawn_helper(
    words: list[str], environment: Mapping[str, str], *fds: int, quiet: bool = False
) -> int:
    """The pid of a new process that has ``fds`` as descriptors 3 and on, and /dev/null as 0 and 1;
    when it is to be ``quiet``, as 2 too.  Raises OSError.
    """
    # Beyond the numbers that it expects: dup2 in its place clears close-on-exec, which everything
    # else that the daemon has open keeps.
    copies = [Fd(fcntl.fcntl(fd, fcntl.F_DUPFD_CLOEXEC, 10)) for fd in fds]
    silence = [(os.POSIX_SPAWN_DUP2, 0, number) for number in ((1, 2) if quiet else (1,))]
    try:
        return os.posix_spawn(
            words[0],
            words,
            environment,
            file_actions=[
                (os.POSIX_SPAWN_OPEN, 0, "/dev/null", os.O_RDWR, 0),
                *silence,
                *((os.POSIX_SPAWN_DUP2, fd.fileno(), n) for n, fd in enumerate(copies, 3)),
            ],
            setsigmask=[],
            setsigdef=[signal.SIGPIPE],
        )
    finally:
        close_all(copies)


def _be_ordinary_when_memory_is_short(pid: int) -> None:
    """What the service has against the OOM killer is not for helpers, nor for cages and gateways,
    which inherit theirs (proc_pid_oom_score_adj(5)).

    Written by us, it is also the least an agent can set for itself.  An akiosd without privileges
    has no advantage to give up, and may not lower what it was started with.
    """
    unprivileged = os.geteuid() != 0
    with contextlib.suppress(*((PermissionError,) if unprivileged else ())):
        with open(f"/proc/{pid}/oom_score_adj", "w") as file:
            file.write("0")
