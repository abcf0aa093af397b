"""What is shown of one cage, section by section, as rows of text; everything is escaped here."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import NamedTuple

from akiosctl.render import escape
from akiosctl.top.columns import Cell, Tone, short_size
from akiosctl.top.one_cage import OneCage
from akiosctl.verbs.budget import describe, model_rows, open_rows
from akiosd.values.units import format_duration, format_usd


class Row(NamedTuple):
    """``key`` tells a row from all others of its table, ``copy`` is what y copies."""

    key: str
    cells: tuple[Cell, ...]
    copy: str


class Sheet(NamedTuple):
    """A table: the last column takes the room that is left.  ``right``: which ones are numbers."""

    titles: tuple[str, ...]
    widths: tuple[int, ...]
    right: tuple[bool, ...]
    rows: list[Row]
    empty: str
    """What is said where there are no rows."""


def calls(cage: OneCage, width: int) -> Sheet:
    """Its calls to models, the oldest first."""
    rows = [
        Row(
            str(index),
            (
                Cell(_clock(call.ts)),
                Cell(_count(call.tokens.input)),
                Cell(_count(call.tokens.output)),
                Cell(format_usd(call.usd_micro)),
                Cell(format_usd(call.total_usd_micro)),
                Cell(f"{call.status or '-'}", _tone(call.outcome != "completed")),
                Cell(format_duration(call.duration_ns)),
                Cell(escape(f"{call.provider}/{call.model}")),
            ),
            escape(f"{call.provider}/{call.model}"),
        )
        for index, call in cage.calls
    ]
    titles = ("TIME", "IN", "OUT", "COST", "TOTAL", "HTTP", "TOOK", "MODEL")
    return _sheet(
        *_narrow(titles, (8, 7, 7, 9, 9, 4, 7, 12), rows, width, drop=(4, 6, 5, 1)),
        "no calls to models in what was read of its log",
    )


def names(cage: OneCage, width: int) -> Sheet:
    """The names it asked for, denied ones first, then the latest."""
    found = sorted(cage.names.values(), key=lambda one: (not one.denied, -one.last_ns))
    rows = [
        Row(
            one.name,
            (
                Cell(str(one.allowed)),
                Cell(str(one.denied), _tone(one.denied > 0)),
                Cell(short_size(one.bytes_out)),
                Cell(short_size(one.bytes_in)),
                Cell(_clock(one.last_ns)),
                Cell(escape(one.rule), _tone(one.denied > 0)),
                Cell(escape(one.name)),
            ),
            escape(one.name),
        )
        for one in found
    ]
    if cage.other_names:
        blank = (Cell(""),) * 6
        rows.append(Row("", (*blank, Cell(f"and {cage.other_names:,} requests to others")), ""))
    titles = ("OK", "DENIED", "SENT", "GOT", "LAST", "RULE", "NAME")
    return _sheet(
        *_narrow(titles, (6, 6, 5, 5, 8, 23, 14), rows, width, drop=(5, 4, 2, 3)),
        "no names in what was read of its log",
    )


def money(cage: OneCage, width: int) -> Sheet:
    """As ``akiosctl budget`` says it."""
    lines: list[str] = []
    if cage.budget is not None:
        lines = describe(cage.budget)
        for table in (model_rows(cage.budget), open_rows(cage.budget)):
            if len(table) > 1:
                lines += ["", *_aligned(table)]
    rows = [Row(str(n), (Cell(escape(text)),), escape(text)) for n, text in enumerate(lines)]
    return Sheet(
        ("MONEY",), (width,), (False,), rows, "it runs no more; what it spent: its calls, above"
    )


def _aligned(table: list[list[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*table, strict=True)]
    lines = ("  ".join(map(str.ljust, cells, widths)).rstrip() for cells in table)
    return list(lines)


def log(cage: OneCage, width: int) -> Sheet:
    """Its records, as ``akiosctl events`` prints them, without its own name and the day."""
    mark = f"  {cage.cage}:"
    rows = [
        Row(str(line.index), (Cell(_shorten(line.text, mark), _tone(line.denied)),), line.text)
        for line in cage.log
    ]
    return Sheet(("LOG",), (width,), (False,), rows, "no records yet")


SECTIONS: dict[str, Callable[[OneCage, int], Sheet]] = {
    "calls": calls, "names": names, "money": money, "log": log,
}  # fmt: skip


def _shorten(line: str, mark: str) -> str:
    when, found, rest = line.partition(mark)
    return f"{when.partition(' ')[2]}  {rest}" if found else line


def _sheet(titles: tuple[str, ...], widths: tuple[int, ...], rows: list[Row], empty: str) -> Sheet:
    right = tuple(title in _NUMBERS for title in titles)
    return Sheet(titles, widths, right, rows, empty)


_NUMBERS = frozenset(("IN", "OUT", "COST", "TOTAL", "HTTP", "TOOK", "OK", "DENIED", "SENT", "GOT"))


def _narrow(
    titles: tuple[str, ...],
    widths: tuple[int, ...],
    rows: list[Row],
    width: int,
    drop: tuple[int, ...],
) -> tuple[tuple[str, ...], tuple[int, ...], list[Row]]:
    """Without the columns ``drop``, in that order, as far as there is no room for them."""
    kept = list(range(len(titles)))
    for number in drop:
        if sum(widths[one] + 1 for one in kept) - 1 <= width:
            break
        kept.remove(number)
    shown = [row._replace(cells=tuple(row.cells[one] for one in kept)) for row in rows]
    return tuple(titles[one] for one in kept), tuple(widths[one] for one in kept), shown


def _tone(is_bad: bool) -> Tone:
    return "bad" if is_bad else ""


def _count(number: int) -> str:
    return f"{number:,}"


def _clock(ts: int) -> str:
    try:
        return time.strftime("%H:%M:%S", time.localtime(ts // 1_000_000_000))
    except (OverflowError, ValueError, OSError):
        return "?"
