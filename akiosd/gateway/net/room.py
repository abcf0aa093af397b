"""The memory that the answers of one gateway may fill at once: the rest of them waits, first come
first served.
"""

from __future__ import annotations

from types import TracebackType

import trio


class Room:
    """``most`` bytes for all that is held, and beyond that what the first in line still needs.

    The first always goes on, so that none waits for another that waits: what is held is ``most``
    and one answer at most.  Nobody passes who came after one that waits.
    """

    def __init__(self, most: int) -> None:
        self._most = most
        self.held = 0
        self._line: dict[Share, None] = {}

    def share(self) -> Share:
        """A place in line, from the first bytes that are asked for until the block ends."""
        return Share(self)

    def ask(self, share: Share) -> None:
        self._line.setdefault(share)
        self._admit()

    def give_back(self, share: Share, left: int) -> None:
        """Whoever holds nothing is in line no more."""
        self.held -= share.size - left
        share.size = left
        if not left:
            self._line.pop(share, None)
        self._admit()

    def _admit(self) -> None:
        for place, share in enumerate(self._line):
            if not share.wants:
                continue
            if place and self.held + share.wants > self._most:
                return
            self.held += share.wants
            share.admit()


class Share:
    """What one answer holds: ``size`` bytes, and ``wants`` more for which it waits."""

    def __init__(self, room: Room) -> None:
        self._room = room
        self.size = self.wants = 0
        self._admitted = trio.Event()

    def __enter__(self) -> Share:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self._room.give_back(self, 0)

    def shrink(self, size: int) -> None:
        """No more than ``size`` bytes are held."""
        if size < self.size:
            self._room.give_back(self, size)

    async def grow(self, size: int) -> None:
        """Waits until there is room for ``size`` bytes more."""
        self.wants, self._admitted = size, trio.Event()
        self._room.ask(self)
        if self.wants:
            await self._admitted.wait()

    def admit(self) -> None:
        self.size, self.wants = self.size + self.wants, 0
        self._admitted.set()
