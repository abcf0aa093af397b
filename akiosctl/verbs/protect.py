"""``akiosctl protect``: look for personal data in files, without a daemon.

A file is read piece by piece through the same stream redactor that a gateway has: it may have any
size, and what comes through a pipe goes on as it comes.
"""

from __future__ import annotations

import codecs
import json
import sys
from collections.abc import Iterable, Iterator
from typing import TYPE_CHECKING, NamedTuple

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.render import escape, paint
from akiosctl.verbs import protect_preview, protect_show_prompt
from akiosd.errors import AkiosError

if TYPE_CHECKING:
    from akiosd.redact.model import Span
    from akiosd.redact.stream import StreamRedactor

_PIECE = 1 << 18


@click.group("protect")
def group() -> None:
    """Find and mask personal data."""


group.add_command(protect_preview.command)
group.add_command(protect_show_prompt.command)


def _pieces(path: str) -> Iterator[str]:
    """The text of a file as it can be read; bytes that are no text as surrogates."""
    decoder = codecs.getincrementaldecoder("utf-8")("surrogateescape")
    try:
        with click.open_file(path, "rb") as stream:
            read = getattr(stream, "read1", stream.read)
            while data := read(_PIECE):
                yield decoder.decode(data)
    except OSError as error:
        is_directory = isinstance(error, IsADirectoryError)
        hint = "give its files one by one" if is_directory else "check the path and its mode"
        raise AkiosError(f"{path} cannot be read: {error.strerror}", path, hint) from None
    yield decoder.decode(b"", True)


def _channel(disable: tuple[str, ...]) -> StreamRedactor:
    from akiosd.redact.engine import Engine
    from akiosd.redact.redactor import Redactor
    from akiosd.redact.stream import StreamRedactor

    return StreamRedactor(Redactor(Engine(disable=disable), "mask"))


def mask(pieces: Iterable[str], disable: tuple[str, ...]) -> tuple[str, int]:
    """The text as a whole with personal data masked, and how much of it there was."""
    channel = _channel(disable)
    text = "".join(map(channel.push, pieces)) + channel.flush()
    return text, len(channel.spans)


class Found(NamedTuple):
    """``line`` and ``column`` of its beginning, from 1."""

    span: Span
    line: int
    column: int
    text: str


def find_all(pieces: Iterable[str], disable: tuple[str, ...]) -> Iterator[Found]:
    """What is in a text, as it is found."""
    channel, seen, known = _channel(disable), _Seen(), 0
    for piece in pieces:
        seen.text += piece
        channel.push(piece)
        for span in channel.spans[known:]:
            yield seen.found(span)
        known = len(channel.spans)
        seen.forget(channel.held)
    channel.flush()
    for span in channel.spans[known:]:
        yield seen.found(span)


class _Seen:
    """The text of which not all is decided, and where it is in its file."""

    def __init__(self) -> None:
        self.text = ""
        self._base = self._line_begin = 0
        self._line = 1

    def found(self, span: Span) -> Found:
        self._count(span.start)
        value = self.text[span.start - self._base : span.end - self._base]
        return Found(span, self._line, span.start - self._line_begin + 1, value)

    def forget(self, held: int) -> None:
        """All but the last ``held`` characters are decided."""
        self._count(self._base + len(self.text) - held)

    def _count(self, place: int) -> None:
        """Count lines up to ``place``, and drop the text before it."""
        passed = self.text[: place - self._base]
        self._line += passed.count("\n")
        if "\n" in passed:
            self._line_begin = self._base + passed.rindex("\n") + 1
        self.text, self._base = self.text[len(passed) :], self._base + len(passed)


@group.command("scan")
@click.argument("file", default="-")
@click.option(
    "--disable", multiple=True, metavar="NAME", help="A pattern or category to leave out."
)
@click.option("--show", is_flag=True, help="Print what was found, not only where.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def scan(ctx: click.Context, file: str, disable: tuple[str, ...], show: bool, as_json: bool) -> int:
    """List personal data in FILE (- is standard input); the exit status is 1 when
    there is some.
    """
    if wants_json(ctx, as_json):
        findings = [to_json(found, show) for found in find_all(_pieces(file), disable)]
        click.echo(json.dumps({"file": file, "findings": findings}))
        return 1 if findings else 0
    count = 0
    for found in find_all(_pieces(file), disable):
        span, count = found.span, count + 1
        value = f"  {escape(found.text)}" if show else ""
        where = f"{escape(file)}:{found.line}:{found.column}:"
        why = f"({span.category}, {span.confidence:.0%}: {span.reason})"
        click.echo(f"{where} {paint(span.type, 'yellow')} {why}{value}")
    print_line(f"{count} found")
    return 1 if count else 0


def to_json(found: Found, show: bool) -> dict[str, object]:
    """As plain values; with its text where ``show``."""
    span = found.span
    entry: dict[str, object] = {
        "type": span.type,
        "category": span.category,
        "start": span.start,
        "end": span.end,
        "line": found.line,
        "column": found.column,
        "confidence": span.confidence,
        "reason": span.reason,
    }
    return {**entry, "text": found.text} if show else entry


@group.command("patterns")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def patterns(ctx: click.Context, as_json: bool) -> int:
    """List what is looked for."""
    from akiosd.redact.patterns import PATTERNS

    if wants_json(ctx, as_json):
        rows = [
            {
                "name": p.name,
                "category": p.category,
                "description": p.description,
                "checked": p.check is not None,
                "context": list(p.context),
                "examples": list(p.yes),
                "not": list(p.no),
                "source": p.source,
            }
            for p in PATTERNS
        ]
        click.echo(json.dumps(rows, indent=2))
        return 0
    width = max(len(p.name) for p in PATTERNS)
    for p in PATTERNS:
        click.echo(f"{p.name:<{width}}  {p.category:<13}  {p.description}")
    print_line(f"{len(PATTERNS)} patterns")
    return 0


@group.command("redact")
@click.argument("file", default="-")
@click.option(
    "--disable", multiple=True, metavar="NAME", help="A pattern or category to leave out."
)
@click.option("--json", "as_json", is_flag=True, help="Print JSON: the text as a whole.")
@click.pass_context
def redact(ctx: click.Context, file: str, disable: tuple[str, ...], as_json: bool) -> int:
    """Print FILE (- is standard input) with personal data masked."""
    if wants_json(ctx, as_json):
        text, count = mask(_pieces(file), disable)
        shown = text.encode("utf-8", "surrogateescape").decode("utf-8", "backslashreplace")
        click.echo(json.dumps({"file": file, "text": shown, "findings": count}))
        return 0
    channel = _channel(disable)
    sys.stdout.flush()
    for piece in _pieces(file):
        _write(channel.push(piece))
    _write(channel.flush())
    return 0


def _write(text: str) -> None:
    sys.stdout.buffer.write(text.encode("utf-8", "surrogateescape"))
    sys.stdout.buffer.flush()
