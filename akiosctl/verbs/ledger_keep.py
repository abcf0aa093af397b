"""``akiosctl ledger rotate-key|destroy|prune``: what only root and administrators do to logs."""

from __future__ import annotations

import json
import re

import click

from akiosctl.cages import find_log
from akiosctl.commands import print_line, wants_json
from akiosctl.render import note
from akiosctl.verbs.ledger_read import JSON
from akiosd.errors import AkiosError
from akiosd.wire.messages import Destroy, Destroyed, LedgerReply, Prune, Pruned, RotateKey

SSD_CAVEAT = (
    "overwriting reaches the blocks a file has now; an SSD, a copy-on-write file system or a"
    " snapshot may still hold older copies, which only encryption of the whole disk, or its own"
    " secure erase, reaches"
)
DISK_CAVEAT = (
    "its disk (the copy of the workspace, the home, /tmp) and its output were unlinked, not"
    " overwritten, when the cage ended or its changes were settled"
)
_SECONDS = {"s": 1, "m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}
_BYTES = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}

PASSES = click.option(
    "--passes",
    type=click.IntRange(1, 35),
    default=1,
    show_default=True,
    help="How often random bytes are written before the zeros.",
)
FAST = click.option("--fast", is_flag=True, help="Unlink only; overwrite nothing.")


@click.command("rotate-key", short_help="Sign with a new key from now on.")
@JSON
@click.pass_context
def rotate_key(ctx: click.Context, as_json: bool) -> None:
    """Put a new key that signs the logs in the present one's place (root only).

    The present key certifies the new one in every open log, so that whoever trusts the present key
    can trust the new one.  Then the present key is destroyed.
    """
    with ctx.obj.connect() as client:
        reply, _ = client.call(RotateKey(), LedgerReply)
    if wants_json(ctx, as_json):
        click.echo(
            json.dumps(
                {
                    "origin": reply.origin,
                    "vkey": reply.vkey,
                    "checkpoint": reply.checkpoint.decode(),
                }
            )
        )
    else:
        print_line(f"the host's log is now signed by: {reply.vkey}")


@click.command("destroy", short_help="Destroy what an ended cage left.")
@click.argument("cage")
@PASSES
@FAST
@JSON
@click.pass_context
def destroy(ctx: click.Context, cage: str, passes: int, fast: bool, as_json: bool) -> None:
    """Destroy everything an ended CAGE left, its log included (root and administrators).

    The host's log still says that it existed, what its last size and root were, and that it was
    destroyed.  The command ends when nothing of the cage is left on the disk.
    """
    with ctx.obj.connect() as client:
        name = find_log(client, cage)
        reply, _ = client.call(Destroy(cage=name, passes=passes, fast=fast), Destroyed)
    if wants_json(ctx, as_json):
        values = {
            "cage": name,
            "files": reply.files,
            "bytes": reply.overwritten,
            "spared": list(reply.spared),
        }
        click.echo(json.dumps({**values, "size": reply.size, "root": reply.root.hex()}))
        return
    print_line(f"destroyed: {name}, {reply.files} files, {reply.overwritten} bytes overwritten")
    print_line(f"  its log had {reply.size} records, root {reply.root.hex()}")
    for path in reply.spared:
        print_line(f"  not overwritten, as it has another name elsewhere: {path}")
    note(f"how: {reply.method}" if reply.method else DISK_CAVEAT)
    if not fast:
        note(SSD_CAVEAT)


@click.command("prune", short_help="Destroy what old cages left.")
@click.option(
    "--older-than", metavar="TIME", help="Destroy cages that ended longer ago: 12h, 30d, 8w."
)
@click.option(
    "--max-size",
    metavar="SIZE",
    help="Destroy the oldest until the rest takes at most this: 500M, 20G.",
)
@click.option("--dry-run", is_flag=True, help="Only say which.")
@PASSES
@FAST
@JSON
@click.pass_context
def prune(
    ctx: click.Context,
    older_than: str | None,
    max_size: str | None,
    dry_run: bool,
    passes: int,
    fast: bool,
    as_json: bool,
) -> int:
    """Destroy what old cages left, as ledger destroy does: whole cages, oldest first (root and
    administrators).
    """
    if older_than is None and max_size is None:
        raise AkiosError(
            "nothing says which cages should go", "ledger prune", "give --older-than or --max-size"
        )
    age = (
        parse_number(older_than, _SECONDS, "--older-than", "30d")
        if older_than is not None
        else None
    )
    request = Prune(
        max_age_ns=age * 10**9 if age is not None else None,
        max_bytes=parse_number(max_size, _BYTES, "--max-size", "20G")
        if max_size is not None
        else None,
        dry_run=dry_run,
        passes=passes,
        fast=fast,
    )
    with ctx.obj.connect() as client:
        reply, _ = client.call(request, Pruned)
    if wants_json(ctx, as_json):
        values = {
            "cages": list(reply.cages),
            "bytes": reply.freed,
            "kept": reply.kept,
            "dry_run": dry_run,
        }
        click.echo(json.dumps({**values, "failed": dict(reply.failed)}))
        return 1 if reply.failed else 0
    for cage in reply.cages:
        print_line(cage)
    word = "would be destroyed" if dry_run else "destroyed"
    print_line(f"{len(reply.cages)} cages {word}, {reply.freed} bytes; {reply.kept} stay")
    for cage, why in reply.failed:
        print_line(f"not destroyed: {cage}: {why}")
    if reply.cages and not dry_run:
        note(DISK_CAVEAT)
        if not fast:
            note(SSD_CAVEAT)
    return 1 if reply.failed else 0


def parse_number(text: str, units: dict[str, int], option: str, example: str) -> int:
    """A whole number with a unit; raises :class:`AkiosError`."""
    match = re.fullmatch(r"([0-9]{1,12})([a-zA-Z]?)", text)
    if match is None or match[2] not in units:
        raise AkiosError(
            f"{text!r} is not a whole number with a unit",
            option,
            f"write it as in {example}; the units are {' '.join(filter(None, units))}",
        )
    return int(match[1]) * units[match[2]]


COMMANDS = (rotate_key, destroy, prune)
