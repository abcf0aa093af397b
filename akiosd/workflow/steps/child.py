"""Programs that a step starts: by a list of words, never through a shell.

They are in the step's cage, which holds what they may do and ends them with it.
"""

from __future__ import annotations

import os
import selectors
import shutil
import signal
import subprocess
import time
from collections.abc import Mapping, Sequence
from typing import NamedTuple

from akiosd.errors import AkiosError

_PIECE = 64 << 10


class Ended(NamedTuple):
    """``status`` as a shell has it: 128+n for signal n.  ``stopped`` says why it was ended before
    its time, "" when it was not.
    """

    status: int
    stdout: bytes
    stderr: bytes
    stopped: str


def start(argv: Sequence[str], env: Mapping[str, str], cwd: str = ".") -> subprocess.Popen[bytes]:
    """Start it with pipes and a process group of its own.  Raises :class:`AkiosError`."""
    if not argv or any("\0" in word for word in (*argv, *env.values(), *env)):
        raise AkiosError(
            "the command is empty or holds a NUL byte", "argv", "write a list of words"
        )
    search = env.get("PATH", os.environ.get("PATH", os.defpath))
    program = argv[0] if "/" in argv[0] else shutil.which(argv[0], path=search)
    try:
        return subprocess.Popen(
            list(argv),
            executable=program or argv[0],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env={**os.environ, **env},
            cwd=cwd,
            start_new_session=True,
        )
    except OSError as error:
        why = "it is not in this step's cage" if program is None else os.strerror(error.errno or 0)
        raise AkiosError(
            f"{argv[0]} cannot be started: {why}",
            "argv",
            "name a program that is installed, and show it to the cage: filesystem.read in the"
            " policy",
        ) from None


def end(process: subprocess.Popen[bytes]) -> None:
    """Kill its whole process group, and reap it."""
    try:
        os.killpg(process.pid, signal.SIGKILL)
    except ProcessLookupError:
        pass
    process.wait()


def communicate(process: subprocess.Popen[bytes], data: bytes, seconds: float, most: int) -> Ended:
    """Feed it, and read what it prints until it has ended, or for ``seconds``, or until one of its
    outputs has more than ``most`` bytes.  It is reaped then, and its group killed.
    """
    assert process.stdin and process.stdout and process.stderr
    pipes = {"stdin": process.stdin, "stdout": process.stdout, "stderr": process.stderr}
    read: dict[str, bytearray] = {"stdout": bytearray(), "stderr": bytearray()}
    deadline, view, stopped = time.monotonic() + seconds, memoryview(data), ""
    with selectors.DefaultSelector() as waiting:
        for name, pipe in pipes.items():
            os.set_blocking(pipe.fileno(), False)
            event = selectors.EVENT_WRITE if name == "stdin" else selectors.EVENT_READ
            waiting.register(pipe, event, name)
        while waiting.get_map() and not stopped:
            left = deadline - time.monotonic()
            # Its output may be held open by a child that outlives it.
            if left <= 0 and process.poll() is None:
                stopped = f"it took more than {seconds:g} s"
            elif left <= 0:
                break
            for key, _ in waiting.select(min(max(left, 0), 0.1)):
                if key.data == "stdin":
                    view = _feed(key.fd, view)
                    is_done = not view
                else:
                    piece = _take(key.fd)
                    is_done = piece == b""
                    read[key.data] += piece or b""
                    if len(read[key.data]) > most:
                        stopped = f"it printed more than {most} bytes on {key.data}"
                        del read[key.data][most:]
                if is_done:
                    waiting.unregister(key.fileobj)
                    pipes[key.data].close()
    if not stopped:
        try:
            process.wait(max(deadline - time.monotonic(), 0))
        except subprocess.TimeoutExpired:
            stopped = f"it took more than {seconds:g} s"
    end(process)
    status = process.returncode if process.returncode >= 0 else 128 - process.returncode
    return Ended(status, bytes(read["stdout"]), bytes(read["stderr"]), stopped)


def _feed(fd: int, view: memoryview) -> memoryview:
    """What is left to be written; nothing when nobody reads it any more."""
    try:
        return view[os.write(fd, view[:_PIECE]) :] if view else view
    except BlockingIOError:
        return view
    except BrokenPipeError:
        return view[:0]


def _take(fd: int) -> bytes | None:
    try:
        return os.read(fd, _PIECE)
    except BlockingIOError:
        return None
