"""Finds stand-ins in a text however they are spelled: in another case, with other separators,
wrapped, escaped.

A stand-in is recognised by its letters and digits in their order. Between them may stand what stood
there when it was given, or what writers put there; what touches it must not make another value of
it. Linear in the text.
"""

from __future__ import annotations

import itertools
import re
from bisect import bisect_left, insort
from typing import Any, NamedTuple

import re2

from akiosd.redact.folding import Folded, fold, gaps_of
from akiosd.redact.normalise import View, has_escapes
from akiosd.redact.re2_search import compiled

_HEAD = 4
LEAST = 6
"""Letters and digits of the shortest stand-in that is looked for: shorter ones would be found by
chance.
"""
_FEW = 2000
"""Stand-ins that are looked for by one expression; more are looked up place by place."""
_AHEAD = 3
"""Characters after a stand-in that may make another value of it."""
_FORMS = 32
"""Spellings of one stand-in that are told apart by what they begin and end with."""
_EDGES = re.compile(r"([\W_]*)(.*?)([\W_]*)", re.DOTALL)
_GAP = re.compile(rb"[ \t\r\xa0\x80_.@:()+\\/-]{0,3}(?:\n[ \t>#*|/]{0,16}[_.@:()+\\-]{0,3})?")
_LONGEST_GAP = 24
_ESCAPES = re.compile(r"[\\%&]")
_DIGITS = frozenset(b"0123456789")
UNTOUCHED = ("MAC", "IPV6")
"""Families of which a letter or digit that touches one makes another."""
_ABROAD = re.compile(rb"(?:\+[0-9]{1,4}[ .(-]*|[0-9][-./])\Z")
_CLOSING = re.compile(rb"\\?\]")


class Entry:
    """A value and its stand-in.  ``forms`` maps each spelling of the stand-in to that
    of the value.
    """

    def __init__(self, family: str, original: str, kind: str, exact: bool, label: bool) -> None:
        self.family, self.original, self.kind, self.exact, self.label = (
            family,
            original,
            kind,
            exact,
            label,
        )
        self.forms: dict[str, str] = {}


class Key(NamedTuple):
    """One spelling to look for.  ``poured``: the letters of the original that replace
    these, or "".
    """

    entry: Entry
    poured: str
    gaps: dict[int, bytes]


class Place(NamedTuple):
    """Characters of the text; ``plain`` is what they say."""

    start: int
    end: int
    plain: bytes
    key: Key


class Index:
    """All stand-ins of a cage."""

    def __init__(self) -> None:
        self.keys: dict[bytes, Key] = {}
        self._heads: dict[bytes, list[int]] = {}
        self._begun: set[bytes] = set()
        """Beginnings of heads."""
        self._sorted: list[bytes] = []
        self._longest = 0
        self._leads: set[bytes] = set()
        """What stands before the first letter of some, and its beginnings."""
        self._ahead = _AHEAD
        self._finder: Any = None

    def add(self, stand_in: str, entry: Entry, poured: str = "") -> None:
        """Look for ``stand_in`` from now on, unless its letters already lead to something else."""
        plain = View(stand_in).data
        letters = fold(plain)
        if len(letters) < LEAST or letters in self.keys:
            return
        self.keys[letters] = Key(entry, poured, gaps_of(plain))
        sizes = self._heads.setdefault(letters[:_HEAD], [])
        if len(letters) not in sizes:
            insort(sizes, len(letters), key=lambda size: -size)
        self._begun.update(letters[:size] for size in range(1, _HEAD))
        insort(self._sorted, letters)
        self._longest = max(self._longest, len(letters))
        self._finder = None

    def note(self, stand_in: str) -> None:
        """A spelling: what stands around its letters is a part of it."""
        match = _EDGES.fullmatch(stand_in)
        assert match is not None
        lead = View(match[1]).data
        for whole in (lead, b"\\" + lead) if lead == b"[" else (lead,):
            self._leads.update(whole[:size] for size in range(1, len(whole) + 1))
        self._ahead = max(self._ahead, len(match[3]) + 1)

    def may_be_in(self, letters: bytes) -> bool:
        """Whether a stand-in may be in ``letters``: a quick check, True where it cannot tell."""
        if not self.keys:
            return False
        return len(self.keys) > _FEW or self._find().search(letters) is not None

    def may_begin_in(self, text: str) -> bool:
        """Whether a stand-in may begin in a short text: a quick check, which answers yes where it
        cannot tell.
        """
        if not text.isascii() or _ESCAPES.search(text) or text[-1:].encode() in self._leads:
            return True
        letters, heads, begun = fold(text.encode()), self._heads, self._begun
        last = len(letters) - _HEAD
        return any(letters[at : at + _HEAD] in heads for at in range(last + 1)) or any(
            letters[at:] in begun for at in range(max(0, last + 1), len(letters))
        )

    def scan(self, text: str, begin: int = 0, final: bool = True) -> tuple[list[Place], int]:
        """The stand-ins from the character ``begin`` on, and the position up to which all is
        decided.

        Unless ``final``, text that follows may make a stand-in of the rest, or another value of
        what looks like one.
        """
        if not self.keys:
            return [], len(text)
        places, known = self._scan(Folded(text, more=not final), begin, final)
        if not has_escapes(text):
            return places, known
        # What stood before a value may make an escape of the first letters of its stand-in: \\ and
        # n, % and 19.
        others, decided = self._scan(Folded(text, undo=False), begin, final)
        given = [
            place for place in others if text[place.start : place.end] in place.key.entry.forms
        ]
        return _together(places, given, min(known, decided))

    def _scan(self, folded: Folded, begin: int, final: bool) -> tuple[list[Place], int]:
        text = folded.view.text
        known = folded.view.partial
        if final and not self.may_be_in(folded.letters):
            return [], len(text)
        places: list[Place] = []
        at = folded.first(begin)
        while (at := self._next(folded.letters, at, final)) < len(folded.letters):
            if not final and (self._may_go_on(folded, at) or self._is_open(folded, at)):
                return places, max(begin, min(known, self._lead(folded, folded.at[at])))
            place, size = self._match(folded, at)
            if place is not None:
                places.append(place)
            at += size or 1
        known = min(known, self._lead(folded, len(folded.plain))) if not final else len(text)
        return places, max(begin, known, places[-1].end if places else 0)

    # ---- inside ----------------------------------------------------------------------------------

    def _find(self) -> Any:
        if self._finder is None:
            names = sorted(self.keys, key=len, reverse=True)
            self._finder = compiled(b"|".join(map(re2.escape, names)))
        return self._finder

    def _next(self, letters: bytes, at: int, final: bool) -> int:
        """The next place from ``at`` on where one may begin."""
        sure = len(letters) if final else max(0, len(letters) - self._longest - _AHEAD)
        if at < sure and len(self.keys) <= _FEW:
            match = self._find().search(letters, at)
            at = min(match.start(), sure) if match else sure
        heads = self._heads
        while at < sure and letters[at : at + _HEAD] not in heads:
            at += 1
        return at

    def _may_go_on(self, folded: Folded, at: int) -> bool:
        """Whether all from ``at`` to the end is the beginning of a longer stand-in."""
        rest = folded.letters[at:]
        if len(rest) >= self._longest:
            return False
        place = bisect_left(self._sorted, rest)
        if place < len(self._sorted) and self._sorted[place] == rest:
            place += 1
        if place == len(self._sorted) or not self._sorted[place].startswith(rest):
            return False
        after = folded.plain[folded.at[-1] + 1 :]
        gaps = folded.gaps(at, len(folded.letters))
        spelled = [
            self.keys[name].gaps
            for name in self._sorted[place : place + 50]
            if name.startswith(rest)
        ]
        return len(after) <= _LONGEST_GAP and all(
            _GAP.fullmatch(gap) or any(given.get(index, b"").startswith(gap) for given in spelled)
            for index, gap in (gaps | ({len(rest) - 1: after} if after else {})).items()
        )

    def _is_open(self, folded: Folded, at: int) -> bool:
        """Whether one begins at the letter ``at`` of which is not decided yet what
        comes behind it.
        """
        letters = folded.letters
        ends = (
            at + size
            for size in self._heads.get(letters[at : at + _HEAD], ())
            if at + size <= len(letters)
        )
        return any(
            len(folded.plain) - folded.at[end - 1] <= self._ahead and letters[at:end] in self.keys
            for end in ends
        )

    def _match(self, folded: Folded, at: int) -> tuple[Place | None, int]:
        """The longest that begins at the letter ``at``, and of how many letters it is."""
        letters = folded.letters
        for size in self._heads.get(letters[at : at + _HEAD], ()):
            key = self.keys.get(letters[at : at + size])
            if key is not None and at + size <= len(letters):
                start, end = folded.at[at], folded.at[at + size - 1] + 1
                if _is_whole(folded, key, at, size, start, end):
                    return self._place(folded, key, start, end), size
        return None, 0

    @staticmethod
    def _place(folded: Folded, key: Key, start: int, end: int) -> Place:
        """With what is around the letters, where that is a part of a spelling that was given."""
        view, text, plain = folded.view, folded.view.text, folded.plain
        first, last = view.start(start), view.end(end)
        for form in itertools.islice(key.entry.forms, _FORMS):
            edges = _EDGES.fullmatch(form)
            assert edges is not None
            at = first - edges.end(1)
            if at >= 0 and text.startswith(form, at):
                return Place(at, at + len(form), plain[start:end], key)
        closing = (
            _CLOSING.match(plain, end)
            if key.entry.label and plain[start - 1 : start] == b"["
            else None
        )
        if closing:
            start -= 2 if plain[start - 2 : start - 1] == b"\\" and closing[0][:1] == b"\\" else 1
            first, last = view.start(start), view.end(closing.end())
        return Place(first, last, plain[start:end], key)

    def _lead(self, folded: Folded, start: int) -> int:
        """The character of the text where a stand-in begins whose first letter, or more of it, is
        at ``start``.
        """
        for size in range(min(start, _LONGEST_GAP), 0, -1):
            if folded.plain[start - size : start] in self._leads:
                return folded.view.start(start - size)
        return folded.view.start(start) if start < len(folded.plain) else folded.view.partial


def _together(places: list[Place], others: list[Place], known: int) -> tuple[list[Place], int]:
    """Both by position, as far as all is decided; what overlaps one of ``places`` is left out."""
    taken = [place.start for place in places]
    for other in others:
        at = bisect_left(taken, other.end)
        if at == 0 or places[at - 1].end <= other.start:
            insort(places, other, key=lambda place: place.start)
            insort(taken, other.start)
    while places and places[-1].end > known:
        known = min(known, places.pop().start)
    return places, known


def _is_whole(folded: Folded, key: Key, at: int, size: int, start: int, end: int) -> bool:
    plain = folded.plain
    entry, before, after = key.entry, folded.before(start), plain[end : end + _AHEAD]
    if not _fits(folded.gaps(at, at + size), key):
        return False
    if fold(before[-1:] + after[:1]) and not _may_touch(folded, entry, start, end, before, after):
        return False
    if entry.exact:
        return not _has_more_parts(key, before, after)
    return (
        plain[start] not in _DIGITS or not _ABROAD.search(before) or _is_given(folded, entry, start)
    )


def _has_more_parts(key: Key, before: bytes, after: bytes) -> bool:
    """Whether what separates the parts goes on with another: 192.0.2.7 is not in 10.192.0.2.7, but
    in 192.0.2.7/24.
    """
    joint = next(iter(key.gaps.values()), b"").strip()
    more = before[-len(joint) :] == joint and before[-len(joint) - 1 : -len(joint)].isdigit()
    return bool(joint) and (
        more or (after.startswith(joint) and after[len(joint) : len(joint) + 1].isdigit())
    )


def _may_touch(
    folded: Folded, entry: Entry, start: int, end: int, before: bytes, after: bytes
) -> bool:
    """As it was given it may touch letters, as values do in some texts; a digit that a digit
    touches is another.
    """
    plain = folded.plain
    if entry.family in UNTOUCHED:
        return False
    if (plain[start] in _DIGITS and before[-1:].isdigit()) or (
        plain[end - 1] in _DIGITS and after[:1].isdigit()
    ):
        return False
    return _is_given(folded, entry, start)


def _is_given(folded: Folded, entry: Entry, start: int) -> bool:
    text, first = folded.view.text, folded.view.start(start)
    return any(
        text.startswith(form.lstrip("+("), first) for form in itertools.islice(entry.forms, _FORMS)
    )


def _fits(gaps: dict[int, bytes], key: Key) -> bool:
    """Whether what stands between the letters is no more than another way to write it."""
    if key.entry.exact and gaps.keys() != key.gaps.keys():
        return False
    if key.entry.family == "IPV4":
        return all(gap.removeprefix(b"\\") == key.gaps[place] for place, gap in gaps.items())
    return all(
        gap == key.gaps.get(place) or _GAP.fullmatch(gap) is not None for place, gap in gaps.items()
    )
