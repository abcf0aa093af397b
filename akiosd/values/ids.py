"""Names of things: cage ids, log ids, directories, and ranges of uids."""

from __future__ import annotations

import re
from typing import NewType

import msgspec

CageId = NewType("CageId", str)
"""``c-`` and twelve characters of base 32."""
LogId = NewType("LogId", str)
"""A cage id, or ``host``."""

Lines = tuple[tuple[int, int, int], ...]
"""Ranges of ids, ``(first inside, first outside, count)``, as in uid_map (user_namespaces(7))."""

HOST_LOG = LogId("host")

# Cage ids become directory and cgroup names, so the alphabet is closed: no dot, no slash, never
# empty.
_CAGE_ID = re.compile(r"c-[0-9a-z]{12}")
# What a person may call a cage: nothing that could be an id, its beginning with ``c-``, or
# ``last~2``.
_CAGE_NAME = re.compile(r"(?!c-|last$)[A-Za-z0-9][A-Za-z0-9._-]{0,63}")
NAME_FORM = (
    "write 1 to 64 letters, digits, dots, hyphens and underscores; the word 'last', and names"
    " that begin with 'c-', are taken"
)


def make_cage_id(random_bytes: bytes) -> CageId:
    """Eight random bytes → ``c-`` and twelve characters of base 32 (60 bits)."""
    alphabet = "0123456789abcdefghjkmnpqrstvwxyz"
    number = int.from_bytes(random_bytes[:8], "big")
    return CageId("c-" + "".join(alphabet[(number >> (5 * i)) & 31] for i in range(12)))


def is_cage_id(text: str) -> bool:
    """Whether ``text`` has the form of a cage id."""
    return _CAGE_ID.fullmatch(text) is not None


def is_cage_name(text: str) -> bool:
    """Whether a person may give a cage this name."""
    return _CAGE_NAME.fullmatch(text) is not None


class DirectoryId(msgspec.Struct, frozen=True, array_like=True):
    """The identity of a directory, whatever its name: device, inode, and time of birth (ns of Unix
    time).

    An inode number is given to another directory once the first is removed; the time of birth tells
    them apart. It is 0 where the file system does not record it.
    """

    device: int
    inode: int
    born_ns: int = 0

    def is_same(self, other: DirectoryId) -> bool:
        """Whether both are the same directory; a time of birth that one of them lacks is not
        compared.
        """
        reborn = self.born_ns and other.born_ns and self.born_ns != other.born_ns
        return (self.device, self.inode) == (other.device, other.inode) and not reborn
