"""Regular expressions over the plain form, which is Latin-1, by re2."""

from __future__ import annotations

import re._parser as sre
from collections.abc import Iterator
from functools import cache
from typing import Any

import re2

from akiosd.redact.model import Pattern

_MEMORY = 128 << 20


def options() -> Any:
    """The options with which all are compiled."""
    chosen = re2.Options()
    chosen.encoding = re2.Options.Encoding.LATIN1
    chosen.max_mem = _MEMORY
    chosen.log_errors = False
    return chosen


def compiled(regex: bytes) -> Any:
    """``regex`` compiled with these options."""
    return re2.compile(regex, options())


def latin(regex: str) -> bytes:
    """``regex`` in Latin-1."""
    return regex.encode("latin-1")


def folded(pattern: Pattern) -> str:
    """The pattern's expression, made to ignore case where the pattern says so."""
    return f"(?i:{pattern.regex})" if pattern.fold else pattern.regex


Spans = list[tuple[int, int]]
"""The place of a match, then those of its groups; (-1, -1) for one without a part."""


class Finder:
    """All matches of a regular expression, left to right.

    ``finditer`` of the binding spends more time on its match objects than on a search of a
    kilobyte; so its own search is called, and ``finditer`` where a version of it has none of this
    name.
    """

    def __init__(self, regex: bytes) -> None:
        self._regex = compiled(regex)
        self._search: Any = getattr(getattr(self._regex, "_regexp", None), "Match", None)
        self._anchor: Any = getattr(
            getattr(getattr(re2, "_re2", None), "RE2", None), "Anchor", None
        )
        self._direct = self._search is not None and self._anchor is not None

    def spans(self, data: bytes, at: int, reach: int) -> Iterator[Spans]:
        """From ``at`` to ``reach``, which see what is around them."""
        return (
            self._with_search(data, at, reach)
            if self._direct
            else self._with_objects(data, at, reach)
        )

    def _with_search(self, data: bytes, at: int, reach: int) -> Iterator[Spans]:
        search, anchor = self._search, self._anchor.UNANCHORED
        while at <= reach:
            spans: Spans = search(anchor, data, at, reach)
            end = spans[0][1]
            if end < 0:
                return
            yield spans
            at = end if end > at else at + 1

    def _with_objects(self, data: bytes, at: int, reach: int) -> Iterator[Spans]:
        for match in self._regex.finditer(data, at, reach):
            yield [match.span(group) for group in range(self._regex.groups + 1)]


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
        # Always matches: a Set that ran out of memory says nothing, and nothing must not mean
        # clean.
        self._sentinel = self._set.Add(b"")
        self._set.Compile()

    def matching(self, data: bytes) -> list[int] | None:
        """Their places in the list; None when the pass did not end and all must be tried."""
        hits: list[int] = self._set.Match(data)
        if not hits or self._sentinel not in hits:
            return None
        hits.remove(self._sentinel)
        return hits
