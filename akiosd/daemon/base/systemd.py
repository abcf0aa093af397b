"""The service manager: what is told to it (sd_notify(3)), and the descriptors that it hands over
(sd_listen_fds(3)).  Nothing happens where there is none.

What the messages say is decided in :mod:`akiosd.values.service_manager`.
"""

from __future__ import annotations

import os
import socket

from akiosd.daemon.base.log import get_log
from akiosd.errors import AkiosError
from akiosd.kernel.fds import Fd
from akiosd.values.service_manager import handed_over

_log = get_log("service")
_VARIABLES = ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES")


def is_there() -> bool:
    """Whether a manager wants to be told anything."""
    return bool(os.environ.get("NOTIFY_SOCKET"))


def notify(state: str, *, wait: bool = True) -> None:
    """Send ``state`` (such as ``READY=1``) to the service manager, if there is one.

    Without ``wait`` it is left out where the manager does not keep up: what is told again anyway
    must not hold the event loop up.
    """
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    if address.startswith("@"):
        address = "\0" + address[1:]
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as sock:
        try:
            sock.sendto(state.encode(), 0 if wait else socket.MSG_DONTWAIT, address)
        except OSError:
            pass  # the manager went away; so will we be told to


class Handed:
    """The descriptors that the manager handed over, by name, until somebody takes them."""

    def __init__(self, found: dict[str, list[Fd]]) -> None:
        self._found = found

    def has(self, name: str) -> bool:
        """Whether there are any under ``name`` that nobody took."""
        return name in self._found

    def take(self, name: str) -> list[Fd]:
        """All under ``name``, which the caller owns from now on; none where there are none."""
        return self._found.pop(name, [])

    def close_rest(self) -> None:
        """Close what nobody took, and say so: it is from another version, or from a unit that was
        changed.
        """
        for name, fds in self._found.items():
            _log.warning(
                "descriptors of the service that nobody asks for are closed",
                name=name,
                count=len(fds),
            )
            for fd in fds:
                fd.close()
        self._found = {}


def take_handed() -> Handed:
    """Take what was handed over.  Once, before any program is started: none inherits it.

    Raises :class:`AkiosError` for variables or descriptors that are none.
    """
    pairs = handed_over(os.environ, os.getpid())
    for variable in _VARIABLES:
        os.environ.pop(variable, None)
    found: dict[str, list[Fd]] = {}
    for number, name in pairs:
        try:
            os.set_inheritable(number, False)
        except OSError as error:
            raise AkiosError(
                f"descriptor {number} of LISTEN_FDS is not open: {error.strerror}",
                "environment",
                "start akiosd by its service: systemctl start akiosd",
            ) from None
        found.setdefault(name, []).append(Fd(number))
    return Handed(found)
