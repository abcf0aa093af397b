"""Regular expressions over the plain form, which is Latin-1, by re2."""

from __future__ import annotations

import re._parser as sre
from collections.abc import Callable, Iterator
from functools import cache, partial
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
    name. ``search`` gives the first match in ``data`` from ``at`` to ``reach``, which see what is
    around them; where there is none, its place is (-1, -1).
    """

    def __init__(self, regex: bytes) -> None:
        self._regex = compiled(regex)
        search: Any = getattr(getattr(self._regex, "_regexp", None), "Match", None)
        anchor: Any = getattr(getattr(getattr(re2, "_re2", None), "RE2", None), "Anchor", None)
        direct = search is not None and anchor is not None
        self.search: Callable[[bytes, int, int], Spans] = (
            partial(search, anchor.UNANCHORED) if direct else self._with_objects
        )

    def spans(self, data: bytes, at: int, reach: int) -> Iterator[Spans]:
        """Those from ``at`` to ``reach``."""
        search = self.search
        while at <= reach:
            spans = search(data, at, reach)
            end = spans[0][1]
            if end < 0:
                return
            yield spans
            at = end if end > at else at + 1

    def found(self, data: bytes, at: int = 0) -> bool:
        """Whether there is one from ``at`` on."""
        return self.search(data, at, len(data))[0][1] >= 0

    def _with_objects(self, data: bytes, at: int, reach: int) -> Spans:
        match = next(self._regex.finditer(data, at, reach), None)
        if match is None:
            return [(-1, -1)]
        return [match.span(group) for group in range(self._regex.groups + 1)]


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
        # clean.  It matches at the end alone: one that matches everywhere is noted at every byte.
        self._sentinel = self._set.Add(rb"\z")
        self._nothing = [self._sentinel]
        self._set.Compile()
        self._match: Callable[[bytes], list[int] | None] = getattr(
            getattr(self._set, "_set", None), "Match", self._set.Match
        )

    def matching(self, data: bytes) -> list[int] | None:
        """Their places in the list; None when the pass did not end and all must be tried."""
        hits = self._match(data)
        if hits == self._nothing:
            return []
        if not hits or self._sentinel not in hits:
            return None
        hits.remove(self._sentinel)
        return hits
