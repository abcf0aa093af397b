"""The line of calls to models that wait until open ones leave room: first come, first served.
Pure.

A call is asked for at once while nobody waits. A call that is told to wait stands in line; one that
comes while there is a line joins its end, without being asked for. Only the first in line is asked
for again: when another call was settled, or when the one before it was granted, since more may fit.
So small calls never pass a large one, and a thousand calls in line ask akiosd no more often than
calls end.
"""

from __future__ import annotations

from bisect import insort

MOST_WAITING = 1000
"""Calls in line; further ones are asked for without patience."""


class WaitLine:
    """Numbers of calls, which grow.  Methods that may change whose turn it is return the call to
    ask for now, or None.
    """

    def __init__(self) -> None:
        self._line: list[int] = []
        self._asked: dict[int, int] = {}
        """Calls whose answer is still to come, and how many calls had been settled when each was
        asked for.
        """
        self._told: set[int] = set()
        """Calls in line that akiosd has told to wait."""
        self._settled = 0

    def __len__(self) -> int:
        return len(self._line)

    def __contains__(self, call: int) -> bool:
        return call in self._line

    def come(self, call: int) -> int | None:
        """A new call that may wait; returns it, or None when it has to join the line."""
        if self._line:
            self._line.append(call)
            return None
        return self._ask(call)

    def is_asked(self, call: int) -> bool:
        """Whether the answer for ``call`` is still to come."""
        return call in self._asked

    def is_known(self, call: int) -> bool:
        """Whether akiosd told ``call`` to wait, and lets no other pass it."""
        return call in self._told

    def told_to_wait(self, call: int) -> int | None:
        """akiosd's answer for ``call`` was to wait."""
        before = self._asked.pop(call)
        self._told.add(call)
        if call not in self._line:
            insort(self._line, call)
        return self._ask_first() if self._settled > before else None

    def answered(self, call: int) -> int | None:
        """``call`` was granted or denied."""
        self._asked.pop(call, None)
        return self._leave(call)

    def settled(self) -> int | None:
        """A call is over, so there may be room."""
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
