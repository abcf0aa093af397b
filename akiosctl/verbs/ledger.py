"""``akiosctl ledger``: logs, checked from their files or read through the daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from akiosctl.cages import find_log
from akiosctl.client import DaemonError
from akiosctl.commands import print_line, wants_json
from akiosctl.hashing import HASHER
from akiosctl.ledger_source import open_source, read_key, verify_destroyed
from akiosctl.small_files import read_file
from akiosctl.verbs import ledger_keep, ledger_proofs, ledger_read, ledger_witness
from akiosctl.verbs.events import Printer, kinds_option, print_log
from akiosd.errors import AkiosError, LedgerError
from akiosd.ledger.entries import entries_of, first_index
from akiosd.ledger.note import MAX_NOTE_BYTES
from akiosd.ledger.report import Report, Verdict, describe
from akiosd.store import derive
from akiosd.store.fsck import find_vkey, fsck


@click.group("ledger")
def command() -> None:
    """Verify, show and prove logs."""


for _verb in (
    *ledger_read.COMMANDS,
    *ledger_proofs.COMMANDS,
    *ledger_witness.COMMANDS,
    *ledger_keep.COMMANDS,
):
    command.add_command(_verb)


@command.command("verify", short_help="Verify a log.")
@click.argument("cage", default="")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="A log's directory or archive; no daemon.")
@click.option("--vkey", help="The public key, or a file that holds it.")
@click.option("--host", type=click.Path(path_type=Path), help="With --dir: the host log's directory, as an anchor.")
@click.option("--pin", type=click.Path(path_type=Path), help="A checkpoint kept earlier, as an anchor.")
@click.option("--rebuild-tiles", is_flag=True, help="With --dir: first make lost or damaged tiles again.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    host: Path | None,
    pin: Path | None,
    rebuild_tiles: bool,
    as_json: bool,
) -> int:
    """Verify the log of CAGE, by default the host's.

    --rebuild-tiles writes what follows from the entries again, byte for byte, if they lead to the signed root.

    Exit status: 0 OK, OK-RECOVERED and DESTROYED, 1 TAMPERED, 2 ROLLBACK and FORK, 3 INCOMPLETE, 4 UNTRUSTED.
    """
    pinned = read_file(pin, MAX_NOTE_BYTES, "checkpoint") if pin is not None else None
    rebuilt = _rebuild(directory, vkey) if rebuild_tiles else []
    if directory is not None and (host is not None or not os.path.lexists(directory)):
        # What the host log says of it may be that it is destroyed: then neither files nor key are there.
        report = fsck(directory, read_key(vkey), pinned, host, cage=cage, hasher=HASHER)
    else:
        report = _verify(ctx, cage, directory, vkey, pinned)
    if wants_json(ctx, as_json):
        click.echo(json.dumps({**describe(report), **({"rebuilt": rebuilt} if rebuild_tiles else {})}, indent=2))
    else:
        print_report(report)
        for path in rebuilt:
            print_line(f"  made again: {path}")
    return report.exit_code


def _rebuild(directory: Path | None, vkey: str | None) -> list[str]:
    if directory is None or not directory.is_dir():
        raise AkiosError("tiles are made again in a log's directory", "--rebuild-tiles", "name it with --dir")
    return derive.rebuild_tiles(directory, read_key(vkey) or find_vkey(directory), HASHER)


def _verify(ctx: click.Context, cage: str, directory: Path | None, vkey: str | None, pin: bytes | None) -> Report:
    key = read_key(vkey)
    try:
        with open_source(ctx, cage, directory, vkey) as source:
            report = source.verify(pin)
        if report.exit_code != 0 and directory is None:
            # Its files go while it is packed: whoever held them open then finds the archive in their place.
            with open_source(ctx, cage, directory, vkey) as source:
                report = source.verify(pin)
        return report
    except LedgerError:
        if directory is None:
            raise
        # There is no key beside it, or the archive is damaged: a verdict as well.
        return fsck(directory, key, pin, cage=cage, hasher=HASHER)
    except DaemonError as error:
        if not cage:
            raise
        with ctx.obj.connect() as client:
            try:
                report = verify_destroyed(client, cage)
            except DaemonError:  # the host's log is not for everybody
                raise error from None
        if report.verdict is not Verdict.DESTROYED:
            raise error from None
        return report


def print_report(report: Report) -> None:
    print_line(f"ledger verify: {report.verdict}")
    if report.origin:
        print_line(f"  log: {report.origin}, {report.size} records, root {report.root.hex()}")
        print_line(f"  anchored to: {report.anchored_to}")
    for text in (report.detail, f"first bad: {report.first_bad}" if report.first_bad else "", *report.notes):
        if text:
            print_line(f"  {text}")


@command.command("show", short_help="Print a log's records.")
@click.argument("cage", default="")
@click.option("--from", "start", type=click.IntRange(0), default=0, help="First index.")
@click.option("--to", "stop", type=click.IntRange(0), default=1 << 62, help="Index to stop before.", show_default=False)
@kinds_option
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="A log's directory or archive; no daemon.")
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
            for index, entry in enumerate(entries_of(reader, size, first), first):
                if index >= stop:
                    break
                printer.entries(source.vkey.name.rpartition("/")[2], index, (entry,))
        return
    with ctx.obj.connect() as client:
        print_log(client, find_log(client, cage) if cage else "", printer, start, stop)
