"""What akiosctl prints: errors as what, where, next; colour only on a terminal; unknown text always
escaped.
"""

from __future__ import annotations

import os
import sys
import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from akiosd.errors import AkiosError

SCREENS: dict[int, bool] = {}
"""Descriptors that lead to a terminal through a pager, and whether that shows colours."""
_COLOURS = {
    "red": "31",
    "green": "32",
    "yellow": "33",
    "blue": "34",
    "magenta": "35",
    "cyan": "36",
    "bold": "1",
    "dim": "2",
}


def escape(text: str | bytes) -> str:
    """Text of unknown origin as one printable line: what nobody would see, and broken UTF-8, as
    ``\\xNN``.
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable():
        return text
    from akiosd.values.text import as_bytes, show

    return show(text, as_bytes)


def count_files(number: int) -> str:
    """``1 file``, ``2 files``."""
    return "1 file" if number == 1 else f"{number} files"


def quote_command(argv: Iterable[bytes]) -> str:
    """A command line for people: escaped, words that need it in quotes."""
    words = [escape(word) for word in argv]
    return " ".join(
        word if word and not set(word) & set(" \"'$`\\*?;&|<>()") else f"'{word}'" for word in words
    )


def is_screen(fd: int) -> bool:
    """Whether what is written to ``fd`` is seen on a terminal, at once or through a pager."""
    return fd in SCREENS or os.isatty(fd)


def coloured(fd: int) -> bool:
    """Whether output to ``fd`` may have colour: a terminal, no NO_COLOR (no-color.org), no dumb
    terminal.
    """
    if os.environ.get("NO_COLOR") or os.environ.get("TERM") == "dumb":
        return False
    return SCREENS[fd] if fd in SCREENS else os.isatty(fd)


def paint(text: str, colour: str, fd: int = 1) -> str:
    """``text`` in a colour, where ``fd`` may have colour."""
    return f"\x1b[{_COLOURS[colour]}m{text}\x1b[0m" if coloured(fd) else text


def print_error(error: AkiosError, *, as_json: bool = False) -> None:
    """``akiosctl: what`` and two indented lines, or one JSON object, on stderr."""
    if as_json:
        import json

        print(
            json.dumps({"error": {"what": error.what, "where": error.where, "next": error.next}}),
            file=sys.stderr,
        )
        return
    print(f"{paint('akiosctl:', 'red', 2)} {escape(error.what)}", file=sys.stderr)
    if error.where:
        print(f"  where: {escape(error.where)}", file=sys.stderr)
    if error.next:
        print(f"  next:  {escape(error.next)}", file=sys.stderr)


def note(text: str) -> None:
    """One ``akios:`` line on stderr; ``text`` is escaped."""
    print(f"{paint('akios:', 'dim', 2)} {escape(text)}", file=sys.stderr)


def format_day(time_ns: int) -> str:
    """Unix time → the local day, as in ``2026-01-31``."""
    return time.strftime("%Y-%m-%d", time.localtime(time_ns // 10**9))


def describe_spend(usd_micro: int, calls: int) -> str:
    """As in ``$0.0123 spent in 3 calls to models``."""
    from akiosd.values.units import format_usd

    return f"{format_usd(usd_micro)} spent in {calls:,} call{'' if calls == 1 else 's'} to models"


def table(header: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterable[str]:
    """Lines with aligned columns; the last column is not padded.  Cells are escaped here."""
    cells = [[escape(cell) for cell in row] for row in (header, *rows)]
    widths = [max(len(row[column]) for row in cells) for column in range(len(header))]
    for number, row in enumerate(cells):
        line = "  ".join(
            [*(cell.ljust(width) for cell, width in zip(row[:-1], widths, strict=False)), row[-1]]
        )
        yield paint(line, "bold") if number == 0 else line
