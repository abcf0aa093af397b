"""The two sockets of akiosd: handed over by ``akiosd.socket``, or made here.

A socket that the service manager listens on stays while akiosd restarts: clients that connect
meanwhile wait. So those are never unlinked here, and a stop leaves who has not been accepted yet to
the next akiosd.
"""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

import trio

from akiosd.daemon.base.socket_path import CONTROL, EVENTS, find_obstacles
from akiosd.daemon.base.systemd import Handed
from akiosd.daemon.sockets.serve_clients import open_unix_listener
from akiosd.errors import AkiosError
from akiosd.kernel.fds import Fd

NAME = "clients"
"""``FileDescriptorName=`` of akiosd.socket."""

_UNIT = "compare akiosd.socket with the one that AKIOS comes with: systemctl cat akiosd.socket"


class Listeners:
    """The control and the events socket; ``close`` gives them back."""

    def __init__(
        self, control: trio.SocketListener, events: trio.SocketListener, made: list[Path]
    ) -> None:
        self.control, self.events = control, events
        self._made = made

    @property
    def outlive(self) -> bool:
        """Whether they go on listening when akiosd has ended."""
        return not self._made

    def close(self) -> None:
        """Close both, and remove what was made here."""
        for listener in (self.control, self.events):
            listener.socket.close()
        for path in self._made:
            with contextlib.suppress(FileNotFoundError):
                path.unlink()


def refuse_second(runtime: Path, handed: Handed) -> None:
    """Raise :class:`AkiosError` where another akiosd serves a socket in ``runtime``; of sockets
    that are handed over there is only one taker.
    """
    if not handed.has(NAME):
        for obstacle in find_obstacles(runtime):
            raise obstacle


async def open_listeners(runtime: Path, handed: Handed) -> Listeners:
    """The sockets in ``runtime``.  Raises :class:`AkiosError` for handed ones that are others."""
    control, events = runtime / CONTROL, runtime / EVENTS
    given = handed.take(NAME)
    if given:
        found = _take(given, (control, events))
        return Listeners(found[control], found[events], [])
    first = await open_unix_listener(str(control))
    try:
        second = await open_unix_listener(str(events))
    except BaseException:
        Listeners(first, first, [control]).close()
        raise
    return Listeners(first, second, [control, events])


def _take(given: list[Fd], wanted: tuple[Path, Path]) -> dict[Path, trio.SocketListener]:
    """One listener for each path.  Closes every descriptor that it refuses."""
    found: dict[Path, trio.SocketListener] = {}
    try:
        for fd in given:
            path = _check(fd.fileno(), wanted)
            if path in found:
                raise AkiosError("the same socket is handed over twice", str(path), _UNIT)
            made = trio.socket.from_stdlib_socket(_as_socket(fd))
            found[path] = trio.SocketListener(made)
        for path in wanted:
            if path not in found:
                raise AkiosError(
                    "systemd hands no socket with this path to akiosd", str(path), _UNIT
                )
    except BaseException:
        for listener in found.values():
            listener.socket.close()
        for fd in given:
            fd.close()
        raise
    return found


def _as_socket(fd: Fd) -> socket.socket:
    made = socket.socket(fileno=fd.take())
    made.setblocking(False)
    return made


def _check(number: int, wanted: tuple[Path, Path]) -> Path:
    """Which of the wanted sockets a descriptor is."""
    if not stat.S_ISSOCK(os.fstat(number).st_mode):
        raise AkiosError(
            "what the service hands over is not a socket", f"descriptor {number}", _UNIT
        )
    with socket.socket(fileno=os.dup(number)) as seen:
        kinds = (seen.family, seen.type & ~(socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC))
        address = seen.getsockname() if seen.family == socket.AF_UNIX else ""
        where = os.fsdecode(address) if address else f"descriptor {number}"
        if kinds != (socket.AF_UNIX, socket.SOCK_STREAM):
            raise AkiosError(
                "what the service hands over is not a unix stream socket", where, _UNIT
            )
        if not seen.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN):
            raise AkiosError("the socket that the service hands over does not listen", where, _UNIT)
    path = Path(where)
    if path not in wanted:
        control, events = wanted
        raise AkiosError(
            f"the service listens on a socket other than {control} and {events}",
            where,
            "give runtime_dir in akiosd.yaml and ListenStream= in akiosd.socket the same directory",
        )
    _check_file(path)
    return path


def _check_file(path: Path) -> None:
    """The name clients use leads to a socket that nobody but root can replace or close."""
    try:
        status = path.lstat()
    except FileNotFoundError:
        raise AkiosError(
            "the file of the socket is gone", str(path), "systemctl restart akiosd.socket"
        ) from None
    if not stat.S_ISSOCK(status.st_mode):
        raise AkiosError("another file is where the socket would be", str(path), _UNIT)
    if status.st_uid not in (0, os.geteuid()):
        raise AkiosError(
            f"the socket belongs to uid {status.st_uid}, who could close it to others",
            str(path),
            "leave SocketUser= out of akiosd.socket",
        )
    if status.st_mode & 0o600 != 0o600:
        raise AkiosError(
            f"root itself may not connect (mode {stat.S_IMODE(status.st_mode):04o})",
            str(path),
            "write SocketMode=0666 in akiosd.socket, or SocketMode=0660 and a SocketGroup=",
        )
