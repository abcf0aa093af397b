"""One budget for the cages of a workflow.

akiosd counts what a cage spends, and knows no budget of several.  So each cage that may ask a model
gets a part of what is left as its own budget, and gives back what it did not spend: together they
never pass the whole.  Where all is given away, the next step waits.

What may be spent in a minute is shared, too: what a cage had of it is free again a minute after its
end.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import NamedTuple

import msgspec

from akiosd.values.policy import Budget
from akiosd.values.units import NS_PER_S

_MINUTE_NS = 60 * NS_PER_S


class Sum(NamedTuple):
    """Of a part 0 is "no limit"; of what was spent it is nothing."""

    usd_micro: int
    tokens: int
    calls: int


class Rate(NamedTuple):
    """In a minute; as a limit 0 is none."""

    usd_micro: int = 0
    calls: int = 0


_NONE = Rate()


def limits_of(budget: Budget) -> Sum:
    return Sum(budget.usd_micro, budget.tokens, budget.calls)


def rates_of(budget: Budget) -> Rate:
    return Rate(budget.usd_micro_per_minute, budget.requests_per_minute)


class Purse:
    """``limits`` of all together, of which ``spent`` is gone already, and ``rates``."""

    def __init__(self, limits: Sum, spent: Sum, rates: Rate = _NONE) -> None:
        self.limits, self.spent, self.rates = limits, spent, rates
        self._given: dict[Hashable, Sum] = {}
        self._hasty: dict[Hashable, Rate] = {}
        self._recent: list[tuple[int, Rate]] = []
        """(until when it counts, what an ended cage may have spent in its last minute)."""

    def is_empty(self) -> bool:
        """Whether something limited is spent altogether."""
        pairs = zip(self.limits, self.spent, strict=True)
        return any(limit and used >= limit for limit, used in pairs)

    def wake_ns(self) -> int | None:
        """When something of this minute is free again; None where that is no matter of time."""
        return min((until for until, _ in self._recent), default=None)

    def give(self, whom: Hashable, own: Budget, sharers: int, now_ns: int) -> Budget | None:
        """``own`` with at most a fair part of what is left, where ``sharers`` want some; None where
        all of it is given away.
        """
        hasty = self._rate(sharers, now_ns)
        if hasty is None:
            return None
        parts = []
        for place, (limit, used) in enumerate(zip(self.limits, self.spent, strict=True)):
            left = limit - used - sum(given[place] for given in self._given.values())
            if limit and left <= 0:
                return None
            parts.append(max(1, left // max(1, sharers)) if limit else 0)
        part = Sum(*(_least(a, b) for a, b in zip(parts, limits_of(own), strict=True)))
        rate = Rate(*(_least(a, b) for a, b in zip(hasty, rates_of(own), strict=True)))
        self._given[whom], self._hasty[whom] = part, rate
        return msgspec.structs.replace(
            own,
            **part._asdict(),
            usd_micro_per_minute=rate.usd_micro,
            requests_per_minute=rate.calls,
        )

    def _rate(self, sharers: int, now_ns: int) -> Rate | None:
        """A fair part of this minute; None where all of it is given away."""
        self._recent = [one for one in self._recent if one[0] > now_ns]
        taken = [*self._hasty.values(), *(rate for _, rate in self._recent)]
        parts = []
        for place, limit in enumerate(self.rates):
            left = limit - sum(rate[place] for rate in taken)
            if limit and left <= 0:
                return None
            parts.append(max(1, left // max(1, sharers)) if limit else 0)
        return Rate(*parts)

    def take_back(self, whom: Hashable, used: Sum | None, now_ns: int) -> None:
        """It spent ``used``; all that it had where that is not known."""
        given = self._given.pop(whom, Sum(0, 0, 0))
        spent = given if used is None else used
        hasty = self._hasty.pop(whom, Rate())
        if any(self.rates) and (used is None or any(used)):
            self._recent.append((now_ns + _MINUTE_NS, hasty))
        self.spent = Sum(*(a + b for a, b in zip(self.spent, spent, strict=True)))


def _least(one: int, other: int) -> int:
    """Of two limits, where 0 is none."""
    return min(one, other) if one and other else one or other
