"""The columns of ``top``: a table of them, which fit into a width, and the text of each cell.

Everything of unknown origin is escaped here; a cell is text and never markup.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Literal, NamedTuple

from akiosctl.render import escape, quote_command
from akiosctl.standing_cages import words_of_standstill
from akiosctl.top.cages import Cage
from akiosd.values.units import USD, format_duration, format_size, format_usd

Tone = Literal["", "dim", "warn", "bad"]
_WARN, _BAD = 0.75, 0.9
"""Of a limit."""
_LEAST_COMMAND = 12


class Cell(NamedTuple):
    """One piece of text, and how it looks."""

    text: str
    tone: Tone = ""


class Column(NamedTuple):
    """``rank``: the lower, the longer it stays where there is little room; 0 always does."""

    title: str
    width: int
    rank: int
    right: bool
    cell: Callable[[Cage, int], Cell]


def _part(used: int, limit: int, show: Callable[[int], str]) -> Cell:
    """What is used beside its limit, where there is one."""
    if not limit:
        return Cell(show(used) if used else "-")
    share = used / limit
    tone: Tone = "bad" if share >= _BAD else "warn" if share >= _WARN else ""
    return Cell(f"{show(used)}/{show(limit)}", tone)


def short_size(size: int) -> str:
    """Bytes in at most four characters: ``512M``, ``1.5G``."""
    value = float(size)
    for unit in ("B", "K", "M", "G", "T"):
        if value < 999.5:
            text = f"{value:.1f}" if value < 9.95 else f"{value:.0f}"
            return text.removesuffix(".0") + unit
        value /= 1024
    return f"{value:.0f}P"


def short_count(count: int) -> str:
    """A number in at most four characters: ``999``, ``12k``."""
    for unit in ("", "k", "M", "G"):
        if count < 1000 or (not unit and count < 10_000):
            return f"{count}{unit}"
        count //= 1000
    return f"{count}T"


def short_usd(micro: int) -> str:
    """Money in two digits behind the point, none where they say nothing."""
    dollars = micro / USD
    if dollars >= 100 or not micro % USD:
        return f"${dollars:.0f}"
    return f"${dollars:.2f}" if micro >= USD // 100 else "<$0.01"


def _name(cage: Cage, now_ns: int) -> Cell:
    return Cell(escape(cage.name), "dim" if cage.info.ended_ns else "")


def _state(cage: Cage, now_ns: int) -> Cell:
    info = cage.info
    if info.ended_ns and not info.standing:
        waits = " *" if info.changes else ""
        return Cell(f"exit {info.exit_code}{waits}", "bad" if info.exit_code else "dim")
    return Cell(escape(cage.state), "warn" if cage.state == "paused" else "")


def _cpu(cage: Cage, now_ns: int) -> Cell:
    if cage.use is None or cage.cpu_percent is None:
        return Cell("-", "dim")
    limit = cage.use.cpu_percent
    tone = _part(round(cage.cpu_percent), limit, str).tone if limit else ""
    return Cell(f"{cage.cpu_percent:.0f}%", tone)


def _memory(cage: Cage, now_ns: int) -> Cell:
    use = cage.use
    return _part(use.memory, use.usage.memory_limit, short_size) if use else Cell("-", "dim")


def _disk(cage: Cage, now_ns: int) -> Cell:
    use = cage.use
    used = use and _part(use.usage.disk_used, use.usage.disk_limit, short_size)
    return used or Cell("-", "dim")


def _pids(cage: Cage, now_ns: int) -> Cell:
    use = cage.use
    return _part(use.pids, use.usage.pids_limit, short_count) if use else Cell("-", "dim")


def _money(cage: Cage, now_ns: int) -> Cell:
    if cage.use is None:
        return Cell(short_usd(cage.info.usd_micro) if cage.info.calls else "-", "dim")
    held = cage.use.usage.usd_micro + cage.use.reserved_usd_micro
    tone = _part(held, cage.use.budget_usd_micro, short_usd).tone
    return Cell(_part(cage.use.usage.usd_micro, cage.use.budget_usd_micro, short_usd).text, tone)


def _redactions(cage: Cage, now_ns: int) -> Cell:
    return Cell(short_count(cage.use.redactions)) if cage.use else Cell("-", "dim")


def _denials(cage: Cage, now_ns: int) -> Cell:
    if cage.use is None:
        return Cell("-", "dim")
    return Cell(short_count(cage.denials), "warn" if cage.denials else "")


def _age(cage: Cage, now_ns: int) -> Cell:
    return Cell(format_duration(max(0, now_ns - cage.info.started_ns)))


def _user(cage: Cage, now_ns: int) -> Cell:
    return Cell(escape(cage.info.user))


def _command(cage: Cage, now_ns: int) -> Cell:
    if cage.info.standing:
        programs = cage.use.programs if cage.use else cage.info.programs
        return Cell(f"(stands, programs: {programs})", "dim")
    return Cell(quote_command(cage.info.argv), "dim" if cage.info.ended_ns else "")


COLUMNS: tuple[Column, ...] = (
    Column("CAGE", 14, 0, False, _name),
    Column("STATE", 8, 1, False, _state),
    Column("CPU", 5, 2, True, _cpu),
    Column("MEMORY", 9, 3, True, _memory),
    Column("DISK", 9, 6, True, _disk),
    Column("PIDS", 7, 7, True, _pids),
    Column("MONEY", 12, 4, True, _money),
    Column("RED", 4, 8, True, _redactions),
    Column("DEN", 4, 5, True, _denials),
    Column("AGE", 7, 10, True, _age),
    Column("USER", 8, 11, False, _user),
    Column("COMMAND", _LEAST_COMMAND, 9, False, _command),
)


def fitting(width: int) -> list[Column]:
    """The columns for a terminal of ``width``, one space between two; the last takes the rest."""
    chosen: list[Column] = []
    left = width + 1
    for column in sorted(COLUMNS, key=lambda one: one.rank):
        if column.rank and column.width + 1 > left:
            break
        left -= column.width + 1
        chosen.append(column)
    return [column for column in COLUMNS if column in chosen]


def about(cage: Cage, now_ns: int) -> list[str]:
    """The lines below the table: all of one cage, whatever the table has room for."""
    info, use = cage.info, cage.use
    lines = [_command(cage, now_ns).text if info.standing else quote_command(info.argv)]
    began = f"began {format_duration(max(0, now_ns - info.started_ns))} ago"
    words = [info.cage, f"of {escape(info.user)}", began]
    if info.ended_ns:
        words.append(escape(info.reason) or f"exited {info.exit_code}")
        words += ["changes wait"] if info.changes else []
    lines.append(", ".join(words))
    still = words_of_standstill(info)
    lines += [still] if still else []
    if use is not None:
        lines.append(", ".join(_used(cage)))
    return lines


def _used(cage: Cage) -> Sequence[str]:
    use = cage.use
    assert use is not None
    used = use.usage
    return [
        _of("memory", format_size(use.memory), used.memory_limit, format_size),
        _of("disk", format_size(used.disk_used), used.disk_limit, format_size),
        _of("processes", str(use.pids), used.pids_limit, str),
        _of("money", format_usd(used.usd_micro), use.budget_usd_micro, format_usd),
        f"redactions {use.redactions:,}",
        f"denials {cage.denials:,}",
    ]


def _of(what: str, used: str, limit: int, show: Callable[[int], str]) -> str:
    return f"{what} {used}" + (f" of {show(limit)}" if limit else "")
