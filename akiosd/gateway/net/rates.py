"""The rate at which one site may be asked (``network.requests_per_minute``)."""

from __future__ import annotations

from akiosd.meter.token_bucket import TokenBucket

_MAX_BUCKETS = 4096
"""Sites that are remembered at once."""


class RateLimiter:
    """One token bucket for each site: ``per_minute`` requests a minute, all of them at once if need
    be; 0 means no limit.
    """

    def __init__(self, per_minute: int) -> None:
        self._size = per_minute
        self._buckets: dict[str, TokenBucket] = {}

    def take(self, name: str, now: float) -> float:
        """Take a token of the site ``name``: returns 0, or the seconds until there is one, and then
        none was taken.
        """
        if not self._size:
            return 0
        bucket = self._buckets.pop(name, None) or TokenBucket(self._size / 60, self._size, now)
        self._buckets[name] = bucket
        if len(self._buckets) > _MAX_BUCKETS:
            # The one that was used longest ago is full again, or nearly.
            del self._buckets[next(iter(self._buckets))]
        return bucket.ask(now)
