"""``akiosctl ledger verify``: one log, or every log of a host, through whichever door it is
reached.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import replace
from pathlib import Path

import click

from akiosctl.client import Client, DaemonError
from akiosctl.commands import print_line, wants_json
from akiosctl.hashing import HASHER
from akiosctl.ledger_source import (
    HostLogError,
    LogSource,
    damaged,
    files_in_words,
    from_daemon,
    from_files,
    open_source,
    read_key,
    refused,
)
from akiosctl.pins import KeptDamagedError
from akiosctl.progress import Progress
from akiosctl.small_files import read_file
from akiosctl.verbs.ledger_read import (
    DIRECTORY,
    JSON,
    KEYS,
    POLICY,
    VKEY,
    WITNESS_KEYS,
    key_of,
    read_key_list,
    read_quorum,
)
from akiosd.errors import AkiosError, LedgerError
from akiosd.kernel.scm_rights import close_fds
from akiosd.ledger.host_word import HostWord
from akiosd.ledger.judge import BESIDE, NOTHING
from akiosd.ledger.key_list import log_key
from akiosd.ledger.note import MAX_NOTE_BYTES, Vkey
from akiosd.ledger.quorum import Quorum
from akiosd.ledger.report import Report, Verdict, describe, describe_anchors
from akiosd.store import proofs_and_tiles
from akiosd.store.fsck import refusal
from akiosd.store.log_dir import archive, directory
from akiosd.values.ids import HOST_LOG, LogId, is_cage_id
from akiosd.wire.messages import ListLogs, LogNames


@click.command("verify", short_help="Verify a log, or all.")
@click.argument("cage", default="")
@DIRECTORY
@click.option(
    "--all",
    "every",
    is_flag=True,
    help="All logs of the host; with --dir: of that state directory.",
)
@VKEY
@KEYS
@click.option(
    "--host",
    type=click.Path(path_type=Path),
    help="With --dir: the directory of the host's log, to compare with.",
)
@click.option(
    "--pin",
    type=click.Path(path_type=Path),
    help="A checkpoint that was kept earlier, to compare with.",
)
@WITNESS_KEYS
@POLICY
@click.option(
    "--rebuild-tiles", is_flag=True, help="With --dir: first make lost or damaged tiles again."
)
@JSON
@click.pass_context
def verify(
    ctx: click.Context,
    cage: str,
    directory: Path | None,
    every: bool,
    vkey: str | None,
    keys_file: Path | None,
    host: Path | None,
    pin: Path | None,
    witness_keys: tuple[str, ...],
    policy_file: Path | None,
    rebuild_tiles: bool,
    as_json: bool,
) -> int:
    """Verify the log of CAGE, by default the host's.

    The log is compared with everything that is known of it: what ledger pin and ledger witness
    kept, and the host's log, which lists every cage.  A verification fails when something known, or
    asked for by an option, cannot be checked.

    --vkey takes the key of any log of the same host.  --all compares each cage that the host's log
    lists with what is there.  --rebuild-tiles writes lost tiles again from the records, if these
    lead to the signed root.

    Exit status: 0 OK, OK-RECOVERED and DESTROYED, 1 TAMPERED, 2 ROLLBACK and FORK, 3 INCOMPLETE, 4
    UNTRUSTED; with --all the lowest that is not 0.
    """
    quorum = read_quorum(witness_keys, policy_file)
    vkey = key_of(vkey, quorum)
    if every:
        if cage or host or pin or rebuild_tiles:
            raise AkiosError(
                "--all verifies every log, and another option names a single one",
                "ledger verify",
                "leave out one of the two",
            )
        return _verify_all(ctx, directory, vkey, quorum, wants_json(ctx, as_json))
    pinned = read_file(pin, MAX_NOTE_BYTES, "checkpoint") if pin is not None else None
    rebuilt = _rebuild(directory, vkey) if rebuild_tiles else []
    if directory is not None:
        report = _verify_files(
            cage, directory, vkey, host, pinned, quorum, read_key_list(keys_file)
        )
    else:
        report = _verify_by_daemon(ctx, cage, vkey, pinned, quorum, read_key_list(keys_file))
    if wants_json(ctx, as_json):
        click.echo(
            json.dumps(
                {**describe(report), **({"rebuilt": rebuilt} if rebuild_tiles else {})}, indent=2
            )
        )
    else:
        print_report(report)
        for path in rebuilt:
            print_line(f"  made again: {path}")
    return report.exit_code


def _rebuild(directory: Path | None, vkey: str | None) -> list[str]:
    if directory is None or not directory.is_dir():
        raise AkiosError(
            "--rebuild-tiles needs a log's directory", "ledger verify", "name it with --dir"
        )
    with files_in_words():
        return proofs_and_tiles.rebuild_tiles(
            directory, from_files("", directory, read_key(vkey)).vkey, HASHER
        )


def _verify_files(
    cage: str,
    directory: Path,
    vkey: str | None,
    host: Path | None,
    pin: bytes | None,
    quorum: Quorum,
    key_list: bytes | None,
) -> Report:
    key = read_key(vkey)
    try:
        return from_files(cage, directory, key, host, key_list).verify(pin, quorum)
    except HostLogError as failed:
        return failed.report
    except KeptDamagedError as error:
        return damaged(error)
    except (OSError, LedgerError) as error:
        # There is no key beside it, or the archive is damaged: a verdict as well.
        report = refusal(error, str(directory))
        return replace(report, notes=(BESIDE,)) if key is None else report


def _verify_by_daemon(
    ctx: click.Context,
    cage: str,
    vkey: str | None,
    pin: bytes | None,
    quorum: Quorum,
    key_list: bytes | None,
) -> Report:
    return verify_opened(
        lambda: open_source(ctx, cage, None, vkey, key_list=key_list), cage, pin, quorum
    )


def verify_opened(
    open_log: Callable[[], AbstractContextManager[LogSource]],
    cage: str,
    pin: bytes | None = None,
    quorum: Quorum = NOTHING,
) -> Report:
    """The report on a log that the daemon gives; ``open_log`` may be called twice."""
    try:
        with open_log() as source:
            report = source.verify(pin, quorum)
        if report.exit_code != 0:
            # Its files go while it is packed: whoever held them open then finds the archive in
            # their place.
            with open_log() as source:
                report = source.verify(pin, quorum)
        return report
    except DaemonError as error:
        return refused(cage, error)
    except KeptDamagedError as error:
        return damaged(error)


def print_report(report: Report) -> None:
    """Print a verdict and what it rests on, for people."""
    print_line(f"ledger verify: {report.verdict}")
    if report.origin and report.root:
        print_line(f"  log: {report.origin}, {report.size} records, root {report.root.hex()}")
        print_line(f"  anchored to: {describe_anchors(report)}")
    elif report.origin:
        print_line(f"  log: {report.origin}")
    for text in (
        report.detail,
        f"first bad: {report.first_bad}" if report.first_bad else "",
        *report.notes,
    ):
        if text:
            print_line(f"  {text}")


# ---- all logs of a host --------------------------------------------------------------------------


def _verify_all(
    ctx: click.Context, state: Path | None, vkey: str | None, quorum: Quorum, as_json: bool
) -> int:
    if state is not None:
        reports = _all_in_files(state, read_key(vkey), quorum)
    else:
        with ctx.obj.connect() as client:
            reports = _all_by_daemon(client, read_key(vkey), quorum)
    code = min((report.exit_code for report in reports.values() if report.exit_code), default=0)
    if as_json:
        values = {log: describe(report) for log, report in reports.items()}
        click.echo(json.dumps({"exit_code": code, "logs": values}, indent=2))
        return code
    for log, report in reports.items():
        if report.exit_code:
            where = f" (at {report.first_bad})" if report.first_bad else ""
            print_line(f"{log}: {report.verdict}: {report.detail}{where}")
    bad = sum(report.exit_code != 0 for report in reports.values())
    gone = sum(report.verdict is Verdict.DESTROYED for report in reports.values())
    print_line(
        f"{len(reports)} logs: {len(reports) - bad} good, {gone} of them destroyed on purpose,"
        f" {bad} bad"
    )
    return code


# The report on one cage's log; without a word of the host's log it is asked anew.
Look = Callable[[str, HostWord | None], Report]


def _unpublished(word: HostWord) -> set[str]:
    """Cages that run, or ran when akiosd stopped: of their logs there may be nothing yet but what
    the WAL holds.
    """
    return {
        cage
        for cage, said in word.cages.items()
        if said.size is None and not said.destroyed and not said.ended
    }


def _all(
    source: LogSource,
    names: list[str],
    look: Look,
    quorum: Quorum,
    young: Callable[[HostWord], set[str]] = lambda word: set(),
) -> dict[str, Report]:
    """The host's log, then each that it tells of or that is there; what looks bad is looked at
    again by itself.

    ``young``: those that it tells of and that need not be there.
    """
    report = source.verify(quorum=quorum)
    word = HostWord(report) if report.exit_code else source.read_word()
    reports: dict[str, Report] = {HOST_LOG: report}
    cages = sorted((word.cages.keys() - young(word)) | set(names))
    with Progress("verifying", "logs", len(cages)) as progress:
        for cage in cages:
            found = look(cage, word)
            # It may have been born, published, packed or destroyed since the host's log was read.
            reports[cage] = look(cage, None) if found.exit_code and not report.exit_code else found
            progress.advance()
    return reports


def _all_in_files(state: Path, key: Vkey | None, quorum: Quorum) -> dict[str, Report]:
    host = state / directory(HOST_LOG)
    names = _names_in(state)
    places = {name: _in_state(state, name) for name in names}
    try:
        source = from_files("", host, key)
    except KeptDamagedError as error:
        return {HOST_LOG: damaged(error)}
    except (OSError, LedgerError) as error:
        return {HOST_LOG: refusal(error, str(host))}
    trusted = source.vkey

    def look(cage: str, word: HostWord | None) -> Report:
        path = places.get(cage) or state / directory(LogId(cage))
        try:
            there = from_files(cage, path, log_key(trusted, cage), host if word is None else None)
            return there.verify(word=word)
        except KeptDamagedError as error:
            return damaged(error)
        except (OSError, LedgerError) as error:
            return refusal(error, str(path))

    return _all(source, [name for name, path in places.items() if path], look, quorum, _unpublished)


def _names_in(state: Path) -> list[str]:
    """The cages that are there; none where their directory is gone, which the host's log then
    tells.
    """
    try:
        return sorted(entry.name for entry in os.scandir(state / "cages") if is_cage_id(entry.name))
    except OSError as error:
        if not os.path.lexists(state / "ledger"):
            raise AkiosError(
                f"this is not a state directory of akiosd: {error.strerror}",
                str(state),
                "name one, as in --dir /var/lib/akios",
            ) from None
        return []


def _in_state(state: Path, cage: str) -> Path | None:
    for place in (archive(LogId(cage)), directory(LogId(cage))):
        if os.path.lexists(state / place):
            return state / place
    return None


def _all_by_daemon(client: Client, key: Vkey | None, quorum: Quorum) -> dict[str, Report]:
    # First the names, then the host's log: so it knows everything that is on the list.
    names = _list_logs(client)
    fds: list[int] = []

    def look(cage: str, word: HostWord | None) -> Report:
        more: list[int] = []
        try:
            return from_daemon(client, cage, key, more, ask_host=word is None).verify(word=word)
        except KeptDamagedError as error:
            return damaged(error)
        finally:
            close_fds(more)

    try:
        return _all(from_daemon(client, "", key, fds), names, look, quorum)
    except KeptDamagedError as error:
        return {HOST_LOG: damaged(error)}
    finally:
        close_fds(fds)


def _list_logs(client: Client) -> list[str]:
    names: list[str] = []
    while True:
        reply, _ = client.call(ListLogs(after=names[-1] if names else ""), LogNames)
        names += reply.names
        if not reply.more or not reply.names:
            return names


COMMANDS = (verify,)
