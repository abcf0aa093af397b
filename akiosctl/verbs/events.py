"""``akiosctl events``: records as they become durable, and those before if asked."""

from __future__ import annotations

import json
import os
import sys
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING, Protocol

import click
import msgspec

from akiosctl.cages import find_log, list_cages
from akiosctl.client import Client, GoneError, socket_path
from akiosctl.commands import print_line, wants_json
from akiosctl.entry_time import time_of
from akiosctl.extras import install_command
from akiosctl.reconnect import Births, Told, wait_for_daemon
from akiosctl.record_forms import Form
from akiosctl.record_schema import record_schema
from akiosctl.records_text import kinds
from akiosctl.render import escape
from akiosctl.siem.facts import Source
from akiosctl.siem.form import FORMATS, Format, SiemForm
from akiosctl.since import since_option
from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.wire.messages import Gap, LogEntries, ReadLog, Records, Subscribe

if TYPE_CHECKING:
    from akiosctl.otlp.send import Sender


def check_kinds(
    ctx: click.Context, parameter: click.Parameter, names: tuple[str, ...]
) -> tuple[str, ...]:
    """The names as they are; ``click.BadParameter`` for one that no record has."""
    unknown = next((name for name in names if name not in kinds()), None)
    if unknown is not None:
        raise click.BadParameter(
            f"there is no kind {unknown!r}; the kinds are {', '.join(kinds())}.", ctx, parameter
        )
    return names


kinds_option = click.option(
    "--kind",
    "wanted",
    multiple=True,
    callback=check_kinds,
    help="Only records of this kind; may be repeated.",
)


@click.command("events")
@click.option("--follow", "-f", is_flag=True, help="Go on with what happens from now.")
@since_option("Only records of the last 10m, 2h, 3d …, or from a time on.")
@click.option("--cage", "names", multiple=True, help="Only this cage's; may be repeated.")
@kinds_option
@click.option(
    "--format",
    "form",
    type=click.Choice(FORMATS),
    help="One event a line for security monitoring: OCSF or ECS as JSON, or CEF.",
)
@click.option(
    "--otlp",
    metavar="URL",
    help="Follow, and send spans and metrics to a collector at URL instead of printing.",
)
@click.option("--schema", is_flag=True, help="Print the JSON Schema of all records instead.")
@click.option("--json", "as_json", is_flag=True, help="One JSON object a line.")
@click.pass_context
def command(
    ctx: click.Context,
    follow: bool,
    since: int,
    names: tuple[str, ...],
    wanted: tuple[str, ...],
    form: Format | None,
    otlp: str | None,
    schema: bool,
    as_json: bool,
) -> None:
    """Print the records of cages.  Without --cage and --follow: of the last cage of
    this directory.
    """
    as_json = wants_json(ctx, as_json)
    if schema:
        click.echo(json.dumps(record_schema(), indent=2))
        return
    _check_forms(form, as_json, otlp, wanted)
    follow = follow or otlp is not None
    sender = _make_sender(otlp) if otlp is not None else None
    printer = _make_printer(as_json, form, frozenset(wanted), since)
    with ctx.obj.connect() as client:
        cages = tuple(find_log(client, name) for name in names or (() if follow else ("last",)))
        if not follow:
            for cage in cages:
                print_log(client, cage, printer)
            return
        replayed = cages
        known = list_cages(client, everyone=True)
        births = Births(known)
        if since and not names:
            replayed = tuple(one.cage for one in known if not one.ended_ns or one.ended_ns >= since)
    cursors = dict.fromkeys(replayed, 0)
    if sender is not None:
        print_line(f"sending spans and metrics to {otlp}; Ctrl-C ends it")
        sys.stdout.flush()
        _export(ctx.obj.path, sender, cages, cursors, since)
        return
    _follow_on(ctx.obj.path, Subscribe(kinds=wanted, cages=cages), cursors, births, printer)


def _check_forms(
    form: Format | None, as_json: bool, otlp: str | None, wanted: tuple[str, ...]
) -> None:
    if form is not None and as_json:
        raise AkiosError(
            "--format and --json were both given",
            "--format, --json",
            "give one: --json prints records as AKIOS writes them",
        )
    if otlp is not None and (form is not None or as_json or wanted):
        raise AkiosError(
            "--otlp sends all kinds of records, in its own form",
            "--otlp",
            "leave out --format, --json and --kind",
        )


def _follow_on(
    path: str, request: Subscribe, cursors: dict[str, int], births: Births, printer: Printer
) -> None:
    """Follow over restarts of akiosd, with the cages that began before it was back here."""
    told = Told()
    while True:
        try:
            _follow(events_path(path), request, cursors, printer)
        except GoneError:
            told.gone()
            wait_for_daemon(path)
        try:
            with Client(path) as client:
                infos = list_cages(client, everyone=True)
        except GoneError:
            continue  # the next try waits again
        told.back()
        if not request.cages:
            cursors |= births.missed(infos, cursors)


def _follow(path: str, request: Subscribe, cursors: dict[str, int], printer: Printer) -> None:
    """Print what comes, for ever, and note in ``cursors`` how far each log was seen.  Raises
    :class:`GoneError` when akiosd is gone.
    """
    with Client(path) as client:
        client.send(msgspec.structs.replace(request, cursors=cursors))
        while True:
            message = client.receive().message
            if isinstance(message, Records):
                printer.entries(message.log, message.start, message.entries)
                cursors[message.log] = message.start + len(message.entries)
            elif isinstance(message, Gap):
                printer.gap(message)
                cursors[message.log] = message.stop
            else:
                raise AkiosError(
                    f"akiosd sent {type(message).__name__} instead of records",
                    "events socket",
                    "install the same version of akiosd and akiosctl, and restart akiosd",
                )


def _make_sender(url: str) -> Sender:
    """Raises :class:`AkiosError` that says what to install where a library is missing."""
    try:
        from akiosctl.otlp.send import Sender, check_url
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing not in ("opentelemetry", "requests"):
            raise
        pip = install_command("otlp")
        raise AkiosError(
            f"sending to a collector needs {error.name}, which is not installed",
            "--otlp",
            f"install it: {pip}; without it, --json prints the records",
        ) from None
    return Sender(check_url(url))


def _export(
    path: str, sender: Sender, cages: tuple[str, ...], cursors: dict[str, int], since: int
) -> None:
    import trio

    from akiosctl.otlp.follow import Export

    async def run() -> None:
        made = Export(path, events_path(path), sender, sender.meters.entry, since)
        await made.run(cages, cursors)

    trio.run(run)


class Lines(Protocol):
    """How records become lines."""

    def lines(self, log: str, start: int, entries: Iterable[bytes]) -> list[str]:
        """Of entries of ``log``, the first of them being number ``start``."""


class Printer:
    """Lines for people or JSON objects, one for each record of the wanted kinds."""

    def __init__(
        self, as_json: bool, kinds: frozenset[str] = frozenset(), since_ns: int = 0
    ) -> None:
        self._json = as_json
        self._since_ns = since_ns
        self._form: Lines = Form(as_json, kinds)

    def entries(self, log: str, start: int, entries: Iterable[bytes]) -> None:
        """Print entries of ``log``, the first of them being number ``start``, and flush."""
        lines = []
        if self._since_ns:
            for number, entry in enumerate(entries, start):
                if time_of(entry) >= self._since_ns:
                    lines += self._form.lines(log, number, [entry])
        else:
            lines = self._form.lines(log, start, entries)
        if lines:
            sys.stdout.write("\n".join(lines) + "\n")
            sys.stdout.flush()

    def gap(self, gap: Gap) -> None:
        """Say that records were left out because this reader was too slow."""
        if self._json:
            print(json.dumps({"log": gap.log, "gap": [gap.start, gap.stop]}), flush=True)
        else:
            text = (
                f"(records {gap.start} to {gap.stop - 1} of {escape(gap.log)} were not sent: this"
                " reader was too slow)"
            )
            print(text, flush=True)


class _SiemPrinter(Printer):
    """Lines of a format of security monitoring."""

    def __init__(self, form: SiemForm, since_ns: int) -> None:
        super().__init__(True, since_ns=since_ns)
        self._form = self._siem = form

    def gap(self, gap: Gap) -> None:
        lines = self._siem.gap(gap.log, gap.start, gap.stop, time.time_ns())
        print("\n".join(lines), flush=True)


def _make_printer(
    as_json: bool, form: Format | None, kinds: frozenset[str], since_ns: int
) -> Printer:
    if form is None:
        return Printer(as_json, kinds, since_ns)
    return _SiemPrinter(SiemForm(form, kinds, Source(os.uname().nodename, __version__)), since_ns)


def print_log(
    client: Client, cage: str, printer: Printer, start: int = 0, stop: int = 1 << 62
) -> None:
    """Print entries of a log (``""``: the host's) up to its present end."""
    while start < stop:
        reply, _ = client.call(ReadLog(cage=cage, start=start, stop=stop), LogEntries)
        if not reply.entries:
            return
        printer.entries(reply.log or cage or "host", reply.start, reply.entries)
        start = reply.start + len(reply.entries)


def events_path(control: str) -> str:
    """The events socket beside the control socket."""
    return os.path.join(os.path.dirname(socket_path(control)), "events.sock")
