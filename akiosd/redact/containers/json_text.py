"""JSON in a text, also such as people and programs write: single quotes, bare words, ``=``, cut off
at the end.

Nothing is kept on a stack but a list, and no place is read twice: where the grammar ends, the
search goes on.
"""

from __future__ import annotations

import re

from akiosd.redact.containers.leaf import (
    JSON,
    MOST_LEAVES,
    NUMBER,
    NUMBERS,
    PLAIN,
    Codec,
    Entry,
    Leaf,
    Path,
    Region,
    label_of,
)
from akiosd.redact.re2_search import Finder, latin
from akiosd.redact.secret_names import kind_of
from akiosd.redact.validators.keys import is_short_key, is_whole_password

MAX_DEPTH = 200
_START = re.compile(r"""\{\s*(?:["'}]|[A-Za-z_$][\w.$-]{0,63}\s*[:=])|\[\s*["'{\[\d-]""")
_MAY_BE = Finder(latin(r"""[{\[][\s?\x80-\xff]*["'}{\[\dA-Za-z_$-]"""))
"""A place where one may begin: what is not in Latin-1 is a question mark here."""
_BLANK = re.compile(r"\s*")
_DOUBLE = re.compile(r'"([^"\\\n]*(?:\\[^\n][^"\\\n]*)*)(")?')
_SINGLE = re.compile(r"'([^'\\\n]*(?:\\[^\n][^'\\\n]*)*)(')?")
_KEY = re.compile(r"[\w$@.-]{1,64}")
_COLON = re.compile(r"\s*(?:=>|:|=)")
_BARE = re.compile(r"[^\s{}\[\],\"'][^{}\[\],\n\"']*")
_NUMBER = re.compile(r"-?\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")
# Two and more in a row may be a place on the earth; ISO 6709.
_PLACE = re.compile(r"-?\d{1,3}\.\d{4,17}(?:\s*,\s*-?\d{1,3}\.\d{4,17})+(?=\s*(?:[,\]]|$))")
_SMALL = re.compile(r"-?\d{1,5}(?:\.\d*)?|true|false|null|None|True|False")


_REACH = 80


class _Frame:
    """An object or an array that has begun."""

    __slots__ = ("before", "entry", "index", "is_object", "key", "label", "path")

    def __init__(self, is_object: bool, path: Path, label: str) -> None:
        self.is_object, self.path, self.label = is_object, path, label
        self.key, self.index, self.entry = "", -1, Entry()
        self.before = ""
        """Of an array: the text before, where that is the name of a secret."""


def regions(text: str, data: bytes, label: str, path: Path) -> list[Region]:
    """The objects and arrays in ``text`` that have at least one named member, or are all there is.

    ``data`` is ``text`` in Latin-1.
    """
    found: list[Region] = []
    at = count = 0
    first, last = len(text) - len(text.lstrip()), len(text.rstrip())
    while (
        count < MOST_LEAVES
        and (spans := next(_MAY_BE.spans(data, at, len(data)), None)) is not None
    ):
        match = _START.match(text, spans[0][0])
        if match is None:
            at = spans[0][0] + 1
            continue
        reader = _Reader(text, match.start(), _before(text, match.start()) or label, path)
        at = max(reader.read(), match.start() + 1)
        whole = match.start() <= first and at >= last
        if reader.is_whole and (reader.has_names or (whole and reader.leaves)):
            found.append(Region(match.start(), at, reader.leaves))
            count += len(reader.leaves)
    return found


def _before(text: str, at: int) -> str:
    """The name of a secret that stands before the brace at ``at``: ``variable "token" {``,
    ``password = {``.
    """
    before = text[max(0, at - _REACH) : at].rstrip(" \t\r\n\"'=:")
    begin = len(before)
    while begin and (before[begin - 1].isalnum() or before[begin - 1] in "_$.-"):
        begin -= 1
    return name if (name := before[begin:]) and kind_of(name) else ""


def _may_be_secret(text: str) -> bool:
    return not kind_of(text) and (is_whole_password(text) or is_short_key(text))


class _Reader:
    def __init__(self, text: str, at: int, label: str, path: Path) -> None:
        self._text, self._at, self._label, self._path = text, at, label, path
        self._frames: list[_Frame] = []
        self.leaves: list[Leaf] = []
        self.has_names = self.is_whole = False

    def read(self) -> int:
        """Read one value; returns where it ended.  One that the end of the text cuts off is whole
        too.
        """
        text, size = self._text, len(self._text)
        while self._value():
            while self._frames:
                self._at = self._blank()
                if self._at >= size:
                    self.is_whole = True
                    return size
                end = text[self._at]
                if end == "," or end not in "}]":
                    break
                if (end == "}") != self._frames[-1].is_object:
                    return self._at
                self._frames.pop()
                self._at += 1
            if not self._frames:
                self.is_whole = True
                return self._at
            if text[self._at] == ",":
                self._at += 1
            elif self.leaves or self._frames[-1].index >= 0:
                return self._at
        self.is_whole = self._at >= size
        return self._at

    def _blank(self) -> int:
        match = _BLANK.match(self._text, self._at)
        return match.end() if match else self._at

    def _value(self) -> bool:
        """The next value, with its name in an object, down to one that is no container; False at
        what is none.
        """
        while True:
            self._at = self._blank()
            frame = self._frames[-1] if self._frames else None
            if self._at >= len(self._text):
                return False
            if frame is not None and self._text[self._at] in "}]":
                return True
            if frame is not None and frame.is_object and not self._name(frame):
                return False
            if frame is not None:
                frame.index += 1
            self._at = self._blank()
            kind = self._text[self._at : self._at + 1]
            if kind not in ("{", "["):
                return self._scalar(frame, kind)
            if len(self._frames) >= MAX_DEPTH:
                return False
            self._frames.append(_Frame(kind == "{", self._below(frame), self._named(frame)))
            self._at += 1

    def _name(self, frame: _Frame) -> bool:
        quote = self._text[self._at]
        pattern = {'"': _DOUBLE, "'": _SINGLE}.get(quote, _KEY)
        match = pattern.match(self._text, self._at)
        if match is None or (quote in "\"'" and match[2] is None):
            self._at = match.end() if match else self._at
            return False
        frame.key = JSON.decode(match[1]) if quote in "\"'" else match[0]
        colon = _COLON.match(self._text, match.end())
        self._at = colon.end() if colon else match.end()
        self.has_names = self.has_names or colon is not None
        return colon is not None

    def _below(self, frame: _Frame | None) -> Path:
        if frame is None:
            return self._path
        return (*frame.path, frame.key if frame.is_object else frame.index)

    def _named(self, frame: _Frame | None) -> str:
        if frame is None:
            return self._label
        return label_of(frame.key, frame.label) if frame.is_object else frame.label

    def _scalar(self, frame: _Frame | None, kind: str) -> bool:
        if len(self.leaves) >= MOST_LEAVES:
            return False
        if kind in ('"', "'"):
            match = (_DOUBLE if kind == '"' else _SINGLE).match(self._text, self._at)
            if match is None:
                return False
            begin, end = match.span(1)
            self._at = match.end()
            if match[2] is None and self._at < len(self._text):
                return False
            codec = JSON if kind == '"' else PLAIN
        else:
            if frame is not None and not frame.is_object and self._place(frame):
                return True
            match = _BARE.match(self._text, self._at)
            if match is None:
                return False
            begin, end = match.start(), match.start() + len(match[0].rstrip())
            self._at = match.end()
            if _SMALL.fullmatch(self._text, begin, end):
                return True
            codec = NUMBER if _NUMBER.fullmatch(self._text, begin, end) else PLAIN
        self._add(frame, begin, end, codec)
        return True

    def _place(self, frame: _Frame) -> bool:
        match = _PLACE.match(self._text, self._at)
        if match is None:
            return False
        begin, self._at = match.span()
        self._add(frame, begin, self._at, NUMBERS)
        frame.index += match[0].count(",")
        return True

    def _add(self, frame: _Frame | None, begin: int, end: int, codec: Codec) -> None:
        label = self._named(frame)
        text = (
            codec.decode(self._text[begin:end]) if frame is not None and end - begin <= 64 else ""
        )
        if frame is not None and frame.is_object:
            label = frame.entry.label(frame.key, label, len(self.leaves))
        elif frame is not None and frame.before and _may_be_secret(text):
            # ["password", "…"], ["--password", "…"]
            label, self.has_names = frame.before, True
        self.leaves.append(Leaf(self._below(frame), label, begin, end, codec))
        if frame is None:
            return
        if frame.is_object:
            if text:
                frame.entry.take(frame.key, text, self.leaves)
            return
        frame.before = text if codec is not NUMBER and kind_of(text) else ""
