"""``akiosctl ledger prove|verify-proof|pin``: what can be carried away from a log, and checked
without it.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.ledger_source import LogSource, open_source, read_key
from akiosctl.pins import (
    forget,
    forget_places,
    known_hosts,
    load_known,
    pinned_origins,
    remember_host,
    save_pin,
    trusted_key,
)
from akiosctl.records_text import record_json, record_line
from akiosctl.small_files import read_file, write_file
from akiosctl.verbs.ledger_read import (
    DIRECTORY,
    JSON,
    KEYS,
    POLICY,
    VKEY,
    WITNESS_KEYS,
    key_of,
    read_checkpoint,
    read_key_list,
    read_quorum,
    read_verified,
)
from akiosd.errors import AkiosError
from akiosd.ledger.epochs import host_of
from akiosd.ledger.judge import NOTHING
from akiosd.ledger.key_list import log_key, open_key_list
from akiosd.ledger.merkle import ProofError
from akiosd.ledger.note import Checkpoint, NoteError, UntrustedNoteError, Vkey, parse_note
from akiosd.ledger.proof import MAX_EXTRA_BYTES, MAX_PROOF_BYTES, TlogProof, verify_proof
from akiosd.ledger.quorum import Quorum
from akiosd.ledger.report import LogReader, Report, Verdict, describe
from akiosd.store.proofs_and_tiles import prove_from
from akiosd.values.ids import is_cage_id
from akiosd.values.records import MAX_ENTRY_BYTES


@click.command("prove", short_help="Prove that a record is in a log.")
@click.argument("index", type=click.IntRange(0))
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the proof here; by default it is printed."
)
@click.option(
    "--entry-out", type=click.Path(path_type=Path), help="Write the entry's own bytes here."
)
@JSON
@click.pass_context
def prove(
    ctx: click.Context,
    index: int,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    out: Path | None,
    entry_out: Path | None,
    as_json: bool,
) -> None:
    """Write a proof that record INDEX is in the log of CAGE, by default the host's
    (c2sp.org/tlog-proof@v1).

    The proof holds the record itself if that has at most 8 KiB; a larger one is written beside it
    by --entry-out.  If ledger witness kept a checkpoint in which the record is, the proof carries
    the signatures of the witnesses.
    """
    with open_source(ctx, cage, directory, vkey) as source, source.reader() as reader:
        read_checkpoint(source, reader)
        proof, entry = prove_record(source, reader, index)
    if not proof.extra and entry_out is None:
        raise AkiosError(
            f"the record is larger than the {MAX_EXTRA_BYTES} bytes that a proof file can hold",
            f"record {index}",
            "write the record to a file of its own: --entry-out FILE",
        )
    if entry_out is not None:
        write_file(entry_out, entry)
    text = proof.encode()
    if out is not None:
        write_file(out, text)
    if wants_json(ctx, as_json):
        click.echo(json.dumps(proof_json(source, index, proof), indent=2))
    elif out is None:
        sys.stdout.write(text.decode())


def prove_record(source: LogSource, reader: LogReader, index: int) -> tuple[TlogProof, bytes]:
    """The proof of a record below the log's checkpoint, which was read, and the record itself."""
    under = _cosigned_above(index, source.vkey.name)
    return prove_from(reader, index, source.vkey, MAX_EXTRA_BYTES, under)


def proof_json(source: LogSource, index: int, proof: TlogProof) -> dict[str, object]:
    """A proof as plain values."""
    return {
        "index": index,
        "origin": source.vkey.name,
        "path": [value.hex() for value in proof.path],
        "vkey": str(source.vkey),
        "proof": proof.encode().decode(),
    }


def _cosigned_above(index: int, origin: str) -> bytes | None:
    """The cosigned checkpoint that was kept of the log, if the record was in it by then."""
    note = load_known(origin).cosigned
    return (
        note if note is not None and Checkpoint.parse(parse_note(note).text).size > index else None
    )


@click.command("verify-proof", short_help="Verify such a proof.")
@click.argument("file", type=click.Path(path_type=Path))
@click.option(
    "--entry",
    "entry_file",
    type=click.Path(path_type=Path),
    help="The record, if not in the proof itself.",
)
@VKEY
@KEYS
@WITNESS_KEYS
@POLICY
@JSON
@click.pass_context
def verify_proof_file(
    ctx: click.Context,
    file: Path,
    entry_file: Path | None,
    vkey: str | None,
    keys_file: Path | None,
    witness_keys: tuple[str, ...],
    policy_file: Path | None,
    as_json: bool,
) -> int:
    """Verify a proof with a public key alone: --vkey (of the log or of its host), or the one ledger
    pin kept.

    Exit status: 0 when the record is in the log; 1 when the proof does not prove it; 4 when no
    trusted key signed it, or not every witness that --witness-key or --policy asks for.
    """
    quorum = read_quorum(witness_keys, policy_file)
    report, entry, index = check_proof(
        read_file(file, MAX_PROOF_BYTES, "proof"),
        read_file(entry_file, MAX_ENTRY_BYTES, "record") if entry_file else None,
        read_key(key_of(vkey, quorum)),
        quorum,
        read_key_list(keys_file),
    )
    log = report.origin.rpartition("/")[2]
    if wants_json(ctx, as_json):
        record = record_json(log, index, entry) if report.exit_code == 0 else None
        click.echo(json.dumps({**describe(report), "index": index, "record": record}, indent=2))
        return report.exit_code
    print_line(f"ledger verify-proof: {report.verdict}")
    if report.exit_code == 0:
        print_line(
            f"  record {index} of {report.origin}, at size {report.size}, root {report.root.hex()}"
        )
        print_line(f"  anchored to: {report.anchored_to}")
        sys.stdout.write(f"  {record_line(log, index, entry)}\n")
    else:
        print_line(f"  {report.detail}")
    return report.exit_code


def check_proof(
    data: bytes,
    entry: bytes | None,
    vkey: Vkey | None,
    quorum: Quorum = NOTHING,
    key_list: bytes | None = None,
) -> tuple[Report, bytes, int]:
    """The verdict on a proof, the record it is about, and its index."""
    origin, index, text = "", 0, b""
    try:
        proof = TlogProof.parse(data)
        index, text = proof.index, entry if entry is not None else proof.extra
        origin = Checkpoint.parse(parse_note(proof.checkpoint).text).origin
        given = vkey or trusted_key(origin)
        key = log_key(given, origin.rpartition("/")[2]) if given is not None else None
        if key is None:
            raise UntrustedNoteError(
                "no public key was given for this log, and ledger pin has kept none",
                next="give the log's public key: --vkey FILE; its host prints it: akiosctl ledger"
                " keys",
            )
        if entry is None and not text:
            raise ProofError(
                "the record that is proved is not in the proof file",
                next="give the file that --entry-out wrote with it: --entry FILE",
            )
        kin = open_key_list(key_list, key) if key_list is not None else ()
        found = verify_proof(proof, text, key, *(Vkey(key.name, other) for other in kin))
        if not quorum.is_met(proof.checkpoint):
            raise UntrustedNoteError(
                f"the proof does not carry the cosignatures asked for: {quorum.describe()}",
                next="ask for a proof made after akiosctl ledger witness",
            )
        names = sorted(quorum.cosigners(proof.checkpoint))
    except UntrustedNoteError as error:
        return Report(Verdict.UNTRUSTED, origin, detail=str(error)), text, index
    except (ProofError, NoteError) as error:
        return Report(Verdict.TAMPERED, origin, detail=str(error)), text, index
    anchor = f"its key and witness {' and '.join(names)}" if names else "its key"
    return (
        Report(Verdict.OK, found.origin, found.size, found.root, anchors=((anchor, found.size),)),
        text,
        index,
    )


@click.command("pin", short_help="Keep a log's checkpoint as an anchor.")
@click.argument("cage", default="")
@DIRECTORY
@VKEY
@click.option(
    "--renew", is_flag=True, help="Forget what was kept of this log and of this place before."
)
@JSON
@click.pass_context
def pin(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    vkey: str | None,
    renew: bool,
    as_json: bool,
) -> int:
    """Keep the checkpoint of CAGE's log, by default the host's, as an anchor for every later
    verification.

    The log is verified first, against what was kept before.  It is not pinned if it was rolled back
    or rewritten, or if it is of another host than the one that was pinned from the same place.
    --renew forgets what was kept: use it when the host was set up anew, or when the log was pruned
    past what was kept.

    The checkpoint is kept in $XDG_STATE_HOME/akios/pins (~/.local/state); copy that elsewhere to
    be safe from this host.
    """
    if renew:
        _forget(ctx, cage, directory, vkey)
    with open_source(ctx, cage, directory, vkey) as source:
        report = source.verify()
        path = None
        if report.exit_code == 0 and report.verdict is not Verdict.DESTROYED:
            with source.reader() as reader:
                _, note = read_verified(source, reader, report)
            path = save_pin(source.vkey, note)
            remember_host(source.met, host_of(source.vkey.name))
    if wants_json(ctx, as_json):
        click.echo(
            json.dumps({**describe(report), "pinned": str(path) if path else None}, indent=2)
        )
    elif path is not None:
        print_line(f"pinned: {report.origin} at size {report.size}, root {report.root.hex()}")
        print_line(f"  in {path}")
    else:
        print_line(f"not pinned: {report.verdict}: {report.detail}")
    return report.exit_code


def _forget(ctx: click.Context, cage: str, directory: Path | None, vkey: str | None) -> None:
    with open_source(ctx, cage, directory, vkey) as source:
        before, log = known_hosts(source.met), source.vkey.name.rpartition("/")[2]
        origins = {source.vkey.name, *(pinned_origins(log) if is_cage_id(log) else ())}
        origins |= {f"{host}/{log}" for host in before.values()}
        forget_places(source.met)
    for origin in origins:
        forget(origin)


COMMANDS = (prove, verify_proof_file, pin)
