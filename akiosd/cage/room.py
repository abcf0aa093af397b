"""How much of a file system cages that write to a directory of a user's leave free, and what
becomes of them when it is less.

Such a directory is on no disk of the cage's own, so no budget bounds what is written there. What is
bounded is the harm: the cage stands still before the file system is full, and goes on once there is
room.
"""

from __future__ import annotations

from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from typing import NamedTuple

_SHARE = 20
"""At most this part (one in ...) of a file system is left free: a small one is useful, too."""
_FASTEST = 4 << 30
"""Bytes a second that no cage exceeds in writing."""
LEAST_PAUSE_S, _USUAL_PAUSE_S, _MOST_PAUSE_S = 0.005, 0.05, 5.0
"""The first where the floor itself, that of a small file system, would be gone in the second."""
MAY_TAKE = 1 << 20
"""So much each may still take when there is too little."""
_LEAST_ALLOWED = 2 * MAY_TAKE
_WRITES_MORE = 8
"""Whoever writes is allowed so many times what is allowed to who does not."""
AGAIN_S = 1.0
"""Between two looks at a cage that stands still."""


class Room(NamedTuple):
    """Of a file system, in bytes; ``free`` is what a user may still write, below 0 where more than
    that is on its way.
    """

    free: int
    size: int


def floor_of(keep_free: int, room: Room) -> int:
    """The bytes that stay free; 0 where nothing is asked for, or the size is not known."""
    return min(keep_free, room.size // _SHARE)


def is_short(room: Room, keep_free: int, was_short: bool = False) -> bool:
    """Whether a cage has to stand still; one that does goes on with an eighth more than that."""
    floor = floor_of(keep_free, room)
    return room.free < floor + (floor >> 3 if was_short else 0)


def who_waits(
    room: Room, keep_free: int, before: Mapping[str, int], taken: Mapping[str, int]
) -> frozenset[str]:
    """Which cages have to stand still: where there is too little, those that take more of it.

    ``taken`` is what each takes now, in bytes, ``before`` what it took when there was enough.
    Whoever writes where it has room already goes on, whatever others do.
    """
    if not is_short(room, keep_free):
        return frozenset()
    return frozenset(
        name for name, size in taken.items() if size - before.get(name, size) >= MAY_TAKE
    )


def who_is_unsure(room: Room, keep_free: int, unwritten: Mapping[str, int]) -> frozenset[str]:
    """Which cages are to bring what is ``unwritten``, in bytes, to their disks, since ``room`` may
    be all that is left then; below what makes those wait that are known to take more.
    """
    floor = floor_of(keep_free, room)
    if room.free >= floor - (floor >> 3):
        return frozenset()
    return frozenset(name for name, size in unwritten.items() if size >= MAY_TAKE)


def allowances(
    room: Room, keep_free: int, names: AbstractSet[str], writing: AbstractSet[str]
) -> dict[str, int]:
    """The bytes that each of ``names`` may take before the next look, also by a call that does not
    end when it is to stand still; those that are ``writing`` get more.

    Together they leave half of what is to stay free, but for a little that each may always take.
    """
    spare = max(room.free - (floor_of(keep_free, room) >> 1), 0)
    parts = {name: _WRITES_MORE if name in writing else 1 for name in names}
    whole = sum(parts.values())
    return {name: max(spare * part // whole, _LEAST_ALLOWED) for name, part in parts.items()}


_STILL_WITHIN_S = 0.05
"""After which who is to stand still and does not goes on with a call that is under way."""


class Overrun:
    """Who is to stand still since ``now``, a monotonic clock in seconds, and may write on."""

    def __init__(self, now: float) -> None:
        self._since = now
        self._free: int | None = None

    def is_over(self, room: Room, keep_free: int, now: float) -> bool:
        """Whether it is to be ended, as it does not stand still ``now``: half of what is to stay
        free was taken, and it becomes less.
        """
        if now - self._since < _STILL_WITHIN_S or room.free >= floor_of(keep_free, room) >> 1:
            return False
        if self._free is None:
            self._free = room.free
        return room.free <= self._free - MAY_TAKE


def next_look_s(room: Room, keep_free: int, allowed: int | None = None) -> float:
    """Seconds in which what is there above the floor cannot be used up, nor what is ``allowed`` to
    a cage whose disk has more.
    """
    floor = floor_of(keep_free, room)
    least = min(max(floor / _FASTEST, LEAST_PAUSE_S), _USUAL_PAUSE_S) if floor else _USUAL_PAUSE_S
    pause = min(max((room.free - floor) / _FASTEST, least), _MOST_PAUSE_S)
    return pause if allowed is None else min(pause, max(allowed / _FASTEST, LEAST_PAUSE_S))
