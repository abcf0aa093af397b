"""One budget for the cages of a workflow.

akiosd counts what a cage spends, and knows no budget of several.  So each cage that may ask a model
gets a part of what is left as its own budget, and gives back what it did not spend: together they
never pass the whole.  Where all is given away, the next step waits.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from akiosd.values.policy import Budget


class Sum(NamedTuple):
    """Of a part 0 is "no limit"; of what was spent it is nothing."""

    usd_micro: int
    tokens: int
    calls: int


def limits_of(budget: Budget) -> Sum:
    return Sum(budget.usd_micro, budget.tokens, budget.calls)


class Purse:
    """``limits`` of all together, of which ``spent`` is gone already."""

    def __init__(self, limits: Sum, spent: Sum) -> None:
        self.limits, self.spent = limits, spent
        self._given: dict[Hashable, Sum] = {}

    def is_empty(self) -> bool:
        """Whether something limited is spent altogether."""
        pairs = zip(self.limits, self.spent, strict=True)
        return any(limit and used >= limit for limit, used in pairs)

    def give(self, whom: Hashable, own: Budget, sharers: int) -> Budget | None:
        """``own`` with at most a fair part of what is left, where ``sharers`` want some; None where
        all of it is given away.
        """
        parts = []
        for place, (limit, used) in enumerate(zip(self.limits, self.spent, strict=True)):
            left = limit - used - sum(given[place] for given in self._given.values())
            if limit and left <= 0:
                return None
            parts.append(max(1, left // max(1, sharers)) if limit else 0)
        part = Sum(*(_least(a, b) for a, b in zip(parts, limits_of(own), strict=True)))
        self._given[whom] = part
        return msgspec.structs.replace(own, **part._asdict())

    def take_back(self, whom: Hashable, used: Sum | None) -> None:
        """It spent ``used``; all that it had where that is not known."""
        given = self._given.pop(whom, Sum(0, 0, 0))
        spent = given if used is None else used
        self.spent = Sum(*(a + b for a, b in zip(self.spent, spent, strict=True)))


def _least(one: int, other: int) -> int:
    """Of two limits, where 0 is none."""
    return min(one, other) if one and other else one or other
