"""Whoever waits for a start or an end comes before work that is done in advance, and before work in
masses.

The daemon has one thread for all of it. Work that gives way is late, never lost: a cage that floods
the log has to wait itself, because its ring and its gateway's socket are full.
"""

from __future__ import annotations

import trio

_PAUSE_S = 0.002
_PATIENCE_S = 0.5
_WAY_S = 0.025
_LATELY_S, _FEW, _MASS = 0.1, 4, 100


class Hurry:
    """Counts what somebody waits for right now.  To be used from the Trio thread."""

    def __init__(self) -> None:
        self._count = 0
        self._calm = trio.Event()
        self._calm.set()

    def begin(self) -> Hurried:
        """Somebody begins to wait; they wait until :meth:`Hurried.end`."""
        self._count += 1
        if self._count == 1:
            self._calm = trio.Event()
        return Hurried(self)

    def _end(self) -> None:
        self._count -= 1
        if self._count == 0:
            self._calm.set()

    async def wait_calm(self) -> None:
        """Wait until nobody waits and nobody has come for a moment, but at most half a second:
        prepared cages run out.
        """
        with trio.move_on_after(_PATIENCE_S):
            while self._count:
                await self._calm.wait()
                await trio.sleep(_PAUSE_S)

    async def give_way(self) -> None:
        """For work that comes in masses and can wait: return when nobody waits, or after 25 ms."""
        if self._count:
            with trio.move_on_after(_WAY_S):
                await self._calm.wait()


class Bulk:
    """Measures how much one source brought lately: work in masses gives way to those who wait,
    other work does not.
    """

    def __init__(self, hurry: Hurry) -> None:
        self._hurry = hurry
        self._since, self._count = 0.0, 0
        self._ends = False

    def end(self) -> None:
        """Somebody waits for the end of this source itself: it gives way no more."""
        self._ends = True

    @property
    def is_busy(self) -> bool:
        """Whether the source brought more than a few items within the last tenth of a second."""
        return (
            self._count > _FEW and trio.current_time() - self._since <= _LATELY_S and not self._ends
        )

    async def brought(self, count: int) -> None:
        """Count ``count`` items; waits for those in a hurry when there were many."""
        now = trio.current_time()
        if now - self._since > _LATELY_S:
            self._since, self._count = now, 0
        self._count += count
        if self._count > _MASS and not self._ends:
            await self._hurry.give_way()


class Hurried:
    """One who waits, from :meth:`Hurry.begin` to :meth:`end`; may be used in ``with``."""

    def __init__(self, hurry: Hurry) -> None:
        self._hurry: Hurry | None = hurry

    def end(self) -> None:
        """They wait no more.  May be called again."""
        hurry, self._hurry = self._hurry, None
        if hurry is not None:
            hurry._end()

    def __enter__(self) -> Hurried:
        return self

    def __exit__(self, *_: object) -> None:
        self.end()
