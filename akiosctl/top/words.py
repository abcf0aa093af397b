"""The lines around the table of ``top``, and the table of cages itself, from values."""

from __future__ import annotations

from collections.abc import Sequence

from akiosctl.render import escape, quote_command
from akiosctl.top.cages import Cage
from akiosctl.top.columns import Column, short_count, short_size, short_usd
from akiosctl.top.sections import SECTIONS, Row, Sheet

_ALWAYS = ("? help", "q quit")
_LIST_KEYS = ("Enter open", "/ filter", "s stop", "p pause", "a ended", "y copy")
_CAGE_KEYS = ("Esc back", "Tab section", "f follow", "/ filter", "s stop", "y copy", "p pause")


def cages_sheet(
    cages: Sequence[Cage], columns: Sequence[Column], now_ns: int, others: bool
) -> Sheet:
    """The table of cages; ``others``: there are some that are not shown."""
    rows = [
        Row(
            cage.info.cage,
            tuple(column.cell(cage, now_ns) for column in columns),
            cage.info.cage,
        )
        for cage in cages
    ]
    hint = "a shows those that ended" if others else "start one: akiosctl run -- CMD"
    return Sheet(
        tuple(column.title for column in columns),
        tuple(column.width for column in columns),
        tuple(column.right for column in columns),
        rows,
        f"no cage runs; {hint}",
    )


def keep_matching(sheet: Sheet, wanted: str) -> Sheet:
    """Only rows in which every word of ``wanted`` is found, whatever its case."""
    words = wanted.lower().split()
    if not words:
        return sheet
    rows = [
        row for row in sheet.rows if all(word in " ".join(_texts(row)).lower() for word in words)
    ]
    return sheet._replace(rows=rows, empty="nothing matches; Esc forgets the filter")


def _texts(row: Row) -> list[str]:
    return [row.key, row.copy, *(cell.text for cell in row.cells)]


def summary(cages: Sequence[Cage], width: int) -> str:
    """The line above the list: sums over cages that run."""
    running = [cage for cage in cages if not cage.info.ended_ns]
    uses = [cage.use for cage in running if cage.use is not None]
    cpu = sum(cage.cpu_percent or 0 for cage in running)
    parts = [
        f"{len(running)} running",
        f"cpu {cpu:.0f}%",
        f"memory {short_size(sum(use.memory for use in uses))}",
        f"money {short_usd(sum(use.usage.usd_micro for use in uses))}",
        f"redactions {short_count(sum(use.redactions for use in uses))}",
        f"denials {short_count(sum(cage.denials for cage in running))}",
    ]
    line = "AKIOS"
    for part in parts:
        if len(line) + 2 + len(part) > width:
            break
        line += f"  {part}"
    return line


def cage_line(cage: Cage | None, section: str, width: int) -> str:
    """The line above one cage: its name, and which section is shown."""
    tabs = "  ".join(
        f"[{number} {name}]" if name == section else f" {number} {name} "
        for number, name in enumerate(SECTIONS, 1)
    )
    name = escape(cage.name) if cage is not None else ""
    return f"{name}  {tabs}" if len(name) + 2 + len(tabs) <= width else tabs


def keys_line(in_cage: bool, wanted: str, follows: bool, width: int) -> str:
    """The last line: which keys do what, and what is filtered out."""
    marks = [f"[only: {wanted}]"] if wanted else []
    marks += ["[follows]"] if follows else []
    keys: list[str] = []
    for key in _CAGE_KEYS if in_cage else _LIST_KEYS:
        if len("  ".join([*marks, *keys, key, *_ALWAYS])) > width:
            break
        keys.append(key)
    return "  ".join([*marks, *keys, *_ALWAYS])


def question_stop(cage: Cage) -> str:
    """Names the cage, its directory and what runs in it."""
    return f"Stop {cage.name} ({_what(cage)})?\nIt gets SIGTERM, and after ten seconds SIGKILL."


def question_pause(cage: Cage, paused: bool) -> str:
    """The same for a pause, or its end."""
    verb = "Pause" if paused else "Let go on:"
    then = "\nEverything in it stands still; nothing of it is lost." if paused else ""
    return f"{verb} {cage.name} ({_what(cage)})?{then}"


def _what(cage: Cage) -> str:
    command = "stands" if cage.info.standing else quote_command(cage.info.argv)
    command = command if len(command) <= 200 else f"{command[:199]}…"
    return f"{cage.info.cage}, {command}, in {escape(cage.info.workspace)}"
