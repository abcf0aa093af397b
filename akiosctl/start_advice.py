"""What helps where akiosd does not run: how one is started at the socket that was asked."""

from __future__ import annotations

import os
import shlex
import stat

_SOCKETS = ("control.sock", "events.sock")
"""What akiosd makes in its runtime directory."""
_OTHER = "name the control.sock of one that runs, by --socket or AKIOS_SOCKET"


def what_starts_private(socket: str) -> str:
    """What helps where a private akiosd was looked for at ``socket``, and is not running."""
    if _is_free(socket):
        return f"start one there: {command_at(socket)}"
    there = " but something else" if os.path.exists(socket) else ""
    return f"there is no socket of akiosd{there}: {_OTHER}"


def command_at(socket: str) -> str:
    """What starts a private akiosd that listens at ``socket``."""
    from akiosctl.host_check import daemon_program

    place = os.path.abspath(os.path.dirname(socket))
    # As the README has it: the runtime directory in that of the state.
    state = os.path.dirname(place) if os.path.basename(place) == "run" else "DIR"
    become = "" if os.geteuid() == 0 else "sudo "
    words = [daemon_program(), "--detach", "--state-dir", state, "--runtime-dir", place]
    return become + " ".join(shlex.quote(word) for word in words)


def _is_free(socket: str) -> bool:
    """Whether akiosd could listen there."""
    try:
        status = os.lstat(socket)
    except OSError:
        return os.path.basename(socket) in _SOCKETS
    return stat.S_ISSOCK(status.st_mode) and os.path.basename(socket) in _SOCKETS
