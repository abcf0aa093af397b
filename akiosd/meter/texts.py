"""What the texts of conversations come to, remembered: every request brings its conversation again,
and only the newest turn of it is new.

Bounded, some 12 MB at worst, and so is what is read for one request: what is left over counts as it
stands, so that two texts are then the same only to the letter.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from typing import TypeVar

from akiosd.meter.plain_results import (
    COURTESY,
    MAX_READ,
    MAX_SAID,
    begin_otherwise,
    differ_at_once,
    plain_result,
    plain_words,
    sentences,
)

MAX_PLAIN = 4096
MAX_HEARD = 256
"""Texts that are remembered, of each kind."""
MAX_PARTS = 256
"""Words and sentences of one text."""
MOST_READ = 48 << 10
"""Characters that are read for one request.  Each turn has some thousand; more are read where a
conversation is new, or comes back after others.
"""
LONG = 6
"""Letters; words that have more are hardly ever used again by chance."""

Key = tuple[int, int]
V = TypeVar("V")


class Texts:
    def __init__(self) -> None:
        self._results: dict[Key, bytes] = {}
        self._told: dict[Key, bytes] = {}
        self._words: dict[Key, frozenset[int]] = {}
        self._sentences: dict[Key, frozenset[int]] = {}
        self._left = MOST_READ

    def begin(self) -> None:
        """Another request: as much may be read for it."""
        self._left = MOST_READ

    def same_results(self, one: str, other: str) -> bool:
        """Whether two results differ in times, ids and counts only."""
        if one == other:
            return True
        known = [self._results.get(_key(text)) for text in (one, other)]
        if None not in known:
            return known[0] == known[1]
        return not differ_at_once(one, other) and self.plain(one) == self.plain(other)

    def same_words(self, one: str, other: str) -> bool:
        """Whether the same was said, whatever the punctuation and the number of the turn."""
        if one == other:
            return True
        if begin_otherwise(one, other):
            return False
        words = (self._digest(self._told, text, plain_words, MAX_SAID) for text in (one, other))
        return next(words) == next(words)

    def plain(self, result: str) -> bytes:
        """The digest of a result without times, ids and counts."""
        return self._digest(self._results, result, plain_result, MAX_READ)

    def words(self, text: str) -> frozenset[int]:
        """Hashes of the long words at the beginning of what was said."""
        return self._parts(self._words, text[:MAX_SAID], _long_words)

    def sentences(self, text: str) -> frozenset[int]:
        """Hashes of the sentences at the beginning of what was said."""
        return self._parts(self._sentences, text[:MAX_SAID], sentences)

    def _parts(
        self,
        known: dict[Key, frozenset[int]],
        text: str,
        read: Callable[[str], frozenset[str]],
    ) -> frozenset[int]:
        found = known.get(_key(text))
        if found is None:
            if not self._read(len(text)):
                return frozenset({hash(text)})
            parts = read(text)
            if len(parts) > MAX_PARTS:
                parts = frozenset({plain_words(text)})
            found = _remember(known, _key(text), frozenset(map(hash, parts)), MAX_HEARD)
        return found

    def _digest(
        self, known: dict[Key, bytes], text: str, plain: Callable[[str], str], most: int
    ) -> bytes:
        found = known.get(_key(text))
        if found is None:
            if not self._read(min(len(text), most)):
                return _sha256(text)
            found = _remember(known, _key(text), _sha256(plain(text)), MAX_PLAIN)
        return found

    def _read(self, characters: int) -> bool:
        """Whether so many may still be read for this request."""
        self._left -= characters
        return self._left >= 0


def _long_words(text: str) -> frozenset[str]:
    return frozenset(
        word
        for word in text.casefold().split()
        if len(word) > LONG and word.isalpha() and word not in COURTESY
    )


def _remember(known: dict[Key, V], key: Key, value: V, most: int) -> V:
    while len(known) >= most:
        del known[next(iter(known))]
    known[key] = value
    return value


def _key(text: str) -> Key:
    # Python's hash is keyed anew in every process: nobody can make two texts that meet.
    return len(text), hash(text)


def _sha256(text: str) -> bytes:
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).digest()
