"""Regular expressions over the plain form, which is Latin-1."""

from __future__ import annotations

import re._parser as sre
from functools import cache
from typing import Any

import re2

from akiosd.redact.model import Pattern

_MEMORY = 128 << 20


def options() -> Any:
    chosen = re2.Options()
    chosen.encoding = re2.Options.Encoding.LATIN1
    chosen.max_mem = _MEMORY
    chosen.log_errors = False
    return chosen


def compiled(regex: bytes) -> Any:
    return re2.compile(regex, options())


def latin(regex: str) -> bytes:
    return regex.encode("latin-1")


def folded(pattern: Pattern) -> str:
    return f"(?i:{pattern.regex})" if pattern.fold else pattern.regex


@cache
def least(regex: str) -> int:
    """The length of its shortest match."""
    return int(sre.parse(regex).getwidth()[0])


class Choice:
    """Which of many regular expressions match somewhere in a text, in one pass."""

    def __init__(self, regexes: list[bytes]) -> None:
        self._set = re2.Set.SearchSet(options())
        for regex in regexes:
            self._set.Add(regex)
        # Always matches: a Set that ran out of memory says nothing, and nothing must not mean clean.
        self._sentinel = self._set.Add(b"")
        self._set.Compile()

    def matching(self, data: bytes) -> list[int] | None:
        """Their places in the list; None when the pass did not end and all must be tried."""
        hits: list[int] = self._set.Match(data)
        if not hits or self._sentinel not in hits:
            return None
        hits.remove(self._sentinel)
        return hits
