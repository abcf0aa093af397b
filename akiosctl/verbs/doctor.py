"""``akiosctl doctor``: what this host enforces, layer by layer, as the daemon read it back, and
what takes room on its disk; without a daemon, what can be told from outside, and what starts it.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from contextlib import closing
from typing import Any

import click
import msgspec

from akiosctl import host_check
from akiosctl.client import NOT_RUNNING, is_of_service
from akiosctl.commands import print_line, wants_json
from akiosctl.fix_hints import Hint, find_hints, read_system
from akiosctl.host_check import Finding
from akiosctl.render import escape, paint
from akiosctl.start_advice import command_at
from akiosd import __version__
from akiosd.errors import AkiosError
from akiosd.values.units import format_duration, format_size
from akiosd.wire.messages import Doctor, DoctorReply

_COLOURS = {
    "enforced": "green",
    "degraded": "yellow",
    "unavailable": "red",
    "present": "green",
    "missing": "red",
}


@click.command("doctor")
@click.option("--fix-hints", is_flag=True, help="Print the commands that mend what is missing.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.pass_context
def command(ctx: click.Context, fix_hints: bool, as_json: bool) -> int:
    """Say what this host can enforce, and what takes room on its disk; the exit status is 1 when a
    layer is less than enforced.

    Without akiosd it tells what can be seen from outside, and how akiosd is started; the exit
    status is then 1 too.  No command is run: --fix-hints prints them for you.
    """
    try:
        client = ctx.obj.connect()
    except AkiosError as error:
        return _without_daemon(ctx.obj.path, error, fix_hints, wants_json(ctx, as_json))
    with closing(client):
        reply, _ = client.call(Doctor(), DoctorReply)
    whole = all(layer.status == "enforced" for layer in reply.posture)
    findings = [Finding(layer.layer, layer.status, layer.detail) for layer in reply.posture]
    hints = list[Hint]()
    if fix_hints:
        start = host_check.what_starts(host_check.read_facts())
        hints = find_hints(findings, read_system(start, reply.state_dir))
    if wants_json(ctx, as_json):
        print_json(to_json(reply, hints, ctx.obj.path))
        return 0 if whole else 1
    print_line(
        f"{reply.software} on Linux {reply.kernel}, up {format_duration(reply.uptime_ns)},"
        f" {reply.cages} cages"
    )
    print_layers(findings)
    print_disk(reply)
    print_hints(hints, fix_hints)
    return 0 if whole else 1


def to_json(reply: DoctorReply, hints: Iterable[Hint], socket: str) -> dict[str, Any]:
    """The answer of akiosd as plain values."""
    # Not all at once: the message leaves out what is 0.
    names = (name for name in reply.__struct_fields__ if name != "id")
    found: dict[str, Any] = {name: msgspec.to_builtins(getattr(reply, name)) for name in names}
    whole = all(layer.status == "enforced" for layer in reply.posture)
    found |= {"ok": whole, "running": True, "hints": msgspec.to_builtins(list(hints))}
    return found | {"socket": socket, "next": ""}


def outside_json(path: str, error: AkiosError) -> dict[str, Any]:
    """The same where akiosd does not answer: ``error`` says why."""
    facts = host_check.read_facts()
    return _outside(path, facts, host_check.judge(facts), [], error.next)


def _outside(
    path: str, facts: host_check.Facts, findings: list[Finding], hints: list[Hint], next: str
) -> dict[str, Any]:
    return {
        "ok": False,
        "running": False,
        "software": f"akiosctl {__version__}",
        "kernel": facts.kernel,
        "cages": 0,
        "uptime_ns": 0,
        "state_dir": "",
        "posture": [msgspec.to_builtins(finding) for finding in findings],
        "disk": [],
        "free_bytes": 0,
        "free_inodes": -1,
        "hints": msgspec.to_builtins(hints),
        "socket": path,
        "next": next,
    }


def _without_daemon(path: str, error: AkiosError, fix_hints: bool, as_json: bool) -> int:
    """``error`` says why there is no answer."""
    facts = host_check.read_facts()
    findings = host_check.judge(facts)
    lacks = [finding for finding in findings if finding.status == "missing"]
    closed = error.what != NOT_RUNNING  # it may run, and only the way to it is closed
    start = host_check.what_starts(facts) if is_of_service(path) else command_at(path)
    hints = list[Hint]()
    if fix_hints:
        stopped = [] if closed else [Finding("akiosd", "missing", error.what)]
        hints = find_hints([*lacks, *stopped], read_system(start, ""))
    if as_json:
        print_json(_outside(path, facts, findings, hints, error.next))
        return 1
    print_line(f"{error.what} ({path})")
    print_line("Seen from outside; whether a layer holds, akiosd tries when it runs:")
    print_layers(findings)
    if lacks:
        print_line(f"missing: {', '.join(finding.layer for finding in lacks)}")
    print_line(f"next: {error.next}")
    print_hints(hints, fix_hints)
    return 1


def print_layers(findings: Iterable[Finding]) -> None:
    """One line each, aligned."""
    for finding in findings:
        word = paint(f"{finding.status:<11}", _COLOURS[finding.status])
        click.echo(f"  {escape(finding.layer):<13} {word} {escape(finding.detail)}")


def print_disk(reply: DoctorReply) -> None:
    """What takes room where akiosd keeps its state, what bounds it, and what is free."""
    inodes = f", {reply.free_inodes} inodes" if reply.free_inodes >= 0 else ""
    free = f"{format_size(reply.free_bytes)}{inodes} free"
    print_line(f"disk use of {reply.state_dir} ({free}):")
    for use in reply.disk:
        size = format_size(use.bytes)
        if use.bound:
            size += f" of {format_size(use.bound)}"
        setting = f"{use.setting}: " if use.setting else ""
        click.echo(f"  {escape(use.what):<16} {size:<20} {escape(setting + use.detail)}")
    most = sum(max(use.bound - use.bytes, 0) for use in reply.disk)
    if most > reply.free_bytes:
        print_line(
            f"these bounds allow {format_size(most)} more, and {format_size(reply.free_bytes)} are"
            " free: lower them, or watch the disk; a full disk makes cages wait"
        )


def print_hints(hints: Iterable[Hint], wanted: bool) -> None:
    """Commands stand alone on their lines, so that they can be copied."""
    if not wanted:
        return
    hints = list(hints)
    print_line("What mends it; nothing of it was run:" if hints else "Nothing is to be mended.")
    for hint in hints:
        print_line(f"{hint.layer}:{' ' + hint.note if hint.note else ''}")
        for command in hint.commands:
            click.echo(f"    {escape(command)}")


def print_json(found: Mapping[str, Any]) -> None:
    """The same for a program."""
    click.echo(json.dumps(found, indent=2))
