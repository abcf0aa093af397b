"""``akiosctl report``: a page about a cage that stands for itself."""

from __future__ import annotations

import json
import os
import sys
import time
from pathlib import Path

import click

from akiosctl.choose_cage import LAST
from akiosctl.commands import print_line, wants_json
from akiosctl.small_files import write_file
from akiosctl.story.known import find_known
from akiosctl.story.reading import read_story, verify_story
from akiosctl.verbs.ledger_read import DIRECTORY, JSON, VKEY


@click.command("report")
@click.argument("cage", default="", metavar="[CAGE]")
@click.option(
    "--out",
    type=click.Path(path_type=Path),
    help="Where the page is written; by default standard output.",
)
@DIRECTORY
@VKEY
@JSON
@click.pass_context
def command(
    ctx: click.Context,
    cage: str,
    out: Path | None,
    directory: Path | None,
    vkey: str | None,
    as_json: bool,
) -> int:
    """Write one HTML page about CAGE, by default the last one of this directory: what happened,
    what it cost, what was redacted and denied, under which policy, and whether its log is whole.

    The page has no script and fetches nothing; it can be kept, sent and printed.  What the agent
    wrote is escaped, and personal data in it masked.  The exit status is that of ledger verify.
    """
    # The page needs the patterns of personal data, which take a moment to load.
    from akiosctl.story.page import make_page

    cage = cage or ("" if directory else LAST)
    as_json = wants_json(ctx, as_json)
    read = read_story(ctx, cage, directory, vkey)
    verdict = verify_story(ctx, read.log if directory is None else cage, directory, vkey)
    known = find_known(ctx, read, is_here=directory is None, now_ns=time.time_ns())
    page = make_page(read, verdict, known)
    data = page.encode("utf-8", "backslashreplace")
    if out is not None:
        write_file(out, data)
    if as_json:
        where = os.fspath(out) if out is not None else ""
        text = "" if out is not None else page
        found = {"log": read.log, "file": where, "bytes": len(data), "page": text}
        click.echo(json.dumps({**found, "verdict": str(verdict.verdict)}, indent=2))
    elif out is not None:
        print_line(f"{out}: {len(data):,} bytes; the log is {verdict.verdict}")
    else:
        sys.stdout.write(page)
    return verdict.exit_code
