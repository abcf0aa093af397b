"""A cage's report: one HTML page without scripts and without anything from elsewhere."""

from __future__ import annotations

import base64
import hashlib
import html
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING

from akiosctl.story import page_parts
from akiosctl.story.drawing import moment
from akiosctl.story.page_drawing import draw_svg
from akiosctl.story.reading import Read
from akiosctl.story.words import Words
from akiosd import __version__
from akiosd.ledger.report import Report
from akiosd.values.units import format_duration, format_usd

if TYPE_CHECKING:
    from akiosctl.story.known import Known

STYLE = Path(__file__).with_name("page.css")


def make_page(read: Read, verdict: Report, known: Known) -> str:
    """The page as a whole."""
    words = Words()
    # What only the last section gives away is masked in the first, too.
    _body(read, verdict, known, words)
    body = _body(read, verdict, known, words)
    style = STYLE.read_text(encoding="utf-8")
    digest = base64.b64encode(hashlib.sha256(style.encode()).digest()).decode()
    return (
        '<!DOCTYPE html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\';'
        f" style-src 'sha256-{digest}'\">\n"
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta name="referrer" content="no-referrer">\n'
        f"<title>AKIOS report: {words.say(read.log)}</title>\n"
        f"<style>{style}</style>\n</head>\n<body>\n{body}\n</body>\n</html>\n"
    )


def _body(read: Read, verdict: Report, known: Known, words: Words) -> str:
    return "\n".join(
        (
            *_head(read, verdict, known, words),
            *page_parts.timeline(read, draw_svg(read.story, words), words),
            *page_parts.programs(read.story, words),
            *page_parts.costs(read.story, words),
            *page_parts.redactions(read.story, words),
            *page_parts.denials(read.story, words),
            *page_parts.reached(read.story, words),
            *page_parts.posture(read.story, words),
            *page_parts.policy(read.story, known.policy, known.why_no_policy, words),
            *page_parts.proof(read, verdict, words),
            *_foot(known),
        )
    )


def _head(read: Read, verdict: Report, known: Known, words: Words) -> Iterator[str]:
    story = read.story
    called = f"{words.say(known.name)} ({words.say(read.log)})" if known.name else ""
    yield f"<header>\n<p class='dim'>AKIOS report</p>\n<h1>{called or words.say(read.log)}</h1>"
    birth = story.birth
    if birth is not None and birth.argv:
        yield f"<p><code>{words.command(birth.argv)}</code></p>"
    elif birth is not None:
        yield "<p>A cage that stands, in which programs are started.</p>"
    span = format_duration(max(story.last - story.first, 0))
    if birth is not None and birth.cwd:
        yield f"<p class='dim'>in <code>{words.say(birth.cwd)}</code></p>"
    yield f"<p class='dim'>{moment(story.first)} to {moment(story.last)} ({span})</p>"
    yield f"<p>{page_parts.badge(verdict)} {html.escape(page_parts.meaning(verdict))}</p>"
    for name in story.left_out:
        yield f"<p class='bad'><strong>Made without protection: {words.say(name)}</strong></p>"
    if read.minimum:
        yield f"<p class='warn'>Records before number {read.minimum:,} were pruned.</p>"
    yield "<dl class='facts'>"
    for what, value in _facts(read):
        yield f"<div><dt>{what}</dt><dd>{html.escape(value)}</dd></div>"
    yield "</dl>\n</header>"


def _facts(read: Read) -> Iterator[tuple[str, str]]:
    story, lanes = read.story, read.story.lanes
    if story.end is None:
        yield "State", "no end yet"
    elif story.birth is not None and story.birth.argv:
        yield "Exit status", str(story.end.exit_code)
    else:
        yield "State", "down"
    yield "Spent on models", format_usd(story.usd_micro)
    yield "Calls to models", f"{lanes['model'].count:,}"
    yield "Redacted", f"{lanes['redacted'].count:,}"
    yield "Denied", f"{lanes['denied'].count:,}"
    if story.programs:
        yield "Programs", f"{len(story.programs) + story.programs_before:,}"
    yield "Records", f"{story.records:,}"


def _foot(known: Known) -> Iterator[str]:
    yield "<footer>"
    yield (
        f"<p>Made by akiosctl {html.escape(__version__)} on {moment(known.made_ns)} from the cage's"
        " log alone. Words of the agent are escaped, and personal data that is recognised in them"
        " is masked, as in [EMAIL]; the log itself never had the values that were redacted.</p>"
    )
    yield "</footer>"
