"""``akiosctl ledger witness``: have a witness cosign a log's checkpoint, and keep that as an
anchor.
"""

from __future__ import annotations

import http.client
import json
import time
import urllib.parse
from pathlib import Path

import click

from akiosctl.commands import print_line, wants_json
from akiosctl.ledger_source import LogSource, open_source
from akiosctl.pins import remember_host, save_cosigned, save_pin
from akiosctl.small_files import read_key_text, write_file
from akiosctl.verbs.ledger_read import DIRECTORY, JSON, VKEY, read_verified
from akiosd.errors import AkiosError
from akiosd.ledger.epochs import host_of
from akiosd.ledger.note import MAX_NOTE_BYTES, Checkpoint, NoteError, decode_decimal
from akiosd.ledger.report import LogReader, Report, describe
from akiosd.ledger.witness import WitnessKey, add_cosignatures, encode_request
from akiosd.store.proofs_and_tiles import prove_consistency_from

_TIMEOUT_S = 30
_TRIES = 3


@click.command("witness", short_help="Have a witness cosign a log's checkpoint.")
@click.argument("url")
@click.argument("cage", default="")
@click.option(
    "--witness-key", required=True, help="The witness's public key, or a file that holds it."
)
@click.option(
    "--also",
    nargs=2,
    multiple=True,
    metavar="URL KEY",
    help="Another witness of the same checkpoint; may be repeated.",
)
@click.option(
    "--out", type=click.Path(path_type=Path), help="Write the cosigned checkpoint here as well."
)
@DIRECTORY
@VKEY
@JSON
@click.pass_context
def witness(
    ctx: click.Context,
    url: str,
    cage: str,
    witness_key: str,
    also: tuple[tuple[str, str], ...],
    out: Path | None,
    directory: Path | None,
    vkey: str | None,
    as_json: bool,
) -> int:
    """Have the witness at URL cosign the checkpoint of CAGE's log, by default the host's
    (c2sp.org/tlog-witness).

    The log is verified first.  The cosigned checkpoint is kept beside what ledger pin keeps.  From
    then on each verification looks for the signature of this witness, and proofs carry it.  The
    witness must know the log: give its operator what ledger keys prints.
    """
    asked = {
        place: WitnessKey.parse(read_key_text(key)) for place, key in ((url, witness_key), *also)
    }
    with open_source(ctx, cage, directory, vkey) as source:
        report = source.verify()
        if report.exit_code != 0:
            raise AkiosError(
                f"the log is {report.verdict}: {report.detail}",
                report.first_bad,
                "run: sudo akiosctl ledger verify",
            )
        found, note, given = _cosign(source, asked, report)
    save_pin(source.vkey, note)
    save_cosigned(source.vkey, note, list(asked.values()))
    remember_host(source.met, host_of(source.vkey.name))
    if out is not None:
        write_file(out, note)
    if wants_json(ctx, as_json):
        values = {
            "size": found.size,
            "root": found.root.hex(),
            "cosigned": given,
            "checkpoint": note.decode(),
        }
        click.echo(json.dumps({**describe(report), **values}, indent=2))
        return 0
    for name, seconds in given.items():
        when = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))
        print_line(f"cosigned by {name} at {when}: {found.origin} at size {found.size}")
    return 0


def _cosign(
    source: LogSource, asked: dict[str, WitnessKey], report: Report
) -> tuple[Checkpoint, bytes, dict[str, int]]:
    """Ask each witness, by its URL, for the same checkpoint; what they all gave stands behind
    it.
    """
    with source.reader() as reader:
        found, note = read_verified(source, reader, report)
        cosigned, given = note, dict[str, int]()
        for url, key in asked.items():
            cosigned, more = add_cosignatures(cosigned, _ask(reader, found, note, url), [key])
            given |= more
    return found, cosigned, given


def _ask(reader: LogReader, found: Checkpoint, note: bytes, url: str) -> bytes:
    """What the witness answers; where it knows the log at another size, it is asked again from
    there.
    """
    old_size = 0
    for _ in range(_TRIES):
        proof = prove_consistency_from(reader, old_size, found) if old_size else []
        status, kind, body = post(url, encode_request(old_size, proof, note))
        if status == 200:
            return body
        if status != 409 or kind != "text/x.tlog.size":
            break
        old_size = _parse_size(body, found.size, url)
    meaning = _MEANING.get(status, "")
    raise AkiosError(
        f"the witness refused: {status} {meaning}".rstrip(),
        url,
        "ask its operator",
    )


_MEANING = {
    403: "(it trusts none of this log's keys)",
    404: "(it does not know this log)",
    409: "(it knows another history of this log)",
    422: "(the log is not what it was: the consistency proof fails)",
}


def _parse_size(body: bytes, size: int, url: str) -> int:
    try:
        known = decode_decimal(body.decode("ascii", "replace").removesuffix("\n"))
    except NoteError:
        raise AkiosError("the witness did not answer with a size", url, "check the URL") from None
    if known > size:
        raise AkiosError(
            f"the log was rolled back: the witness saw {known} records of it, and {size} are left",
            url,
            f"restore a backup with at least {known} records",
        )
    return known


def post(url: str, body: bytes) -> tuple[int, str, bytes]:
    """POST to ``<url>/add-checkpoint``: status, content type, answer.  No redirects, no proxies;
    bounded.
    """
    parts = urllib.parse.urlsplit(url)
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise AkiosError("this is not the URL of a witness", url, "write https://HOST/PATH")
    kind = http.client.HTTPSConnection if parts.scheme == "https" else http.client.HTTPConnection
    connection = kind(parts.hostname, parts.port, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", f"{parts.path.rstrip('/')}/add-checkpoint", body)
        answer = connection.getresponse()
        return answer.status, answer.headers.get_content_type(), answer.read(MAX_NOTE_BYTES + 1)
    except (OSError, http.client.HTTPException) as error:
        raise AkiosError(f"the witness cannot be asked: {error}", url, "try again later") from None
    finally:
        connection.close()


COMMANDS = (witness,)
