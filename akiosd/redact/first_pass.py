"""Which patterns may match somewhere in a text: a few passes over it instead of one for each.

A search for many expressions at once has a state for every combination of beginnings, and makes it
when it is met first.  So expressions stand together with such as go on alike.  A number with
separators begins and ends in so many ways that nearly every character would need a new state: those
of numbers are searched in small groups, and only where digits follow one another.

What is left out cannot match.  A pattern is searched for where its own expression matches, or its
``trigger``, which is a part of every match that its check does not refuse; one of numbers only near
a run of digits, which the parse of its expression shows to be in every match (``NUMBERS``); and a
weak one only where one of its words is, without which it does not count.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import NamedTuple

from akiosd.redact.model import Pattern
from akiosd.redact.normalise import WALL
from akiosd.redact.re2_search import Choice, Finder, folded, latin

NUMBERS = {
    "PHONE_INTERNATIONAL", "PHONE_US", "PHONE_UK", "PHONE_FR", "PHONE_DE", "PHONE_LABELLED",
    "US_SSN", "US_SSN_PLAIN", "US_ITIN", "US_EIN", "UK_NINO", "UK_UTR", "UK_DRIVING_LICENCE",
    "FR_NIR", "FR_TAX_ID", "DE_TAX_ID", "EU_VAT", "ES_NIF", "PL_PESEL", "NL_BSN", "CA_SIN",
    "CH_AHV", "BE_NN", "FI_HETU", "CREDIT_CARD", "CARD_NUMBER", "US_ROUTING_NUMBER",
    "BANK_ACCOUNT", "UK_SORT_CODE", "US_HEALTH_INSURANCE", "FR_HEALTH_INSURANCE",
    "DE_HEALTH_INSURANCE", "DE_PENSION_INSURANCE", "UK_NHS", "US_NPI", "US_DEA",
    "MEDICAL_RECORD_NUMBER", "SNOMED_CODE", "IMEI",
}  # fmt: skip
"""Patterns that match only where ``DIGITS`` digits follow one another, with at most ``GAP`` other
characters between two and less than ``AROUND`` before and after them, as their expressions say.
"""
DIGITS, GAP, AROUND = 5, 4, 40
_RUN = rf"\d(?:[^0-9A-Za-z]{{0,{GAP}}}\d){{{DIGITS - 1},}}"
_LARGEST = {"words": 64, "labels": 24, "forms": 40, "numbers": 7}
"""How many expressions of a kind are searched at once.  More of the numbers would cost less on a
text that was searched before, and more on each that was not.
"""


class Numbers(NamedTuple):
    """What of a text may be a number, with what stands around it, and walls between; nothing of
    it is before ``begin`` or after ``end``.
    """

    text: bytes
    begin: int
    end: int
    last: int
    """No number begins after it."""


class Hits(NamedTuple):
    """The places of the patterns that may match, upwards, and where those of numbers may."""

    places: list[int]
    numbers: Numbers


class FirstPass:
    """``words``: expressions by the place of the pattern that counts only where one of them is."""

    def __init__(self, patterns: Sequence[Pattern], words: Mapping[int, bytes]) -> None:
        regexes = {
            place: latin(pattern.trigger or folded(pattern))
            for place, pattern in enumerate(patterns)
        }
        kinds: dict[str, list[int]] = {"labels": [], "forms": [], "numbers": []}
        for place, pattern in enumerate(patterns):
            kinds[_kind(pattern)].append(place)
        groups = {
            kind: [_Group(regexes, some) for some in _groups(places, _LARGEST[kind])]
            for kind, places in kinds.items()
        }
        self._numbers = groups.pop("numbers")
        self._others = [group for some in groups.values() for group in some]
        self._words = [_Group(words, some) for some in _groups([*words], _LARGEST["words"])]
        self._run = Finder(latin(_RUN)).search

    def matching(self, data: bytes) -> Hits:
        """Which patterns may match, and maybe some that do not."""
        numbers = self.numbers(data)
        found = _found(self._others, data)
        if numbers.end:
            found += _found(self._numbers, numbers.text)
        found.sort()
        return Hits(found, numbers)

    def explained(self, data: bytes) -> set[int]:
        """The places of the patterns of which a word is in ``data``, and maybe others."""
        return {*_found(self._words, data)}

    def numbers(self, data: bytes) -> Numbers:
        """Where digits follow one another; none of the expressions of numbers matches elsewhere."""
        search, size = self._run, len(data)
        first, last = search(data, 0, size)[0]
        if last < 0:
            return _NO_NUMBERS
        pieces: list[bytes] = []
        begin = start = max(0, first - AROUND)
        stop = last + AROUND
        while (place := search(data, last, size)[0])[1] >= 0:
            first, last = place
            if first - AROUND > stop:
                pieces.append(data[start:stop])
                start = first - AROUND
            stop = last + AROUND
        pieces.append(data[start:stop])
        return Numbers(WALL.join(pieces), begin, min(stop, size), last - DIGITS)


_NO_NUMBERS = Numbers(b"", 0, 0, 0)


def _kind(pattern: Pattern) -> str:
    if pattern.name in NUMBERS:
        return "numbers"
    return "labels" if pattern.fold else "forms"


class _Group:
    """Expressions that are searched at once; ``places`` are theirs among all."""

    __slots__ = ("matching", "places")

    def __init__(self, regexes: Mapping[int, bytes], places: list[int]) -> None:
        self.places = places
        self.matching = Choice([regexes[place] for place in places]).matching


def _found(groups: list[_Group], data: bytes) -> list[int]:
    found: list[int] = []
    for group in groups:
        hits = group.matching(data)
        if hits is None:
            found += group.places
        elif hits:
            places = group.places
            found += [places[hit] for hit in hits]
    return found


def _groups(places: list[int], largest: int) -> list[list[int]]:
    """Neighbours are alike, and so are apart."""
    count = -(-len(places) // largest)
    return [places[start::count] for start in range(count)]
