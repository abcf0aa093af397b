"""Turns every container into the same thing: (path, label, text); and what is no container into one
text.

Nothing is left out: what stands between the texts of a container, such as names and comments, is a
text of its own without a label, and what cannot be read as a container is one text as a whole. Each
text is examined again, so JSON in a string in a table is found too, ``MAX_NESTED`` deep; deeper
ones are read as plain text.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from akiosd.redact.containers import json_text, lines, markup, named_secrets, tables
from akiosd.redact.containers.leaf import FORM, MOST_LEAVES, PLAIN, Leaf, Path, Region, label_of

MAX_NESTED = 8
MAX_SIZE = 8 << 20
"""In characters; a longer text is read as plain text."""
_LEAST = 4
"""Characters; a shorter text holds no other."""
_SIGNS = re.compile(r"[{\[<=:,;|\t]")
_WORD = re.compile(r"[^\W_]")
_FORM = re.compile(r"[\w.\[\]%+*-]{1,128}=[^\s&\"'<>{}]*(?:&[\w.\[\]%+*-]{1,128}=[^\s&\"'<>{}]*)*")
_QUERY = re.compile(
    r"\?(?:[\w.\[\]%+*-]{1,128}=[^\s&\"'<>{}#]*)(?:&[\w.\[\]%+*-]{1,128}=[^\s&\"'<>{}#]*)*"
)
_PAIR = re.compile(r"([\w.\[\]%+*-]{1,128})=([^\s&\"'<>{}#]*)")


class Text:
    """A text, its label and where it stands; ``inner`` are the texts in it, by position."""

    __slots__ = ("inner", "label", "path", "text")

    def __init__(self, text: str, label: str, path: Path) -> None:
        self.text, self.label, self.path = text, label, path
        self.inner: list[tuple[Leaf, Text]] = []

    def leaves(self) -> Iterator[Text]:
        """The texts that hold no others, by position."""
        if not self.inner:
            yield self
        for _, text in self.inner:
            yield from text.leaves()


class _Room:
    """How many texts may still be told apart."""

    def __init__(self) -> None:
        self.left = MOST_LEAVES


def view(text: str, label: str = "") -> Text:
    """Take ``text`` apart; linear in its length."""
    return _view(text, label, (), 0, _Room())


def _view(text: str, label: str, path: Path, depth: int, room: _Room) -> Text:
    found = Text(text, label, path)
    if depth >= MAX_NESTED or not _LEAST <= len(text) <= MAX_SIZE:
        return found
    # As long as the text, character for character.
    data = text.encode("latin-1", "replace")
    if _SIGNS.search(text) is None and not named_secrets.may_hold(text, data, label):
        return found
    places = _places(text, data, label, path)
    if not 0 < len(places) <= room.left:
        return found
    room.left -= len(places)
    done = 0
    for leaf in [*places, None]:
        begin = len(text) if leaf is None else leaf.begin
        if _WORD.search(text, done, begin):
            gap = Leaf(path, "", done, begin, PLAIN)
            found.inner.append((gap, Text(text[done:begin], "", path)))
        if leaf is not None:
            done = leaf.end
            inner = _view(
                leaf.codec.decode(text[leaf.begin : leaf.end]),
                leaf.label,
                leaf.path,
                depth + 1,
                room,
            )
            found.inner.append((leaf, inner))
    return found


def _places(text: str, data: bytes, label: str, path: Path) -> list[Leaf]:
    """What stands in ``text``, by position; none overlap."""
    if (
        "=" in text
        and (form := _FORM.fullmatch(text.strip())) is not None
        and ("&" in text or "%" in text)
    ):
        begin = text.index(form[0])
        return _pairs(text, begin, begin + len(form[0]), label, path)
    inside: list[Region] = []
    if "{" in text or "[" in text:
        inside += json_text.regions(text, data, label, path)
    if "<" in text and ("</" in text or "/>" in text):
        inside += markup.regions(text, label, path)
    inside = _outermost(inside)
    found = [leaf for region in inside for leaf in region.leaves]
    for begin, end in _free(inside, len(text)):
        found += _in_prose(text, data, begin, end, label, path)
    return sorted(found, key=lambda leaf: leaf.begin)


def _outermost(regions: list[Region]) -> list[Region]:
    """By position, without those that begin in another: markup may hold JSON, and JSON markup."""
    kept: list[Region] = []
    for region in sorted(regions, key=lambda r: (r.begin, -r.end)):
        if not kept or region.begin >= kept[-1].end:
            kept.append(region)
    return kept


def _free(regions: list[Region], size: int) -> Iterator[tuple[int, int]]:
    done = 0
    for begin, end in [*((region.begin, region.end) for region in regions), (size, size)]:
        if done < begin:
            yield done, begin
        done = end


def _in_prose(
    text: str, data: bytes, begin: int, end: int, label: str, path: Path
) -> Iterator[Leaf]:
    """Tables, then lines with names, then queries of URLs, then what is called a secret."""
    done = begin
    if text.find("\n", begin, end) >= 0:
        for first, last, cells in tables.leaves_of(text, data, begin, end, path):
            yield from _in_lines(text, data, done, first, label, path)
            yield from cells
            done = last
    yield from _in_lines(text, data, done, end, label, path)


def _in_lines(
    text: str, data: bytes, begin: int, end: int, label: str, path: Path
) -> Iterator[Leaf]:
    done = begin
    for first, last, values in lines.leaves_of(text, data, begin, end, label, path):
        yield from _queries(text, data, done, first, label, path)
        yield from values
        done = last
    yield from _queries(text, data, done, end, label, path)


def _queries(
    text: str, data: bytes, begin: int, end: int, label: str, path: Path
) -> Iterator[Leaf]:
    done = begin
    if text.find("?", begin, end) >= 0:
        for match in _QUERY.finditer(text, begin, end):
            yield from named_secrets.leaves_of(text, data, done, match.start(), label, path)
            yield from _pairs(text, match.start() + 1, match.end(), label, path)
            done = match.end()
    yield from named_secrets.leaves_of(text, data, done, end, label, path)


def _pairs(text: str, begin: int, end: int, label: str, path: Path) -> list[Leaf]:
    found = []
    for match in _PAIR.finditer(text, begin, end):
        name = FORM.decode(match[1])
        if match.start(2) < match.end(2):
            found.append(Leaf((*path, name), label_of(name, label), *match.span(2), FORM))
    return found
