"""Remembers values that were found once in a cage, so that they are found everywhere in it
afterwards.

A pattern that needs a label or a word beside a value does not find the value where that is missing:
``password: hunter22!`` is found, ``log in with hunter22!`` is not. So values are remembered, in
this object and nowhere else, and looked for in the plain form of every text, in any case; numbers
with anything between their digits.

Only distinctive values are remembered: a short or common value such as ``1234`` or ``kubernetes``
would be replaced all over a text in which it means something else (:func:`is_distinctive`). There
is room for ``most`` values. When it is used up, a value that its form alone gives away is no longer
remembered, because it is found again; a value that only its label gives away raises
:class:`RedactError`: the text is refused rather than passed with a value that would be missed
later.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from typing import NamedTuple, TypeVar

import re2

from akiosd.redact.context import touches
from akiosd.redact.model import Category, RedactError
from akiosd.redact.normalise import View
from akiosd.redact.re2_search import Finder, latin

SHARED = frozenset({
    "BIRTH_DATE", "US_ZIP", "UK_POSTCODE", "EU_POSTCODE", "COORDINATES", "STREET_ADDRESS",
    "STREET_ADDRESS_EU", "BLOOD_PRESSURE", "VITAL_SIGN", "LAB_RESULT", "MEDICATION", "ICD10_CODE",
    "DSM_CODE", "SNOMED_CODE", "CARD_SECURITY_CODE", "COMPANY_NAME", "BIC", "US_ROUTING_NUMBER",
    "UK_SORT_CODE", "BASE64", "BASE64_LINES",
})  # fmt: skip
"""Kinds of which many people have the same value, so that finding one says nothing about other
places.
"""
LONGEST = 1024
"""Characters of the longest value that is remembered; what is longer has a form of its own."""
_NUMBER = 7
"""So many digits make a number that is nobody else's."""
_MARKED, _PLAIN, _LETTERS = 6, 7, 16
"""Letters and digits a value needs: with other signs too, without, and when it is lower-case words
alone.
"""
_LOWER = bytes(ord(chr(c).lower()) if ord(chr(c).lower()) < 256 else c for c in range(256))
_NO_ALNUM = bytes(c for c in range(256) if not chr(c).isalnum())
_NO_DIGITS = bytes(c for c in range(256) if not 48 <= c <= 57)
_FOREIGN = re.compile(rb"[\x80\xff]")
_AWKWARD = re.compile(r"[^\w.!@#$*-]")
_GROUPS = Finder(latin(r"\d(?:[ ./()-]{0,2}\d){6,}"))
_DIGITS = re.compile(rb"[0-9]+")
BETWEEN = 20
"""More than the characters between the digits of a number, and those beside a value that are looked
at.
"""
_MOST_GROUPS, _MOST_DIGITS = 8, 40
"""Of a number that is written with something between its digits."""
_FRESH, _FULL = 64, 4096
"""Values that are compiled anew with each that is learned, and that one expression has: re2 slows
down with more.
"""


class Place(NamedTuple):
    """One occurrence in the plain form."""

    start: int
    end: int
    key: bytes
    kind: str
    category: Category


Counts = Callable[[bytes, int], bool]
Made = TypeVar("Made")


class Known:
    """Bounded.  Not shared between threads."""

    def __init__(self, most: int = 1 << 16) -> None:
        self._most = most
        self._kinds: dict[bytes, tuple[str, Category]] = {}
        self._spelled: dict[bytes, set[str]] = {}
        """Of values with letters that the plain form does not tell apart, how they were written."""
        self._spellings = 0
        """How many there are in all: each text that is searched asks."""
        self._sizes: set[int] = set()
        """Of numbers, in digits."""
        self._lengths: list[int] = []
        """Of all others, the longest first."""
        self._settled: set[bytes] = set()
        self._fresh: set[bytes] = set()
        self._older: tuple[Finder, ...] = ()
        self._full: list[Finder] = []
        self._finders: tuple[Finder, ...] | None = ()
        self.awkward = 0
        """How many of them a container may spell in another way."""
        self.longest = 0
        """Characters, of what may be an occurrence."""

    def __len__(self) -> int:
        """Grows with every value that is new, and never shrinks."""
        return len(self._kinds) + self._spellings

    def learn(self, value: str, kind: str, category: Category, evident: bool) -> bytes:
        """Remember ``value``; ``evident``: its form alone gives it away.

        Returns its key when it was not known before, else b"".

        Raises :class:`RedactError` when there is no room for it and it must be remembered.
        """
        plain = View(value).data.translate(_LOWER).strip()
        if (
            kind in SHARED
            or not 0 < len(plain) <= LONGEST
            or b"\0" in plain
            or not is_distinctive(value)
        ):
            return b""
        number, new = _is_number(plain), b""
        key = plain.translate(None, _NO_ALNUM) if number else plain
        if key not in self._kinds:
            if len(self._kinds) >= self._most:
                if evident:
                    return b""
                raise RedactError(
                    f"more than {self._most} different pieces of personal data have been found in"
                    " this cage",
                    "redaction",
                    "start a new run: what is found is remembered until its cage ends",
                )
            self._kinds[key] = kind, category
            self.awkward += _AWKWARD.search(value) is not None
            if number:
                self._sizes.add(len(key))
            else:
                self._fresh.add(key)
                if len(key) not in self._lengths:
                    self._lengths = sorted([*self._lengths, len(key)], reverse=True)
                self._finders = None
            self.longest = max(self.longest, len(key) + (2 * _MOST_GROUPS if number else 0))
            new = key
        if _FOREIGN.search(key):
            spelled, folded = self._spelled.setdefault(key, set()), _folded(value)
            self._spellings += folded not in spelled
            spelled.add(folded)
        return new

    def places(
        self, data: bytes, begin: int = 0, counts: Counts = lambda key, start: True
    ) -> list[Place]:
        """Where in a plain form from ``begin`` on remembered values stand, as far as that tells;
        none overlap.

        ``counts`` is asked whether a value counts at its place.  By position.  Linear: one pass
        over the text for the values of long ago and one for the latest.
        """
        if not self._kinds:
            return []
        low = data.translate(_LOWER)
        found: list[Place] = []
        for finder in self._compiled():
            start, end = finder.search(low, begin, len(low))[0]
            while end >= 0:
                end = self._longest(low, start, end, counts)
                if end:
                    found.append(Place(start, end, low[start:end], *self._kinds[low[start:end]]))
                start, end = finder.search(low, max(start + 1, end), len(low))[0]
        if self._sizes:
            least = min(self._sizes)
            for spans in _GROUPS.spans(low, begin, len(low)):
                start, end = spans[0]
                if len(low[start:end].translate(None, _NO_DIGITS)) >= least:
                    self._numbers(low, start, end, counts, found)
        return _apart(found) if len(found) > 1 else found

    def _longest(self, low: bytes, start: int, end: int, counts: Counts) -> int:
        """Where the longest value that begins at ``start``, and is one there, ends; 0 where there
        is none.

        The longest of all is at ``end``, and may be refused.
        """
        if touches(low[max(0, start - 2) : end], min(2, start), min(2, start) + end - start, b""):
            # What stands before it goes on in it, and in any shorter one.
            return 0
        for stop in (start + size for size in self._lengths if start + size <= end):
            key = low[start:stop]
            if key in self._kinds and counts(key, start) and not touches(low, start, stop, b""):
                return stop
        return 0

    def _numbers(
        self, low: bytes, start: int, end: int, counts: Counts, found: list[Place]
    ) -> None:
        """Those that begin and end with a group of digits between ``start`` and ``end``."""
        groups = [match.span() for match in _DIGITS.finditer(low, start, end)]
        for first, (begin, _) in enumerate(groups):
            digits = b""
            for at, stop in groups[first : first + _MOST_GROUPS]:
                digits += low[at:stop]
                if len(digits) > _MOST_DIGITS:
                    break
                if (
                    len(digits) not in self._sizes
                    or digits not in self._kinds
                    or not counts(digits, begin)
                ):
                    continue
                if not touches(low, begin, stop, b""):
                    found.append(Place(begin, stop, digits, *self._kinds[digits]))

    def is_spelled(self, place: Place, text: str) -> bool:
        """Whether ``text``, what is given at ``place``, is the value that the plain form seems to
        say.
        """
        spelled = self._spelled.get(place.key)
        return spelled is None or _folded(text) in spelled

    def _compiled(self) -> tuple[Finder, ...]:
        """One for the latest, so that few are compiled when one is learned, and one for each few
        thousand before.
        """
        if self._finders is None:
            if len(self._fresh) > max(_FRESH, len(self._settled) // 2):
                self._settled |= self._fresh
                self._fresh = set()
                self._older = (_finder(self._settled),)
            if len(self._settled) >= _FULL:
                self._full += self._older
                self._settled, self._older = set(), ()
            self._finders = (
                *self._full,
                *self._older,
                *((_finder(self._fresh),) if self._fresh else ()),
            )
        return self._finders


def until_all_known(known: Known | None, make: Callable[[], Made]) -> Made:
    """Call ``make`` until nothing new is learned, and return its last result.

    So a value that the last of many texts reveals is also found in the first.
    """
    while True:
        before = 0 if known is None else len(known)
        made = make()
        if known is None or len(known) == before:
            return made


def is_distinctive(value: str) -> bool:
    """Whether ``value`` means the same wherever it stands, so that it may be replaced without a
    label.

    Numbers have seven digits at least and are no row such as 1234567 or 0000000.  What has letters
    and digits has seven of them, six where there are other signs too.  Of letters alone a word is
    none unless capitals are within it; several words are, with a capital or at least sixteen
    letters.
    """
    letters = [c for c in value if c.isalpha()]
    digits = [c for c in value if c.isdecimal()]
    count = len(letters) + len(digits)
    if not letters:
        return len(digits) >= _NUMBER and not _is_row("".join(digits))
    if digits:
        return count >= (_PLAIN if value.isalnum() else _MARKED)
    words = re.findall(r"[^\W\d_]+", value)
    capitals = sum(c.isupper() for c in letters)
    if len(words) > 1:
        return count >= _PLAIN and (capitals > 0 or count >= _LETTERS)
    inner = any(c.isupper() for c in words[0][1:]) and any(c.islower() for c in words[0])
    return count >= _PLAIN + 1 and inner


def _is_row(digits: str) -> bool:
    steps = {int(b) - int(a) for a, b in pairwise(digits)}
    return (len(steps) == 1 and steps <= {-1, 0, 1}) or len(set(digits)) < 3


def _is_number(plain: bytes) -> bool:
    """Digits alone, between which blanks and the like may stand or not."""
    bare = plain.translate(None, _NO_ALNUM)
    return _NUMBER <= len(bare) <= _MOST_DIGITS and bare.isdigit()


def _folded(text: str) -> str:
    return " ".join(text.casefold().split())


def _finder(values: set[bytes]) -> Finder:
    # The longer first: at one place the first alternative wins.
    return Finder(b"|".join(re2.escape(value) for value in sorted(values, key=len, reverse=True)))


def _apart(places: list[Place]) -> list[Place]:
    """Sorted; of two that overlap the one that begins first, then the longer."""
    kept: list[Place] = []
    for place in sorted(places, key=lambda p: (p.start, -p.end)):
        if not kept or place.start >= kept[-1].end:
            kept.append(place)
    return kept
