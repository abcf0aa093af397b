"""Who is on the other end of a unix socket, and what such a peer may ask for.

The kernel's word is taken at connect time: ``SO_PEERCRED`` and ``SO_PEERGROUPS`` (unix(7),
socket(7)).
"""

from __future__ import annotations

import errno
import grp
import socket
import struct
from collections.abc import Callable
from typing import Literal, Protocol

import msgspec

from akiosd.errors import DeniedError
from akiosd.wire.messages import (
    Doctor,
    Hello,
    LedgerInfo,
    List,
    ListLogFiles,
    ListLogs,
    Message,
    ReadLog,
    ReadLogFile,
    Subscribe,
    SystemPolicyInfo,
)

Role = Literal["root", "admin", "user", "monitor"]

_STRONGEST_FIRST: tuple[Role, ...] = ("admin", "user", "monitor")

# asm-generic/socket.h; the socket module has no name for it.
SO_PEERGROUPS = getattr(socket, "SO_PEERGROUPS", 59)
# getsockopt in Python hands out at most this many bytes: 256 groups.
_GROUPS_BYTES = 1024

# What a monitor may ask for: everything that only reads.
READ_ONLY: tuple[type[Message], ...] = (
    *(Hello, List, Doctor, LedgerInfo, ReadLog, Subscribe),
    *(ReadLogFile, ListLogFiles, ListLogs, SystemPolicyInfo),
)


class Peer(msgspec.Struct, frozen=True):
    """A client: its ids as the kernel gave them, the strongest role it has, and whether it may read
    all logs.
    """

    uid: int
    gid: int
    pid: int
    groups: tuple[int, ...]
    role: Role
    reads_all: bool = False

    def check_may(self, message: Message) -> None:
        """Raise :class:`DeniedError` when this role may not send such a request at all."""
        if self.role == "monitor" and not isinstance(message, READ_ONLY):
            raise DeniedError(
                "you are a monitor, who may only read",
                type(message).__name__,
                "join the group akios, and log in again: sudo usermod -aG akios $USER",
            )


class HasSockopt(Protocol):
    """A connected socket."""

    def getsockopt(self, level: int, option: int, buflen: int) -> bytes: ...


class Gate:
    """Admits peers.  ``user``, ``admin`` and ``monitor`` are group names; one that does not exist
    admits nobody.

    ``is_caged`` tells whether a uid belongs to the inside of a cage; such a peer is refused
    whatever its groups. ``starter`` is a uid that is an admin without the group: who started
    a private akiosd through sudo.
    """

    def __init__(
        self,
        user: str = "akios",
        admin: str = "akios-admin",
        monitor: str = "akios-monitor",
        is_caged: Callable[[int], bool] = lambda uid: False,
        starter: int | None = None,
    ) -> None:
        self.is_caged = is_caged
        self.starter = starter
        self._gids: dict[Role, int] = {}
        self.reload(user, admin, monitor)

    def reload(self, user: str, admin: str, monitor: str) -> None:
        """Look the groups up again (NSS: may block, so only at start and on SIGHUP)."""
        self.names: dict[Role, str] = {"admin": admin, "user": user, "monitor": monitor}
        self._gids.clear()
        for role, name in self.names.items():
            try:
                self._gids[role] = grp.getgrnam(name).gr_gid
            except KeyError:
                continue

    def admit(self, connection: HasSockopt) -> Peer:
        """The peer of a connected socket.  Raises :class:`DeniedError` with what the peer can do
        about it.
        """
        pid, uid, gid = read_credentials(connection)
        groups = read_groups(connection)
        if self.is_caged(uid):
            raise DeniedError(
                "a process in a cage may not talk to akiosd",
                f"uid {uid}",
                "run it outside of the cage",
            )
        held = {gid, *groups}
        roles = [role for role in _STRONGEST_FIRST if self._gids.get(role, -1) in held]
        if uid == 0:
            return Peer(uid, gid, pid, groups, "root", reads_all=True)
        if not roles and uid == self.starter:
            roles = ["admin"]
        if not roles:
            raise DeniedError(
                f"uid {uid} may not use akiosd", "control socket", self._how_to_join()
            )
        return Peer(uid, gid, pid, groups, roles[0], reads_all=roles != ["user"])

    def _how_to_join(self) -> str:
        name = self.names["user"]
        if "user" not in self._gids:
            return (
                f"run as root, or create the group: sudo groupadd --system {name}, and restart"
                " akiosd"
            )
        return f"join the group and log in again: sudo usermod -aG {name} $USER"


def read_credentials(connection: HasSockopt) -> tuple[int, int, int]:
    """(pid, uid, gid) of the process that connected; an id the host does not map reads as 65534."""
    pid, uid, gid = struct.unpack(
        "iII", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, 12)
    )
    return pid, uid, gid


def read_uid(connection: HasSockopt) -> int:
    """The uid of the process that connected; -1 when the kernel does not say."""
    try:
        return read_credentials(connection)[1]
    except OSError:
        return -1


def read_groups(connection: HasSockopt) -> tuple[int, ...]:
    """Supplementary groups at connect time.  Raises :class:`DeniedError` for a peer with more than
    256 of them.
    """
    try:
        raw = connection.getsockopt(socket.SOL_SOCKET, SO_PEERGROUPS, _GROUPS_BYTES)
    except OSError as error:
        if error.errno != errno.ERANGE:
            raise
        raise DeniedError(
            "you are in more than 256 groups, too many to be checked",
            "control socket",
            "use an account that is in fewer groups",
        ) from None
    return struct.unpack(f"{len(raw) // 4}I", raw)
