"""How often somebody may ask: token buckets, bounded in number.  Pure: the time is an argument."""

from __future__ import annotations

from collections import OrderedDict


class Rates:
    """One bucket for each name: ``burst`` at once, ``per_second`` on the long run.

    At most ``most`` are remembered; the one that was quiet longest is forgotten, which is full
    again.
    """

    def __init__(self, per_second: float, burst: float, most: int = 4096) -> None:
        self._per_second, self._burst, self._most = per_second, burst, most
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()

    def take(self, name: str, now: float) -> float:
        """0 when there was one to take; else after how many seconds there will be one."""
        left, then = self._buckets.pop(name, (self._burst, now))
        left = min(self._burst, left + (now - then) * self._per_second)
        wait = 0.0 if left >= 1 else (1 - left) / self._per_second
        self._buckets[name] = (left - 1 if not wait else left, now)
        while len(self._buckets) > self._most:
            self._buckets.popitem(last=False)
        return wait
