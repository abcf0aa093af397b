"""Tables in a text: cells separated by comma, semicolon, tab or bar, and a first row with the names
of the columns.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator

from akiosd.redact.containers.leaf import DOUBLED, MOST_LEAVES, PLAIN, Leaf, Path
from akiosd.redact.re2_search import Finder, latin
from akiosd.redact.secret_names import Kind, kind_of
from akiosd.redact.validators.keys import is_short_key, is_whole_password

_MOST_COLUMNS = 512
_CELL = r"[ \t]*\"?[^\W\d][\w .#/()&'-]{0,40}\"?[ \t]*"
_HEADER = re.compile(
    "^(?:"
    + "|".join(rf"{_CELL}(?:{sep}{_CELL})+" for sep in (",", ";", r"\t"))
    + rf"|[ \t]*\|?{_CELL}(?:\|{_CELL})+\|?)\r?$",
    re.M,
)
_MAY_BE = Finder(
    latin(r"(?m)^[\w .#/()&'\"?|\x80-\xff-]+[,;\t|][\w .#/()&'\",;?|\t\x80-\xff-]*\r?$")
)
"""A line of names; what is not in Latin-1 is a question mark here."""
_CHECKS: dict[Kind, Callable[[str], bool]] = {
    "PASSWORD": is_whole_password,
    "API_KEY": is_short_key,
}
_RULE = re.compile(r"[ \t]*[|+:=-][ \t|+:=-]*\r?")
_QUOTED = re.compile(r' *"((?:[^"]|"")*)" *')
_WORDS = 4
_BETWEEN = (b",", b";", b"\t", b"|")
_MOST_MORE = 8
"""Cells that a row may have more than there are names, where a column holds secrets."""


def leaves_of(
    text: str, data: bytes, begin: int, end: int, path: Path
) -> Iterator[tuple[int, int, list[Leaf]]]:
    """(begin, end, cells) of every table between ``begin`` and ``end``; ``data`` is ``text`` in
    Latin-1.
    """
    budget = 4 * (end - begin) + 4096
    at = begin
    for spans in _MAY_BE.spans(data, begin, end):
        first, last = spans[0]
        match = (
            _HEADER.match(text, first, end)
            if first >= at and _goes_on(data, first, last, end)
            else None
        )
        if match is None:
            continue
        at = match.end()
        separator = next((s for s in "\t;|," if s in match[0]), ",")
        names = [name.strip(' \t\r"') for name in _bars(match[0], separator).split(separator)]
        if not _are_names(names):
            continue
        table = _Table(text, end, separator, names, path, budget)
        stop = table.read(match.end() + 1)
        budget = table.budget
        if table.leaves:
            yield match.start(), stop, table.leaves
            at = stop


def _goes_on(data: bytes, first: int, last: int, end: int) -> bool:
    """Whether what is between the names, ``first`` to ``last``, is on the line below too."""
    stop = data.find(b"\n", last + 1, end)
    below = data[last + 1 : stop if stop >= 0 else end]
    return any(sign in below and sign in data[first:last] for sign in _BETWEEN) or b"+" in below


def _bars(line: str, separator: str) -> str:
    line = line.strip(" \r") if separator == "\t" else line.strip()
    return line.removeprefix("|").removesuffix("|") if separator == "|" else line


def _are_names(names: list[str]) -> bool:
    """Whether these may be the names of columns: short, and none twice."""
    short = all(name and len(name.split()) <= _WORDS for name in names)
    return (
        short
        and 1 < len(names) <= _MOST_COLUMNS
        and len({name.lower() for name in names}) == len(names)
    )


class _Table:
    def __init__(
        self, text: str, end: int, separator: str, names: list[str], path: Path, budget: int
    ) -> None:
        self._text, self._end, self._separator, self._names, self._path = (
            text,
            end,
            separator,
            names,
            path,
        )
        self._row = 0
        self._secrets = [(at, kind) for at, name in enumerate(names) if (kind := kind_of(name))]
        self.budget = budget
        """Characters that quoted cells may still take: what was read in vain is read again."""
        self.leaves: list[Leaf] = []

    def read(self, at: int) -> int:
        """Read rows from ``at`` on, as long as each has a cell for each name; returns the end of
        the last.
        """
        done = min(at, self._end)
        while at < self._end and len(self.leaves) < MOST_LEAVES:
            stop = self._line_end(at)
            if self._separator == "|" and _RULE.fullmatch(self._text, at, stop):
                at = stop + 1
                continue
            row, after = self._cells(at, stop)
            if len(row) != len(self._names) and not self._is_cut(row):
                break
            for name, (begin, end, quoted) in zip(self._names, row, strict=False):
                if begin < end:
                    codec = DOUBLED if quoted else PLAIN
                    self.leaves.append(
                        Leaf((*self._path, self._row, name), name, begin, end, codec)
                    )
            self._row += 1
            done, at = after, after + 1
        return min(done, self._end)

    def _is_cut(self, row: list[tuple[int, int, bool]]) -> bool:
        """Whether a row that has too few cells, or too many, has one for a secret that looks like
        one all the same.
        """
        if not self._secrets or len(row) < 2:
            return False
        cells = [
            (self._text[row[at][0] : row[at][1]], kind)
            for at, kind in self._secrets
            if at < len(row)
        ]
        return any(" " not in text and _CHECKS[kind](text) for text, kind in cells)

    def _cells(self, at: int, stop: int) -> tuple[list[tuple[int, int, bool]], int]:
        """(begin, end, whether it is in quotes) of every cell, and where the row ends."""
        cells: list[tuple[int, int, bool]] = []
        line = stop
        if self._separator == "|":
            while at < stop and self._text[at] in " \t|":
                at += 1
                if self._text[at - 1] == "|":
                    break
            while stop > at and self._text[stop - 1] in " \t\r|":
                stop -= 1
                if self._text[stop] == "|":
                    break
        most = len(self._names) + (_MOST_MORE if self._secrets else 0)
        while len(cells) <= most:
            quoted = (
                _QUOTED.match(self._text, at, self._end if self.budget > 0 else stop)
                if self._is_quote(at)
                else None
            )
            if quoted is not None:
                self.budget -= quoted.end() - at
                cells.append((*quoted.span(1), True))
                at = quoted.end()
                if at > stop:
                    line = stop = self._line_end(at)
                if at < stop and self._text[at] == "\r":
                    at += 1
            else:
                begin, end = at, self._text.find(self._separator, at, stop)
                at = end = end if end >= 0 else stop
                while begin < end and self._text[begin] in " \t":
                    begin += 1
                while end > begin and self._text[end - 1] in " \t\r":
                    end -= 1
                cells.append((begin, end, False))
            if at >= stop:
                return cells, line
            if self._text[at] != self._separator:
                return [], line
            at += 1
        return [], line

    def _line_end(self, at: int) -> int:
        stop = self._text.find("\n", at, self._end)
        return stop if stop >= 0 else self._end

    def _is_quote(self, at: int) -> bool:
        while at < self._end and self._text[at] == " ":
            at += 1
        return self._text[at : at + 1] == '"'
