"""XML and HTML in a text: text between tags has its element's name as label, an attribute its own
name.

Only elements that begin and end count, so that a ``<T>`` in source code holds nothing.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import NamedTuple

from akiosd.redact.containers.leaf import (
    MARKUP,
    MOST_LEAVES,
    PLAIN,
    Codec,
    Entry,
    Leaf,
    Path,
    Region,
    label_of,
)

MAX_DEPTH = 200
_TAG = re.compile(
    r"<(?:(?P<cdata>!\[CDATA\[)|(?P<comment>!--)|(?P<close>/)?(?P<name>[A-Za-z_][\w:.-]{0,100})"
    r"(?P<attributes>(?:\s{1,100}[\w:.-]{1,100}\s{0,10}=\s{0,10}(?:\"[^\"<]*\"|'[^'<]*'))*)\s{0,100}(?P<empty>/)?>)"
)
_ATTRIBUTE = re.compile(r"([\w:.-]+)\s*=\s*(?:\"([^\"<]*)\"|'([^'<]*)')")
_REACH = 32
"""An end tag is looked for among so many that are open."""


class _Tag(NamedTuple):
    begin: int
    end: int
    kind: str
    """``open``, ``close``, ``empty``, ``cdata`` or ``comment``."""
    name: str
    attributes: tuple[int, int]


class _Element:
    __slots__ = ("entry", "label", "name", "path")

    def __init__(self, name: str, path: Path, label: str) -> None:
        self.name, self.path, self.label, self.entry = name, path, label, Entry()


def regions(text: str, label: str, path: Path) -> list[Region]:
    """The outermost elements in ``text``, with the texts and attributes in them."""
    return _Walk(text, label, path).over(_paired(list(_tags(text))))


def _tags(text: str) -> Iterator[_Tag]:
    at = 0
    ends = {"cdata": "]]>", "comment": "-->"}
    count = 0
    while count < MOST_LEAVES and (match := _TAG.search(text, at)) is not None:
        at = match.end()
        count += 1
        kind = next(
            (name for name in ("cdata", "comment", "close", "empty") if match[name]), "open"
        )
        if kind in ends:
            stop = text.find(ends[kind], at)
            if stop < 0:
                # Nothing that begins like this ends from here on.
                ends[kind] = "\0"
                continue
            yield _Tag(match.start(), stop + 3, kind, "", (at, stop))
            at = stop + 3
        else:
            yield _Tag(match.start(), at, kind, match["name"], match.span("attributes"))


def _paired(tags: list[_Tag]) -> list[_Tag]:
    """Without tags that are open or closed only."""
    open_: list[int] = []
    kept = [
        tag.kind in ("cdata", "comment")
        or (tag.kind == "empty" and tag.attributes[0] < tag.attributes[1])
        for tag in tags
    ]
    for number, tag in enumerate(tags):
        if tag.kind == "open":
            open_.append(number)
        elif tag.kind == "close":
            reach = open_[-_REACH:]
            place = next(
                (i for i in range(len(reach) - 1, -1, -1) if tags[reach[i]].name == tag.name), -1
            )
            if place >= 0:
                kept[reach[place]] = kept[number] = True
                del open_[len(open_) - len(reach) + place :]
    return [tag for tag, keep in zip(tags, kept, strict=True) if keep]


class _Walk:
    def __init__(self, text: str, label: str, path: Path) -> None:
        self._text = text
        self._stack: list[_Element] = []
        self._outer = _Element("", path, label)
        self._leaves: list[Leaf] = []

    def over(self, tags: list[_Tag]) -> list[Region]:
        found: list[Region] = []
        before = begin = 0
        for tag in tags:
            if self._stack:
                self._chunk(before, tag.begin, MARKUP)
            else:
                begin = tag.begin
            before = tag.end
            if tag.kind == "close":
                if self._stack:
                    self._stack.pop()
            elif tag.kind == "cdata":
                self._chunk(*tag.attributes, PLAIN)
            elif tag.kind != "comment":
                self._begin(tag)
            if not self._stack and self._leaves:
                found.append(Region(begin, tag.end, self._leaves))
                self._leaves = []
        return found

    def _begin(self, tag: _Tag) -> None:
        parent = self._stack[-1] if self._stack else self._outer
        # Too deep a path is told no further; what stands there is read all the same.
        path = (*parent.path, tag.name) if len(parent.path) < MAX_DEPTH else parent.path
        label = parent.entry.label(tag.name, label_of(tag.name, parent.label), len(self._leaves))
        if tag.name in ("string", "integer", "real", "date") and parent.entry.name:
            # A property list: <key>name</key><string>value</string>, again and again.
            label, parent.entry = parent.entry.name, Entry()
        element = _Element(tag.name, path, label)
        own = Entry()
        for match in _ATTRIBUTE.finditer(self._text, *tag.attributes):
            name, group = match[1], 2 if match[2] is not None else 3
            named = own.label(name, label_of(name, label), len(self._leaves))
            self._leaves.append(Leaf((*path, f"@{name}"), named, *match.span(group), MARKUP))
            own.take(name, match[group], self._leaves)
        if own.name:
            element.label = own.name
        if tag.kind == "open":
            self._stack.append(element)

    def _chunk(self, begin: int, end: int, codec: Codec) -> None:
        piece = self._text[begin:end]
        bare = piece.strip()
        if not bare:
            return
        begin += len(piece) - len(piece.lstrip())
        element = self._stack[-1] if self._stack else self._outer
        self._leaves.append(Leaf(element.path, element.label, begin, begin + len(bare), codec))
        if len(self._stack) > 1 and len(bare) <= 64:
            self._stack[-2].entry.take(element.name, bare, self._leaves)
