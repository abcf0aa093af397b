"""A run that is left to itself at once, for programs that start cages: no terminal, no signals.

prepared as any run → started → its input given → left running; its output is kept by akiosd
"""

from __future__ import annotations

import fcntl
import os
import threading

from akiosctl.client import PlainClient
from akiosctl.prepare_run import prepare
from akiosctl.run_options import RunOptions
from akiosctl.started import take_started
from akiosd.kernel.scm_rights import close_fds

_F_SETPIPE_SZ = 1031  # fcntl.h
_PIPE_BYTES = 1 << 20  # what an ordinary user may have: fs.pipe-max-size


def run_detached(
    options: RunOptions,
    path: str,
    here: str,
    input: bytes | None = None,
    foreign: bool = False,
) -> tuple[str, tuple[str, ...]]:
    """Start the command of ``options``; returns the cage's id, and what akiosd said of it.

    ``here`` and ``foreign`` as for :func:`akiosctl.verbs.run.prepare`.  All of ``input`` is given
    to it, however late it reads.
    """
    client = PlainClient(path)
    fds: list[int] = []
    try:
        request, _, _ = prepare(options, False, fds, client, here, foreign)
        request |= {"detach": True, "one_output": False, "feeds": input is not None}
        number = client.request("run", request, fds)
        started, received = take_started(client, number)
    finally:
        close_fds(fds)
        client.close()
    if input is not None and received:
        _feed(received.pop(), input)
    close_fds(received)
    return str(started["cage"]), tuple(str(line) for line in started.get("notes", ()))


def _feed(fd: int, data: bytes) -> None:
    """Write it all, and close ``fd``: at once where the pipe takes it, else in a thread, which ends
    with the cage.
    """
    try:
        fcntl.fcntl(fd, _F_SETPIPE_SZ, _PIPE_BYTES)
    except OSError:
        pass  # the user has many pipes already: it takes what it takes
    os.set_blocking(fd, False)
    try:
        left = data[os.write(fd, data) :] if data else b""
    except BlockingIOError:
        left = data
    except BrokenPipeError:
        left = b""  # it has ended, or closed its input
    if not left:
        os.close(fd)
        return
    os.set_blocking(fd, True)
    threading.Thread(target=_write, args=(fd, left), daemon=True, name="input").start()


def _write(fd: int, data: bytes) -> None:
    with os.fdopen(fd, "wb", buffering=0) as pipe:
        view = memoryview(data)
        try:
            while view:
                view = view[pipe.write(view) :]
        except BrokenPipeError:
            pass  # as above
