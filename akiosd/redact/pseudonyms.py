"""Stand-ins for personal data: the same for the same value in one cage, and the way back.

:mod:`akiosd.redact.standins` says what they are made of: values that nobody can hold. A value has
one stand-in however it is spelled, spelled as the value is, so that the spelling comes back too.
The map lives in this object and nowhere else; it is gone with the cage.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import re
from collections.abc import Iterable, Iterator
from urllib.parse import quote

from akiosd.redact import standins
from akiosd.redact.find_standins import LEAST, UNTOUCHED, Entry, Index, Place
from akiosd.redact.folding import Folded, fold, is_plain
from akiosd.redact.normalise import View
from akiosd.redact.standins import Rule

_TRIES, _FEW_TRIES = 64, 4
"""How often another stand-in is made where one is taken; and once a kind was seen to be used up."""
_LEAST_DAYS, _DAYS = 200, 1300
_TAIL = 256
"""Characters before a place that are looked at to tell what it is in."""
_PERCENT = re.compile("%[0-9A-Fa-f]{2}")
_UNICODE = re.compile(r"\\[ux][0-9A-Fa-f]{2}")
_KEPT_NETS = (
    "192.0.2.",
    "198.51.100.",
    "203.0.113.",
    "5e-00-53",
    "5E-00-53",
    "5e:00:53",
    "5E:00:53",
    "5e00.53",
)
_KEPT = re.compile(
    r"(?:192\.0\.2|198\.51\.100|203\.0\.113)\.[0-9]{1,3}|00[-:]?00[-:.]?5[eE][-:]?00[-:.]?53[-:]?[0-9a-fA-F]{2}"
)
"""Values of those small sets that stand-ins come from: what the agent's own texts show of them
stands for itself.
"""
_DATE = re.compile(
    r"(?<![0-9])(?:[0-9]{4}([-/. ])[0-9]{1,2}\1[0-9]{1,2}|[0-9]{1,2}([-/."
    r" ])[0-9]{1,2}\2[0-9]{4})(?![0-9])"
)
"""The same for dates: there are only some thousand that anybody writes."""


class Pseudonyms:
    """The stand-ins of one cage.  ``key`` is 32 random bytes of that cage.  Not shared between
    threads.
    """

    def __init__(self, key: bytes) -> None:
        if len(key) < 16:
            raise ValueError("the key of pseudonyms has at least 16 bytes")
        self._key = key
        days = int.from_bytes(hmac.digest(key, b"days", hashlib.sha256)[:4], "big") % _DAYS
        self._rules = standins.rules(-_LEAST_DAYS - days)
        self._given: dict[str, str] = {}
        self._entries: dict[tuple[str, str], Entry] = {}
        self._index = Index()
        self._taken: set[bytes] = set()
        """The letters of values: nothing else may stand for them."""
        self._full: set[str] = set()
        """Families of which nearly all is given."""

    def __len__(self) -> int:
        return len(self._given)

    def give(self, value: str, kind: str, spelled: str = "") -> str:
        """The stand-in for ``value``, the same every time."""
        if spelled and spelled != value:
            return self._give_spelled(value, kind, spelled)
        found = self._given.get(value)
        if found is None:
            rule = standins.rule_of(self._rules, kind)
            self._taken.add(fold(View(value).data))
            entry = self._entries.get((rule.family, rule.same(value)))
            found = self._spell(entry, value, kind, rule) if entry else self._new(value, kind, rule)
            self._given[value] = found
        return found

    def _give_spelled(self, value: str, kind: str, spelled: str) -> str:
        found = self._given.get(spelled)
        if found is None:
            found, rule = self.give(value, kind), standins.rule_of(self._rules, kind)
            entry = self._entries.get((rule.family, rule.same(value)))
            if entry is not None and not entry.label:
                form = next((form for form in _varied(found) if form not in entry.forms), "")
                found = self._note(entry, form, spelled) if form else found
            self._given[spelled] = found
        return found

    def expect(self, values: Iterable[str]) -> None:
        """These are values of the agent's: none of them may stand for another value."""
        self._taken.update(fold(View(value).data) for value in values if value not in self._given)

    def _new(self, value: str, kind: str, rule: Rule) -> str:
        stand_in = next(filter(self._is_free, self._made(value, kind, rule)))
        label = stand_in.startswith("[")
        entry = Entry(
            "LABEL" if label else rule.family, value, kind, rule.exact and not label, label
        )
        self._entries[rule.family, rule.same(value)] = entry
        poured = (
            standins.bare(value) if (rule.poured or rule.family == "PHONE") and not label else ""
        )
        self._index.add(
            stand_in, entry, poured if len(poured) == len(standins.bare(stand_in)) else ""
        )
        if rule.family == "PHONE" and not label:
            self._add_phone(entry, stand_in, value, kind)
        return self._note(entry, stand_in, value)

    def _note(self, entry: Entry, stand_in: str, value: str) -> str:
        entry.forms.setdefault(stand_in, value)
        self._index.note(stand_in)
        return stand_in

    def _made(self, value: str, kind: str, rule: Rule) -> Iterator[str]:
        """What may stand for it, best first; a label where the kind has no room, or
        none is left.
        """
        for attempt in range(_FEW_TRIES if rule.family in self._full else _TRIES):
            stand_in = rule.make(value, self._noise(value, kind, attempt))
            if not stand_in or not _may_stand(stand_in, value, rule):
                break
            yield stand_in
        else:
            self._full.add(rule.family)
        attempt = _TRIES
        while True:
            yield standins.label(rule.family, self._noise(value, kind, attempt), 6 + attempt // 100)
            attempt += 1

    def _noise(self, value: str, kind: str, attempt: int) -> Iterator[int]:
        block = 0
        while True:
            message = f"{kind}\0{attempt}\0{block}\0{value}".encode("utf-8", "surrogatepass")
            yield from hmac.digest(self._key, message, hashlib.sha256)
            block += 1

    def _is_free(self, stand_in: str) -> bool:
        letters = fold(View(stand_in).data)
        return (
            len(letters) >= LEAST and letters not in self._index.keys and letters not in self._taken
        )

    def _add_phone(self, entry: Entry, stand_in: str, value: str, kind: str) -> None:
        """The same number as it is written at home and abroad."""
        ours, theirs = standins.read_phone(stand_in, kind), standins.read_phone(value, kind)
        if ours and theirs and ours.code == theirs.code:
            pairs = zip(
                standins.phone_spellings(ours), standins.phone_spellings(theirs), strict=True
            )
            for spelled, original in pairs:
                self._index.add(spelled, entry, original if len(original) == len(spelled) else "")

    def _spell(self, entry: Entry, value: str, kind: str, rule: Rule) -> str:
        """The stand-in of another spelling, as this one is spelled."""
        first = next(iter(entry.forms))
        spelled = ""
        if (
            not entry.label
            and rule.poured
            and len(standins.bare(first)) == len(standins.bare(value))
        ):
            spelled = standins.pour(standins.bare(first), value)
        elif not entry.label and rule.family == "PHONE":
            known = standins.read_phone(first, entry.kind)
            spelled = standins.laid_out(value, kind, known.national) if known else ""
        if not spelled or entry.forms.get(spelled, value) != value:
            spelled = next((form for form in _varied(first) if form not in entry.forms), first)
        if not entry.label and not _may_stand(spelled, value, rule):
            return self._new(value, kind, rule)
        return self._note(entry, spelled, value)

    # ---- the way back
    # ------------------------------------------------------------------------------

    def restore(self, text: str, escape: bool = False) -> str:
        """``text`` with every stand-in replaced by its original; ``escape`` where ``text`` is
        inside a JSON string.
        """
        places, _ = self._index.scan(text)
        return self.replaced(text, places, 0, len(text), escape)

    def replaced(self, text: str, places: list[Place], done: int, stop: int, escape: bool) -> str:
        """``text[done:stop]`` with the stand-ins at ``places`` replaced by what they stand for."""
        pieces = []
        for place in places:
            pieces += [
                text[done : place.start],
                _dressed(self._back(text, place), text, place, escape),
            ]
            done = place.end
        return "".join([*pieces, text[done:stop]])

    @staticmethod
    def _back(text: str, place: Place) -> str:
        """The original as this place is spelled."""
        entry = place.key.entry
        found = entry.forms.get(text[place.start : place.end])
        if found is not None:
            return found
        if place.key.poured:
            return standins.pour(place.key.poured, place.plain.decode("latin-1"))
        return entry.original

    def may_begin_in(self, text: str) -> bool:
        """As :meth:`akiosd.redact.find_standins.Index.may_begin_in`."""
        return self._index.may_begin_in(text)

    def scan(self, text: str, begin: int, final: bool) -> tuple[list[Place], int]:
        """As :meth:`akiosd.redact.find_standins.Index.scan`."""
        return self._index.scan(text, begin, final)

    def may_be_in(self, json: bytes) -> bool:
        """Whether strings of a JSON text may hold a stand-in."""
        if not self._given:
            return False
        if self._index.may_be_in(fold(json)):
            return True
        return not is_plain(json) and self._index.may_be_in(
            Folded(json.decode("utf-8", "replace")).letters
        )

    def covered(self, text: str) -> str:
        """``text`` with a NUL for each character of a stand-in: nothing is to be found there."""
        places, _ = self._index.scan(text)
        if any(net in text for net in _KEPT_NETS):
            self._see(_KEPT, text, places)
        self._see(_DATE, text, places)
        pieces, done = [], 0
        for place in places:
            pieces += [text[done : place.start], "\0" * (place.end - place.start)]
            done = place.end
        return "".join([*pieces, text[done:]])

    def _see(self, kept: re.Pattern[str], text: str, places: list[Place]) -> None:
        """What stands for itself in the agent's own text stands for nothing else."""
        own = {(place.start, place.end) for place in places}
        for match in kept.finditer(text):
            if match.span() not in own:
                self._taken.add(fold(match[0].encode("ascii")))

    def held(self, text: str) -> int:
        """Where the end of ``text`` begins that may be the beginning of a stand-in; its length when
        nowhere.
        """
        return self._index.scan(text, 0, final=False)[1]


def _may_stand(stand_in: str, value: str, rule: Rule) -> bool:
    """Whether what may touch ``value`` and be no part of it may touch ``stand_in``; anything may
    touch a label.

    ``…85::ffff:192.0.2.1`` is a number and an address; ``…672001:db8::1`` would be neither.
    """
    edges = all(value[end].isalnum() or not stand_in[end].isalnum() for end in (0, -1))
    return edges or rule.family not in UNTOUCHED


def _varied(text: str) -> Iterator[str]:
    """The same in other case: lower, title, and then letter by letter."""
    yield from (text.lower(), text.title(), text.upper())
    letters = [place for place, character in enumerate(text) if character.isalpha()]
    for count in range(1, 1 << min(len(letters), 12)):
        made = list(text)
        for bit, place in enumerate(letters[:12]):
            if count >> bit & 1:
                made[place] = made[place].swapcase()
        yield "".join(made)


def _dressed(original: str, text: str, place: Place, escape: bool) -> str:
    """``original`` as it is written where it goes: in a JSON string, in a URL, among escapes."""
    raw = text[place.start : place.end]
    if _PERCENT.search(raw) or (re.search(r"\s", original) and _is_in_url(text, place.start)):
        original = original if _PERCENT.search(original) else quote(original, safe="")
    if escape or _UNICODE.search(raw):
        return json.dumps(original, ensure_ascii=not escape)[1:-1]
    return original


def _is_in_url(text: str, at: int) -> bool:
    """Whether what stands before ``at`` without a blank is the beginning of a URL."""
    before = re.split(r"[\s\"'<>(]", text[max(0, at - _TAIL // 2) : at])[-1]
    return "://" in before


class StreamRestorer:
    """Restores originals in a text that arrives in pieces; holds back only what may become a
    stand-in.
    """

    def __init__(self, pseudonyms: Pseudonyms, escape: bool = False) -> None:
        self._pseudonyms, self._escape, self._held = pseudonyms, escape, ""
        self._before = ""
        """What went before: it tells what the next place is in."""

    def push(self, chunk: str) -> str:
        """Take the next piece; returns what may be passed on."""
        return self._pass(chunk, final=False)

    def flush(self) -> str:
        """The rest, when the text has ended."""
        return self._pass("", final=True)

    def _pass(self, chunk: str, final: bool) -> str:
        if not self._held and not self._pseudonyms.may_begin_in(chunk):
            self._before = (self._before + chunk)[-_TAIL:]
            return chunk
        begin = len(self._before)
        text = self._before + self._held + chunk
        places, known = self._pseudonyms.scan(text, begin, final)
        known = len(text) if final else known
        safe = self._pseudonyms.replaced(text, places, begin, known, self._escape)
        self._held, self._before = text[known:], text[max(0, known - _TAIL) : known]
        return safe
