"""What a copy left out: the first names with their reasons, and how many in all."""

from __future__ import annotations

MOST_KEPT = 1000
_LONGEST = 4096


class Skipped:
    """A cage may offer millions of names of 64 KiB: no more is kept of them than a person reads."""

    def __init__(self) -> None:
        self.first: list[tuple[str, str]] = []
        self.count = 0

    def add(self, path: str, why: str) -> None:
        """One more."""
        self.count += 1
        if len(self.first) < MOST_KEPT:
            self.first.append((path[:_LONGEST], why[:_LONGEST]))
