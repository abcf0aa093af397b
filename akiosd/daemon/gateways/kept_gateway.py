"""What the next akiosd needs of a cage's gateway: a section of the cage's state memory, and the
gateway's descriptors with the keeper.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import msgspec

from akiosd.cage.state_format import StateError
from akiosd.kernel.fds import Fd, close_all

GATEWAY = "gateway"
"""The name of the section, and of the part under which its two descriptors are kept: the pidfd, and
akiosd's end of the socket on which ``Resume`` is sent.
"""


class GatewayState(msgspec.Struct, kw_only=True, omit_defaults=True):
    """``uid`` is that of all gateways of this cage, ``zygote`` the process that forked the present
    one.
    """

    uid: int = 0
    zygote: int = 0
    pseudonym_key: bytes = b""
    addresses: dict[str, str] = msgspec.field(default_factory=dict)

    def __repr__(self) -> str:
        return f"GatewayState({self.uid})"  # it holds a key


class Keep(Protocol):
    """Where a cage is kept (:class:`akiosd.daemon.cages.keep_cage.KeptCage`).  Nothing of it
    raises.
    """

    def write(self, name: str, data: bytes) -> None:
        """Replace a section of the state memory."""

    async def keep_part(self, part: str, fds: Sequence[int]) -> None:
        """Give the keeper copies, in the place of those under the same name."""

    async def drop_part(self, part: str) -> None:
        """Let the keeper close its copies."""


class Left(msgspec.Struct):
    """What an earlier akiosd left of a gateway; whoever has it owns the descriptors."""

    state: GatewayState
    process: Fd | None = None
    relink: Fd | None = None


def read_left(data: bytes | None, fds: Sequence[Fd]) -> Left:
    """``data`` is the section, None where there is none; ``fds`` are what was kept with it, none
    where no gateway lived.  They are closed when it raises StateError.
    """
    try:
        state = msgspec.msgpack.decode(data, type=GatewayState) if data else GatewayState()
    except (msgspec.MsgspecError, ValueError, RecursionError) as error:
        close_all(fds)
        what = f"what akiosd kept of it has a section {GATEWAY} that this akiosd cannot read"
        raise StateError(f"{what}: {error}", GATEWAY) from None
    if len(fds) == 2:
        return Left(state, *fds)
    close_all(fds)
    return Left(state)
