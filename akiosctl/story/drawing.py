"""A timeline for a terminal: bands over the whole time, then what happened, row by row."""

from __future__ import annotations

import time
from collections.abc import Iterator

from akiosctl.render import escape, paint, quote_command
from akiosctl.story.lanes import Group, Lane, Row, in_order
from akiosctl.story.reading import Read
from akiosctl.story.telling import Program, Story
from akiosd.values.units import format_duration, format_usd

COLOURS = {
    "cage": "bold",
    "program": "blue",
    "model": "cyan",
    "denied": "red",
    "redacted": "magenta",
    "trouble": "yellow",
}
_NAME = 10
_SHADES = " ▁▂▃▄▅▆▇█"
_MOST_SPANS = 12


def draw(read: Read, width: int) -> Iterator[str]:
    """The lines; what is of the agent's in them is escaped."""
    story = read.story
    yield from _head(read)
    if not story.records:
        return
    columns = max(width - _NAME - 2, 20)
    yield ""
    yield from _bands(story, columns)
    yield ""
    for row in in_order(story.lanes.items()):
        yield _row(row, story.first, width)
    yield ""
    yield from _sums(story)


def _head(read: Read) -> Iterator[str]:
    story, birth = read.story, read.story.birth
    what = f": {quote_command(birth.argv)}" if birth is not None and birth.argv else ""
    yield paint(f"{escape(read.log)}{what}", "bold")
    if story.first:
        span = format_duration(max(story.last - story.first, 0))
        yield f"{moment(story.first)}, {span}, {story.records:,} records"
    else:
        yield f"{story.records:,} records"
    if read.minimum:
        yield f"records before {read.minimum:,} were pruned: the beginning is missing"
    if birth is not None:
        less = [one for one in birth.posture if one.status != "enforced"]
        whole = f"all {len(birth.posture)} layers enforced"
        words = "; ".join(f"{one.layer} {one.status}: {one.detail}" for one in less)
        yield f"policy {birth.policy_sha256.hex()[:16]}, {escape(words) or whole}"
    for name in story.left_out:
        yield paint(f"made without protection: {escape(name)}", "red")


def moment(ts: int) -> str:
    """Unix time in ns as a local date and time, with the offset of its zone."""
    try:
        return time.strftime("%Y-%m-%d %H:%M:%S %z", time.localtime(ts / 1e9))
    except (OverflowError, ValueError, OSError):
        return str(ts)


def offset(ns: int) -> str:
    """Time since the beginning: ``0:01.204``, ``12:07.000``, ``26:00:03``."""
    seconds, rest = divmod(ns // 1_000_000, 1000)
    minutes, seconds = divmod(seconds, 60)
    if minutes < 60:
        return f"{minutes}:{seconds:02}.{rest:03}"
    return f"{minutes // 60}:{minutes % 60:02}:{seconds:02}"


# ---- bands ---------------------------------------------------------------------------------------


def _bands(story: Story, columns: int) -> Iterator[str]:
    yield " " * (_NAME + 1) + _scale(story, columns)
    for program in list(story.programs.values())[:_MOST_SPANS]:
        yield _band("program", _span(program, story, columns))
    more = len(story.programs) + story.programs_before - _MOST_SPANS
    if more > 0:
        yield f"{'':{_NAME}} … and {more:,} more programs"
    for name, lane in story.lanes.items():
        if lane.count and name != "program":
            yield _band(name, density(lane, story, columns))


def _band(name: str, text: str) -> str:
    text = text.rstrip()
    return f"{name:<{_NAME}} {paint(text, COLOURS[name]) if name in COLOURS else text}"


def _scale(story: Story, columns: int) -> str:
    """``0``, the middle and the end of the time, where they are."""
    span = max(story.last - story.first, 0)
    middle, end = f"┬ {format_duration(span // 2)}", format_duration(span)
    left = f"├ 0{'':<{columns}}"[: columns // 2]
    right = f"{middle:<{columns}}"[: columns - columns // 2 - len(end) - 2]
    return f"{left}{right}{end} ┤"


def _column(ts: int, story: Story, columns: int) -> int:
    span = max(story.last - story.first, 1)
    return min(max((ts - story.first) * columns // span, 0), columns - 1)


def _span(program: Program, story: Story, columns: int) -> str:
    first = _column(program.started or program.ended, story, columns)
    last = _column(program.ended, story, columns) if program.ended else columns - 1
    mark = "┤" if program.ended else "▶"
    line = " " * first + ("├" + "─" * (last - first - 1) + mark if last > first else "│")
    words = f" {program.number} {quote_command(program.shown)}" + _how(program)
    if len(line) + 24 <= columns:
        return line + words[: columns - len(line)]
    if first >= 24:
        return f"{_cut(words, first - 1).rjust(first - 1)} {line[first:]}"
    return line


def _cut(text: str, width: int) -> str:
    return text if len(text) <= width else text[: max(width - 1, 0)] + "…"


def _how(program: Program) -> str:
    if not program.ended:
        return " (runs)"
    return f" ({program.exit_code})" if program.exit_code else ""


def density(lane: Lane, story: Story, columns: int) -> str:
    """How much there was of a lane in each column, as heights."""
    counts = [0.0] * columns
    for group in lane.groups:
        first, last = (_column(ts, story, columns) for ts in (group.first, group.last))
        for place in range(first, last + 1):
            counts[place] += group.count / (last - first + 1)
    most = max(counts)
    steps = len(_SHADES) - 1
    return "".join(_SHADES[-int(-count * steps // most)] if count else " " for count in counts)


# ---- rows ----------------------------------------------------------------------------------------


def _row(row: Row, origin: int, width: int) -> str:
    group = row.group
    when = offset(max(group.first - origin, 0))
    took = group.last - group.first
    words = describe(group) + (f", within {format_duration(took)}" if took > 999_999_999 else "")
    cost = f"{format_usd(group.usd_micro)}  " if row.lane == "model" else ""
    name = f"{row.lane:<8}"
    shown = paint(name, COLOURS[row.lane]) if row.lane in COLOURS else name
    return f"{when:>11}  {shown}  {_cut(escape(cost + words), max(width - 23, 40))}"


def describe(group: Group) -> str:
    """``a ×3, b and 5 others``: what came in a group, unescaped."""
    names = group.names.ranked()
    parts = [name if count == 1 else f"{name} ×{count:,}" for name, count in names]
    text = ", ".join(parts)
    return f"{text} and {group.names.others:,} others" if group.names.others else text


def _sums(story: Story) -> Iterator[str]:
    calls = story.lanes["model"].count
    parts = [f"{format_usd(story.usd_micro)} for {calls:,} calls to models"] if calls else []
    parts += [
        f"{story.lanes[name].count:,} {words}"
        for name, words in (("redacted", "redacted"), ("denied", "denied"))
        if story.lanes[name].count
    ]
    yield "; ".join(parts) if parts else "no call to a model, nothing redacted, nothing denied"
