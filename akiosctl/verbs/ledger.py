"""``akiosctl ledger``: logs, checked from their files or read through the daemon."""

from __future__ import annotations

from itertools import islice
from pathlib import Path

import click

from akiosctl.cages import find_log
from akiosctl.commands import wants_json
from akiosctl.ledger_source import open_source
from akiosctl.verbs import ledger_keep, ledger_proofs, ledger_read, ledger_verify, ledger_witness
from akiosctl.verbs.events import Printer, kinds_option, print_log
from akiosd.ledger.entries import entries_of, first_index

_AT_ONCE = 1024


@click.group("ledger")
def command() -> None:
    """Verify, show and prove logs."""


for _verb in (
    *ledger_verify.COMMANDS,
    *ledger_read.COMMANDS,
    *ledger_proofs.COMMANDS,
    *ledger_witness.COMMANDS,
    *ledger_keep.COMMANDS,
):
    command.add_command(_verb)


@command.command("show", short_help="Print a log's records.")
@click.argument("cage", default="")
@click.option("--from", "start", type=click.IntRange(0), default=0, help="First index.")
@click.option(
    "--to",
    "stop",
    type=click.IntRange(0),
    default=1 << 62,
    help="Index to stop before.",
    show_default=False,
)
@kinds_option
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="A log's directory or archive; no daemon is asked.",
)
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def show(
    ctx: click.Context,
    cage: str,
    start: int,
    stop: int,
    wanted: tuple[str, ...],
    directory: Path | None,
    as_json: bool,
) -> None:
    """Print the records of CAGE's log, by default the host's."""
    printer = Printer(wants_json(ctx, as_json), frozenset(wanted))
    if directory is not None:
        with open_source(ctx, cage, directory, None) as source, source.reader() as reader:
            size = ledger_read.read_checkpoint(source, reader)[0].size
            first = max(start, first_index(reader))
            entries = islice(entries_of(reader, size, first), max(stop - first, 0))
            log = source.vkey.name.rpartition("/")[2]
            while batch := list(islice(entries, _AT_ONCE)):
                printer.entries(log, first, batch)
                first += len(batch)
        return
    with ctx.obj.connect() as client:
        print_log(client, find_log(client, cage) if cage else "", printer, start, stop)
