"""``akiosctl ledger export|stats|checkpoint|keys|pack``: a log read as a whole, by the daemon or
from its files.
"""

from __future__ import annotations

import json
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from itertools import islice
from pathlib import Path
from typing import Any, TextIO

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.hashing import HASHER
from akiosctl.ledger_source import LogSource, files_in_words, open_source
from akiosctl.record_forms import Form
from akiosctl.records_text import read_record
from akiosctl.render import table
from akiosctl.small_files import read_file, read_key_text
from akiosd.errors import AkiosError, LedgerError
from akiosd.ledger.entries import entries_of, first_index
from akiosd.ledger.key_list import MAX_KEY_LIST_BYTES
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, Vkey, is_signed_by, open_checkpoint
from akiosd.ledger.quorum import MAX_POLICY_BYTES, Quorum, all_of, parse_policy
from akiosd.ledger.report import LogReader, Report, describe
from akiosd.ledger.witness import WitnessKey
from akiosd.store.archive_log import pack_from, pack_log
from akiosd.values.records import Unknown

DIRECTORY = click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    help="A log's directory or archive; no daemon is asked.",
)
VKEY = click.option(
    "--vkey", help="The public key of the log or of its host, or a file that holds it."
)
KEYS = click.option(
    "--keys",
    "keys_file",
    type=click.Path(path_type=Path),
    help="The list of the host's keys (ledger keys --format list).",
)
WITNESS_KEYS = click.option(
    "--witness-key",
    "witness_keys",
    multiple=True,
    help="A witness that must have cosigned; may be repeated.",
)
POLICY = click.option(
    "--policy",
    "policy_file",
    type=click.Path(path_type=Path),
    help="Which witnesses, and how many, must have cosigned (c2sp.org/tlog-policy).",
)
JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def read_quorum(witness_keys: tuple[str, ...], policy_file: Path | None) -> Quorum:
    """What ``--witness-key`` and ``--policy`` ask for; nothing where neither is given."""
    if policy_file is None:
        return all_of(WitnessKey.parse(read_key_text(key)) for key in witness_keys)
    if witness_keys:
        raise AkiosError(
            "--policy names the witnesses already", "--witness-key", "leave out one of the two"
        )
    return parse_policy(read_file(policy_file, MAX_POLICY_BYTES, "policy"))


def key_of(vkey: str | None, quorum: Quorum) -> str | None:
    """``--vkey``, else the one log that a policy names."""
    if vkey is not None or not quorum.logs:
        return vkey
    if len(quorum.logs) > 1:
        raise AkiosError(
            "the witness policy has the keys of several logs", "--policy", "give this log's: --vkey"
        )
    return str(quorum.logs[0])


def read_key_list(keys_file: Path | None) -> bytes | None:
    """The bytes of the list of keys; None where no file was named."""
    return (
        read_file(keys_file, MAX_KEY_LIST_BYTES, "list of keys") if keys_file is not None else None
    )


def read_checkpoint(source: LogSource, reader: LogReader) -> tuple[Checkpoint, bytes]:
    """The log's checkpoint, its signature checked, and the note it stands in."""
    note = reader.read("checkpoint", MAX_NOTE_BYTES)
    if note is None:
        raise AkiosError(
            "the log was not signed yet (it has no checkpoint)",
            source.cage or "host",
            "try again in a second",
        )
    if not is_signed_by(note, source.vkey):
        # Another key may have taken over since: the log itself says so, if it is whole.
        report = source.verify()
        if report.exit_code != 0:
            raise AkiosError(
                f"the log is {report.verdict}: {report.detail}",
                report.first_bad,
                "run: sudo akiosctl ledger verify",
            )
        source.trust = replace(source.trust, vkey=Vkey.parse(report.vkey))
    return open_checkpoint(note, source.vkey), note


def read_verified(source: LogSource, reader: LogReader, report: Report) -> tuple[Checkpoint, bytes]:
    """The same after the log was found good: what is kept of it is that, or what it has grown to
    since.
    """
    found, note = read_checkpoint(source, reader)
    if found.size < report.size or (found.size == report.size and found.root != report.root):
        what = (
            f"the log was replaced after it was verified: it had {report.size} records then;"
            f" the log now there has {found.size}, and is not a continuation of it"
        )
        raise AkiosError(what, found.origin, "run: sudo akiosctl ledger verify")
    return found, note


@click.command("export", short_help="Write out a whole log, verified.")
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@click.option(
    "--format",
    "form",
    type=click.Choice(["json", "ndjson", "archive"]),
    default="ndjson",
    show_default=True,
)
@click.option("--json", "as_json", is_flag=True, help="The same as --format json.")
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write it here; an archive needs this."
)
@click.pass_context
def export(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    form: str,
    as_json: bool,
    out: Path | None,
) -> int:
    """Write the whole log of CAGE, by default the host's, verified first.

    ndjson is one record a line, with its index.  json is one object, with the report of the
    verification in it.  archive is a tar file of the log and of the keys of its host; it verifies
    anywhere: akiosctl ledger verify --dir FILE --vkey KEY.
    """
    if form == "archive" and out is None:
        raise AkiosError(
            "an archive cannot be printed", "--format archive", "name its file with --out"
        )
    with open_source(ctx, cage, directory, vkey) as source:
        report = source.verify()
        if report.exit_code != 0:
            raise AkiosError(
                f"the log is {report.verdict}: {report.detail}",
                report.first_bad,
                "run: sudo akiosctl ledger verify",
            )
        if form == "archive":
            assert out is not None
            return _export_archive(source, report, out)
        with source.reader() as reader, _output(out) as file:
            lines = _records(source, reader, report.size, report.minimum)
            if form == "json" or wants_json(ctx, as_json):
                note = read_checkpoint(source, reader)[1].decode()
                head = {"verified": describe(report), "vkey": str(source.vkey), "checkpoint": note}
                file.write(json.dumps(head)[:-1] + ', "records": [\n')
                for number, line in enumerate(lines):
                    file.write(("" if number == 0 else ",\n") + line)
                file.write("\n]}\n")
            else:
                for line in lines:
                    file.write(line + "\n")
    return 0


@contextmanager
def _output(out: Path | None) -> Iterator[TextIO]:
    if out is None:
        yield sys.stdout
        return
    with files_in_words(), out.open("w") as file:
        yield file


_TRIES = 4
_AT_ONCE = 1024


def _export_archive(source: LogSource, report: Report, out: Path) -> int:
    """Again, a few times at most: a running cage's log outgrows its last files while they are
    read.
    """
    for attempt in range(_TRIES):
        try:
            with files_in_words(), source.reader() as reader:
                length = pack_from(
                    reader, out, Vkey.parse(report.vkey), HASHER, source.trust.key_list
                )
            break
        except LedgerError:
            if attempt == _TRIES - 1:
                raise
            report = source.verify()
    print_line(
        f"{out}: {length} bytes, verified; verify it with the key of {report.origin} or of its host"
    )
    return 0


def _records(source: LogSource, reader: LogReader, size: int, first: int) -> Iterator[str]:
    form, entries = Form(as_json=True), entries_of(reader, size, first)
    while batch := list(islice(entries, _AT_ONCE)):
        yield from form.lines(source.cage or "host", first, batch)
        first += len(batch)


@click.command("stats", short_help="Count a log's records.")
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@JSON
@click.pass_context
def stats(
    ctx: click.Context, cage: str, directory: Path | None, vkey: str | None, as_json: bool
) -> None:
    """Count the log of CAGE, by default the host's: records by kind, bytes, files, time."""
    with open_source(ctx, cage, directory, vkey) as source, source.reader() as reader:
        checkpoint, _ = read_checkpoint(source, reader)
        found = count_log(reader, checkpoint)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(found, indent=2))
        return
    print_line(f"log: {found['origin']}")
    print_line(f"records: {found['size']}, {found['bytes']} bytes, in {found['files']} files")
    if found["minimum"]:
        print_line(f"those before {found['minimum']} were pruned")
    if found["size"]:
        print_line(f"time: {_when(found['first_ts'])} to {_when(found['last_ts'])}")
    rows = [[kind, str(count), str(size)] for kind, (count, size) in found["kinds"].items()]
    for line in table(["KIND", "RECORDS", "BYTES"], rows):
        sys.stdout.write(line + "\n")


def count_log(reader: LogReader, checkpoint: Checkpoint) -> dict[str, Any]:
    """Plain values: size, bytes, files, first and last time stamp (ns), kind → (records, bytes)."""
    records, sizes = Counter[str](), Counter[str]()
    first = last = 0
    minimum = first_index(reader)
    for entry in entries_of(reader, checkpoint.size, minimum):
        record = read_record(entry)
        kind = record.kind if isinstance(record, Unknown) else str(record.__struct_config__.tag)
        records[kind or "?"] += 1
        sizes[kind or "?"] += len(entry)
        if record.ts:
            first, last = first or record.ts, record.ts
    return {
        "origin": checkpoint.origin,
        "size": checkpoint.size,
        "minimum": minimum,
        "root": checkpoint.root.hex(),
        "bytes": sizes.total(),
        "files": sum(1 for _ in reader.files()),
        "first_ts": first,
        "last_ts": last,
        "kinds": {kind: (count, sizes[kind]) for kind, count in records.most_common()},
    }


def _when(ts: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(ts / 1e9))


@click.command("checkpoint", short_help="Print a log's signed checkpoint.")
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@JSON
@click.pass_context
def checkpoint(
    ctx: click.Context, cage: str, directory: Path | None, vkey: str | None, as_json: bool
) -> None:
    """Print the signed checkpoint of CAGE's log, by default the host's, as other tools read it."""
    with open_source(ctx, cage, directory, vkey) as source, source.reader() as reader:
        found, note = read_checkpoint(source, reader)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(checkpoint_json(source, found, note), indent=2))
        return
    sys.stdout.write(note.decode())


def checkpoint_json(source: LogSource, found: Checkpoint, note: bytes) -> dict[str, Any]:
    """A checkpoint as plain values, with the key that is trusted for it."""
    return {
        "origin": found.origin,
        "size": found.size,
        "root": found.root.hex(),
        "note": note.decode(),
        "vkey": str(source.vkey),
    }


@click.command("keys", short_help="Print a log's public key.")
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@click.option(
    "--format",
    "form",
    type=click.Choice(["vkey", "policy", "list"]),
    default="vkey",
    show_default=True,
)
@JSON
@click.pass_context
def keys(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    form: str,
    as_json: bool,
) -> None:
    """Print the public key that signs CAGE's log now, by default the host's.

    --format policy makes a file for tools that check proofs (c2sp.org/tlog-policy); it asks for no
    witness.  --format list prints all keys that the host ever had, signed by the present one: with
    that list, verify --keys checks all logs of the host by any of them.
    """
    with open_source(ctx, cage, directory, vkey) as source, source.reader() as reader:
        read_checkpoint(source, reader)
        key = source.vkey
        if form == "list":
            if source.trust.key_list is None:
                raise AkiosError(
                    "there is no list of the host's keys here",
                    source.cage,
                    "have it made on the log's host, sudo akiosctl ledger keys --format list >"
                    " host.keys, and put that file beside the log's directory",
                )
            sys.stdout.write(source.trust.key_list.decode())
            return
    if wants_json(ctx, as_json):
        click.echo(
            json.dumps({"origin": key.name, "vkey": str(key), "key_id": key.id.hex()}, indent=2)
        )
    else:
        sys.stdout.write(f"log {key}\nquorum none\n" if form == "policy" else f"{key}\n")


@click.command("pack", short_help="Put a finished log into one archive.")
@click.argument("out", type=click.Path(path_type=Path))
@click.option(
    "--dir",
    "directory",
    type=click.Path(path_type=Path),
    required=True,
    help="A finished log's directory.",
)
@VKEY
@JSON
@click.pass_context
def pack(ctx: click.Context, out: Path, directory: Path, vkey: str | None, as_json: bool) -> None:
    """Put a finished log into one archive, OUT: a tar file that verifies as it is.  The log stays
    where it is.
    """
    with open_source(ctx, "", directory, vkey) as source:
        length = pack_log(directory, out, source.vkey, HASHER)
    if wants_json(ctx, as_json):
        click.echo(json.dumps({"archive": str(out), "bytes": length}))
    else:
        print_line(f"{out}: {length} bytes, verified")


COMMANDS = (export, stats, checkpoint, keys, pack)
