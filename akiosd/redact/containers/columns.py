"""Columns below a row of names that only blanks separate, as programs print them; and the columns
of ``INSERT``.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

_NAME = r"[^\W\d][^\W\d()#%/.-]*(?: [^\W\d()#%/.-]+)?"
_HEADER = re.compile(rf"[ ]*{_NAME}(?:[ ]{{2,}}{_NAME})+[ ]*\r?")
_VALUES = re.compile(r"[`\"\]]?(?:\s*,\s*[\w`\"\[\].]{1,64}){0,64}\s*\)\s*VALUES\s*", re.I)
_ROW = re.compile(
    r"\(((?:'(?:[^'\\\n]|\\.|''){0,1024}'|[^'()]|\([^'()]{0,64}\)){1,4096})\)\s*,?\s*"
)
_LITERAL = re.compile(r"\s*(?:'((?:[^'\\\n]|\\.|'')*)'|[^',]+)\s*(?:,|\Z)")
_CELL = re.compile(r"\S+")
_MOST_WIDTH, _MOST_ROWS = 1024, 4096


def cells(text: str, begin: int, first: int, last: int, end: int) -> Iterator[tuple[int, int]]:
    """The cells in the column whose name stands at ``first``–``last``, if that is in a row of
    names.
    """
    line = line_start(text, first, max(begin, first - _MOST_WIDTH))
    stop = line_end(text, last, min(end, last + _MOST_WIDTH))
    if (line > begin and text[line - 1] != "\n") or not _apart(text, line, first, last, stop):
        return
    if not _HEADER.fullmatch(text, line, stop):
        return
    if line > begin and _HEADER.fullmatch(
        text, line_start(text, line - 1, max(begin, line - _MOST_WIDTH)), line - 1
    ):
        # A row among others.
        return
    left, right = first - line, last - line
    for _ in range(_MOST_ROWS):
        row, stop = stop + 1, line_end(text, stop + 1, min(end, stop + 4 * _MOST_WIDTH))
        if row >= end or not text[row:stop].strip() or (stop < end and text[stop] != "\n"):
            return
        cell = _at(text, row, stop, left, right)
        if cell is not None:
            yield cell


def inserted(text: str, begin: int, first: int, last: int, end: int) -> Iterator[tuple[int, int]]:
    """The values of the column whose name stands at ``first``–``last`` in ``(name, password) VALUES
    ('bob', 'x')``.
    """
    match = _VALUES.match(text, last, end)
    opened = text.rfind("(", max(begin, first - _MOST_WIDTH), first)
    if match is None or opened < 0 or ")" in text[opened:first]:
        return
    number, at = text.count(",", opened, first), match.end()
    for _ in range(_MOST_ROWS):
        row = _ROW.match(text, at, end)
        if row is None:
            return
        values = list(_LITERAL.finditer(text, row.start(1), row.end(1)))
        if number < len(values) and values[number][1]:
            yield values[number].span(1)
        at = row.end()


def _apart(text: str, line: int, first: int, last: int, stop: int) -> bool:
    """Whether nothing but blanks is beside it, two at least where something is."""
    before, after = text[line:first], text[last:stop]
    return (not before.strip() or before[-2:] == "  ") and (not after.strip() or after[:2] == "  ")


def _at(text: str, row: int, stop: int, left: int, right: int) -> tuple[int, int] | None:
    """What stands below ``left``–``right`` in a row."""
    for match in _CELL.finditer(text, row, stop):
        if match.start() - row < right and match.end() - row > left:
            return match.span()
    return None


def line_start(text: str, at: int, begin: int) -> int:
    """The beginning of the line of ``at``, but not before ``begin``."""
    return max(begin, text.rfind("\n", begin, at) + 1)


def line_end(text: str, at: int, end: int) -> int:
    """The end of the line of ``at``, but not after ``end``."""
    stop = text.find("\n", at, end)
    return stop if stop >= 0 else end
