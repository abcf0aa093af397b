"""Lines such as ``name: value``: YAML, TOML, INI, .env, properties, headers.

No parser for any of these: one reading for all, which follows their common form. A name, a sign,
and a value that may be quoted, may continue in lines that are indented deeper, or may stand below
its name.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from akiosd.redact.containers.leaf import (
    JSON,
    MOST_LEAVES,
    PLAIN,
    SINGLE,
    Codec,
    Entry,
    Leaf,
    Path,
    label_of,
)
from akiosd.redact.re2_search import Finder, latin

_LINE = re.compile(
    r"^(?P<lead>[ \t]*(?:- +){0,4}(?:export +|set +|setenv +|ENV +)?)"
    r"(?:\"(?P<double>(?:[^\"\\\n]|\\[^\n]){1,64})\"|'(?P<single>[^'\n]{1,64})'"
    r"|(?P<bare>(?!(?:if|elif|else|for|while|return|class|def|with|try|except|case|lambda|assert|print)\b)"
    r"[^\W\d]?[\w.$/@-]{1,63}(?: [\w.$/@-]{1,30}){0,3}))"
    r"[ \t]*(?P<sign>:(?=[ \t\r\n]|\Z)|=>|:=|=(?!=)|(?<=\")[ \t]*:)[ \t]*",
    re.M,
)
_MAY_BE = Finder(
    latin(
        r"(?m)^[ \t]*(?:- +){0,4}(?:export +|set +|setenv +|ENV +)?"
        r"[\w.$/@\"'?\x80-\xff-][^\n:=]{0,160}(?::(?:[ \t\r\n]|\z)|=|:=)"
    )
)
"""A line that may have a name: what is not in Latin-1 is a question mark here."""
_SECTION = re.compile(
    r"[ \t]*\[{1,2}(?P<bracketed>[\w.\" -]{1,64})\]{1,2}[ \t]*(?:[#;].*)?\r?"
    r"|[ \t]*\w{1,32}(?:[ \t]+\"[\w.-]{1,64}\"){0,2}[ \t]+\"(?P<block>[\w.-]{1,64})\"[ \t]*\{["
    r" \t]*\r?"
)
"""``[name]``, or ``variable "name" {``."""
_COMMENT = re.compile(r"[ \t]*(?:[#;].*|//.*|---|\.\.\.)?\r?")
_ITEM = re.compile(r"[ \t]*- +")
_BLOCK = re.compile(r"[|>][+-]?\d?[+-]?[ \t]*(?:#.*)?\r?")
_DOUBLE = re.compile(r'"((?:[^"\\\n]|\\[^\n])*)"')
_SINGLE = re.compile(r"'((?:[^'\n]|'')*)'")
_REMARK = re.compile(r"[ \t]+(?:#|//).*")
_TRIPLE = ('"""', "'''")


class _Level:
    """What stands at one depth of indentation."""

    __slots__ = ("entry", "indent", "label", "path")

    def __init__(self, indent: int, path: Path, label: str) -> None:
        self.indent, self.path, self.label, self.entry = indent, path, label, Entry()


def leaves_of(
    text: str, data: bytes, begin: int, end: int, label: str, path: Path
) -> Iterator[tuple[int, int, list[Leaf]]]:
    """(begin, end, values) of every run of such lines between ``begin`` and ``end``; ``data`` is
    ``text`` in Latin-1.

    One such line among others is prose: ``Note: this is …``.
    """
    at, count = begin, 0
    while count < MOST_LEAVES and (match := _next_line(text, data, at, end)) is not None:
        block = _Block(text, end, label, path)
        first = _section_before(text, begin, match.start())
        stop = block.read(first, match)
        if block.names > 1 or first < match.start() or block.is_marked:
            count += len(block.leaves)
            yield first, stop, block.leaves
        at = max(stop, match.end())


def _next_line(text: str, data: bytes, at: int, end: int) -> re.Match[str] | None:
    """The next line from ``at`` on that has a name; re2 leaves out the most that have none."""
    for spans in _MAY_BE.spans(data, at, end):
        match = _LINE.match(text, spans[0][0], end)
        if match is not None:
            return match
    return None


def _section_before(text: str, begin: int, at: int) -> int:
    """Where the line that names the section begins, if that is the line before ``at``;
    else ``at``.
    """
    if at - begin < 2:
        return at
    before = max(begin, text.rfind("\n", begin, at - 1) + 1)
    return before if _SECTION.fullmatch(text, before, at - 1) else at


class _Block:
    def __init__(self, text: str, end: int, label: str, path: Path) -> None:
        self._text, self._end = text, end
        self._top = _Level(-1, path, label)
        self._levels = [self._top]
        self._below: _Level | None = None
        """What lines without a name that are indented deeper belong to."""
        self.names = 0
        self.is_marked = False
        """A value is in quotes, or goes on below its name."""
        self.leaves: list[Leaf] = []

    def read(self, at: int, named: re.Match[str]) -> int:
        """Read lines from ``at`` on, of which ``named`` is one; returns the end of the last that
        belongs here.
        """
        done = at
        while at < self._end and len(self.leaves) < MOST_LEAVES:
            stop = self._line_end(at)
            match = named if at == named.start() else _LINE.match(self._text, at, self._end)
            if match is not None and match.end() <= stop + 1:
                at = done = self._named(match, min(match.end(), stop), stop)
            elif _COMMENT.fullmatch(self._text, at, stop):
                pass
            elif (section := _SECTION.fullmatch(self._text, at, stop)) is not None:
                name = (section["bracketed"] or section["block"]).strip().replace('"', "")
                self._levels = [
                    self._top,
                    _Level(-1, (*self._top.path, name), label_of(name.rpartition(".")[2], "")),
                ]
                self._below = None
                done = stop
            elif self._below is not None and self._indent(at) > self._below.indent:
                self.is_marked = True
                self._value(self._below, "", *self._item(at, stop))
                done = stop
            else:
                break
            at = max(at, stop if at < stop else at) + 1
        return min(done, self._end)

    def _line_end(self, at: int) -> int:
        stop = self._text.find("\n", at, self._end)
        return stop if stop >= 0 else self._end

    def _indent(self, at: int) -> int:
        """Of the text of a line; that of an item of a list counts as one more than its sign's."""
        start = at
        while at < self._end and self._text[at] in " \t":
            at += 1
        return at - start + (1 if self._text.startswith("- ", at) else 0)

    def _item(self, at: int, stop: int) -> tuple[int, int]:
        match = _ITEM.match(self._text, at, stop)
        return (match.end() if match else at), stop

    def _named(self, match: re.Match[str], at: int, stop: int) -> int:
        """A line with a name, and the lines that its value goes on in; returns the end
        of the last.
        """
        self.names += 1
        name = match["double"] or match["single"] or match["bare"]
        lead = match["lead"]
        indent = (
            len(lead.expandtabs(8)) if not lead.strip(" \t-") else len(lead) - len(lead.lstrip())
        )
        while len(self._levels) > 1 and self._levels[-1].indent >= indent:
            self._levels.pop()
        level = self._levels[-1]
        if "-" in lead:
            level.entry = Entry()
        below = _Level(indent, (*level.path, name), label_of(name, level.label))
        self._below = below
        rest = self._text[at:stop].strip()
        if not rest or _COMMENT.fullmatch(rest):
            if len(self._levels) < 100:
                self._levels.append(below)
            return stop
        if _BLOCK.fullmatch(rest):
            return stop
        for quotes in _TRIPLE:
            if rest.startswith(quotes):
                begin = self._text.index(quotes, at) + 3
                close = self._text.find(quotes, begin, self._end)
                if close >= 0:
                    self._add(level, below, name, begin, close, PLAIN)
                    return self._line_end(close)
        # More lines of a value that has begun on this one look like prose below it, and mostly are.
        self._below = None
        self._value(below, name, at, stop, level)
        return stop

    def _value(
        self, below: _Level, name: str, at: int, stop: int, level: _Level | None = None
    ) -> None:
        """The value between ``at`` and ``stop``, without its quotes and what is
        remarked behind it.
        """
        while at < stop and self._text[at] in " \t":
            at += 1
        for pattern, codec in ((_DOUBLE, JSON), (_SINGLE, SINGLE)):
            match = pattern.match(self._text, at, stop)
            if match is not None:
                self.is_marked = True
                self._add(level, below, name, *match.span(1), codec)
                return
        remark = _REMARK.search(self._text, at, stop)
        end = remark.start() if remark else stop
        while end > at and self._text[end - 1] in " \t\r":
            end -= 1
        if at < end:
            self._add(level, below, name, at, end, PLAIN)

    def _add(
        self, level: _Level | None, below: _Level, name: str, begin: int, end: int, codec: Codec
    ) -> None:
        label = below.label
        text = codec.decode(self._text[begin:end]) if name and end - begin <= 64 else ""
        if level is not None:
            label = level.entry.label(name, label, len(self.leaves))
        self.leaves.append(Leaf(below.path, label, begin, end, codec))
        if level is not None and text:
            level.entry.take(name, text, self.leaves)
