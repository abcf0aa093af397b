"""``akiosctl ledger verify|show``: logs, checked from their files or read through the daemon."""

from __future__ import annotations

import json
import os
from pathlib import Path

import click

from akiosctl.cages import find_log
from akiosctl.client import Client, close_fds
from akiosctl.commands import print_line, wants_json
from akiosctl.verbs.events import Printer, print_log
from akiosd.errors import AkiosError
from akiosd.ledger.note import Vkey
from akiosd.ledger.verify import Report, describe
from akiosd.store.fsck import fsck
from akiosd.wire.messages import LedgerInfo, LedgerReply


@click.group("ledger")
def command() -> None:
    """Verify and show logs."""


@command.command("verify")
@click.argument("cage", default="")
@click.option("--dir", "directory", type=click.Path(path_type=Path), help="A log's directory; no daemon is asked.")
@click.option("--vkey", help="The public key, or a file that holds it.")
@click.option("--host", type=click.Path(path_type=Path), help="With --dir: the host log's directory, as an anchor.")
@click.option("--pin", type=click.Path(path_type=Path), help="A checkpoint kept earlier, as an anchor.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def verify(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    host: Path | None,
    pin: Path | None,
    as_json: bool,
) -> int:
    """Verify the log of CAGE, by default the host's.

    Exit status: 0 OK, OK-RECOVERED and DESTROYED, 1 TAMPERED, 2 ROLLBACK and FORK, 3 INCOMPLETE, 4 UNTRUSTED.
    """
    key = _read_key(vkey)
    pinned = pin.read_bytes() if pin is not None else None
    if directory is not None:
        report = fsck(directory, key, pinned, host, cage=cage)
    else:
        with ctx.obj.connect() as client:
            report = _verify_by_daemon(client, cage, key, pinned)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(describe(report), indent=2))
        return report.exit_code
    print_line(f"ledger verify: {report.verdict}")
    print_line(f"  log: {report.origin}, {report.size} records, root {report.root.hex()}")
    print_line(f"  anchored to: {report.anchored_to}")
    for text in (report.detail, f"first bad: {report.first_bad}" if report.first_bad else "", *report.notes):
        if text:
            print_line(f"  {text}")
    return report.exit_code


def _verify_by_daemon(client: Client, cage: str, key: str | None, pin: bytes | None) -> Report:
    """The files through the directory the daemon opened; the key is then the daemon's word, unless one was given."""
    name = find_log(client, cage) if cage else ""
    reply, fds = client.call(LedgerInfo(cage=name), LedgerReply)
    try:
        if not fds:
            return fsck(Path(reply.path), key or Vkey.parse(reply.vkey), pin, cage=name)
        # The daemon's descriptor is O_PATH: it is opened for reading with the caller's own rights.
        fds.append(os.open(f"/proc/self/fd/{fds[0]}", os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC))
        return fsck(fds[1], key or Vkey.parse(reply.vkey), pin, cage=name)
    except OSError as error:
        raise AkiosError(
            f"the log cannot be read: {error.strerror}", reply.path, "ask an administrator to verify it"
        ) from None
    finally:
        close_fds(fds)


def _read_key(vkey: str | None) -> str | None:
    if vkey is None or "+" in vkey:
        return vkey
    return Path(vkey).read_text().strip()


@command.command("show")
@click.argument("cage", default="")
@click.option("--from", "start", default=0, help="First index.")
@click.option("--to", "stop", default=1 << 62, help="Index to stop before.", show_default=False)
@click.option("--kind", "kinds", multiple=True, help="Only records of this kind; may be repeated.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def show(ctx: click.Context, cage: str, start: int, stop: int, kinds: tuple[str, ...], as_json: bool) -> None:
    """Print the records of CAGE's log, by default the host's."""
    printer = Printer(wants_json(ctx, as_json), frozenset(kinds))
    with ctx.obj.connect() as client:
        print_log(client, find_log(client, cage) if cage else "", printer, start, stop)
