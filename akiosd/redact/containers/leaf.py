"""A text inside a container: where it stands, how it is spelled there, and its label."""

from __future__ import annotations

import html
import json
import re
from bisect import bisect_right
from collections.abc import Callable, Sequence
from decimal import Decimal
from typing import NamedTuple
from urllib.parse import quote_plus, unquote_plus

from akiosd.redact.secret_names import kind_of

Path = tuple[str | int, ...]
MOST_LEAVES = 1 << 17
"""Texts that are told apart in one container; the rest of a larger one is read as plain text."""
_MOST_DIGITS = 40
MOST_LABEL = 64
"""Characters of a name that may say what a value is."""
_BREAKS = re.compile(r"[\s&=#%+;?\"'<>{}]|[^\x20-\x7e]")
"""What stands in a form only when it is escaped; an ``@`` may stand there as it is."""
_SURROGATE = re.compile("[\ud800-\udfff]")
_GENERIC = frozenset({
    "value", "values", "val", "v", "string", "str", "text", "content", "data", "raw", "plain", "s",
    "n", "stringvalue", "simplevalue", "default", "current", "new", "_", "$", "#text",
})  # fmt: skip
"""Names that say nothing by themselves; the name of what they stand in does."""
_NUMBERS = frozenset({"number", "num", "no", "nr", "id"})
"""Names that say with what they are in what a value is: the number of an account."""
_NAMING = frozenset({
    "name", "key", "field", "label", "header", "param", "parameter", "variable", "var", "attribute",
    "property", "k",
})  # fmt: skip
_TYPING = frozenset({"type", "id", "autocomplete", "kind"})
"""Names of what says of a field that it is a password."""
_VALUED = frozenset({"value", "val", "v", "values", "stringvalue", "content", "data", "default"})
_MOST_OF_A_PLACE = 3
_BETWEEN = re.compile(r"\s*,\s*")
_ONE_NUMBER = re.compile(r"[-+]?\d+(?:\.\d+)?")
_NAME = re.compile(r"[^\W\d][\w .:/$@#()\[\]-]{0,63}")


class Codec(NamedTuple):
    """How a container spells a text.  ``unit`` is what stands for other characters than it has, one
    by one.
    """

    decode: Callable[[str], str]
    encode: Callable[[str], str]
    unit: re.Pattern[str] | None = None


class Leaf(NamedTuple):
    """``begin`` to ``end`` of what holds it, spelled as ``codec`` says."""

    path: Path
    label: str
    begin: int
    end: int
    codec: Codec


class Region(NamedTuple):
    """A container in a text, and what stands in it, by position."""

    begin: int
    end: int
    leaves: list[Leaf]


def _same(text: str) -> str:
    return text


def _from_json(text: str) -> str:
    if "\\" not in text:
        return text
    try:
        return str(json.loads(f'"{text}"', strict=False))
    except ValueError:
        return text


def _to_json(text: str) -> str:
    # Half of a surrogate pair can only be written as an escape.
    return json.dumps(text, ensure_ascii=_SURROGATE.search(text) is not None)[1:-1]


def _spelled_out(number: str) -> str:
    """``4.5e3`` as the digits it stands for."""
    head, _, exponent = number.lower().partition("e")
    if (
        not exponent
        or len(head) > _MOST_DIGITS
        or len(exponent) > 3
        or abs(int(exponent)) > _MOST_DIGITS
    ):
        return number
    return f"{Decimal(number):f}"


def _told_numbers(text: str) -> str:
    """Two or three may be latitude, longitude and altitude; more are a vector, whose numbers have
    nothing to do with their neighbours.
    """
    return _BETWEEN.sub(", " if text.count(",") <= _MOST_OF_A_PLACE - 1 else "\n", text)


Edit = tuple[int, int, str]
"""From where to where in a text, and what stands there instead."""


def spelled_edits(spelled: str, codec: Codec, edits: Sequence[Edit]) -> list[Edit]:
    """``edits`` of what ``spelled`` says, by position, as those of ``spelled``: the rest keeps its
    spelling.

    Whoever edits a file finds what is not personal as it stands there, such as ``&#39;`` or
    ``\\/``.
    """
    if codec is NUMBERS:
        return _edits_of_numbers(spelled, edits)
    if codec.unit is None:
        return (
            [(0, len(spelled), codec.encode(edited(codec.decode(spelled), edits)))]
            if codec is NUMBER
            else [*edits]
        )
    places: list[tuple[int, int, int, int]] = []
    at = size = 0
    for match in codec.unit.finditer(spelled):
        size += match.start() - at
        at, said = match.end(), len(codec.decode(match[0]))
        places.append((size, size + said, match.start(), at))
        size += said
    plain = codec.decode(spelled)
    if size + len(spelled) - at != len(plain):
        return [(0, len(spelled), codec.encode(edited(plain, edits)))]
    ends = [place[1] for place in places]
    made: list[Edit] = []
    for start, end, new in edits:
        first = _spelled_at(places, bisect_right(ends, start), start)[0]
        last = (
            _spelled_at(places, bisect_right(ends, end - 1), end - 1)[1] if end > start else first
        )
        bare = spelled[first:last] == plain[start:end] and codec is FORM and not _BREAKS.search(new)
        made.append((first, last, new if bare else codec.encode(new)))
    return made


def _edits_of_numbers(spelled: str, edits: Sequence[Edit]) -> list[Edit]:
    """Each number that an edit touches becomes a string, so that as many values stay."""
    plain = [match.span() for match in _ONE_NUMBER.finditer(NUMBERS.decode(spelled))]
    places = [match.span() for match in _ONE_NUMBER.finditer(spelled)]
    made: list[Edit] = []
    for start, end, new in edits:
        for (begin, last), place in zip(plain, places, strict=True):
            if begin < end and start < last and (not made or made[-1][1] <= place[0]):
                made.append((*place, json.dumps(new)))
    return made


def _spelled_at(places: list[tuple[int, int, int, int]], number: int, at: int) -> tuple[int, int]:
    """Where the character ``at`` is spelled, when ``number`` units end before it."""
    if number < len(places) and places[number][0] <= at:
        return places[number][2:]
    moved = places[number - 1][3] - places[number - 1][1] if number else 0
    return at + moved, at + moved + 1


def edited(text: str, edits: Sequence[Edit]) -> str:
    """``text`` with each edit's ``[start, end)`` replaced by its new text; edits are in order."""
    pieces, done = [], 0
    for start, end, new in edits:
        pieces += [text[done:start], new]
        done = end
    return "".join([*pieces, text[done:]])


PLAIN = Codec(_same, _same)
JSON = Codec(
    _from_json,
    _to_json,
    re.compile(r"\\u[dD][89abAB][0-9a-fA-F]{2}\\u[dD][c-fC-F][0-9a-fA-F]{2}|\\u[0-9a-fA-F]{4}|\\."),
)
NUMBER = Codec(_spelled_out, json.dumps)
"""A number that is personal data becomes a string."""
NUMBERS = Codec(_told_numbers, _same)
"""Numbers of an array that only together are personal data; each stays a value of its own."""
MARKUP = Codec(html.unescape, html.escape, re.compile(r"&#?\w{1,40};?"))
DOUBLED = Codec(
    lambda text: text.replace('""', '"'), lambda text: text.replace('"', '""'), re.compile('""')
)
SINGLE = Codec(
    lambda text: text.replace("''", "'"), lambda text: text.replace("'", "''"), re.compile("''")
)
FORM = Codec(
    unquote_plus,
    quote_plus,
    re.compile("%[C-Fc-f][0-9A-Fa-f](?:%[89ABab][0-9A-Fa-f]){1,3}|%[0-9A-Fa-f]{2}"),
)


def label_of(name: str, outer: str) -> str:
    """What a value is called whose own name is ``name``, in something that is called ``outer``."""
    if outer and name.lower() in _NUMBERS:
        return f"{outer} {name}"[-MOST_LABEL:]
    if outer and name.lower() in _GENERIC:
        return outer
    return name[-MOST_LABEL:]


class Entry:
    """One object of a list such as ``{"name": "password", "value": "…"}``: one member names the
    other.
    """

    def __init__(self) -> None:
        self.name = ""
        self._waiting: list[int] = []

    def label(self, key: str, label: str, number: int) -> str:
        """The label of the member ``key``, whose leaf will have this number."""
        if key.lower() not in _VALUED:
            return label
        self._waiting.append(number)
        return self.name or label

    def take(self, key: str, text: str, leaves: list[Leaf]) -> None:
        """The member ``key`` is ``text``: values before it may be called so."""
        if not self.name and _names(key, text):
            self.name = text
            for number in self._waiting:
                if number < len(leaves):
                    leaves[number] = leaves[number]._replace(label=text)


def _names(key: str, text: str) -> bool:
    """Whether the member ``key``, which is ``text``, says what another is."""
    if key.lower() in _NAMING:
        return _NAME.fullmatch(text) is not None
    return key.lower() in _TYPING and kind_of(text) == "PASSWORD"


def names_another(owner: dict[str, object]) -> str:
    """What the member of ``owner`` that is its value is called by another member; "" where none
    does so.
    """
    for key, text in owner.items():
        if isinstance(text, str) and _names(key, text):
            return text
    return ""


def member_label(owner: dict[str, object], key: str, outer: str) -> str:
    """What the member ``key`` of a JSON object is called, which itself is called ``outer``."""
    named = names_another(owner) if key.lower() in _VALUED else ""
    return named or label_of(key, outer)
