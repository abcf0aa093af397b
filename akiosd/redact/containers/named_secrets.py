"""Secrets in code, command lines and prose that are recognised by their name: the name, what joins
it to a value, the value.

One grammar for all (:mod:`akiosd.redact.containers.secret_forms`). The result is a label and a
text, as of any container, and only for texts that may be secrets; everything else is read as it
stands. How much a text must look like a secret depends on how plainly it is named as one: see
:class:`Trust`.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from enum import IntEnum

from akiosd.redact.containers import columns, commands
from akiosd.redact.containers import secret_forms as forms
from akiosd.redact.containers.leaf import JSON, MARKUP, PLAIN, Codec, Leaf, Path
from akiosd.redact.re2_search import Finder, latin
from akiosd.redact.secret_names import FOREIGN, LATIN, Kind, kind_of
from akiosd.redact.validators.keys import is_outspoken, is_phrase, is_short_key, is_whole_password

MOST_HITS = 1 << 16
"""Names that are examined in one text; after that, patterns alone read it."""


class Trust(IntEnum):
    """What must be true of a text that is called a password."""

    QUOTED = 0
    """It is a literal that is given the name: words are enough."""
    GIVEN = 1
    """It is given the name: it has a digit, and is no name itself."""
    BESIDE = 2
    """It stands beside the name: by its looks it can be nothing else."""


_NAMES = Finder(
    latin(
        rf"(?i:{LATIN}|{commands.CALLS}|identified["
        rf" \t]|<input\b|\bcred(?:entials?|s)\b|{commands.NAMES})"
    )
)
"""Where there may be a name; what is not in Latin-1 is a question mark here."""
_FOREIGN = re.compile(FOREIGN, re.I)
_LABELS: dict[Kind, str] = {"PASSWORD": "password", "API_KEY": "api_key"}
_TAG = re.compile(r"[^<>]{0,600}")
_PAIR = re.compile(
    r"""([\w:-]{1,40})[ \t\r\n]*=[ \t\r\n]*(?:"([^"<>]*)"?|'([^'<>]*)'?|([^\s"'<>]+))"""
)
_RIGHT = re.compile(r"s?[\w-]*")
_NO_LETTERS = re.compile(r"[^\w\n]*")
_TRAILING = ".:)]}*_"
_OPENED = {")": "(", "]": "[", "}": "{"}
_MOST_NAME = 48
_REACH = 300
"""Characters of a call in which its password is."""


def leaves_of(
    text: str, data: bytes, begin: int, end: int, label: str, path: Path
) -> Iterator[Leaf]:
    """The secrets between ``begin`` and ``end``, by position; ``data`` is ``text`` in Latin-1."""
    if (
        label
        and begin == 0
        and end == len(text)
        and (leaf := _declared(text, label, path)) is not None
    ):
        yield leaf
        return
    done, reader = begin, _Reader(text, end, path)
    for start, stop in _hits(text, data, begin, end):
        if start < done:
            continue
        for leaf in sorted(reader.at(begin, start, stop), key=lambda leaf: leaf.begin):
            if leaf.begin >= done:
                yield leaf
                done = leaf.end


def may_hold(text: str, data: bytes, label: str) -> bool:
    """Whether ``text`` has the name of a secret in it, or is labelled as one; ``data`` is ``text``
    in Latin-1.
    """
    if label and kind_of(label):
        return True
    if next(_NAMES.spans(data, 0, len(data)), None) is not None:
        return True
    return not text.isascii() and _FOREIGN.search(text) is not None


def _hits(text: str, data: bytes, begin: int, end: int) -> list[tuple[int, int]]:
    hits = []
    for spans in _NAMES.spans(data, begin, end):
        hits.append(spans[0])
        if len(hits) >= MOST_HITS:
            break
    if not text.isascii():
        hits += [match.span() for match in _FOREIGN.finditer(text, begin, end)]
        hits.sort()
    return hits


def _declared(text: str, label: str, path: Path) -> Leaf | None:
    kind = kind_of(label)
    match = forms.DECLARED.match(text) if kind and len(text) <= 400 else None
    leaf = _leaf(match, kind, Trust.GIVEN, path) if match is not None else None
    return leaf._replace(label=label, path=path) if leaf is not None else None


class _Reader:
    def __init__(self, text: str, end: int, path: Path) -> None:
        self._text, self._end, self._path = text, end, path

    def at(self, begin: int, start: int, stop: int) -> Iterator[Leaf]:
        """What is found at the name between ``start`` and ``stop``."""
        text, end = self._text, self._end
        hit = text[start:stop].lower()
        if hit[0] == "<":
            yield from self._input(stop)
        elif hit.startswith("identified"):
            found = forms.SQL.match(text, stop, end)
            yield from self._given(
                found, "PASSWORD", Trust.BESIDE if found and found["bare"] else Trust.QUOTED
            )
        elif hit[-1] == "(":
            for match in forms.ARGUMENT.finditer(
                text, stop, columns.line_end(text, stop, min(end, stop + _REACH))
            ):
                yield from self._given(match, "PASSWORD", Trust.BESIDE)
        elif hit.startswith("cred"):
            yield from self._given(
                forms.CREDENTIALS.match(text, stop, end), "PASSWORD", Trust.BESIDE
            )
        elif hit[-1] in " \t" or hit in commands.PIPED:
            for first, last, quoted in commands.values(text, start, stop, end):
                yield from _checked(
                    text,
                    first,
                    last,
                    "PASSWORD",
                    Trust.QUOTED if quoted else Trust.GIVEN,
                    self._path,
                )
        else:
            yield from self._name(begin, start, stop)

    def _name(self, begin: int, start: int, stop: int) -> list[Leaf]:
        text = self._text
        right = _RIGHT.match(text, stop, min(self._end, stop + _MOST_NAME))
        after = right.end() if right else stop
        while after > stop and text[after - 1] == "-":
            after -= 1
        first, least = start, max(begin, start - _MOST_NAME)
        while first > least and (text[first - 1].isalnum() or text[first - 1] in "_.$@:-"):
            first -= 1
        kind = kind_of(text[first:after].lstrip("-.:@$"))
        return self._named(begin, first, start, after, kind) if kind else []

    def _given(self, match: re.Match[str] | None, kind: Kind, trust: Trust) -> list[Leaf]:
        leaf = _leaf(match, kind, trust, self._path) if match is not None else None
        return [leaf] if leaf is not None else []

    def _named(self, begin: int, first: int, start: int, at: int, kind: Kind) -> list[Leaf]:
        """What stands behind the name ``first``–``at``: the first of the forms that
        gives a secret.
        """
        sign = self._text[at : at + 1]
        if not sign or (sign not in forms.JOINING and sign != "("):
            return []
        if sign in "({" and (
            found := self._given(forms.CALLED.match(self._text, at, self._end), kind, Trust.BESIDE)
        ):
            return found
        blank = sign in " \t"
        found = self._assigned(begin, first, at, kind)
        if not found and not blank:
            found = self._quoted(begin, first, start, at, kind)
        if not found and (blank or sign in forms.CLOSING or sign == ":"):
            found = self._beside(begin, first, start, at, kind)
        return found or self._below(begin, first, at, kind)

    def _assigned(self, begin: int, first: int, at: int, kind: Kind) -> list[Leaf]:
        match = forms.ASSIGNED.match(self._text, at, self._end)
        if match is None:
            return self._given(forms.OTHERWISE.match(self._text, at, self._end), kind, Trust.GIVEN)
        trust = Trust.GIVEN if match["compares"] else Trust.QUOTED
        if match["wrapped"] or (match["begins"] and not self._begins(begin, first)):
            trust = Trust.BESIDE
        return self._given(match, kind, trust)

    def _quoted(self, begin: int, first: int, start: int, at: int, kind: Kind) -> list[Leaf]:
        """A name in quotes, or the last of some names with a comma behind it."""
        text, end = self._text, self._end
        return (
            self._given(forms.MEMBER.match(text, at, end), kind, Trust.BESIDE)
            or self._attribute(first, start, at, kind)
            or self._given(forms.BLOCK.match(text, at, end), kind, Trust.QUOTED)
            or self._all(columns.inserted(text, begin, first, at, end), kind)
        )

    def _attribute(self, first: int, start: int, at: int, kind: Kind) -> list[Leaf]:
        """``key="password" value="x"``"""
        text = self._text
        if not any(
            text[place - 1 : place] == "=" or text[place - 2 : place - 1] == "="
            for place in (first, start)
        ):
            return []
        return self._given(forms.ATTRIBUTE.match(text, at, self._end), kind, Trust.GIVEN)

    def _beside(self, begin: int, first: int, start: int, at: int, kind: Kind) -> list[Leaf]:
        text, end = self._text, self._end
        match = forms.BESIDE.match(text, at, end)
        if match is not None:
            given = text[first : first + 1] == "-" or forms.ACCOUNT.search(
                text[max(begin, first - 120) : first]
            )
            if found := self._given(match, kind, Trust.GIVEN if given else Trust.BESIDE):
                return found
        found = self._attribute(first, start, at, kind)
        return found or self._given(forms.SAID.match(text, at, end), kind, Trust.BESIDE)

    def _below(self, begin: int, first: int, at: int, kind: Kind) -> list[Leaf]:
        """The value on the next line, or below it in its column."""
        text, end = self._text, self._end
        match = forms.NEXT.match(text, at, end)
        if match is not None and (match["sign"] == ":" or self._begins(begin, first)):
            found = self._given(match, kind, Trust.BESIDE)
            if found:
                return found
        return self._all(columns.cells(text, begin, first, at, end), kind)

    def _all(self, places: Iterator[tuple[int, int]], kind: Kind) -> list[Leaf]:
        return [
            leaf
            for first, last in places
            for leaf in _checked(self._text, first, last, kind, Trust.GIVEN, self._path)
        ]

    def _begins(self, begin: int, first: int) -> bool:
        """Whether the name is the first word of its line."""
        line = columns.line_start(self._text, first, max(begin, first - _MOST_NAME))
        return (line == begin or self._text[line - 1] == "\n") and bool(
            _NO_LETTERS.fullmatch(self._text, line, first)
        )

    def _input(self, at: int) -> Iterator[Leaf]:
        """The value of a field of a form, when one of the others says what it is."""
        match = _TAG.match(self._text, at, self._end)
        pairs = list(_PAIR.finditer(self._text, at, match.end() if match else at))
        said = (
            kind_of(pair[2] or pair[3] or pair[4] or "")
            for pair in pairs
            if pair[1].lower() != "value"
        )
        kind = next((kind for kind in said if kind), None)
        for pair in pairs if kind else ():
            if kind and pair[1].lower() == "value":
                begin, end = pair.span(
                    next(group for group in (2, 3, 4) if pair[group] is not None)
                )
                if _is_secret(self._text[begin:end], kind, Trust.GIVEN):
                    yield Leaf((*self._path, _LABELS[kind]), _LABELS[kind], begin, end, MARKUP)


def _leaf(match: re.Match[str], kind: Kind, trust: Trust, path: Path) -> Leaf | None:
    groups = match.groupdict()
    group = next(name for name in forms.VALUES if groups.get(name) is not None)
    if group == "bare":
        trust = max(trust, Trust.GIVEN)
    codec = JSON if group in ("double", "single") else PLAIN
    return next(_checked(match.string, *match.span(group), kind, trust, path, codec), None)


def _checked(
    text: str, begin: int, end: int, kind: Kind, trust: Trust, path: Path, codec: Codec = PLAIN
) -> Iterator[Leaf]:
    """``begin``–``end`` as a leaf where it may be a secret, without the signs that end a sentence
    or a bracket.
    """
    while codec is PLAIN and end > begin and text[end - 1] in _TRAILING:
        if text[end - 1] in _OPENED and _OPENED[text[end - 1]] in text[begin:end]:
            break
        end -= 1
    codec = codec if "\\" in text[begin:end] else PLAIN
    if begin < end and _is_secret(codec.decode(text[begin:end]), kind, trust):
        yield Leaf((*path, _LABELS[kind]), _LABELS[kind], begin, end, codec)


def _is_secret(text: str, kind: Kind, trust: Trust) -> bool:
    if any(map(str.isspace, text)):
        return kind == "PASSWORD" and trust is Trust.QUOTED and is_phrase(text)
    if kind == "API_KEY":
        return is_short_key(text)
    if trust is Trust.BESIDE:
        return is_outspoken(text)
    return is_whole_password(text) or (trust is Trust.QUOTED and is_phrase(text))
