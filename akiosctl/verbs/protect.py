"""``akiosctl protect``: look for personal data in files, without a daemon."""

from __future__ import annotations

import json
import sys
from typing import TYPE_CHECKING

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, paint
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosd.redact.engine import Engine
    from akiosd.redact.model import Span


@click.group("protect")
def group() -> None:
    """Find and mask personal data."""


def _read(path: str) -> str:
    try:
        with click.open_file(path, "rb") as stream:
            data: bytes = stream.read()
    except OSError as error:
        raise AkiosError(f"{path} cannot be read: {error.strerror}", path) from None
    return data.decode("utf-8", "surrogateescape")


def _engine(disable: tuple[str, ...]) -> Engine:
    from akiosd.redact.engine import Engine

    return Engine(disable=disable)


def _places(text: str, spans: list[Span]) -> list[tuple[int, int]]:
    """Line and column of each span, from 1."""
    places, line, begin, at = [], 1, 0, 0
    for span in spans:
        line += text.count("\n", at, span.start)
        begin = max(begin, text.rfind("\n", at, span.start) + 1)
        at = span.start
        places.append((line, span.start - begin + 1))
    return places


@group.command("scan")
@click.argument("file", default="-")
@click.option("--disable", multiple=True, metavar="NAME", help="A pattern or category to leave out.")
@click.option("--show", is_flag=True, help="Print what was found, not only where.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def scan(ctx: click.Context, file: str, disable: tuple[str, ...], show: bool, as_json: bool) -> int:
    """List personal data in FILE (``-``: standard input); the exit status is 1 when there is some."""
    text = _read(file)
    spans: list[Span] = _engine(disable).find(text)
    places = _places(text, spans)
    if wants_json(ctx, as_json):
        findings = [_entry(text, *both, show) for both in zip(spans, places, strict=True)]
        click.echo(json.dumps({"file": file, "findings": findings}))
        return 1 if spans else 0
    for span, (line, column) in zip(spans, places, strict=True):
        value = f"  {escape(text[span.start : span.end])}" if show else ""
        where = f"{escape(file)}:{line}:{column}:"
        why = f"({span.category}, {span.confidence:.0%}: {span.reason})"
        click.echo(f"{where} {paint(span.type, 'yellow')} {why}{value}")
    print_line(f"{len(spans)} found")
    return 1 if spans else 0


def _entry(text: str, span: Span, place: tuple[int, int], show: bool) -> dict[str, object]:
    entry: dict[str, object] = {
        "type": span.type,
        "category": span.category,
        "start": span.start,
        "end": span.end,
        "line": place[0],
        "column": place[1],
        "confidence": span.confidence,
        "reason": span.reason,
    }
    return {**entry, "text": text[span.start : span.end]} if show else entry


@group.command("patterns")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def patterns(ctx: click.Context, as_json: bool) -> int:
    """List what is looked for."""
    from akiosd.redact.patterns import PATTERNS

    if wants_json(ctx, as_json):
        rows = [
            {"name": p.name, "category": p.category, "description": p.description, "checked": p.check is not None,
             "context": list(p.context), "examples": list(p.yes), "not": list(p.no), "source": p.source}
            for p in PATTERNS
        ]  # fmt: skip
        click.echo(json.dumps(rows, ensure_ascii=False, indent=2))
        return 0
    width = max(len(p.name) for p in PATTERNS)
    for p in PATTERNS:
        click.echo(f"{p.name:<{width}}  {p.category:<13}  {p.description}")
    print_line(f"{len(PATTERNS)} patterns")
    return 0


@group.command("redact")
@click.argument("file", default="-")
@click.option("--disable", multiple=True, metavar="NAME", help="A pattern or category to leave out.")
def redact(file: str, disable: tuple[str, ...]) -> int:
    """Print FILE (``-``: standard input) with personal data masked."""
    from akiosd.redact.redactor import Redactor

    result = Redactor(_engine(disable), "mask").redact(_read(file))
    sys.stdout.flush()
    sys.stdout.buffer.write(result.text.encode("utf-8", "surrogateescape"))
    sys.stdout.flush()
    return 0
