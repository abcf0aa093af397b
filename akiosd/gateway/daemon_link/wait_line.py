"""Calls to models that wait until open ones leave room, first come, first served.  Pure.

A call is asked for at once while nobody waits.  Who is told to wait stands in line; whoever comes while there is a line
stands at its end, unasked.  Only the first in line is asked for again: when another call was settled, or when the one
before it was granted, for more may fit.  So a large call is never passed by small ones, and a thousand that wait ask
akiosd no more often than calls end.
"""

from __future__ import annotations

from bisect import insort

MOST_WAITING = 1000


class WaitLine:
    """Numbers of calls, which grow; every method that may change who is asked for returns that call, or None."""

    def __init__(self) -> None:
        self._line: list[int] = []
        self._asked: dict[int, int] = {}
        """Calls whose answer is to come, and how many had been settled when they were asked for."""
        self._told: set[int] = set()
        """Calls in line of which akiosd knows that they wait."""
        self._settled = 0

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, call: int) -> bool:
        return call in self._line

    def come(self, call: int) -> int | None:
        """A new call that may wait: itself, or None when it stands in line."""
        if self._line:
            self._line.append(call)
            return None
        return self._ask(call)

    def is_asked(self, call: int) -> bool:
        return call in self._asked

    def is_known(self, call: int) -> bool:
        """Whether akiosd told it to wait, and lets nobody pass it."""
        return call in self._told

    def told_to_wait(self, call: int) -> int | None:
        before = self._asked.pop(call)
        self._told.add(call)
        if call not in self._line:
            insort(self._line, call)
        return self._ask_first() if self._settled > before else None

    def answered(self, call: int) -> int | None:
        """It was granted or denied."""
        self._asked.pop(call, None)
        return self._leave(call)

    def settled(self) -> int | None:
        """A call is over: there is room, perhaps."""
        self._settled += 1
        return self._ask_first()

    def left(self, call: int) -> int | None:
        """It waits no longer: its agent went away, or its patience ended."""
        return self._leave(call)

    def _leave(self, call: int) -> int | None:
        self._told.discard(call)
        if call in self._line:
            self._line.remove(call)
        return self._ask_first()

    def _ask_first(self) -> int | None:
        """One at a time: what another is told depends on what the first gets."""
        if not self._line or any(call in self._asked for call in self._line):
            return None
        return self._ask(self._line[0])

    def _ask(self, call: int) -> int:
        self._asked[call] = self._settled
        return call
