"""So much at once, so much a second: the token bucket of everything that is slowed down in Python.

Pure: the time is an argument, in seconds of a clock that only goes on.  The bucket is full at
first; each thing that happens takes a token, and ``rate`` tokens a second come back until ``burst``
are there.

The pump of system calls has a bucket of its own, in C, because it waits inside a thread that runs
no Python (``native/src/shim_pump.c``, ``wait_rate``).
"""

from __future__ import annotations


class TokenBucket:
    """``rate`` a second, ``burst`` at once."""

    __slots__ = ("_at", "_burst", "_rate", "_tokens")

    def __init__(self, rate: float, burst: float, now: float) -> None:
        self._rate, self._burst = rate, burst
        self._tokens, self._at = burst, now

    def spend(self, now: float, count: int = 1) -> float:
        """Take ``count`` tokens, also those that are still to come; returns how many seconds to
        wait for them.
        """
        self._refill(now)
        self._tokens -= count
        return max(0.0, -self._tokens / self._rate)

    def ask(self, now: float) -> float:
        """Take a token if there is one and return 0; else take nothing and return in how many
        seconds there is one.
        """
        self._refill(now)
        if self._tokens < 1:
            return (1 - self._tokens) / self._rate
        self._tokens -= 1
        return 0.0

    def _refill(self, now: float) -> None:
        self._tokens = min(self._burst, self._tokens + (now - self._at) * self._rate)
        self._at = now
