"""Reads the story of a cage from its log: by the daemon, or from a directory or an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import click

from akiosctl.ledger_source import LogSource, open_source
from akiosctl.progress import Progress
from akiosctl.story.telling import Story, tell
from akiosctl.verbs.ledger_read import read_checkpoint
from akiosctl.verbs.ledger_verify import verify_opened
from akiosd.ledger.entries import entries_of, first_index
from akiosd.ledger.note import Checkpoint
from akiosd.ledger.report import LogReader, Report

_AT_ONCE = 1024


@dataclass(frozen=True)
class Read:
    """A story, and where it stands.  ``minimum``: records before it were pruned."""

    story: Story
    log: str
    origin: str
    size: int
    root: bytes
    minimum: int


def read_story(ctx: click.Context, cage: str, directory: Path | None, vkey: str | None) -> Read:
    """The story of CAGE.  Raises :class:`AkiosError`; nothing of the log is verified."""
    with open_source(ctx, cage, directory, vkey) as source, source.reader() as reader:
        checkpoint, _ = read_checkpoint(source, reader)
        minimum = first_index(reader)
        story = tell(_watched(reader, checkpoint, minimum))
        return Read(
            story, _name(source), checkpoint.origin, checkpoint.size, checkpoint.root, minimum
        )


def verify_story(ctx: click.Context, cage: str, directory: Path | None, vkey: str | None) -> Report:
    """The verdict on the same log, as ``ledger verify`` gives it."""
    return verify_opened(lambda: open_source(ctx, cage, directory, vkey), cage)


def _name(source: LogSource) -> str:
    return source.cage or source.vkey.name.rpartition("/")[2]


def _watched(reader: LogReader, checkpoint: Checkpoint, first: int) -> Iterator[bytes]:
    with Progress("reading", "records", checkpoint.size - first) as progress:
        for number, entry in enumerate(entries_of(reader, checkpoint.size, first), 1):
            yield entry
            if number % _AT_ONCE == 0:
                progress.advance(_AT_ONCE)
