"""How often a site may be asked."""

from __future__ import annotations

from akiosd.meter.token_bucket import TokenBucket

_MAX_BUCKETS = 4096


class RateLimiter:
    """A token bucket for each site: ``per_minute`` requests, all of them at once if need be.  0 is no limit."""

    def __init__(self, per_minute: int) -> None:
        self._size = per_minute
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, name: str, now: float) -> float:
        """0 and a token less, or the seconds until there is one."""
        if not self._size:
            return 0
        bucket = self._buckets.pop(name, None) or TokenBucket(self._size / 60, self._size, now)
        self._buckets[name] = bucket
        if len(self._buckets) > _MAX_BUCKETS:
            # The one that was used longest ago is full again, or nearly.
            del self._buckets[next(iter(self._buckets))]
        return bucket.ask(now)
