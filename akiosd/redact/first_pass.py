"""Which patterns may match somewhere in a text: a few passes over it instead of one for each.

A search for many expressions at once has a state for every combination of beginnings, and makes it
when it is met first.  So expressions stand together with such as go on alike.  A number with
separators begins and ends in so many ways that nearly every character would need a new state: those
of numbers are searched in small groups, and only where digits follow one another.
"""

from __future__ import annotations

from collections.abc import Sequence

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
_LARGEST = {"words": 64, "labels": 24, "forms": 40, "numbers": 5}
"""How many expressions of a kind are searched at once."""


class FirstPass:
    """``words`` are further expressions, with the places after those of ``patterns``."""

    def __init__(self, patterns: Sequence[Pattern], words: Sequence[bytes]) -> None:
        regexes = [*(latin(p.trigger or folded(p)) for p in patterns), *words]
        kinds: dict[str, list[int]] = {kind: [] for kind in _LARGEST}
        kinds["words"] = list(range(len(patterns), len(regexes)))
        for place, pattern in enumerate(patterns):
            kinds[_kind(pattern)].append(place)
        groups = {
            kind: [_Group(regexes, some) for some in _groups(places, _LARGEST[kind])]
            for kind, places in kinds.items()
        }
        self._numbers = groups.pop("numbers")
        self._groups = [group for some in groups.values() for group in some]
        self._run = Finder(latin(_RUN))

    def matching(self, data: bytes) -> list[int]:
        """Their places, upwards, and maybe those of others."""
        found = [place for group in self._groups for place in group.matching(data)]
        runs = self.runs(data)
        if runs:
            found += [place for group in self._numbers for place in group.matching(runs)]
        return sorted(found)

    def runs(self, data: bytes) -> bytes:
        """What of ``data`` may be a number, and what stands around it; walls are between."""
        pieces: list[bytes] = []
        start = stop = 0
        for spans in self._run.spans(data, 0, len(data)):
            first, last = spans[0]
            if first - AROUND > stop:
                pieces += [data[start:stop]] if stop else []
                start = first - AROUND
            stop = last + AROUND
        return WALL.join([*pieces, data[start:stop]])


def _kind(pattern: Pattern) -> str:
    if pattern.name in NUMBERS:
        return "numbers"
    return "labels" if pattern.fold else "forms"


class _Group:
    """Expressions that are searched at once; ``places`` are theirs in the list of all."""

    def __init__(self, regexes: Sequence[bytes], places: list[int]) -> None:
        self._places = places
        self._choice = Choice([regexes[place] for place in places])

    def matching(self, data: bytes) -> list[int]:
        hits = self._choice.matching(data)
        return self._places if hits is None else [self._places[hit] for hit in hits]


def _groups(places: list[int], largest: int) -> list[list[int]]:
    """Neighbours are alike, and so are apart."""
    count = -(-len(places) // largest)
    return [places[start::count] for start in range(count)]
