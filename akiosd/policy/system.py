"""The administrator's layer as akiosd read it, and as it travels to clients.

akiosd reads the file, because it alone may: the file is root's.  Clients merge theirs over it to
show what a run gets and to refuse early; what they send is checked by akiosd against its own.
"""

from __future__ import annotations

import hashlib
from typing import Any

import msgspec

from akiosd.errors import PolicyError
from akiosd.policy.merge import Layer
from akiosd.policy.schema import PartialPolicy
from akiosd.values.places import CONFIG_FILE

MAX_PACKED = 768 << 10
"""It fits into one frame of the protocol."""


class SystemPolicy(msgspec.Struct, frozen=True):
    """``file`` is where the system policy stands, or would stand: without one, ``exists`` is false
    and ``policy`` is the one that AKIOS comes with.  ``config_file`` is akiosd's own
    configuration: what hints name beside it.
    """

    file: str
    exists: bool
    policy: PartialPolicy
    config_file: str = CONFIG_FILE

    @property
    def layer(self) -> Layer:
        """What a merge begins with; what nobody wrote is the built-in policy's."""
        return Layer("system" if self.exists else "built-in", self.policy, self.file)


def without_file(file: str, shipped: PartialPolicy) -> SystemPolicy:
    """What holds where there is no ``file``: the one that AKIOS comes with, of which no line stands
    anywhere.
    """
    return SystemPolicy(file, False, msgspec.structs.replace(shipped, where={}))


def pack(system: SystemPolicy) -> bytes:
    """The bytes that a client gets.  Raises :class:`PolicyError` where they would fill a frame."""
    data = msgspec.msgpack.encode(system)
    if len(data) > MAX_PACKED:
        raise PolicyError("the policy is too long", system.file, "name fewer sites and paths")
    return data


def digest(packed: bytes) -> bytes:
    """By which a client knows whether what it remembers still holds."""
    return hashlib.sha256(packed).digest()


def unpack(data: bytes) -> SystemPolicy:
    """Raises ``msgspec.MsgspecError`` for what :func:`pack` did not make."""
    system = msgspec.msgpack.decode(data, type=SystemPolicy)
    return msgspec.structs.replace(system, policy=restored(system.policy))


def restored(policy: PartialPolicy) -> PartialPolicy:
    """A layer that was decoded from msgpack, which knows no tuples."""
    values: dict[str, Any] = {
        key: tuple(value) if isinstance(value, list) else value
        for key, value in policy.values.items()
    }
    return msgspec.structs.replace(policy, values=values)
