"""``akiosctl``: the global options and the way to a verb.  ``run`` is reached without importing
anything heavy.
"""

from __future__ import annotations

import errno
import os
import signal
import sys
from typing import TextIO

from akiosctl.end_signals import end_as_interrupts_do, status_of
from akiosctl.fence import Fence
from akiosd.errors import AkiosError

_NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EIO)


def main() -> None:
    """The program.  Leaves with ``os._exit``: a thread may still wait for input that
    never comes.
    """
    code = 125
    _take_name()
    end_as_interrupts_do()
    for name in ("stdout", "stderr"):
        stream = getattr(sys, name)
        if stream is not None:  # it is None when the descriptor was closed at the start
            setattr(sys, name, Fence(stream))
    try:
        code = run_command(sys.argv[1:])
    finally:
        # Who is told to end does not wait for somebody to read.
        if code not in (128 + signal.SIGTERM, 128 + signal.SIGHUP):
            if not _flush(sys.stdout) and code == 0:
                code = 125
            _flush(sys.stderr)
        os._exit(code)


def _take_name() -> None:
    """``ps`` shows the name of the program that was started, not of the interpreter it became
    (proc_pid_comm(5)).
    """
    try:
        fd = os.open("/proc/self/comm", os.O_WRONLY | os.O_CLOEXEC)
    except OSError:
        return  # no /proc, or not for us
    os.write(fd, b"akiosctl")
    os.close(fd)


def _flush(stream: TextIO | None) -> bool:
    """False, and words about it, when there was no room for what was printed: that must not pass
    for success.
    """
    try:
        if stream is not None:
            stream.flush()
    except OSError as error:
        if error.errno not in _NO_ROOM:
            return True  # nobody reads it any more
        if stream is sys.stdout:
            print(f"akiosctl: the output cannot be written: {error.strerror}", file=sys.stderr)
        return False
    return True


def run_command(arguments: list[str]) -> int:
    """Parse, run, report errors; returns the exit status."""
    as_json = False
    try:
        socket, as_json, rest = parse_global(arguments)
        before, as_json = (
            as_json,
            as_json or "--json" in rest[: rest.index("--") if "--" in rest else None],
        )
        if rest[:1] == ["run"]:
            from akiosctl.verbs.run import run

            return run(rest[1:], socket, as_json)
        if rest[:2] == ["completion", "--cages"]:
            from akiosctl.client import socket_path
            from akiosctl.help.cage_words import print_cages

            return print_cages(socket_path(socket), "".join(rest[2:]))
        from akiosctl.commands import run_verb

        return run_verb(rest, socket, before)
    except AkiosError as error:
        from akiosctl.render import print_error

        print_error(error, as_json=as_json)
        return int(getattr(error, "exit_code", None) or getattr(error, "code", None) or 125)
    except KeyboardInterrupt as error:
        return status_of(error)
    except BrokenPipeError:
        return 141
    except Exception as error:
        if isinstance(error, OSError) and error.errno in _NO_ROOM:
            print(
                f"akiosctl: {error.filename or 'the output'} cannot be written: {error.strerror}",
                file=sys.stderr,
            )
            return 125
        import traceback

        traceback.print_exc()
        print(
            "akiosctl: this is a bug in akiosctl; please report it with the lines above",
            file=sys.stderr,
        )
        return 125


def parse_global(arguments: list[str]) -> tuple[str | None, bool, list[str]]:
    """(``--socket``, ``--json``, what follows): options before the verb, and nothing after it."""
    socket, as_json = None, False
    words = list(arguments)
    while words and words[0].startswith("--"):
        word = words[0]
        if word == "--json":
            as_json = True
        elif word.startswith("--socket="):
            socket = word.partition("=")[2]
        elif word == "--socket":
            if len(words) < 2:
                raise AkiosError("--socket needs a value", "command line", "write --socket PATH")
            socket = words.pop(1)
        else:
            break
        words.pop(0)
    return socket, as_json, words
