"""What helps where akiosd does not run: how one is started at the socket that was asked."""

from __future__ import annotations

import os
import shlex
import shutil
import stat
import sys

from akiosd.values.places import START_LINE

_SOCKETS = ("control.sock", "events.sock")
"""What akiosd makes in its runtime directory."""
_MOST = 1 << 16
_OTHER = "name the control.sock of one that runs, by --socket or AKIOS_SOCKET"


def what_starts_private(socket: str) -> str:
    """What helps where a private akiosd was looked for at ``socket``, and is not running."""
    if _is_free(socket):
        return f"start one there: {command_at(socket)}"
    there = " but something else" if os.path.exists(socket) else ""
    return f"there is no socket of akiosd{there}: {_OTHER}"


def command_at(socket: str) -> str:
    """What starts a private akiosd that listens at ``socket``: as the last one there was started,
    where that left word.
    """
    place = os.path.abspath(os.path.dirname(socket))
    command = started_before(place)
    if not command:
        # As the README has it: the runtime directory in that of the state.
        state = os.path.dirname(place) if os.path.basename(place) == "run" else "DIR"
        command = _detached(["--state-dir", state, "--runtime-dir", place])
    is_root = os.geteuid() == 0 or " --policy-mode" in command
    return command if is_root else f"sudo {command}"


def started_before(runtime: str) -> str:
    """What starts an akiosd as the last one of this runtime directory was; "" where none left word,
    or one of the service did.
    """
    options = _read_start_line(os.path.join(runtime, START_LINE))
    return _detached(options) if options else ""


def _detached(options: list[str]) -> str:
    return " ".join(map(shlex.quote, [daemon_program(), "--detach", *options]))


_PATH_OF_SUDO = ("/usr/bin", "/usr/sbin", "/usr/local/bin", "/usr/local/sbin", "/bin", "/sbin", "")


def daemon_program() -> str:
    """akiosd as it is started here."""
    beside = os.path.join(os.path.dirname(sys.executable), "akiosd")
    found = shutil.which("akiosd") or (beside if os.path.exists(beside) else "akiosd")
    # sudo has a PATH of its own, without the user's venv (secure_path in sudoers(5)).
    return "akiosd" if os.path.dirname(found) in _PATH_OF_SUDO else found


def _read_start_line(path: str) -> list[str] | None:
    """The options that an akiosd left there.  It is a command for root, so it counts only where
    nobody but root, or this user, can have written it.
    """
    import json

    try:
        fd = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
        with open(fd, "rb") as file:
            status = os.fstat(file.fileno())
            is_ours = status.st_uid in (0, os.geteuid()) and not status.st_mode & 0o022
            if not is_ours or not stat.S_ISREG(status.st_mode):
                return None
            words = json.loads(file.read(_MOST))
    except (OSError, ValueError, RecursionError):
        return None
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        return None
    return words if all(word.isprintable() for word in words) else None


def _is_free(socket: str) -> bool:
    """Whether akiosd could listen there."""
    try:
        status = os.lstat(socket)
    except OSError:
        return os.path.basename(socket) in _SOCKETS
    return stat.S_ISSOCK(status.st_mode) and os.path.basename(socket) in _SOCKETS
