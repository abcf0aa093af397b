"""The drawing of a timeline as SVG: a strip for each program and each lane, without colours of its
own: the page's style has them, for light, dark and paper.
"""

from __future__ import annotations

import html
from collections.abc import Iterator

from akiosctl.story.drawing import describe, offset
from akiosctl.story.lanes import Lane
from akiosctl.story.telling import LANES, Program, Story
from akiosctl.story.words import Words

_WIDTH, _LEFT, _STRIP, _GAP = 960, 84, 18, 6
_MOST_SPANS = 20


def draw_svg(story: Story, words: Words) -> str:
    """The whole drawing."""
    span = max(story.last - story.first, 1)
    parts: list[str] = []
    y = 24
    for one in list(story.programs.values())[:_MOST_SPANS]:
        parts += _program(one, story, span, y, words)
        y += _STRIP + _GAP
    if story.programs:
        y += _GAP
    for name, lane in story.lanes.items():
        if lane.count and name != "program":
            parts += _strip(name, lane, story, span, y, words)
            y += _STRIP + _GAP
    frame = list(_frame(span, y))
    summary = f"Timeline of {offset(span)}, {story.records:,} records"
    return (
        f'<svg viewBox="0 0 {_WIDTH} {y + 8}" role="img" aria-label="{html.escape(summary)}">'
        + "".join(frame + parts)
        + "</svg>"
    )


def _x(ts: int, story: Story, span: int) -> float:
    part = min(max((ts - story.first) / span, 0.0), 1.0)
    return round(_LEFT + part * (_WIDTH - _LEFT - 8), 1)


def _frame(span: int, height: int) -> Iterator[str]:
    for quarter in range(5):
        x = _LEFT + quarter * (_WIDTH - _LEFT - 8) / 4
        anchor = "start" if quarter == 0 else "end" if quarter == 4 else "middle"
        yield f'<line class="tick" x1="{x:.1f}" x2="{x:.1f}" y1="18" y2="{height}"/>'
        yield f'<text class="time" x="{x:.1f}" y="12" text-anchor="{anchor}">'
        yield f"{offset(span * quarter // 4)}</text>"


def _bar(kind: str, first: float, last: float, y: int, opacity: float = 1.0) -> str:
    width = max(last - first, 3.0)
    first = min(first, _WIDTH - 8 - width)
    return (
        f'<rect class="{kind}" x="{first:.1f}" y="{y}" width="{width:.1f}" height="{_STRIP}"'
        f' rx="2" opacity="{opacity:.2f}">'
    )


def _program(one: Program, story: Story, span: int, y: int, words: Words) -> Iterator[str]:
    first = _x(one.started or one.ended or story.first, story, span)
    last = _x(one.ended or story.last, story, span)
    failed = " failed" if one.ended and one.exit_code else ""
    said = words.command(one.shown)
    yield f'<text class="lane" x="0" y="{y + 13}">program {one.number}</text>'
    yield f"{_bar('program' + failed, first, last, y)}<title>{said}</title></rect>"
    # Beside the bar where there is more room, else before it; cut by the picture's edge.
    if first - _LEFT > _WIDTH - last:
        yield f'<text class="said" x="{first - 6:.1f}" y="{y + 13}" text-anchor="end">'
    else:
        yield f'<text class="said" x="{last + 6:.1f}" y="{y + 13}">'
    yield f"{_shorten(said, max(first - _LEFT, _WIDTH - last))}</text>"


def _shorten(said: str, room: float) -> str:
    """Of words that are HTML already what fits into so many units."""
    text = html.unescape(said)
    most = max(int(room / 6.2) - 2, 0)
    return said if len(text) <= most else html.escape(text[: max(most - 1, 0)]) + "…"


def _strip(name: str, lane: Lane, story: Story, span: int, y: int, words: Words) -> Iterator[str]:
    yield f'<text class="lane" x="0" y="{y + 13}">{name}'
    yield f"<title>{html.escape(LANES[name][1])}</title></text>"
    most = max(group.count for group in lane.groups)
    for group in lane.groups:
        strength = 0.45 + 0.55 * group.count / most
        bar = _bar(name, _x(group.first, story, span), _x(group.last, story, span), y, strength)
        yield f"{bar}<title>{offset(group.first - story.first)} {words.say(describe(group))}"
        yield "</title></rect>"
